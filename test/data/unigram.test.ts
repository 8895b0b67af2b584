import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type ScoredPiece, unigram } from '../../src/data/unigram.js'
import { holds } from '../oracle/property.js'

const pieces: ScoredPiece[] = [
  ['�', 0],
  ['<s>', 0],
  ['▁', -1],
  ['a', -2],
  ['b', -2],
  ['ab', -3.5],
  ['▁a', -2.5],
  ['fi', -1],
  ['1', -3],
]
const tokenizer = unigram(pieces, { reserved: 2 })

test.each<[string, number[], string]>([
  ['', [], 'nothing, not even the space'],
  ['a', [6], '▁a -2.5 beats ▁ a -3'],
  ['ab', [6, 4], '▁a b and ▁ ab are both -4.5: the shorter last piece wins'],
  ['bab', [2, 4, 5], '▁ b ab -6.5 beats ▁ b a b -7'],
  ['a b', [6, 2, 4], 'a space is a piece'],
  ['x', [2, 0], 'an unknown character'],
  ['xyz a xx', [2, 0, 6, 2, 0], 'a run of unknown ones is one'],
  ['\u{1f600}b', [2, 0, 4], 'a character of two code units is one character'],
  ['<s>', [2, 0], 'reserved pieces never match'],
  ['fif', [2, 7, 0], 'no piece ends within fi'],
  ['ﬁ１', [2, 7, 8], 'NFKC: a ligature and a wide digit'],
])('%j is %j: %s', (text, ids) => {
  expect(tokenizer.encode(text)).toEqual(ids)
})

test('the end is cut at a length, and ids are text again', () => {
  expect(tokenizer.encode('a b a b', 3)).toEqual([6, 2, 4])
  expect(tokenizer.decode([6, 2, 4, 0])).toBe('a b�')
  expect(tokenizer.decode([])).toBe('')
  expect([tokenizer.size, tokenizer.padding]).toEqual([9, 0])
  expect(() => tokenizer.decode([9])).toThrow('unigram.decode: id 9 at 0: needs an integer from 0 to 8')
})

test("the edges of the encoder's own vocabulary: no scores, and equal pieces", () => {
  const odd = unigram(
    [
      ['�', 0],
      ['▁', -1],
      [':', -2],
      ['▁:', null],
      ['x', -9],
      ['x', -3],
      ['xx', -7],
    ],
    { reserved: 1 },
  )
  // ▁: sums to 0, which counts as none.
  expect(odd.encode(':')).toEqual([1, 2])
  expect(odd.encode('x:')).toEqual([1, 5, 2])
  // The last x counts, -3: two of them beat xx.
  expect(odd.encode('xx')).toEqual([1, 5, 5])
  // No score counts as 0: x : sums to -4 with the space, and x: to -5.
  const [space, x, colon]: ScoredPiece[] = [
    ['▁', -1],
    ['x', -3],
    [':', null],
  ]
  expect(unigram([['�', 0], space, x, colon, ['x:', -4]], { reserved: 1 }).encode('x:')).toEqual([1, 2, 3])
  // Nothing goes on from within ▁a, where no piece ends.
  expect(
    unigram(
      [
        ['�', 0],
        ['▁a', null],
        ['a', -1],
      ],
      { reserved: 1 },
    ).encode('a'),
  ).toEqual([1])
})

test('of all splits, the sum is the greatest', async () => {
  const letters = ['▁', 'a', 'b', 'c']
  const score = fc.integer({ min: -40, max: -1 })
  const more = fc.array(fc.tuple(fc.string({ unit: fc.constantFrom(...letters), minLength: 2, maxLength: 4 }), score))
  const text = fc.string({ unit: fc.constantFrom('a', 'b', 'c', ' '), maxLength: 7 })
  await holds(
    fc.asyncProperty(fc.tuple(score, score, score, score), more, text, async (single, longer, text) => {
      const all: ScoredPiece[] = [['�', 0], ...letters.map((l, i): ScoredPiece => [l, single[i]]), ...longer]
      const scores = new Map(all.slice(1))
      const best = (rest: string): number =>
        rest === ''
          ? 0
          : Math.max(
              ...[...scores].map(([p, s]) => (rest.startsWith(p) ? (s ?? 0) + best(rest.slice(p.length)) : -Infinity)),
            )
      const ids = unigram(all, { reserved: 1 }).encode(text)
      const normal = text === '' ? '' : `▁${text.replaceAll(' ', '▁')}`
      expect(ids.map(id => all[id][0]).join('')).toBe(normal)
      expect(ids.reduce((sum, id) => sum + (all[id][1] ?? 0), 0)).toBe(best(normal))
    }),
    200,
  )
})

test('what are no scored pieces is refused', () => {
  expect(() => unigram([])).toThrow('unigram: reserved 6 of 0 pieces: needs an integer from 1, the unknown piece')
  expect(() => unigram(pieces, { reserved: 10 })).toThrow('unigram: reserved 10 of 9 pieces')
  expect(() =>
    unigram(
      [
        ['a', 0],
        ['', 1],
      ],
      { reserved: 1 },
    ),
  ).toThrow('unigram: piece 1: expected [text, score], found ["",1]')
  expect(() =>
    unigram(
      [
        ['a', 0],
        ['b', NaN],
      ],
      { reserved: 1 },
    ),
  ).toThrow('unigram: piece 1: expected [text, score]')
})

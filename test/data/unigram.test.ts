/** The unigram tokenizer against all segmentations of short texts. */

import { type Piece, UnigramTokenizer } from 'saddlepoint/data'
import { expect, test } from 'vitest'

const pieces: readonly Piece[] = [
  ['<unk>', 0],
  ['</s>', 0],
  ['▁', -3.1],
  ['a', -2.3],
  ['b', -2.9],
  ['ab', -4.7],
  ['▁a', -4.2],
  ['ba', -5.4],
  ['aba', -6.4],
  ['bb', -5.5],
  ['▁ab', -7.2],
  ['abb▁a', -9.1],
]
const tokenizer = new UnigramTokenizer(pieces, { reserved: 2 })

/** The best sum of scores of all segmentations. */
const best = (text: string): number =>
  text === ''
    ? 0
    : Math.max(
        ...pieces.map(([piece, score], id) =>
          id < 2 || !text.startsWith(piece) ? Number.NEGATIVE_INFINITY : score + best(text.slice(piece.length)),
        ),
      )

test('the best of all segmentations of 254 texts', () => {
  let texts = ['']
  for (let n = 1; n <= 7; n++) {
    texts = texts.flatMap(t => [`${t}a`, `${t}b`])
    for (const text of texts) {
      const spaced = n > 3 ? `${text.slice(0, 3)} ${text.slice(3)}` : text
      const marked = `▁${spaced.replaceAll(' ', '▁')}`
      const found = tokenizer.encode(spaced).map(id => pieces[id])
      expect(found.map(([piece]) => piece).join('')).toBe(marked)
      expect(found.reduce((sum, [, score]) => sum + score, 0)).toBeCloseTo(best(marked), 9)
    }
  }
})

test('characters that no piece holds: one id for a run, and what is around it as before', () => {
  expect(tokenizer.encode('axyb')).toEqual([6, 0, 4])
  expect(tokenizer.encode('𝒳?')).toEqual([2, 0])
  expect(tokenizer.encode('</s>')).toEqual([2, 0])
  expect(new UnigramTokenizer(pieces, { reserved: 2, unknown: 1 }).encode('x')).toEqual([2, 1])
})

test('text is normalised, and nothing has no ids', () => {
  expect(tokenizer.encode('ａ')).toEqual(tokenizer.encode('a'))
  expect(tokenizer.encode('')).toEqual([])
})

test('of equal pieces the last counts', () => {
  expect(
    new UnigramTokenizer(
      [
        ['?', 0],
        ['▁', -1],
        ['a', -1],
        ['a', -2],
      ],
      { reserved: 1 },
    ).encode('a'),
  ).toEqual([1, 3])
})

test('wrong arguments are named', () => {
  expect(() => new UnigramTokenizer([['a', Number.NaN]])).toThrow('piece 0 is ["a", NaN]: needs [text, finite score]')
  expect(() => new UnigramTokenizer([['', 1]])).toThrow('piece 0 is ["", 1]')
  expect(() => new UnigramTokenizer([['a', 1]], { unknown: 1 })).toThrow(
    'unknown must be an integer from 0 to 0, not 1',
  )
  expect(() => new UnigramTokenizer([['a', 1]], { reserved: 2 })).toThrow('reserved must be an integer from 0 to 1')
})

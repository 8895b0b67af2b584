import { mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { dataset } from '../../src/data/dataset.js'
import { padded, paddedPairs } from '../../src/data/tokenizer.js'
import { characters, parseVocabulary, readVocabulary, words } from '../../src/data/vocabulary.js'
import { wordPiece } from '../../src/data/wordpiece.js'
import { holds } from '../oracle/property.js'
import { sharedData } from './shared.js'

describe('characters', () => {
  test('counts texts: the most frequent first, equal ones by code unit', () => {
    const tokenizer = characters({ texts: ['banana', 'bb𠀀'] })
    expect(tokenizer.vocabulary).toEqual(['[PAD]', '[UNK]', 'a', 'b', 'n', '𠀀'])
    expect([tokenizer.size, tokenizer.padding, tokenizer.unknown]).toEqual([6, 0, 1])
    expect(tokenizer.encode('n𠀀x')).toEqual([4, 5, 1])
    expect(tokenizer.encode('banana', 2)).toEqual([3, 2])
    expect(tokenizer.decode([3, 2, 5, 1, 0, 0])).toBe('ba𠀀[UNK]')
  })

  test('what is rare, and what there is no room for, is unknown', () => {
    const texts = ['aaabbc']
    expect(characters({ texts, minimumCount: 2 }).vocabulary).toEqual(['[PAD]', '[UNK]', 'a', 'b'])
    expect(characters({ texts, maximumSize: 3 }).vocabulary).toEqual(['[PAD]', '[UNK]', 'a'])
    expect(() => characters({ texts, minimumCount: 0 })).toThrow(
      'characters: minimumCount 0: needs a number of at least 1',
    )
    expect(() => characters({ texts, maximumSize: 1 })).toThrow('characters: maximumSize 1: needs at least 2')
  })

  test('a given vocabulary keeps its ids; what it lacks follows', () => {
    const given = characters({ vocabulary: ['x', '<UNK>', 'y'], unknown: '<UNK>' })
    expect([given.vocabulary, given.padding, given.unknown]).toEqual([['x', '<UNK>', 'y', '[PAD]'], 3, 1])
    expect(given.encode('yz')).toEqual([2, 1])
    expect(() => characters({ vocabulary: ['x', 'y', 'x'] })).toThrow("the vocabulary has 'x' at 0 and at 2")
  })

  test('every text of known characters comes back', async () => {
    await holds(
      fc.asyncProperty(fc.array(fc.string({ unit: 'binary' })), async texts => {
        const tokenizer = characters({ texts })
        for (const text of texts) expect(tokenizer.decode(tokenizer.encode(text))).toBe(text)
      }),
      200,
    )
  })

  test('ids outside the vocabulary are refused', () => {
    const { decode } = characters({ texts: ['a'] })
    for (const id of [-1, 3, 0.5]) expect(() => decode([1, id])).toThrow(`characters.decode: id ${id} at 1: needs an`)
  })
})

test('texts or a vocabulary are asked for', () => {
  for (const options of [{}, undefined])
    expect(() => words(options as never)).toThrow('words: needs texts, whose tokens are counted, or a vocabulary')
})

test('words are in lower case, with the apostrophes and accents inside them', () => {
  const tokenizer = words({ texts: ["Don't STOP -- don't, naïve 2nd 'quote'", 'nai\u0308ve'] })
  expect(tokenizer.vocabulary).toEqual(['[PAD]', '[UNK]', "don't", '2nd', 'nai\u0308ve', 'naïve', 'quote', 'stop'])
  expect(tokenizer.encode("Stop! Who? don't")).toEqual([7, 1, 2])
  expect(tokenizer.decode([7, 1, 2, 0])).toBe("stop [UNK] don't")
  expect(tokenizer.encode('... !')).toEqual([])
})

describe('wordPiece', async () => {
  // The vocabulary of the tests of BERT's own tokenizer, and what they expect.
  const bert = ['[UNK]', '[CLS]', '[SEP]', 'want', '##want', '##ed', 'wa', 'un', 'runn', '##ing', ',', '[PAD]']
  const tokenizer = await wordPiece(bert)
  const inner = (text: string) => tokenizer.encode(text).slice(1, -1)

  test('meets the published cases', () => {
    expect(tokenizer.encode('UNwant\u00e9d,running')).toEqual([1, 7, 4, 5, 10, 8, 9, 2])
    expect(inner('unwanted running')).toEqual([7, 4, 5, 8, 9])
    expect(inner('unwantedX running')).toEqual([0, 8, 9])
    expect([tokenizer.size, tokenizer.padding]).toEqual([12, 11])
  })

  test('cleans, splits at punctuation and between ideographs, and keeps capitals where asked to', async () => {
    const vocabulary = [...bert, 'hello', '!', 'how', '博', '推', '𠀀', 'ah', '##zz', 'zz', 'Hello', 'Hé', '##llo']
    const split = async (text: string, lowerCase?: boolean) => {
      const cased = await wordPiece(vocabulary, { lowerCase })
      return cased
        .encode(text)
        .slice(1, -1)
        .map(id => vocabulary[id])
    }
    expect(await split(' \tHeLLo!how  \n H\u00e9llo\u0000  ')).toEqual(['hello', '!', 'how', 'hello'])
    expect(await split('ah\u535a\u63a8zz𠀀𠀀')).toEqual(['ah', '博', '推', 'zz', '𠀀', '𠀀'])
    expect(await split('Hello H\u00e9llo hello', false)).toEqual(['Hello', 'Hé', '##llo', 'hello'])
    expect(await split('ahzz constructor')).toEqual(['ah', '##zz', '[UNK]'])
    // Marks in a text are text.
    expect(await split('[SEP]')).toEqual(['[UNK]', '[UNK]', '[UNK]'])
  })

  test('cuts the text, never the marks', () => {
    expect(tokenizer.encode('unwanted running', 4)).toEqual([1, 7, 4, 2])
    expect(tokenizer.encode('unwanted running', 2)).toEqual([1, 2])
    expect(tokenizer.encode('')).toEqual([1, 2])
    expect(() => tokenizer.encode('un', 1)).toThrow('wordPiece: length 1: needs at least 2, for [CLS] and [SEP]')
    expect(() => tokenizer.encodePair('un', 'un', 2)).toThrow('wordPiece: length 2: needs at least 3')
  })

  test('pairs have types, and the longer one is cut', async () => {
    expect(tokenizer.encodePair('want,', 'unwanted')).toEqual({
      ids: [1, 3, 10, 2, 7, 4, 5, 2],
      types: [0, 0, 0, 0, 1, 1, 1, 1],
    })
    const [long, short] = ['un '.repeat(9), 'want want']
    const pair = (a: string, b: string, length: number) => tokenizer.encodePair(a, b, length).types.join('')
    expect([pair(long, short, 10), pair(short, long, 10)]).toEqual(['0000000111', '0000111111'])
    expect([pair(long, long, 10), pair(long, long, 4), pair(long, long, 3)]).toEqual(['000000' + '1111', '0001', '001'])
    await holds(
      fc.asyncProperty(fc.nat(8), fc.nat(8), fc.integer({ min: 3, max: 25 }), async (m, n, length) => {
        const { ids, types } = tokenizer.encodePair('un '.repeat(m), 'want '.repeat(n), length)
        expect(ids.length).toBe(Math.min(m + n + 3, length))
        expect(types).toHaveLength(ids.length)
        const [a, b] = [7, 3].map(id => ids.filter(i => i === id).length)
        // Nothing is cut from a text while it is shorter than what is left of the other by more than one.
        expect(a === m || a >= b - 1).toBe(true)
        expect(b === n || b >= a - 1).toBe(true)
      }),
      200,
    )
  })

  test('decodes without the marks', () => {
    expect(tokenizer.decode(tokenizer.encode('Unwanted, running').concat(11, 11))).toBe('unwanted, running')
    expect(tokenizer.decode([1, 2, 11])).toBe('')
    expect(() => tokenizer.decode([12])).toThrow('wordPiece.decode: id 12 at 0: needs an integer from 0 to 11')
  })

  test('any text gives ids of the vocabulary', async () => {
    await holds(
      fc.asyncProperty(fc.string({ unit: 'binary' }), async text => {
        const ids = tokenizer.encode(text)
        expect(ids.every(id => Number.isInteger(id) && id >= 0 && id < 12)).toBe(true)
        expect(typeof tokenizer.decode(ids)).toBe('string')
      }),
      200,
    )
  })

  test('a vocabulary that cannot be BERT\u2019s is refused', async () => {
    await expect(wordPiece(bert.slice(1))).rejects.toThrow('wordPiece: the vocabulary of 11 pieces lacks [UNK]')
    await expect(wordPiece([...bert, 'want'])).rejects.toThrow("wordPiece: the vocabulary has 'want' at 3 and at 12")
  })
})

describe('padded', () => {
  const tokenizer = characters({ vocabulary: ['[PAD]', '[UNK]', 'a', 'b'] })

  test('makes rows of one length, ready for a data set', () => {
    const columns = padded(['ab', '', 'aabb'], tokenizer, { length: 3 })
    expect(columns).toEqual({
      ids: { dtype: 'int32', shape: [3, 3], data: Int32Array.of(2, 3, 0, 0, 0, 0, 2, 2, 3) },
      mask: { dtype: 'float32', shape: [3, 3], data: Float32Array.of(1, 1, 0, 0, 0, 0, 1, 1, 1) },
    })
    const label = { dtype: 'int32', shape: [3], data: Int32Array.of(0, 1, 0) } as const
    expect(dataset({ ...columns, label }).rows([2]).ids.data).toEqual(Int32Array.of(2, 2, 3))
    for (const length of [0, -1, 1.5, NaN])
      expect(() => padded([], tokenizer, { length })).toThrow(`padded: length ${length}: needs a positive integer`)
  })

  test('fills with the padding of the tokenizer', async () => {
    const bert = await wordPiece(['[CLS]', '[SEP]', '[UNK]', '[PAD]', 'a', 'b'])
    expect(padded(['a'], bert, { length: 4 }).ids.data).toEqual(Int32Array.of(0, 4, 1, 3))
    // What marks the ends is not cut off.
    expect(padded(['a b a'], bert, { length: 3 }).ids.data).toEqual(Int32Array.of(0, 4, 1))
    const { ids, mask, types } = paddedPairs([['a', 'b b']], bert, { length: 8 })
    expect([ids.data, mask.data, types.data]).toEqual([
      Int32Array.of(0, 4, 1, 5, 5, 1, 3, 3),
      Float32Array.of(1, 1, 1, 1, 1, 1, 0, 0),
      Int32Array.of(0, 0, 0, 1, 1, 1, 0, 0),
    ])
    expect(types.shape).toEqual([1, 8])
    expect(() => paddedPairs([], bert, { length: 0 })).toThrow('paddedPairs: length 0')
  })
})

test('a file of tokens is read as it stands', async () => {
  expect(parseVocabulary('\ufeff \r\na\n\nb\u2028\n')).toEqual([' ', 'a', '', 'b\u2028'])
  expect(() => parseVocabulary('', 'f')).toThrow('vocabulary: f: line 1: expected a token, found an empty file')
  const path = join(await mkdtemp(join(tmpdir(), 'saddlepoint-vocabulary-')), 'vocab.txt')
  await writeFile(path, 'x\ny')
  expect(await readVocabulary(path)).toEqual(['x', 'y'])
})

sharedData('bert-chinese')('the real vocabulary of Chinese BERT', async folder => {
  const tokenizer = await wordPiece(await readVocabulary(join(folder, 'vocab.txt')))
  expect([tokenizer.size, tokenizer.padding]).toEqual([21_128, 0])
  expect(tokenizer.encode('上课时')).toEqual([101, 677, 6440, 3198, 102])
})

sharedData('tencent-char-vectors')('the real characters, row by row of their vectors', async folder => {
  const vocabulary = await readVocabulary(join(folder, 'vocab.txt'))
  const tokenizer = characters({ vocabulary, padding: '<PAD>', unknown: '<UNK>' })
  expect([tokenizer.size, tokenizer.unknown, tokenizer.padding]).toEqual([4762, 4760, 4761])
  expect(tokenizer.encode(' 01')).toEqual([0, 1, 2])
})

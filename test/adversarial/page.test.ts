/** docs/methods.md names every function of the package, with a test that there is. */

import { existsSync, readFileSync } from 'node:fs'
import * as adversarial from 'saddlepoint/adversarial'
import { describe, expect, test } from 'vitest'

const page = readFileSync(new URL('../../docs/methods.md', import.meta.url), 'utf8')
/** The tables whose rows end with a test: names of functions, and the file. */
const rows = page.split('\n').flatMap(line => {
  const [, name, file] = line.match(/^\| `(\w+)` \|.* \| `([\w-]+\.test\.ts)` \|$/) ?? []
  return name ? [{ name, file }] : []
})

test('every function stands in a table of docs/methods.md, and nothing else does', () => {
  const functions = Object.entries(adversarial).flatMap(([name, f]) => (typeof f === 'function' ? [name] : []))
  expect([...new Set(rows.map(r => r.name))].sort()).toEqual(functions.sort())
})

describe('its test is there, and is about it', () => {
  test.each(rows)('$name in $file', ({ name, file }) => {
    const path = new URL(file, import.meta.url)
    expect(existsSync(path)).toBe(true)
    expect(readFileSync(path, 'utf8')).toMatch(new RegExp(`\\b${name}\\b`))
  })
})

test('every other file of tests that the page names is there', () => {
  const named = [...page.matchAll(/`([\w-]+\.test\.ts)`/g)].map(([, file]) => file)
  expect(named.length).toBeGreaterThan(rows.length)
  expect(named.filter(file => !existsSync(new URL(file, import.meta.url)))).toEqual([])
})

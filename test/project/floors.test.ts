/** The house stands: a folder of src imports only from itself and from folders below it, and no package but those allowed. */

import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const floors: readonly (readonly string[])[] = [
  ['graph'],
  ['compiler'],
  ['runtime'],
  ['tensor'],
  ['autodiff'],
  ['nn', 'optim', 'data', 'check'],
  ['train', 'adversarial', 'models'],
  ['cli', 'index.ts', 'internals.ts'],
]
/** Folders on one floor that may use each other, one way. */
const neighbours: Readonly<Record<string, readonly string[]>> = { optim: ['nn'], check: [] }
/** Packages that a folder may import; Node's own modules come from runtime/environment.ts, except in cli. */
const packages: Readonly<Record<string, readonly string[]>> = {
  cli: ['commander', 'pngjs', 'vega', 'vega-lite', '@resvg/resvg-wasm'],
}

const src = fileURLToPath(new URL('../../src', import.meta.url))
const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter(f => f.endsWith('.ts'))
const room = (file: string): string => file.split('/')[0]
const floorOf = (name: string): number => floors.findIndex(f => f.includes(name))

test('every folder is on a floor', () => {
  expect([...new Set(files.map(room))].filter(r => floorOf(r) < 0)).toEqual([])
})

test.each(files)('%s', file => {
  const text = readFileSync(join(src, file), 'utf8')
  const own = room(file)
  // At most one static import statement a line end: from '...'
  for (const [, target] of text.matchAll(/^(?:import|export)[^;]*?from '([^']+)'/gms)) {
    if (target.startsWith('.')) {
      const other = room(relative(src, join(src, dirname(file), target)).replace(/\.js$/, '.ts'))
      const allowed = other === own || floorOf(other) < floorOf(own) || neighbours[own]?.includes(other)
      expect(allowed, `${file} imports ${target}`).toBe(true)
    } else if (own !== 'cli' || !target.startsWith('node:')) {
      expect(packages[own] ?? [], `${file} imports ${target}`).toContain(target)
    }
  }
})

/** Code that is read is executed: every js block of README and docs runs against the built package, and prints what it says. */

import { execFile } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, expect, test } from 'vitest'

const run = promisify(execFile)
const root = fileURLToPath(new URL('../..', import.meta.url))
// Inside the package, so that it can import itself by name.
const folder = join(root, 'out', `documents-${process.pid}`)
mkdirSync(folder, { recursive: true })
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const documents = [
  'README.md',
  ...readdirSync(join(root, 'docs')).flatMap(f => (f.endsWith('.md') ? [`docs/${f}`] : [])),
]
const blocks = documents.flatMap(name => {
  const text = readFileSync(join(root, name), 'utf8')
  return [...text.matchAll(/^```js\n(.*?)^```/gms)].map(([, code], i) => ({ name: `${name}, block ${i + 1}`, code }))
})

test('there is something to run', () => expect(blocks.length).toBeGreaterThan(2))

test.each(blocks)('$name', async ({ code, name }) => {
  const file = join(folder, `${name.replace(/\W+/g, '-')}.mjs`)
  writeFileSync(file, code)
  // Where a block asks for a GPU, a driver in software does.
  const env = { ...process.env, SADDLEPOINT_SOFTWARE: '1' }
  const { stdout } = await run(process.execPath, [file], { cwd: folder, timeout: 120_000, env })
  // `console.log(...) // text` promises that text.
  const promised = [...code.matchAll(/console\.log\(.*\) \/\/ (.+)$/gm)].map(m => m[1].trim())
  const printed = stdout.split('\n').map(line => line.trim())
  for (const line of promised) expect(printed).toContain(line)
})

/** The compiler's work on the benchmark's steps: a change that costs kernels, bytes or memory is seen without a clock. */

import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { canonicalize } from '../../src/compiler/canonical.js'
import { costOf } from '../../src/compiler/cost.js'
import { planMemory } from '../../src/compiler/plan-memory.js'
import { schedule } from '../../src/compiler/schedule.js'
import { buildProgram } from '../../src/runtime/backends/wasm/program.js'
import { buildProgram as buildGpuProgram } from '../../src/runtime/backends/webgpu/program.js'

interface Counts {
  readonly kernels: number
  readonly dispatches: number
  readonly bytes: number
  readonly flops: number
  readonly buffers: number
  readonly arenaBytes: number
  readonly leastBytes: number
  readonly moduleBytes: number
}
type All = Readonly<Record<string, Counts>>
interface Module {
  counts(compiler: object): Promise<All>
  recorded(): All
  differences(old: All, now: All): string[]
}

const script = new URL('../../bench/counts.mjs', import.meta.url)
const { counts, recorded, differences }: Module = await import(script.href)

test('kernels, dispatches, bytes, operations, buffers, memory and code of the benchmark steps are those recorded', async () => {
  const now = await counts({ canonicalize, costOf, planMemory, schedule, buildProgram, buildGpuProgram })
  const changed = differences(recorded(), now)
  const message = `${changed.join('\n')}\nIf this is meant: npm run counts -- --write`
  expect(changed, message).toEqual([])
  expect(Object.keys(now).length).toBe(14)
  for (const [name, { kernels, dispatches, bytes, flops, arenaBytes, leastBytes }] of Object.entries(now)) {
    expect(kernels > 0 && dispatches > 0 && bytes > 0 && flops > 0, name).toBe(true)
    // In this order what is alive at once needs so much; what lies between it is waste.
    expect(leastBytes, name).toBeGreaterThan(0)
    expect(arenaBytes / leastBytes, name).toBeLessThan(1.2)
  }
})

test('differences name the step, the count, the old and the new', () => {
  const one = {
    kernels: 1,
    dispatches: 1,
    bytes: 2,
    flops: 3,
    buffers: 4,
    arenaBytes: 5,
    leastBytes: 5,
    moduleBytes: 6,
  }
  expect(differences({ a: one }, { a: one })).toEqual([])
  expect(differences({ a: one, b: one }, { a: { ...one, bytes: 7 }, c: one })).toEqual([
    'a: bytes 2 -> 7',
    'b: is gone',
    'c: is new',
  ])
})

test('the script runs in a folder with any name, and by a link', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'saddlepoint counts ö '))
  try {
    const link = join(folder, 'link.mjs')
    symlinkSync(fileURLToPath(script), link)
    const run = promisify(execFile)(process.execPath, [link, '--frob'])
    await expect(run).rejects.toMatchObject({ code: 2, stderr: expect.stringMatching(/^counts: .*'--frob'.*\n$/) })
  } finally {
    rmSync(folder, { recursive: true })
  }
})

/** The benchmark of GPUs, in small: on wasm and on the software driver it measures everything, and both train alike. */

import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

interface Row {
  readonly section: string
  readonly name: string
  readonly error?: string
  readonly first: number
  readonly wall: number
  readonly kernel: number | null
  readonly kernels: number | null
  readonly losses?: readonly number[]
}
interface Report {
  readonly device: string
  readonly ceilings: { readonly bytesPerSecond: number; readonly flopsPerSecond: number } | null
  readonly results: readonly Row[]
  readonly notStarted: readonly string[]
}

const folder = mkdtempSync(join(tmpdir(), 'bench-gpu-'))
afterAll(() => rmSync(folder, { recursive: true }))

let runs = 0
async function bench(...options: string[]): Promise<Report> {
  const json = join(folder, `${runs++}.json`)
  const script = fileURLToPath(new URL('../../bench/gpu/run.mjs', import.meta.url))
  await promisify(execFile)(process.execPath, [script, '--smoke', '--json', json, ...options])
  const report: Report = JSON.parse(readFileSync(json, 'utf8'))
  return report
}

const sections = ['matmul', 'step', 'conv', 'chain', 'normalise', 'embedding', 'reduce', 'sort']
const sectionsOf = ({ results }: Report) => [...new Set(results.map(r => r.section))].sort()
const steps = ({ results }: Report) => results.filter(r => r.section === 'step')

describe('the smoke run', () => {
  let wasm: Report
  let webgpu: Report
  beforeAll(async () => {
    // One after the other: they share the machine's cores.
    wasm = await bench('--device', 'wasm')
    webgpu = await bench('--software')
  })

  test('measures all sections without an error', () => {
    expect(sectionsOf(wasm)).toEqual([...sections].sort())
    expect(sectionsOf(webgpu)).toEqual([...sections, 'trusted'].sort())
    for (const { results, notStarted } of [wasm, webgpu]) {
      expect(results.filter(r => r.error)).toEqual([])
      expect(notStarted).toEqual([])
      for (const r of results)
        for (const time of [r.first, r.wall]) expect(time > 0 && time < Infinity, r.name).toBe(true)
    }
  })

  test('has kernel times and ceilings', () => {
    expect(webgpu.device).toMatch(/SwiftShader/)
    for (const { ceilings } of [wasm, webgpu])
      for (const c of [ceilings?.bytesPerSecond, ceilings?.flopsPerSecond]) expect(c).toBeGreaterThan(0)
    for (const { name, kernel, kernels } of [...wasm.results, ...webgpu.results]) {
      expect(kernel !== null && kernel > 0 && kernel < Infinity, name).toBe(true)
      expect(kernels, name).toBeGreaterThan(0)
    }
  })

  test('trains alike on both devices: twelve steps, three losses each', () => {
    const [expected, found] = [wasm, webgpu].map(report => steps(report))
    expect(expected.length).toBe(12)
    expect(found.map(s => s.name)).toEqual(expected.map(s => s.name))
    expected.forEach(({ name, losses = [] }, i) => {
      expect(losses.length).toBe(3)
      losses.forEach((loss, k) => {
        const other = found[i].losses?.[k] ?? Number.NaN
        expect(Math.abs(other - loss) <= 1e-4 * Math.abs(loss), `${name}: ${other} and ${loss}`).toBe(true)
      })
    })
  })

  test('the variants of a step have losses of their own, and training lowers them', () => {
    const firsts = steps(wasm).map(s => s.losses?.[0])
    expect(new Set(firsts).size).toBe(12)
    for (const { name, losses = [] } of steps(wasm)) expect(losses[2], name).toBeLessThan(losses[0])
  })
})

test('what is not wanted, or has no time left, is not measured', async () => {
  const { results, notStarted } = await bench('--device', 'wasm', '--only', 'reduce,sort', '--minutes', '0')
  expect(results).toEqual([])
  expect(notStarted.length).toBe(5)
  expect(notStarted.every(name => /^(reduce|sort): /.test(name))).toBe(true)
})

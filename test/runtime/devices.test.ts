/**
 * The wasm device against the float64 reference, in all precisions, with 1, 2 and 3 threads, and with code for engines that
 * join vectors. An engine that cannot computes the same with that code.
 */

import * as sp from 'saddlepoint'
import { afterAll, expect, test, vi } from 'vitest'
import { exact, floating, type Make, uniform } from './device-programs.js'

vi.mock('../../src/runtime/backends/wasm/engine.js', async original => {
  const engine = await original<typeof import('../../src/runtime/backends/wasm/engine.js')>()
  const enableFeatures: typeof engine.enableFeatures = revectorize => {
    try {
      return engine.enableFeatures(revectorize)
    } catch {
      return { ...engine.enableFeatures(false), paired: true }
    }
  }
  return { ...engine, enableFeatures }
})

interface Configuration {
  readonly threads: number
  readonly revectorize: boolean
}
const configurations = [
  { threads: 1, revectorize: false },
  { threads: 2, revectorize: false },
  { threads: 3, revectorize: false },
  { threads: 2, revectorize: true },
].flatMap(made => (['float16', 'float32', 'float64'] as const).map(dtype => ({ ...made, dtype })))
const bounds = { float16: 2 ** -10, float32: 1e-5, float64: 1e-13 } as const

/** What the reference device computes, once for each dtype. */
const expected = new Map<string, ArrayLike<number>>()
async function reference(name: string, dtype: sp.DType, program: (u: Make) => sp.Tensor): Promise<ArrayLike<number>> {
  const key = `${name} ${dtype}`
  const have = expected.get(key)
  if (have) return have
  await (await sp.setDevice('reference')).close()
  const data = await program(uniform(dtype)).data()
  expected.set(key, data)
  return data
}

let open: { readonly device: sp.Device; readonly as: string } | undefined
async function wasm({ threads, revectorize }: Configuration): Promise<void> {
  const as = JSON.stringify([threads, revectorize])
  if (open?.as !== as) {
    await open?.device.close()
    open = { device: await sp.setDevice('wasm', { threads, revectorize }), as }
  }
  await sp.setDevice(open.device)
}
afterAll(() => open?.device.close())

for (const { dtype, ...made } of configurations) {
  const where = `${dtype}, ${made.threads} threads${made.revectorize ? ', revectorized' : ''}`
  test.each(Object.entries(floating))(`${where}: %s`, async (name, program) => {
    const want = await reference(name, dtype, program)
    await wasm(made)
    const got = await program(uniform(dtype)).data()
    expect(got.length).toBe(want.length)
    let scale = 1e-30
    let worst = 0
    for (let i = 0; i < want.length; i++) scale = Math.max(scale, Math.abs(want[i]))
    for (let i = 0; i < want.length; i++) worst = Math.max(worst, Math.abs(got[i] - want[i]) / scale || 0)
    expect(got.every(Number.isFinite)).toBe(true)
    expect(worst).toBeLessThan(bounds[dtype])
  })
  test.each(Object.entries(exact))(`${where}, to the bit: %s`, async (name, program) => {
    const want = await reference(`exact ${name}`, dtype, program)
    await wasm(made)
    expect([...(await program(uniform(dtype)).data())]).toEqual(Array.from(want))
  })
}

test('the same program twice gives the same bits', async () => {
  await wasm({ threads: 2, revectorize: false })
  const program = floating['gradient of an embedding']
  const again = floating['conv, gradient of the kernel']
  for (const p of [program, again]) {
    const [a, b] = [await p(uniform('float32')).data(), await p(uniform('float32')).data()]
    expect([...a]).toEqual([...b])
  }
})

/**
 * The wasm device against the float64 reference, in all precisions, with 1, 2 and 3 threads.
 */

import * as sp from 'saddlepoint'
import { afterAll, expect, test } from 'vitest'
import { exact, floating, type Make } from './device-programs.js'

const { random } = sp

const configurations = [1, 2, 3].flatMap(threads =>
  (['float16', 'float32', 'float64'] as const).map(dtype => ({ threads, dtype })),
)
const bounds = { float16: 2 ** -10, float32: 1e-5, float64: 1e-13 } as const

const maker =
  (dtype: sp.DType): Make =>
  (seed, shape) =>
    random.uniform(random.key(seed), shape, { low: -1, high: 1, dtype })

/** What the reference device computes, once for each dtype. */
const expected = new Map<string, ArrayLike<number>>()
async function reference(name: string, dtype: sp.DType, program: (u: Make) => sp.Tensor): Promise<ArrayLike<number>> {
  const key = `${name} ${dtype}`
  const have = expected.get(key)
  if (have) return have
  await (await sp.setDevice('reference')).close()
  const data = await program(maker(dtype)).data()
  expected.set(key, data)
  return data
}

let open: sp.Device | undefined
async function wasm(threads: number): Promise<void> {
  if (open?.threads !== threads) {
    await open?.close()
    open = undefined
  }
  open ??= await sp.setDevice('wasm', { threads })
  await sp.setDevice(open)
}
afterAll(() => open?.close())

for (const { threads, dtype } of configurations) {
  test.each(Object.entries(floating))(`${dtype}, ${threads} threads: %s`, async (name, program) => {
    const want = await reference(name, dtype, program)
    await wasm(threads)
    const got = await program(maker(dtype)).data()
    expect(got.length).toBe(want.length)
    let scale = 1e-30
    let worst = 0
    for (let i = 0; i < want.length; i++) scale = Math.max(scale, Math.abs(want[i]))
    for (let i = 0; i < want.length; i++) worst = Math.max(worst, Math.abs(got[i] - want[i]) / scale || 0)
    expect(got.every(Number.isFinite)).toBe(true)
    expect(worst).toBeLessThan(bounds[dtype])
  })
  test.each(Object.entries(exact))(`${dtype}, ${threads} threads, to the bit: %s`, async (name, program) => {
    const want = await reference(`exact ${name}`, dtype, program)
    await wasm(threads)
    expect([...(await program(maker(dtype)).data())]).toEqual(Array.from(want))
  })
}

test('the same program twice gives the same bits', async () => {
  await wasm(2)
  const program = floating['gradient of an embedding']
  const again = floating['conv, gradient of the kernel']
  for (const p of [program, again]) {
    const [a, b] = [await p(maker('float32')).data(), await p(maker('float32')).data()]
    expect([...a]).toEqual([...b])
  }
})

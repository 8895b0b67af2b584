/** Where the time goes: each kernel is timed, with the bytes and operations that its schedule asks for. */

import * as sp from 'saddlepoint'
import { afterAll, beforeAll, expect, test } from 'vitest'

let device: sp.Device
beforeAll(async () => {
  device = await sp.setDevice('webgpu', { software: true })
})
afterAll(() => device.close())

const ones = (shape: readonly number[]): sp.Tensor =>
  sp.tensor({ data: new Float32Array(shape.reduce((n, s) => n * s, 1)).fill(1), shape, dtype: 'float32' })

async function profiled(f: () => sp.Tensor): Promise<sp.Profile> {
  const { result, profile } = await sp.profile(async () => {
    const t = f()
    await sp.realize(t)
    return t
  })
  expect(result).toBeInstanceOf(sp.Tensor)
  return profile
}

test('bytes and operations are those of the computation', async () => {
  const x = ones([512, 64])
  const [chain] = (await profiled(() => x.mul(2).add(x))).kernels
  expect(chain).toMatchObject({ bytes: 2 * 4 * 512 * 64, flops: 2 * 512 * 64 })
  const [row] = (await profiled(() => x.sum({ axis: 1 }))).kernels
  expect(row).toMatchObject({ bytes: 4 * (512 * 64 + 512), flops: 512 * 64 })
  const [product] = (await profiled(() => sp.matmul(x, ones([64, 96])))).kernels
  expect(product).toMatchObject({ bytes: 4 * (512 * 64 + 64 * 96 + 512 * 96), flops: 2 * 512 * 64 * 96 })
})

test('kernels come in order, take time, and begin at 0; the device has ceilings', async () => {
  const x = ones([300, 300])
  const { kernels, ceilings, device: name } = await profiled(() => sp.matmul(sp.matmul(x, x).relu(), x).softmax().sum())
  expect(name).toMatch(/WebGPU: .*SwiftShader/)
  expect(kernels.length).toBeGreaterThan(3)
  expect(kernels[0].start).toBe(0)
  for (const [i, { start, milliseconds }] of kernels.entries()) {
    expect(milliseconds).toBeGreaterThan(0)
    if (i > 0) expect(start).toBeGreaterThanOrEqual(kernels[i - 1].start)
  }
  expect(ceilings.bytesPerSecond).toBeGreaterThan(1e7)
  expect(ceilings.flopsPerSecond).toBeGreaterThan(1e7)
})

test('more kernels than the clock has room for', async () => {
  const x = ones([8])
  const { kernels } = (
    await sp.profile(async () => {
      for (let i = 0; i < 2100; i++) await sp.realize(x.add(1 + (i % 3)))
    })
  ).profile
  expect(kernels.length).toBe(2100)
})

test('the table and the trace', () => {
  const kernel = { name: 'matmul_add', start: 0.5, milliseconds: 2, bytes: 4e6, flops: 8e9 }
  const measured: sp.Profile = {
    device: 'a GPU',
    kernels: [{ ...kernel, name: 'exp', start: 0, milliseconds: 0.5, flops: 0 }, kernel, kernel],
    ceilings: { bytesPerSecond: 1e11, flopsPerSecond: 8e12 },
  }
  const [title, , , first, second] = sp.printProfile(measured).split('\n')
  expect(title).toBe('a GPU: 4.500 ms in 3 kernels')
  expect(first.split(/\s+/)).toEqual(['matmul_add', '2', '4.000', '88.9%', '2.0', '4000.0', '50%'])
  expect(second.split(/\s+/)).toEqual(['exp', '1', '0.500', '11.1%', '8.0', '0.0', '8%'])
  const { traceEvents } = JSON.parse(sp.chromeTrace(measured)) as { traceEvents: Record<string, unknown>[] }
  expect(traceEvents[2]).toMatchObject({ ph: 'X', name: 'matmul_add', ts: 500, dur: 2000 })
  expect(() => sp.printProfile({} as sp.Profile)).toThrow(
    'printProfile: expects the `profile` that profile(f) resolves to',
  )
  expect(() => sp.chromeTrace({} as sp.Profile)).toThrow('chromeTrace: expects the `profile`')
})

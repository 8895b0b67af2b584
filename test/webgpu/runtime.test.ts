/** The GPU runtime: what a step creates, and what happens when memory is short, code is wrong or the device is lost. */

import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import * as sp from 'saddlepoint'
import { dataset } from 'saddlepoint/data'
import { Linear, mse, Sequential } from 'saddlepoint/nn'
import { adam } from 'saddlepoint/optim'
import { Trainer } from 'saddlepoint/train'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { gpuCounts, loseGpu } from '../../src/runtime/backends/webgpu/device.js'
import { templates } from '../../src/runtime/backends/webgpu/templates.js'

const open = (options: sp.DeviceOptions = {}): Promise<sp.Device> =>
  sp.setDevice('webgpu', { software: true, ...options })
let device: sp.Device
beforeAll(async () => {
  device = await open()
})
afterAll(() => device.close())

const make = (size: number): sp.Tensor => sp.tensor(new Float32Array(size).fill(1))

const trainer = (): Trainer<Sequential> =>
  new Trainer({
    model: new Sequential([
      new Linear(8, 16, { key: sp.random.key(0) }),
      (x: sp.Tensor) => x.relu(),
      new Linear(16, 1, { key: sp.random.key(1) }),
    ]),
    loss: (model, { x, y }, ctx) => mse(model.apply(x, ctx), y),
    optimizer: adam({ learningRate: 1e-2 }),
  })
const examples = dataset({
  x: { dtype: 'float32', shape: [256, 8], data: Float32Array.from({ length: 2048 }, (_, i) => Math.sin(i * i)) },
  y: { dtype: 'float32', shape: [256, 1], data: Float32Array.from({ length: 256 }, (_, i) => Math.cos(i)) },
})

test('after warm-up a training step creates no pipeline, no bind group and no buffer, and submits once', async () => {
  await sp.setDevice(device)
  const t = trainer()
  const fit = { epochs: 1, batchSize: 16, shuffle: false } as const
  await t.fit(examples, fit)
  const counts: ReturnType<typeof gpuCounts>[] = []
  await t.fit(examples, { ...fit, epochs: 2, onStep: () => void counts.push(gpuCounts(device)) })
  // Warm-up: the blocks of states and batches come round in a few combinations. The last step of an epoch reads the sums.
  const [{ submits: from, ...created }, { submits: to, ...createdLater }] = [counts[6], counts[14]]
  expect(createdLater).toEqual(created)
  expect(to - from).toBe(8)
  expect(counts.length).toBe(16)
})

test('one realize is one submit', async () => {
  await sp.setDevice(device)
  const x = make(1000)
  await sp.realize(x.mul(2))
  const before = gpuCounts(device).submits
  await sp.realize([x.exp().sum(), x.softmax(), sp.matmul(x.reshape([40, 25]), x.reshape([25, 40]))])
  expect(gpuCounts(device).submits - before).toBe(1)
})

test('equal kernels are compiled once', async () => {
  await sp.setDevice(device)
  const [a, b, c] = [make(77), make(77), make(77)]
  await sp.realize(a.mul(3.25))
  const before = gpuCounts(device).pipelines
  await sp.realize([b.mul(3.25), c.mul(3.25).reshape([7, 11])])
  expect(gpuCounts(device).pipelines - before).toBeLessThanOrEqual(1)
})

test('the longest kernels compile: chains of float64 operations are cut where they must be', async () => {
  const x = sp.tensor([0.3], { dtype: 'float64' })
  let [powers, sines, expectedPower, expectedSine] = [x, x, 0.3, 0.3]
  for (let i = 0; i < 100; i++) {
    powers = powers.pow(0.9).mul(0.99)
    sines = sines.sin()
    expectedPower = expectedPower ** 0.9 * 0.99
    expectedSine = Math.sin(expectedSine)
  }
  expect(await powers.item()).toBeCloseTo(expectedPower, 13)
  expect(await sines.item()).toBeCloseTo(expectedSine, 13)
})

test('a tensor larger than a buffer may be is refused', async () => {
  await sp.setDevice(device)
  await expect(
    sp
      .zeros([2 ** 20, 2 ** 10])
      .add(make(1))
      .data(),
  ).rejects.toThrow(/webgpu: a tensor of 4096 MiB is larger than one buffer of this GPU may be \(1024 MiB\)/)
  // Nothing is lost by it.
  expect(await make(3).add(1).data()).toEqual(new Float32Array([2, 2, 2]))
})

test('out of memory: what is large is listed, garbage is collected first, and work goes on afterwards', async () => {
  const small = await open({ memoryLimit: 40 * 2 ** 20 })
  try {
    const million = make(2 ** 20)
    const held = [million.add(1), million.add(2), million.add(3)]
    await sp.realize(held)
    const wanted = Array.from({ length: 10 }, (_, i) => million.mul(i + 2))
    await expect(sp.realize(wanted)).rejects.toThrow(
      /webgpu: out of memory: .*more than the limit of 40 MiB[\s\S]*largest[\s\S]*4 MiB float32/,
    )
    expect(await held[2].at(5).item()).toBe(4)
    // Dropped tensors count no more, though nobody disposed of them.
    for (let i = 0; i < 20; i++) await sp.realize(million.add(i))
    expect(await million.sum().item()).toBe(2 ** 20)
  } finally {
    await small.close()
  }
})

test('a shader that does not compile is shown with its line and the expressions it came from', async () => {
  await sp.setDevice(device)
  const right = templates.elementwise
  const broken = right.replace('if (position <', 'if (positon <')
  Object.assign(templates, { elementwise: broken })
  try {
    await expect(make(5).mul(7).add(2).data()).rejects.toThrow(
      /webgpu: the kernel \w+ does not compile:\n {2}line \d+: unresolved value 'positon'[\s\S]*if \(positon <[\s\S]*It computes:\n[\s\S]*add\(mul\(b0\[i0\], 7\), 2\)/,
    )
  } finally {
    Object.assign(templates, { elementwise: right })
  }
  expect(await make(2).mul(7).add(2).data()).toEqual(new Float32Array([9, 9]))
})

test('a device lost in training: a clear error, and the Trainer goes on from its checkpoint on a new device', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'saddlepoint-lost-'))
  const checkpoint = join(folder, 'state.safetensors')
  const fit = { batchSize: 16, checkpoint, handleInterrupt: false } as const
  try {
    await open()
    const whole = trainer()
    const want = await whole.fit(examples, { batchSize: 16, epochs: 2 })

    const first = await open()
    const t = trainer()
    await t.fit(examples, { ...fit, epochs: 1 })
    const onStep = ({ step }: { step: number }): void => {
      if (step === 5) loseGpu(first)
    }
    await expect(t.fit(examples, { ...fit, epochs: 2, onStep })).rejects.toThrow(
      /webgpu: the device was lost .*; its tensors are gone: call setDevice\('webgpu'\) again and load a checkpoint/,
    )
    const second = await open()
    const resumed = trainer()
    await resumed.load(checkpoint)
    const got = await resumed.fit(examples, { ...fit, epochs: 2 })
    expect(got.epochs.map(e => e.train.loss)).toEqual(want.epochs.map(e => e.train.loss))
    await second.close()
  } finally {
    await rm(folder, { recursive: true })
  }
})

test('a closed device says so', async () => {
  const other = await open()
  const x = make(4).add(1)
  await sp.realize(x)
  await other.close()
  await other.close()
  await expect(make(3).add(1).data()).rejects.toThrow('webgpu: the device was closed; call setDevice again')
  await expect(x.data()).rejects.toThrow('webgpu: the device was closed')
})

test('several runs that need the same tensor from another device move it once', async () => {
  const wasm = await sp.setDevice('wasm', { threads: 1 })
  const x = make(1000).mul(1)
  await sp.realize(x.add(0.5), x)
  const held = make(1000).mul(7)
  await sp.realize(held)
  const before = wasm.bytesInUse
  await sp.setDevice(device)
  const y = x.add(1)
  const [a, b, c] = await Promise.all([y.mul(1).data(), x.add(2).data(), x.add(3).data()])
  expect([a[5], b[5], c[5]]).toEqual([2, 3, 4])
  expect(wasm.bytesInUse).toBeLessThanOrEqual(before)
  expect(wasm.bytesInUse).toBeGreaterThan(0)
  await sp.setDevice(wasm)
  const many = [1, 2, 3, 4].map(n => make(1000).mul(n * 10))
  for (const t of many) await sp.realize(t)
  expect(await Promise.all(many.map(async t => (await t.data())[5]))).toEqual([10, 20, 30, 40])
  expect((await held.data())[5]).toBe(7)
  await sp.setDevice(device)
  await wasm.close()
})

test('temporaries that grow give back what they had', async () => {
  const small = await open({ memoryLimit: 24 * 2 ** 20 })
  try {
    for (let n = 2000; n <= 102_000; n += 10_000) {
      const input = sp.tensor(new Int32Array(n))
      const order = sp.argsort(input)
      await sp.realize(order)
      input.dispose()
      order.dispose()
    }
    expect(small.bytesInUse).toBeLessThan(4 * 2 ** 20)
  } finally {
    await small.close()
  }
})

test('one profile at a time', async () => {
  await sp.setDevice(device)
  const first = sp.profile(() => make(3).add(1).data())
  await expect(sp.profile(() => make(3).add(2).data())).rejects.toThrow('profile: another profile is under way')
  expect((await first).profile.kernels.length).toBe(1)
})

const node = (code: string, env: Record<string, string> = {}) =>
  promisify(execFile)(process.execPath, ['--input-type=module', '-e', code], {
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
    env: { ...process.env, ...env },
  })

test.each([
  ['ends by itself', '', 0],
  ['ends after close', 'await device.close()', 0],
  [
    'exits while the GPU works',
    'for (let i = 0; i < 9; i++) sp.realize(x.mul(i + 2).exp()); setTimeout(() => process.exit(7), 20)',
    7,
  ],
  ['fails while the GPU works', 'sp.realize(x.mul(3)); await sp.realize(x.mul(2)); throw new Error("mine")', 1],
])('a process %s', async (_, code, status) => {
  const program = `import * as sp from 'saddlepoint'
    const device = await sp.setDevice('webgpu', { software: true })
    const x = sp.ones([2000000]).add(1)
    await sp.realize(x)
    ${code}`
  const { code: got } = await node(program).then(
    () => ({ code: 0 }),
    (error: { code: number; signal?: string }) => error,
  )
  expect(got).toBe(status)
})

test('no adapter: an error that says so, and the device in use stays', async () => {
  const program = `import * as sp from 'saddlepoint'
    await sp.setDevice('wasm', { threads: 1 })
    await sp.setDevice('webgpu').catch(e => console.log(e.message))
    console.log((await sp.getDevice()).name, await sp.tensor([1]).add(1).item())`
  const nowhere = { VK_ICD_FILENAMES: '/nowhere.json', VK_DRIVER_FILES: '/nowhere.json', SADDLEPOINT_SOFTWARE: '0' }
  const { stdout } = await node(program, nowhere)
  expect(stdout).toMatch(/setDevice: no GPU was found: .*; use 'wasm', or { software: true }/)
  expect(stdout).toContain('wasm 2')
})

test('options are checked', async () => {
  await expect(open({ memoryLimit: -1 })).rejects.toThrow('memoryLimit must be a number of bytes > 0, not -1')
})

test('tensors move between devices with their values', async () => {
  await sp.setDevice(device)
  const x = make(5).mul(3)
  const flags = sp.less(x, 2)
  const wide = sp.tensor({ data: new Float64Array([1e300, -0, Number.NaN]), shape: [3], dtype: 'float64' }).add(0)
  await sp.realize([x, flags, wide])
  const wasm = await sp.setDevice('wasm', { threads: 1 })
  expect(await x.add(1).data()).toEqual(new Float32Array(5).fill(4))
  expect(await sp.logicalNot(flags).data()).toEqual(new Uint8Array(5).fill(1))
  expect(await wide.data()).toEqual(new Float64Array([1e300, -0, Number.NaN]))
  await sp.setDevice(device)
  expect(await x.sub(1).data()).toEqual(new Float32Array(5).fill(2))
  await wasm.close()
})

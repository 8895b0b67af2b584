/** Memory stays flat: over many steps, compiled and not, and for tensors that are dropped without a word. */

import * as sp from 'saddlepoint'
import { expect, test } from 'vitest'
import { Heap } from '../../src/runtime/backends/wasm/heap.js'
import { OutOfMemory } from '../../src/runtime/device.js'
import { Rng } from '../oracle/property.js'

const { compile, grad, matmul, random, tensor } = sp

const loss = (w: sp.Tensor, x: sp.Tensor): sp.Tensor => matmul(x, w).tanh().square().mean()
const batch = (i: number): sp.Tensor =>
  tensor(
    Float32Array.from({ length: 160 }, (_, k) => Math.sin(i + k)),
    { shape: [16, 10] },
  )

test('10,000 compiled steps that donate their state', async () => {
  const device = await sp.getDevice()
  const step = compile((w: sp.Tensor, x: sp.Tensor) => w.sub(grad(loss)(w, x).mul(0.01)), { donate: [0] })
  let w = random.normal(random.key(1), [10, 4])
  await w.realize()
  let after100 = 0
  for (let i = 0; i < 10_000; i++) {
    const x = batch(i)
    w = await step(w, x)
    x.dispose()
    if (i === 100) after100 = device.bytesInUse
  }
  expect(device.bytesInUse).toBeLessThanOrEqual(after100)
  expect((await w.data()).every(Number.isFinite)).toBe(true)
})

test('10,000 steps without compile: garbage is found, plans are not made again', async () => {
  const device = await sp.getDevice()
  let w = random.normal(random.key(1), [10, 4])
  const heap: number[] = []
  let plans = 0
  for (let i = 0; i < 10_000; i++) {
    w = w.sub(grad(loss)(w, batch(i)).mul(0.01))
    await w.realize()
    if (i === 10) plans = sp.stats.plansCompiled
    if (i % 1000 === 999) {
      // Finalizers need a turn of the event loop now and then, as they have in any program that reads files or sockets.
      await new Promise(resolve => setTimeout(resolve, 0))
      heap.push(process.memoryUsage().heapUsed)
    }
  }
  expect(sp.stats.plansCompiled).toBe(plans)
  expect(device.bytesInUse).toBeLessThan(64 * 2 ** 20)
  expect(Math.min(...heap.slice(-3))).toBeLessThan(Math.max(...heap.slice(0, 3)) + 32 * 2 ** 20)
})

test('large tensors that are dropped are collected before memory runs out', async () => {
  const device = await sp.getDevice()
  // 200 times 64 MiB: three times what WebAssembly can address.
  for (let i = 0; i < 200; i++) await sp.zeros([4096, 4096]).add(i).realize()
  expect(device.bytesInUse).toBeLessThan(2 ** 31)
})

test('what does not fit is refused with the numbers, and the device goes on working', async () => {
  await expect(sp.zeros([40_000, 40_000]).add(1).realize()).rejects.toThrow(
    /wasm: out of memory: 6\d{3} MiB more are needed|webgpu: a tensor of 6\d{3} MiB is larger than one buffer/,
  )
  expect(await sp.ones([3]).add(1).array()).toEqual([2, 2, 2])
})

test('the heap reuses freed blocks and rounds sizes by at most an eighth', () => {
  const heap = new Heap(1024, false)
  const a = heap.allocate(1000)
  const used = heap.bytesInUse
  heap.free(a, 1000)
  expect(heap.bytesInUse).toBe(0)
  expect(heap.allocate(1000)).toBe(a)
  expect(heap.bytesInUse).toBe(used)
  for (const bytes of [1e4, 1e5 + 3, 1e6, 12_345_678])
    expect(Heap.blockBytes(bytes) / (bytes + 256)).toBeLessThanOrEqual(1.125)
})

test('freed neighbours become one block, for sizes that were never freed', () => {
  const heap = new Heap(1024, false)
  const blocks = Array.from({ length: 8 }, () => heap.allocate(100_000))
  const keep = heap.allocate(100)
  const bytes = heap.memory.buffer.byteLength
  for (const b of blocks) heap.free(b, 100_000)
  // What memory has left first; then larger and smaller blocks than the freed ones, side by side where those were.
  while (heap.memory.buffer.byteLength === bytes) {
    const next = heap.allocate(300_000)
    if (next < keep) {
      const [a, b] = [heap.allocate(200_000), heap.allocate(40_000)]
      expect(new Set([next, a, b]).size).toBe(3)
      for (const [start, size] of [
        [next, 300_000],
        [a, 200_000],
        [b, 40_000],
      ]) {
        expect(start).toBeGreaterThanOrEqual(blocks[0])
        expect(start + size).toBeLessThan(keep)
      }
      expect(Math.abs(a - next)).toBeGreaterThanOrEqual(200_000)
      expect(heap.memory.buffer.byteLength).toBe(bytes)
      return
    }
  }
  throw new Error('memory grew while freed blocks would do')
})

test('blocks of a heap never overlap, whatever is freed in between, and memory is found again', () => {
  const random = new Rng(8)
  const heap = new Heap(1024, false)
  const live = new Map<number, number>()
  for (let i = 0; i < 3000; i++) {
    const starts = [...live.keys()]
    if (starts.length > 20 || (starts.length > 0 && random.uniform() < 0.45)) {
      const at = starts[Math.floor(random.uniform() * starts.length)]
      heap.free(at, live.get(at) as number)
      live.delete(at)
      continue
    }
    const bytes = Math.floor(2 ** (5 + 14 * random.uniform()))
    const start = heap.allocate(bytes)
    for (const [other, size] of live) expect(start + bytes <= other || other + size <= start).toBe(true)
    live.set(start, bytes)
  }
  for (const [start, bytes] of live) heap.free(start, bytes)
  expect(heap.bytesInUse).toBe(0)
  // At most 21 blocks of half a mebibyte were alive at once.
  expect(heap.memory.buffer.byteLength).toBeLessThan(21 * 2 ** 20)
})

test('what the heap throws where it is full is what makes the runtime collect garbage and try again', () => {
  expect(() => new Heap(1024, false).allocate(2 ** 32)).toThrow(OutOfMemory)
})

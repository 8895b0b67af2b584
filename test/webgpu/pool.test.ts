/** Memory that the GPU turns out not to have: a device of the test's own says which buffers fail. */

import { expect, test } from 'vitest'
import { Pool } from '../../src/runtime/backends/webgpu/pool.js'
import { OutOfMemory } from '../../src/runtime/device.js'

function device(failing: Set<number>): GPUDevice & { destroyed: number[] } {
  const destroyed: number[] = []
  let made = 0
  const fake = {
    destroyed,
    limits: { maxBufferSize: 2 ** 20, maxStorageBufferBindingSize: 2 ** 20 },
    pushErrorScope: () => {},
    createBuffer: ({ size }: { size: number }) => {
      made++
      return { destroy: () => destroyed.push(size) }
    },
    popErrorScope: async () => (failing.has(made) ? { message: `no room for ${made}` } : null),
  }
  return fake as unknown as GPUDevice & { destroyed: number[] }
}

test('a block that could not be had is never handed out again, and the free ones go back', async () => {
  const gpu = device(new Set([3]))
  const pool = new Pool(gpu, 0)
  const [kept, free] = [pool.acquire(1000), pool.acquire(5000)]
  await pool.settle()
  expect(pool.settle()).toBeUndefined()
  pool.release(free)
  const failed = pool.acquire(3000)
  // Whoever asks meanwhile waits for the same answer.
  const [a, b] = [pool.settle(), pool.settle()]
  expect(a).toBe(b)
  await expect(a).rejects.toThrow(OutOfMemory)
  expect(gpu.destroyed).toEqual([free.bytes])
  pool.release(failed)
  expect(gpu.destroyed).toEqual([free.bytes, failed.bytes])
  expect(pool.acquire(3000)).not.toBe(failed)
  expect(kept.failed).toBe(false)
  pool.release(kept)
  expect(pool.acquire(1000)).toBe(kept)
})

test('an earlier failure reaches those who ask while it is being found out', async () => {
  const pool = new Pool(device(new Set([1])), 0)
  pool.acquire(100)
  const first = pool.settle()
  pool.acquire(200)
  const second = pool.settle()
  await expect(first).rejects.toThrow('no room for 1')
  await expect(second).rejects.toThrow('no room for 1')
  expect(pool.settle()).toBeUndefined()
})

test('sizes are not rounded up to the limit', () => {
  const pool = new Pool(device(new Set()), 0)
  expect(pool.acquire(2 ** 20 - 3000).bytes).toBeLessThan(2 ** 20)
  expect(() => pool.acquire(2 ** 20 + 1)).toThrow(/larger than one buffer/)
})

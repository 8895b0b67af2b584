/** The memory plan: what is alive at the same time never overlaps, and what is dead makes room. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { ArgsortKernel, BufferSpec } from '../../src/compiler/kernel.js'
import { planMemory } from '../../src/compiler/plan-memory.js'

/** A kernel that reads one buffer and writes another; what it computes does not matter here. */
const kernel = (input: number, output: number): ArgsortKernel => ({
  kind: 'argsort',
  name: 'argsort',
  type: 'float32',
  rows: 1,
  length: 1,
  input,
  output,
})
const temporary = (size: number): BufferSpec => ({ dtype: 'float32', size, role: 'temporary' })

test('a chain needs room for two links', () => {
  const buffers = Array.from({ length: 20 }, () => temporary(16))
  const kernels = buffers.slice(1).map((_, i) => kernel(i, i + 1))
  const plan = planMemory({ buffers, kernels: [kernel(0, 0), ...kernels] }, [], 64, 0)
  expect(plan.arenaBytes).toBe(128)
  expect(plan.lowerBound).toBe(128)
})

test('leaves and results have no place in the arena', () => {
  const buffers: BufferSpec[] = [{ ...temporary(9), role: 'leaf' }, temporary(9), { ...temporary(9), role: 'result' }]
  const plan = planMemory({ buffers, kernels: [kernel(0, 1), kernel(1, 2)] }, [], 64, 0)
  expect(plan.offsets).toEqual([undefined, 0, undefined])
})

test('buffers alive at the same time are disjoint, aligned and within the arena', () => {
  const programs = fc.record({
    sizes: fc.array(fc.integer({ min: 1, max: 500 }), { minLength: 2, maxLength: 25 }),
    reads: fc.array(fc.nat(1000), { minLength: 1, maxLength: 25 }),
    scratch: fc.array(fc.tuple(fc.integer({ min: 1, max: 500 }), fc.nat(1000)), { maxLength: 5 }),
  })
  fc.assert(
    fc.property(programs, ({ sizes, reads, scratch }) => {
      const buffers = sizes.map(temporary)
      // Kernel i writes buffer i and reads an earlier one.
      const kernels = sizes.map((_, i) => kernel(i === 0 ? 0 : reads[i % reads.length] % i, i))
      const extra = scratch.map(([size, at], i) => {
        buffers.push(temporary(size))
        return { buffer: sizes.length + i, kernel: at % kernels.length }
      })
      const { offsets, arenaBytes, lowerBound } = planMemory({ buffers, kernels }, extra, 64, 32)
      const lives = buffers.map((_, b) => {
        const own = extra.find(e => e.buffer === b)
        if (own) return { from: own.kernel, to: own.kernel }
        const last = kernels.reduce((to, k, step) => (k.input === b ? step : to), b)
        return { from: b, to: last }
      })
      const bytes = buffers.map(({ size }) => 4 * size + 32)
      offsets.forEach((offset = -1, b) => {
        expect(offset % 64).toBe(0)
        expect(offset + bytes[b]).toBeLessThanOrEqual(arenaBytes)
        for (let other = 0; other < b; other++) {
          const together = lives[b].from <= lives[other].to && lives[other].from <= lives[b].to
          const start = offsets[other] as number
          if (together) expect(offset + bytes[b] <= start || start + bytes[other] <= offset).toBe(true)
        }
      })
      expect(lowerBound).toBeLessThanOrEqual(arenaBytes)
    }),
    { seed: 20, numRuns: 300 },
  )
})

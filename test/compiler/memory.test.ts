/** The order of kernels and the memory plan: what is alive at the same time never overlaps, and what is dead makes room. */

import fc from 'fast-check'
import * as sp from 'saddlepoint'
import { describe, expect, test } from 'vitest'
import { canonicalize } from '../../src/compiler/canonical.js'
import {
  type ArgsortKernel,
  type BufferSpec,
  bufferReads,
  bufferWrites,
  type Kernel,
  type ScatterKernel,
} from '../../src/compiler/kernel.js'
import { orderKernels } from '../../src/compiler/order.js'
import { planMemory } from '../../src/compiler/plan-memory.js'
import { schedule } from '../../src/compiler/schedule.js'

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

describe('the order of kernels', () => {
  const writer = (reads: readonly number[], output: number): ScatterKernel => ({
    kind: 'scatterAdd',
    name: 'scatterAdd',
    type: 'float32',
    rows: 1,
    count: 1,
    width: 1,
    index: reads[0],
    updates: reads[reads.length - 1],
    output,
  })
  const outputs = (kernels: readonly Kernel[]): number[] => kernels.flatMap(bufferWrites)

  test('what gives memory back comes early, what takes it comes late', () => {
    const result = (size: number): BufferSpec => ({ ...temporary(size), role: 'result' })
    const leaf: BufferSpec = { ...temporary(9), role: 'leaf' }
    // 1 and 2 are made of the leaf; 3 of 1; 4, a result, of 1 and 3; 5, another, of 2 and 3.
    const buffers = [leaf, temporary(9), temporary(9), temporary(9), result(9), result(9)]
    const kernels = [writer([0], 1), writer([0], 2), writer([1], 3), writer([2, 3], 5), writer([1, 3], 4)]
    expect(outputs(orderKernels(kernels, buffers))).toEqual([1, 3, 4, 2, 5])
  })

  test('every kernel is there once, behind those that it reads of', () => {
    const programs = fc.array(
      fc.record({ size: fc.integer({ min: 1, max: 9 }), a: fc.nat(99), b: fc.nat(99), result: fc.boolean() }),
      {
        minLength: 1,
        maxLength: 25,
      },
    )
    fc.assert(
      fc.property(programs, program => {
        const buffers: BufferSpec[] = [{ ...temporary(5), role: 'leaf' }]
        const kernels = program.map(({ size, a, b, result }, i) => {
          buffers.push({ ...temporary(size), role: result ? 'result' : 'temporary' })
          return writer([a % (i + 1), b % (i + 1)], i + 1)
        })
        const ordered = orderKernels(kernels, buffers)
        expect(outputs(ordered).sort((x, y) => x - y)).toEqual(outputs(kernels))
        const made = new Set([0])
        for (const kernel of ordered) {
          for (const b of bufferReads(kernel)) expect(made.has(b)).toBe(true)
          for (const b of bufferWrites(kernel)) made.add(b)
        }
      }),
      { seed: 21, numRuns: 300 },
    )
  })
})

test('a backward pass holds the layers that it still needs, checkpoint those of one block', async () => {
  const [layers, rows, width] = [16, 64, 8]
  const weights = Array.from({ length: layers }, (_, i) => sp.random.normal(sp.random.key(i), [width, width]))
  const x = sp.random.normal(sp.random.key(layers), [rows, width])
  await sp.realize(weights, x)
  type Layers = readonly sp.Tensor[]
  const run = (h: sp.Tensor, ...ws: Layers): sp.Tensor => ws.reduce((y, w) => sp.matmul(y, w).tanh(), h)
  const arenaOf = (block: number, wrap = (f: typeof run): typeof run => f): number => {
    const loss = (ws: Layers): sp.Tensor => {
      let h = x
      for (let i = 0; i < layers; i += block) h = wrap(run)(h, ...ws.slice(i, i + block))
      return h.square().sum()
    }
    const { buffers, kernels } = schedule(
      canonicalize(
        sp
          .grad(loss)(weights)
          .map(t => t.node),
      ),
    )
    return planMemory({ buffers, kernels }, [], 64, 0).arenaBytes / (4 * rows * width)
  }
  // In activations: one a layer and the cotangent; with blocks of 4 their ends, a block again, and the cotangents.
  expect(arenaOf(layers)).toBeLessThanOrEqual(layers + 2)
  expect(arenaOf(4, sp.checkpoint)).toBeLessThanOrEqual(8 + 1)
})

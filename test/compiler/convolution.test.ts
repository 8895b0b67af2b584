/** Smaller convolutions: the same values as the graph says, and the operations of a derivative that needs no zeros. */

import fc from 'fast-check'
import * as sp from 'saddlepoint'
import { expect, test } from 'vitest'
import { canonicalize } from '../../src/compiler/canonical.js'
import { schedule } from '../../src/compiler/schedule.js'
import { sizeOf } from '../../src/graph/shape.js'
import { padInterior } from '../../src/tensor/shared.js'
import { interpret } from '../oracle/interpret.js'
import { expectInterpreted, numbers } from '../oracle/interpreted.js'
import { holds } from '../oracle/property.js'

/** Multiplications of the graph's contractions. */
const productsOf = (t: sp.Tensor): number =>
  schedule(canonicalize([t.node])).kernels.reduce(
    (n, k) => n + (k.kind === 'loop' && k.reduce?.contraction ? sizeOf(k.axes) * sizeOf(k.reduce.axes) : 0),
    0,
  )

const shapes = fc.record({
  size: fc.tuple(fc.integer({ min: 4, max: 7 }), fc.integer({ min: 4, max: 7 })),
  kernel: fc.tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 3 })),
  channels: fc.tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 3 })),
  stride: fc.integer({ min: 1, max: 2 }),
  dilation: fc.integer({ min: 1, max: 2 }),
  inputDilation: fc.integer({ min: 1, max: 2 }),
  groups: fc.integer({ min: 1, max: 2 }),
  padding: fc.tuple(fc.integer({ min: 0, max: 2 }), fc.integer({ min: 0, max: 2 })),
  start: fc.tuple(fc.nat(2), fc.nat(2)),
  step: fc.integer({ min: 1, max: 2 }),
})

test('parts of convolutions and derivatives of derivatives have the values of their graphs', async () => {
  let [cases, checked] = [0, 0]
  await holds(
    fc.asyncProperty(
      shapes,
      async ({ size, kernel, channels, stride, dilation, inputDilation, groups, padding, start, step }) => {
        cases++
        const x = numbers(1, 2, ...size, channels[0] * groups)
        const w = numbers(2, ...kernel, channels[0], channels[1] * groups)
        const window = kernel.map(k => (k - 1) * dilation + 1)
        if (size.some((n, d) => (n - 1) * inputDilation + 1 + padding[0] + padding[1] < window[d])) return
        const options = {
          stride,
          dilation,
          inputDilation,
          groups,
          padding: [padding, padding] as [[number, number], [number, number]],
        }
        const f = (x: sp.Tensor, w: sp.Tensor): sp.Tensor => sp.conv2d(x, w, options)
        const y = f(x, w)
        const [, oh, ow, o] = y.shape
        const from = [Math.min(start[0], oh - 1), Math.min(start[1], ow - 1)]
        const part = sp.at(y, [1, 2], [from[0], oh], [from[1], ow], [o - 1, o])
        const steps = sp.at(y, [], [0, oh, step], [0, ow, step], [])
        const slope = (x: sp.Tensor, w: sp.Tensor): sp.Tensor => sp.grad((x: sp.Tensor) => f(x, w).tanh().sum())(x)
        const kernelSlope = (x: sp.Tensor, w: sp.Tensor): sp.Tensor =>
          sp.grad((w: sp.Tensor) => f(x, w).tanh().sum())(w)
        const second = [slope, kernelSlope].flatMap(g => [
          sp.grad((w: sp.Tensor) => g(x, w).square().sum())(w),
          sp.grad((x: sp.Tensor) => g(x, w).square().sum())(x),
        ])
        const roots = [part, steps, ...second]
        await expectInterpreted(roots)
        checked++
      },
    ),
    150,
  )
  expect(checked).toBeGreaterThan(cases / 3)
})

/** x padded, cut, permuted, turned around and reshaped by small numbers, only along some of its axes where they are given. */
function moved(x: sp.Tensor, moves: readonly (readonly number[])[], axes = [0, 1, 2, 3]): sp.Tensor {
  return moves.reduce((x, [kind, axis, a, b, c]) => {
    const d = axes[axis % axes.length]
    const on = (n: number): number[] => x.shape.map((_, k) => (k === d ? n : 0))
    const size = x.shape[d]
    const start = a % size
    switch (kind % (axes.length === 4 ? 6 : 3)) {
      case 0:
        return size > 4 ? x : padInterior(x, on(a), on(b), on(a % 2))
      case 1:
        return sp.at(x, ...x.shape.map((_, k) => (k === d ? [start, c < 2 ? start + c + 1 : size, 1 + (b % 2)] : [])))
      case 2:
        return sp.flip(x, d)
      case 3:
        return sp.permuteDims(x, [1, 2, 3, 0])
      case 4:
        return sp.reshape(x, [x.shape[0], x.shape[1] * x.shape[2], 1, x.shape[3]])
      default: {
        const [n, h, w, c] = x.shape
        return sp.reshape(sp.permuteDims(sp.reshape(x, [n, h, w, 1, c]), [4, 1, 3, 2, 0]), [c, h, w, n])
      }
    }
  }, x)
}
const moves = fc.array(fc.tuple(fc.nat(5), fc.nat(3), fc.nat(2), fc.nat(2), fc.nat(5)), { maxLength: 4 })
const moveCase = fc.record({
  shape: fc.tuple(...[2, 7, 7, 3].map(max => fc.integer({ min: 1, max }))),
  window: fc.tuple(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 6 })),
  images: moves,
  kernel: moves,
  result: moves,
  stride: fc.integer({ min: 1, max: 2 }),
  dilation: fc.integer({ min: 1, max: 2 }),
})

test('what lies around convolutions may be moved', async () => {
  await holds(
    fc.asyncProperty(moveCase, async ({ shape, window, images, kernel, result, stride, dilation }) => {
      const x = moved(numbers(1, ...shape), images)
      const [, height, width, c] = x.shape
      const weights = moved(numbers(2, ...window, c, 2), kernel, [0, 1])
      const most = [height, width].map(size => 1 + Math.floor((size - 1) / dilation))
      const w = sp.at(weights, [0, Math.min(most[0], weights.shape[0])], [0, Math.min(most[1], weights.shape[1])])
      await expectInterpreted([moved(sp.conv2d(x, w, { stride, dilation }), result)])
    }),
    1000,
  )
})

test('images and kernels of nothing but padding, steps between what is spread, and parts of what is turned around', async () => {
  const [x, w] = [numbers(1, 1, 9, 9, 2), numbers(2, 3, 3, 2, 3)]
  const rows = (x: sp.Tensor, before: number, after: number): sp.Tensor =>
    padInterior(x, [before, 0, 0, 0], [after, 0, 0, 0], [0, 0, 0, 0])
  const nothing = numbers(4, 0, 3, 2, 3)
  const spread = numbers(5, 1, 4, 4, 32)
  const steps = (x: sp.Tensor): sp.Tensor =>
    sp.conv2d(x, numbers(6, 3, 3, 32, 2), { inputDilation: 3, stride: 2, padding: 2 })
  await expectInterpreted([
    sp.conv2d(x, rows(nothing, 1, 2)),
    sp.conv2d(x, rows(rows(nothing, 1, 1), 0, 1)),
    sp.conv2d(sp.at(sp.conv2d(x, w, { padding: 4 }), [], [0, 3], [0, 3], [0, 2]), w),
    sp.conv2d(x, padInterior(w, [0, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]), { dilation: [2, 1] }),
    sp.at(sp.flip(sp.conv2d(x, w), 1), [], [0, 5, 2]),
    // Many channels: products are added up, some of which were cut off.
    sp.conv2d(spread, numbers(7, 2, 3, 32, 2), {
      inputDilation: 3,
      dilation: 2,
      padding: [
        [-2, 3],
        [1, -3],
      ],
    }),
    steps(spread),
    sp.grad((x: sp.Tensor) => steps(x).tanh().sum())(spread),
  ])
})

test('a part of a convolution costs its part', () => {
  const x = numbers(1, 2, 12, 12, 3)
  const w = numbers(2, 3, 3, 3, 4)
  const whole = sp.conv2d(x, w)
  expect(productsOf(sp.at(whole, [0, 1], [0, 5])) / productsOf(whole)).toBeCloseTo(0.25, 10)
  // Who reads it whole computes it once.
  expect(productsOf(sp.add(sp.at(whole, [0, 1], [0, 5]).sum(), whole.sum()))).toBe(productsOf(whole))
})

test('what is read in several parts is computed once, moved or not', () => {
  const x = numbers(1, 2, 12, 12, 3)
  const w = numbers(2, 3, 3, 3, 4)
  const y = sp.conv2d(x, w)
  const sequence = sp.conv1d(numbers(3, 2, 20, 3), numbers(4, 3, 3, 4))
  const small = sp.conv2d(numbers(5, 4, 1, 1, 8), numbers(6, 3, 3, 8, 8), { padding: 1 })
  const moves: [sp.Tensor, (y: sp.Tensor) => sp.Tensor][] = [
    [sequence, y => y],
    [y, y => sp.permuteDims(y, [0, 3, 1, 2])],
    [y, y => sp.flip(y, 1)],
    [y, y => padInterior(y, [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0])],
    [small, y => sp.permuteDims(y, [3, 0, 1, 2])],
  ]
  for (const [y, move] of moves) {
    const moved = move(y)
    const n = moved.shape[0]
    const size = moved.shape[1]
    const differences = sp.sub(
      sp.at(moved, [], [Math.min(1, size - 1), size]),
      sp.at(moved, [], [0, Math.max(1, size - 1)]),
    )
    expect(productsOf(sp.add(differences.square().sum(), sp.at(moved, [0, n - 1]).sum()))).toBe(productsOf(y))
  }
})

test('small images keep their kernels, where permuting those would cost more than padding does', () => {
  const y = sp.conv2d(numbers(1, 16, 2, 2, 32), numbers(2, 3, 3, 32, 32), { padding: 1 })
  expect(productsOf(y)).toBe(16 * 2 * 2 * 9 * 32 * 32)
})

test('gradients of kernels have the outputs as columns, not the few channels of images', () => {
  const x = numbers(1, 4, 16, 16, 3)
  const w = numbers(2, 3, 3, 3, 32)
  const slope = (w: sp.Tensor): sp.Tensor => sp.grad((x: sp.Tensor) => sp.conv2d(x, w, { padding: 1 }).tanh().sum())(x)
  const { kernels } = schedule(canonicalize([sp.grad((w: sp.Tensor) => slope(w).square().sum())(w).node]))
  const products = kernels.filter(k => k.kind === 'loop').filter(k => k.reduce?.contraction)
  const ofKernels = products.filter(k => !k.axes.includes(4) && sizeOf(k.axes) === sizeOf(w.shape))
  expect(ofKernels.length).toBe(2)
  for (const { axes } of ofKernels) expect(axes.at(-1)).toBe(32)
})

test('long chains of movements are no trouble', () => {
  const turned = Array.from({ length: 6000 }).reduce(
    (y: sp.Tensor) => sp.flip(sp.permuteDims(y, [0, 2, 1, 3]), 1),
    numbers(1, 1, 5, 5, 2),
  )
  const y = sp.conv2d(turned, numbers(2, 3, 3, 2, 2))
  expect(productsOf(sp.at(y, [], [0, 2]))).toBe((productsOf(y) * 2) / 3)
})

test('the gradient of an input gradient makes no product with padding but its own', () => {
  const [n, size, c, o, k] = [4, 10, 5, 6, 3]
  const x = numbers(1, n, size, size, c)
  const w = numbers(2, k, k, c, o)
  const out = size - k + 1
  const slope = (w: sp.Tensor): sp.Tensor => sp.grad((x: sp.Tensor) => sp.conv2d(x, w).tanh().sum())(x)
  const products = productsOf(sp.grad((w: sp.Tensor) => slope(w).square().sum())(w))
  // Forward, its two gradients, the two of the image gradient, all over positions of the result; only the image gradient pads.
  const one = n * out * out * k * k * c * o
  expect(products).toBe(4 * one + (one * size * size) / (out * out))
})

test.each([1, 2, 3])(
  'gradients of images of many channels, stride %i, have the values of their graphs',
  async stride => {
    await holds(
      fc.asyncProperty(
        fc.tuple(fc.integer({ min: 3, max: 7 }), fc.integer({ min: 3, max: 7 })),
        fc.tuple(fc.integer({ min: 2, max: 3 }), fc.integer({ min: 2, max: 3 })),
        async (size, kernel) => {
          const x = numbers(1, 2, ...size, 3)
          const w = numbers(2, ...kernel, 3, 128)
          const f = (x: sp.Tensor): sp.Tensor => sp.conv2d(x, w, { stride })
          const slope = sp.grad((x: sp.Tensor) => f(x).tanh().sum())(x)
          // No zero is multiplied: what is tested is the other way of computing it.
          expect(productsOf(slope)).toBe(2 * productsOf(f(x)))
          const [expected] = interpret([slope.node])
          const got = await slope.data()
          const scale = Math.max(1, ...expected.data.map(Math.abs))
          got.forEach((g, k) => {
            expect(Math.abs(Number(g) - expected.data[k]) / scale, `element ${k}`).toBeLessThan(1e-12)
          })
        },
      ),
      20,
    )
  },
)

/** The bilinear maps that a convolution's first and second derivatives are, of images x, a kernel w, cotangents g. */
function bilinearMaps(f: (x: sp.Tensor, w: sp.Tensor) => sp.Tensor, x: sp.Tensor, w: sp.Tensor): [string, sp.Tensor][] {
  const g = numbers(3, ...f(x, w).shape)
  const u = numbers(4, ...x.shape)
  const v = numbers(5, ...w.shape)
  const dx = (w: sp.Tensor, g: sp.Tensor): sp.Tensor => sp.grad((x: sp.Tensor) => f(x, w).mul(g).sum())(x)
  const dw = (x: sp.Tensor, g: sp.Tensor): sp.Tensor => sp.grad((w: sp.Tensor) => f(x, w).mul(g).sum())(w)
  return [
    ['dx', dx(w, g)],
    ['dw', dw(x, g)],
    ['dx, by g', sp.grad((g: sp.Tensor) => dx(w, g).mul(u).sum())(g)],
    ['dx, by w', sp.grad((w: sp.Tensor) => dx(w, g).mul(u).sum())(w)],
    ['dw, by g', sp.grad((g: sp.Tensor) => dw(x, g).mul(v).sum())(g)],
    ['dw, by x', sp.grad((x: sp.Tensor) => dw(x, g).mul(v).sum())(x)],
  ]
}

test.each([1, 2, 3].flatMap(stride => [0, 1].flatMap(padding => [1, 2, 3].map(k => [stride, padding, k]))))(
  'first and second derivatives, stride %i, padding %i, kernel %i, make no product with zeros',
  async (stride, padding, k) => {
    const [n, size, c, o] = [2, 7, 2, 96]
    const x = numbers(1, n, size, size, c)
    const w = numbers(2, k, k, c, o)
    const f = (x: sp.Tensor, w: sp.Tensor): sp.Tensor => sp.conv2d(x, w, { stride, padding })
    const one = productsOf(f(x, w))
    const maps = bilinearMaps(f, x, w)
    for (const [name, map] of maps) expect(productsOf(map), name).toBeLessThanOrEqual(one)
    await expectInterpreted(maps.map(([, map]) => map))
  },
)

test.each([1, 2].flatMap(inGroup => [1, 2].map(stride => [inGroup, stride])))(
  'nor do those of %i channels in groups, stride %i',
  async (inGroup, stride) => {
    const [n, size, groups, k] = [2, 13, 3, 3]
    const x = numbers(1, n, size, size, groups * inGroup)
    const w = numbers(2, k, k, inGroup, groups * inGroup)
    const f = (x: sp.Tensor, w: sp.Tensor): sp.Tensor => sp.conv2d(x, w, { stride, padding: 1, groups })
    const one = productsOf(f(x, w))
    const maps = bilinearMaps(f, x, w)
    for (const [name, map] of maps) expect(productsOf(map), name).toBe(one)
    await expectInterpreted(maps.map(([, map]) => map))
  },
)

test.each([1, 2])('derivatives of small images, stride %i, make no product with zeros', stride => {
  const [n, size, c, o, k] = [2, 7, 5, 64, 3]
  const x = numbers(1, n, size, size, c)
  const w = numbers(2, k, k, c, o)
  const f = (w: sp.Tensor) => (x: sp.Tensor) => sp.conv2d(x, w, { stride })
  const slope = (w: sp.Tensor): sp.Tensor => sp.grad((x: sp.Tensor) => f(w)(x).tanh().sum())(x)
  const one = productsOf(f(w)(x))
  expect(productsOf(slope(w))).toBe(2 * one)
  // Nor do those of a penalty on it: forward, its two gradients, the two of the image gradient.
  expect(productsOf(sp.grad((w: sp.Tensor) => slope(w).square().sum())(w))).toBe(5 * one)
})

const spreadCase = fc.record({
  size: fc.tuple(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 6 })),
  kernel: fc.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 9 })),
  steps: fc.tuple(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 5 })),
  before: fc.tuple(fc.nat(9), fc.nat(9)),
  after: fc.tuple(fc.nat(9), fc.nat(9)),
  groups: fc.integer({ min: 1, max: 3 }),
  channels: fc.tuple(fc.constantFrom(1, 2, 40), fc.integer({ min: 1, max: 3 })),
})

test('images that a step spreads are convolved without the zeros between, in all phases', async () => {
  let [cases, spread] = [0, 0]
  await holds(
    fc.asyncProperty(spreadCase, async ({ size, kernel, steps, before, after, groups, channels: [c, o] }) => {
      cases++
      const x = numbers(1, 2, ...size, c * groups)
      const w = numbers(2, ...kernel, c, o * groups)
      const [top, left] = before
      const images = padInterior(x, [0, top, left, 0], [0, ...after, 0], [0, steps[0] - 1, steps[1] - 1, 0])
      if (images.shape[1] < kernel[0] || images.shape[2] < kernel[1]) return
      const y = sp.conv2d(images, w, { groups })
      await expectInterpreted([y])
      // Each result meets each s-th element of the kernel; a first and a last position may be partly cut off.
      const positions = steps.map((s, d) => (s === 1 ? y.shape[1 + d] : Math.ceil((y.shape[1 + d] + s - 1) / s)))
      const most = positions.reduce((n, m) => n * m, 2 * kernel[0] * kernel[1] * c * o * groups)
      if (steps.some(s => s > 1)) spread++
      expect(productsOf(y)).toBeLessThanOrEqual(most)
    }),
    120,
  )
  expect(spread).toBeGreaterThan(cases / 3)
})

test('patches: the gradient by images that a kernel parts makes no more products than the convolution', () => {
  const [x, w] = [numbers(1, 8, 64, 64, 3), numbers(2, 8, 8, 3, 128)]
  const f = (x: sp.Tensor): sp.Tensor => sp.conv2d(x, w, { stride: 8 })
  const g = numbers(3, ...f(x).shape)
  expect(productsOf(sp.grad((x: sp.Tensor) => f(x).mul(g).sum())(x))).toBe(productsOf(f(x)))
})

test('an infinite pixel reaches the results whose windows hold it, and makes NaN of no other', async () => {
  for (const k of [2, 3, 5]) {
    const x = sp.setAt(sp.ones([1, 6, 6, 1]), [0, 2, 1, 0], Number.POSITIVE_INFINITY)
    const y = sp.convTranspose2d(x, sp.ones([k, k, 1, 1]), { stride: 2 })
    const size = y.shape[1]
    const values = [...(await y.data())].map(Number)
    const isHit = values.map((_, i) => {
      const [row, column] = [Math.floor(i / size) - 4, (i % size) - 2]
      return row >= 0 && row < k && column >= 0 && column < k
    })
    expect(values.map(v => v === Number.POSITIVE_INFINITY)).toEqual(isHit)
    expect(values.some(Number.isNaN)).toBe(false)
  }
})

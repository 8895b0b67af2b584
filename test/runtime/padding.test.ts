/** Convolutions of padded images on `wasm`, whose products leave padding out: values, gradients, and that they do. */

import fc from 'fast-check'
import * as sp from 'saddlepoint'
import { expect, test } from 'vitest'
import { canonicalize } from '../../src/compiler/canonical.js'
import { schedule } from '../../src/compiler/schedule.js'
import { asGemm, type Gemm } from '../../src/runtime/backends/wasm/gemm.js'
import { candidatesFor } from '../../src/runtime/backends/wasm/tiles.js'
import { expectInterpreted, numbers } from '../oracle/interpreted.js'
import { holds } from '../oracle/property.js'

/** The products that a tensor's convolutions become. */
const productsOf = (t: sp.Tensor): Gemm[] =>
  schedule(canonicalize([t.node])).kernels.flatMap(
    k => (k.kind === 'loop' && asGemm(k, candidatesFor({ paired: false }))) || [],
  )

const pairOf = (most: number): fc.Arbitrary<[number, number]> => fc.tuple(fc.nat(most), fc.nat(most))
const cases = fc.record({
  images: fc.integer({ min: 16, max: 18 }),
  size: fc.tuple(fc.integer({ min: 2, max: 6 }), fc.integer({ min: 2, max: 6 })),
  kernel: fc.tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 3 })),
  channels: fc.tuple(fc.integer({ min: 1, max: 2 }), fc.integer({ min: 1, max: 2 })),
  groups: fc.constantFrom(1, 1, 1, 2),
  stride: fc.tuple(fc.integer({ min: 1, max: 2 }), fc.integer({ min: 1, max: 2 })),
  dilation: fc.tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 3 })),
  padding: fc.tuple(pairOf(4), pairOf(4)),
})

test('values and gradients are those of the graph', async () => {
  let skipping = 0
  await holds(
    fc.asyncProperty(cases, async ({ images, size, kernel, channels, groups, stride, dilation, padding }) => {
      const window = kernel.map((k, d) => (k - 1) * dilation[d] + 1)
      fc.pre(size.every((n, d) => n + padding[d][0] + padding[d][1] >= window[d]))
      const x = numbers(1, images, ...size, 4 * channels[0] * groups)
      const w = numbers(2, ...kernel, 4 * channels[0], 4 * channels[1] * groups)
      const f = (x: sp.Tensor, w: sp.Tensor): sp.Tensor => sp.conv2d(x, w, { stride, dilation, groups, padding })
      const loss = (x: sp.Tensor, w: sp.Tensor): sp.Tensor =>
        f(x, w)
          .mul(numbers(3, ...f(x, w).shape))
          .sum()
      const roots = [f(x, w), sp.grad((x: sp.Tensor) => loss(x, w))(x), sp.grad((w: sp.Tensor) => loss(x, w))(w)]
      skipping += roots.flatMap(productsOf).filter(g => g.bounds.length > 0).length
      await expectInterpreted(roots)
    }),
    40,
  )
  expect(skipping).toBeGreaterThan(30)
})

test.each([
  ['rows', 48, 3],
  ['rows, each of them in several blocks', 130, 3],
  ['columns', 96, 5],
] as const)('so many inner positions that their %s come in blocks', async (_, channels, width) => {
  const [x, w] = [numbers(1, 16, 4, 5, channels), numbers(2, 3, width, channels, 4)]
  const y = sp.conv2d(x, w, { padding: 'same' })
  expect(productsOf(y)[0].bounds).toHaveLength(2)
  await expectInterpreted([y])
})

test('the image gradient of a convolution multiplies no padding', () => {
  const [x, w] = [numbers(1, 32, 11, 11, 8), numbers(2, 3, 3, 8, 16)]
  const [product] = productsOf(
    sp.grad((x: sp.Tensor) =>
      sp
        .conv2d(x, w)
        .mul(numbers(3, 32, 9, 9, 16))
        .sum(),
    )(x),
  )
  expect(product.bounds.map(b => [b.low, b.high])).toEqual([
    [2, 11],
    [2, 11],
  ])
  expect([product.rows, product.positions, product.batch]).toEqual([32, 121, 121])
})

test('columns of the kernel and their channels stay one loop', () => {
  const [product] = productsOf(sp.conv2d(numbers(1, 16, 5, 5, 8), numbers(2, 3, 3, 8, 16), { padding: 'same' }))
  expect(product.reduce.axes).toEqual([3, 24])
  expect(product.bounds).toHaveLength(2)
})

test('few images, and little padding, are multiplied as they are', () => {
  const product = (images: number, size: number): Gemm =>
    productsOf(sp.conv2d(numbers(1, images, size, size, 8), numbers(2, 3, 3, 8, 16), { padding: 'same' }))[0]
  expect(product(15, 8).bounds).toHaveLength(0)
  expect(product(16, 8).bounds).toHaveLength(2)
  expect(product(16, 32).bounds).toHaveLength(0)
})

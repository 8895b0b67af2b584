/** float16: rounding against a table of all its numbers, promotion, and that what is computed on the way is float32. */

import * as sp from 'saddlepoint'
import { checkDevices, checkGrads } from 'saddlepoint/check'
import { crossEntropy } from 'saddlepoint/nn'
import { adam, clipByGlobalNorm, sgd } from 'saddlepoint/optim'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { dtypeOf, type HalfArray } from '../../src/graph/dtype.js'
import { bitsOfHalf, halfOfBits } from '../../src/graph/half.js'

const { tensor } = sp
const half = (values: number | number[]): sp.Tensor => tensor(values, { dtype: 'float16' })

/** The numbers from 0 up to infinity by their bits, counted up by their last places. */
const halves: number[] = []
for (let exponent = 1; exponent < 32; exponent++)
  for (let i = exponent === 1 ? 0 : 1024; i < 2048; i++) halves.push(i * 2 ** (exponent - 25))
halves.length = 0x7c00
halves.push(2 ** 16)

/** The nearest of the table by bisection; the 2^16 at its end stands for infinity. */
function nearest(x: number): number {
  const size = Math.abs(x)
  if (Number.isNaN(x)) return x
  let [low, high] = [0, 0x7c00]
  if (size >= halves[high]) low = high
  while (high - low > 1) {
    const middle = (low + high) >> 1
    if (halves[middle] <= size) low = middle
    else high = middle
  }
  const border = (halves[low] + halves[high]) / 2
  const found = size > border || (size === border && low % 2 === 1) ? high : low
  const value = found === 0x7c00 ? Infinity : halves[found]
  return x < 0 || Object.is(x, -0) ? -value : value
}

/** Every number and every border between two, and what lies next to those on both sides. */
const awkward = (beside: number): number[] =>
  halves.flatMap((h, i) => {
    const border = i + 1 < halves.length ? (h + halves[i + 1]) / 2 : 70000
    return [h, ...[1 - beside, 1, 1 + beside].map(f => border * f)].flatMap(x => [x, -x])
  })
const words = Uint32Array.from({ length: 200_000 }, (_, i) => Math.imul(i + 1, 0x9e3779b1) ^ (i << 7))
const special = [
  Number.NaN,
  Infinity,
  -Infinity,
  0,
  -0,
  65519.99,
  65520,
  65535,
  65536,
  1e30,
  2 ** -25,
  2 ** -126,
  1e-40,
]
const float32s = Float32Array.from([...awkward(2 ** -23), ...special, ...new Float32Array(words.buffer)])
const float64s = Float64Array.from([
  ...awkward(2 ** -50),
  ...awkward(0.7 * 2 ** -23),
  ...special,
  ...new Float64Array(words.buffer),
])

const expectSame = (got: ArrayLike<number>, want: ArrayLike<number>): void => {
  expect(got.length).toBe(want.length)
  const wrong = Array.from(got, (_, i) => i).filter(i => !Object.is(got[i], want[i]))
  expect(wrong.slice(0, 3).map(i => [got[i], want[i]])).toEqual([])
}

test('the bits of every number, both ways', () => {
  for (let bits = 0; bits < 0x10000; bits++) {
    const size = bits & 0x7fff
    const value = size > 0x7c00 ? Number.NaN : size === 0x7c00 ? Infinity : halves[size]
    expect(halfOfBits(bits)).toBe(bits >> 15 ? -value : value)
    if (size <= 0x7c00) expect(bitsOfHalf(halfOfBits(bits))).toBe(bits)
  }
  expect(bitsOfHalf(Number.NaN)).toBe(0x7e00)
  expect([65519.99, 65520, -65520].map(bitsOfHalf)).toEqual([0x7bff, 0x7c00, 0xfc00])
})

describe.each(['reference', 'wasm'] as const)('%s', name => {
  let before: sp.Device
  let device: sp.Device
  beforeAll(async () => {
    before = await sp.getDevice()
    device = await sp.setDevice(name, { threads: 2 })
  })
  afterAll(async () => {
    await sp.setDevice(before)
    await device.close()
  })

  test.each([
    ['float32', float32s],
    ['float64', float64s],
  ] as const)('casts from %s to the nearest, ties to even', async (_, values) => {
    const want = Array.from(values, nearest)
    expectSame(await tensor(values).astype('float16').data(), want)
    // Rounded where it is cast, in the middle of a kernel too.
    expectSame(await tensor(values).astype('float16').astype('float32').data(), want)
    // And on the host.
    expectSame(await tensor(values, { dtype: 'float16' }).data(), want)
  })

  test('casts of integers, booleans and to them', async () => {
    const integers = Int32Array.from({ length: 3000 }, (_, i) => i * i - 40_000)
    expectSame(await tensor(integers).astype('float16').data(), Array.from(integers, nearest))
    expect(await tensor([true, false]).astype('float16').array()).toEqual([1, 0])
    expect(await half([2.75, -2.75, Infinity]).astype('int32').array()).toEqual([2, -2, 2 ** 31 - 1])
    expect(
      await half([2 ** -24, 0])
        .astype('bool')
        .array(),
    ).toEqual([true, false])
  })

  test('rounds once where a value is stored, whatever was computed', async () => {
    const x = half([300, 2049, 1 / 3, 60000])
    expect(await x.mul(x).div(x).array()).toEqual(await x.array())
    const third = nearest(1 / 3)
    expect(await x.mul(x).array()).toEqual([Infinity, Infinity, nearest(third ** 2), Infinity])
    expect(await x.exp().array()).toEqual([Infinity, Infinity, nearest(Math.exp(third)), Infinity])
  })

  test('sums, products and convolutions accumulate in float32', async () => {
    // 4096 ones and as many that a float16 sum of 2048 or more would lose.
    const values = Array.from({ length: 8192 }, (_, i) => (i % 2 ? 1 : 0.125))
    const x = half(values)
    expect(await x.sum().item()).toBe(4608)
    expect(await x.reshape([8, 1024]).sum({ axis: 1 }).array()).toEqual(Array(8).fill(576))
    const left = x.reshape([4, 2048]).broadcastTo([4, 2048])
    expect(await sp.matmul(left, sp.ones([2048, 5], 'float16')).array()).toEqual(Array(4).fill(Array(5).fill(1152)))
    expect(await sp.matmul(left, sp.ones([2048], 'float16')).array()).toEqual(Array(4).fill(1152))
    const images = x.reshape([1, 32, 64, 4])
    const convolved = sp.conv2d(images, sp.ones([32, 64, 4, 4], 'float16'))
    expect([convolved.dtype, await convolved.array()]).toEqual(['float16', [[[Array(4).fill(4608)]]]])
    // More than 65504 elements, and sums that no float16 holds.
    expect(await sp.ones([70_000], 'float16').mean().item()).toBe(1)
    const share = 2 ** -16
    expect(
      await sp
        .softmax(sp.ones([2 ** 16], 'float16'))
        .max()
        .item(),
    ).toBe(share)
    const [query, keys] = [sp.ones([1, 4], 'float16'), sp.ones([2 ** 16, 4], 'float16')]
    const attended = sp.scaledDotProductAttention(query, keys, keys)
    expect([attended.dtype, await attended.array()]).toEqual(['float16', [Array(4).fill(1)]])
    expect(await half([300, 400]).vectorNorm().item()).toBe(500)
    expect(await half([300, 400]).std().item()).toBe(50)
    expect(await sp.hypot(half(300), half(400)).item()).toBe(500)
  })

  test('matrix products of whole and ragged tiles round their results to the nearest', async () => {
    for (const [m, k, n] of [
      [8, 16, 16],
      [13, 700, 21],
    ]) {
      const fill = (size: number, step: number) => Array.from({ length: size }, (_, i) => nearest(Math.sin(i * step)))
      const [a, b] = [fill(m * k, 1.7), fill(k * n, 0.9)]
      const got = await sp
        .matmul(half(a).reshape([m, k]), half(b).reshape([k, n]))
        .add(0)
        .data()
      const wide = await sp.matmul(tensor(a).reshape([m, k]), tensor(b).reshape([k, n])).data()
      expectSame(got, Array.from(wide, nearest))
    }
  })

  test('scatterAdd adds in float32 and rounds at the end; order and extremes', async () => {
    const updates = sp.concat([half([2048]), sp.ones([9], 'float16')])
    const index = tensor(Int32Array.from([1, ...Array(9).fill(1)]))
    // In float16, 2048 + 1 + 1 + ... stays 2048.
    expect(await sp.scatterAdd(index, updates, 3).array()).toEqual([0, nearest(2057), 0])
    const wide = sp.scatterAdd(index, updates.reshape([10, 1]).broadcastTo([10, 7]), 2)
    expect(await wide.array()).toEqual([Array(7).fill(0), Array(7).fill(2056)])
    const x = half([3, Number.NaN, -1, 2 ** -24, 0])
    expect(await sp.argsort(x).array()).toEqual([2, 4, 3, 0, 1])
    expect(await half([3, -1, 2.5]).max().item()).toBe(3)
  })

  test('gradients through casts, to order 2', async () => {
    const x = tensor([0.1, 0.7])
    const f = (x: sp.Tensor) => x.astype('float16').pow(3).astype('float32').sum()
    const h = await x.astype('float16').array()
    const [a, b] = (h as number[]).map(v => [3 * v * v, 6 * v])
    const first = (await sp.grad(f)(x).array()) as number[]
    const second = (await sp
      .grad((x: sp.Tensor) => sp.grad(f)(x).sum())(x)
      .array()) as number[]
    expect(sp.grad(f)(x).dtype).toBe('float32')
    for (const [i, v] of [a, b].entries()) {
      expect(first[i] / v[0]).toBeCloseTo(1, 3)
      expect(second[i] / v[1]).toBeCloseTo(1, 3)
    }
    // The cotangent is rounded where it is cast: 1e-8 is 0 in float16.
    const tiny = sp.grad((x: sp.Tensor) => x.astype('float16').astype('float32').mul(1e-8).sum())(x)
    expect(await tiny.array()).toEqual([0, 0])
  })

  test('random numbers are those of float32, rounded, and stay below the end', async () => {
    const key = sp.random.key(3)
    for (const range of [
      { low: 0, high: 1 },
      { low: -0.1, high: 0.1 },
      { low: -3, high: -2 },
      { low: 0, high: 2 ** -20 },
    ]) {
      const drawn = await sp.random.uniform(key, [20_000], { ...range, dtype: 'float16' }).data()
      const wide = await sp.random.uniform(key, [20_000], range).data()
      expect(Math.max(...drawn)).toBeLessThan(range.high)
      drawn.forEach((d, i) => {
        const rounded = nearest(wide[i])
        if (d !== rounded) expect(rounded).toBeGreaterThanOrEqual(range.high)
      })
    }
    const normal = await sp.random.normal(key, [5000], 'float64').data()
    expectSame(await sp.random.normal(key, [5000], 'float16').data(), Array.from(normal, nearest))
  })

  test('optimisers move leaves of float16', async () => {
    for (const [optimizer, move] of [
      [adam({ learningRate: 0.01 }), 0.01],
      [sgd({ learningRate: 100, momentum: 0.9 }), 0.01],
    ] as const) {
      const params = { w: half([1, -2]) }
      const state = optimizer.init(params)
      // A square of 1e-8 is 0 in float16, and so is Adam's epsilon.
      const next = optimizer.update({ w: half([1e-4, 0]) }, state, params)
      expect(sp.leaves(next.state.moments).map(t => t.dtype)).toEqual(
        sp.leaves(next.state.moments).map(() => 'float32'),
      )
      const [moved, still] = (await next.params.w.array()) as number[]
      expect(next.params.w.dtype).toBe('float16')
      expect(moved).toBe(nearest(1 - move))
      expect(still).toBe(-2)
    }
    // A rate of 1e-8 is 0 in float16.
    const slow = sgd({ learningRate: 1e-8 })
    const zero = { w: half([0]) }
    const { params } = slow.update({ w: half([10_000]) }, slow.init(zero), zero)
    expect(await params.w.array()).toEqual([nearest(-1e-4)])
    const clipped = clipByGlobalNorm({ w: half([300, 400]) }, 5)
    expect(await clipped.w.array()).toEqual([3, 4])
  })
})

test('promotion: bool < int32 < uint32 < float16 < float32 < float64; numbers follow the tensor', () => {
  const x = half([1])
  const dtypes = ['bool', 'int32', 'uint32', 'float16', 'float32', 'float64'] as const
  dtypes.forEach((dtype, i) => {
    const want = i < 4 ? 'float16' : dtype
    expect(x.mul(sp.ones([1], dtype)).dtype).toBe(want)
    expect(sp.ones([1], dtype).div(x).dtype).toBe(want)
    expect(sp.matmul(sp.ones([1, 1], dtype), x.reshape([1, 1])).dtype).toBe(want)
  })
  for (const y of [x.mul(0.5), x.div(3), x.pow(2.5), x.mean(), x.std(), x.vectorNorm(), sp.hypot(x, 1), x.softmax()])
    expect(y.dtype).toBe('float16')
  expect(sp.resize(sp.ones([1, 2, 2, 1], 'float16'), [3, 3]).dtype).toBe('float16')
})

test("a tensor of the engine's Float16Array, where there is one", async () => {
  // A stand-in: not all engines have it.
  const isHalfArray = (data: unknown): data is HalfArray => dtypeOf(data) === 'float16'
  const data = Object.defineProperty(Int16Array.of(2049, -7), Symbol.toStringTag, { value: 'Float16Array' })
  if (!isHalfArray(data)) throw new Error('no Float16Array')
  const x = tensor(data)
  expect([x.dtype, x.shape]).toEqual(['float16', [2]])
  const found = await x.data()
  expect(Object.prototype.toString.call(found)).toBe('[object Float32Array]')
  expect([...found]).toEqual([2048, -7])
})

test('refused: bits of float16, and differences of it', async () => {
  expect(() => sp.bitcast(half([1]), 'int32')).toThrow(/bitcast.*32 bits.*float16/)
  await expect(checkGrads(sp.tanh, [half([1])])).rejects.toThrow(/checkGrads: argument 0 is float16.*float64/)
  const narrowed = checkGrads((x: sp.Tensor) => x.astype('float16'), [tensor([1])])
  await expect(narrowed).rejects.toThrow(/checkGrads: the result is float16.*float64/)
})

test('checkDevices counts in places of float16', async () => {
  const x = half([1, 2, 3])
  await checkDevices((x: sp.Tensor) => x.exp().mul(x.sin()), [x], { ulps: 1 })
  let calls = 0
  // One place of float16 off on the second device.
  const drifting = (x: sp.Tensor) => x.mul(calls++ ? 1 + 2 ** -10 : 1)
  await expect(checkDevices(drifting, [half([1])], { ulps: 0.5 })).rejects.toThrow(/1\.00 ULP/)
})

test('weights of losses count beyond what a float16 holds', async () => {
  const [logits, labels] = [sp.zeros([100_000, 2], 'float16'), sp.zeros([100_000], 'int32')]
  const mean = await crossEntropy(logits, labels).item()
  expect(mean).toBeCloseTo(Math.LN2, 3)
  for (const options of [{ weights: sp.ones([100_000]) }, { classWeights: sp.full([2], 3) }])
    expect(await crossEntropy(logits, labels, options).item()).toBe(mean)
})

/** GroupNorm and RMSNorm; LayerNorm and BatchNorm are in layers.test.ts. Numbers computed with torch. */

import { full, ones, type Tensor, tensor, vjp, zeros } from 'saddlepoint'
import { checkGrads } from 'saddlepoint/check'
import { BatchNorm, GroupNorm, LayerNorm, RMSNorm } from 'saddlepoint/nn'
import { describe, expect, test } from 'vitest'
import { expectClose } from '../oracle/close.js'
import { wave } from './wave.js'

const x = wave(1.3, 2, 3, 6)
const dtype = 'float64'

test('group norm', async () => {
  const layer = new GroupNorm(3, 6, { dtype, epsilon: 1e-3 })
  layer.weight.assign(wave(0.5, 6))
  layer.bias.assign(wave(0.6, 6))
  await expectClose(
    layer.apply(x).at(0, [0, 2]).flatten(),
    [
      1.26286617438, 1.63829831162, 0.123586599061, -0.342434232582, 0.152571480567, -0.277266605082, 0.837354182488,
      0.0815587848358, 0.0225631884737, 1.27513532418, 0.831582516093, -0.462097767523,
    ],
    1e-10,
  )
  const instance = new GroupNorm(6, 6, { dtype, epsilon: 1e-3 })
  await expectClose(
    instance.apply(x).at(1, 0),
    [-1.35752715956, 0.762052435543, 1.38329589962, 0.074133360581, -1.22416779129, -1.18121705687],
    1e-10,
  )
  const one = new GroupNorm(1, 6, { dtype }).apply(x)
  await expectClose(one, new LayerNorm([3, 6], { dtype }).apply(x))
  expect(layer.apply(zeros([0, 2, 6], dtype)).shape).toEqual([0, 2, 6])
})

test('RMS norm', async () => {
  const layer = new RMSNorm(6, { dtype, epsilon: 1e-3 })
  layer.weight.assign(wave(0.5, 6))
  await expectClose(
    layer.apply(x).at(1, 0),
    [-0.305827175962, 0.976066125801, 1.25532260542, -0.442528665573, -0.908985187301, -0.0459919188927],
    1e-10,
  )
})

describe('derivatives to order 2, with respect to input and weights', () => {
  const layers = [
    new GroupNorm(2, 6, { dtype }),
    new RMSNorm(6, { dtype }),
    new LayerNorm([3, 6], { dtype }),
    new BatchNorm(6, { dtype }),
  ]
  for (const layer of layers) {
    test(layer.constructor.name, async () => {
      await checkGrads(
        (weight: Tensor, x: Tensor) => Object.assign(Object.create(layer), { weight }).apply(x, { training: true }),
        [wave(0.5, ...layer.weight.shape), x],
        { order: 2 },
      )
    })
  }
})

describe('float32 loses nothing that its input has', () => {
  const width = 300
  const numbers = (of: (i: number) => number): Float32Array => Float32Array.from({ length: 4 * width }, (_, i) => of(i))
  test.each([
    [1e4, 1e-2],
    [1e6, 1],
    [1e7, 3],
    [1, 1e-6],
  ])('around %d, by %d', async (centre, spread) => {
    const [x, g] = [numbers(i => centre + spread * Math.sin(i * i)), numbers(i => Math.cos(3 * i))]
    for (const epsilon of [0, 1e-5]) {
      const [y32, g32, y64, g64] = (['float32', 'float64'] as const).flatMap(dtype => {
        const layer = new LayerNorm(width, { epsilon, dtype })
        const [y, pull] = vjp((t: Tensor) => layer.apply(t), tensor(x, { shape: [4, width], dtype }))
        return [y, pull(tensor(g, { shape: [4, width], dtype }))[0]]
      })
      for (const [got, want] of [
        [y32, y64],
        [g32, g64],
      ]) {
        const scale = await want.abs().max().item()
        await expectClose(got.astype('float64').div(scale), want.div(scale), 1e-6)
      }
    }
  })
  test('one number among many that differs in its last bits', async () => {
    const x = new Float32Array(65_536).fill(100.1)
    x[5] += 100.1 * 2 ** -22
    const y = await new LayerNorm(x.length, { epsilon: 0 }).apply(tensor(x)).data()
    expect(y[5]).toBeCloseTo(255.998, 3)
  })
  test('numbers whose squares are beyond all floats', async () => {
    for (const size of [5, 10, 100, 5000])
      for (const value of [1e27, 3e30]) {
        const y = await new LayerNorm(size).apply(full([1, size], value)).data()
        expect(Math.max(...y.map(Math.abs)), `${size} of ${value}`).toBe(0)
      }
  })
  test.each([0.1, 3.3, 12345.678, 1e7 + 1, 1e-20, 1e18])('rows of %d are rows of 0', async value => {
    for (const width of [7, 256, 2000])
      for (const epsilon of [0, 1e-5]) {
        const y = new LayerNorm(width, { epsilon }).apply(full([2, width], value))
        expect(Math.max(...(await y.data()).map(Math.abs)), `${width}, ${epsilon}`).toBe(0)
      }
  })
})

test('wrong arguments are named', () => {
  expect(() => new GroupNorm(4, 6)).toThrow('GroupNorm: 6 channels do not divide into 4 groups')
  expect(() => new GroupNorm(0, 6)).toThrow('GroupNorm: groups must be a positive integer, not 0')
  expect(() => new GroupNorm(2, 6).apply(ones([2, 4]))).toThrow('GroupNorm: was made for 6 on the last axis, got [2,4]')
  expect(() => new GroupNorm(2, 6).apply(ones([6]))).toThrow('GroupNorm: needs a batch axis')
  expect(() => new RMSNorm(6).apply(ones([2, 4]))).toThrow('RMSNorm: was made for 6 on the last axis, got [2,4]')
  expect(() => new RMSNorm(6, { epsilon: -1 })).toThrow('RMSNorm: epsilon must be a number >= 0, not -1')
})

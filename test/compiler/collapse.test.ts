/** In which loops kernels run: axes that indices take apart become several, and values stay what they are. */

import * as sp from 'saddlepoint'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { addIndex, axisIndex, divide, type Index, offsetIndex, scaleIndex } from '../../src/compiler/affine.js'
import { canonicalize } from '../../src/compiler/canonical.js'
import { collapse } from '../../src/compiler/collapse.js'
import { ExprTable } from '../../src/compiler/expr.js'
import { type LoopKernel, printSchedule } from '../../src/compiler/kernel.js'
import { schedule } from '../../src/compiler/schedule.js'
import { expectInterpreted } from '../oracle/close.js'

type Tensor = sp.Tensor
const x = (...shape: number[]): Tensor =>
  sp.tensor(
    Float32Array.from({ length: shape.reduce((n, s) => n * s, 1) }, (_, i) => Math.cos(i * i)),
    { shape },
  )
/** The schedule's lines that name loops or what they reduce. */
const loopsOf = (t: Tensor): string[] =>
  printSchedule(schedule(canonicalize([t.node])))
    .split('\n')
    .flatMap(line => line.match(/over (\[.*?\])/)?.slice(1) ?? [])

/** [n, length, heads * width] -> [n, heads, length, width], and back. */
const split = (t: Tensor, heads: number): Tensor =>
  sp.permuteDims(t.reshape([t.shape[0], t.shape[1], heads, t.shape[2] / heads]), [0, 2, 1, 3])
const join = (t: Tensor): Tensor =>
  sp.permuteDims(t, [0, 2, 1, 3]).reshape([t.shape[0], t.shape[2], t.shape[1] * t.shape[3]])

/** A kernel over one axis that adds up what quotients and remainders of its position, or of another index, read. */
function takingApart(size: number, ...divisors: number[]): LoopKernel {
  return dividing(axisIndex(0, size), [size], ...divisors)
}
function dividing(index: Index, axes: number[], ...divisors: number[]): LoopKernel {
  const exprs = new ExprTable()
  const parts = divisors.flatMap((d): Index[] => Object.values(divide(index, d)))
  const value = parts
    .map(index => exprs.load(0, 'float32', index, []))
    .reduce((a, b) => exprs.operation('add', 'float32', a, b))
  return { kind: 'loop', name: 'test', axes, outputs: [{ buffer: 1, value }] }
}

describe('loops', () => {
  test('quotients and remainders become axes of their own', () => {
    expect(collapse(takingApart(96, 8)).axes).toEqual([12, 8])
    expect(collapse(takingApart(96, 8, 24)).axes).toEqual([4, 3, 8])
    expect(collapse(takingApart(96, 8, 24, 48)).axes).toEqual([2, 2, 3, 8])
  })
  test('not those that do not divide it, or each other, nor where few are left for the last', () => {
    expect(collapse(takingApart(90, 8)).axes).toEqual([90])
    expect(collapse(takingApart(96, 12, 32)).axes).toEqual([96])
    expect(collapse(takingApart(96, 4)).axes).toEqual([96])
    expect(loopsOf(join(x(3, 5, 16, 4)).sum({ axis: 2 }))).toEqual(['[3,16]', '[20]'])
    expect(loopsOf(join(x(3, 5, 16, 8)).sum({ axis: 2 }))).toEqual(['[3,16]', '[5,8]'])
  })
  test('nor where it is not the position itself that is divided', () => {
    const position = axisIndex(0, 96)
    expect(collapse(dividing(offsetIndex(position, 4), [96], 8)).axes).toEqual([96])
    expect(collapse(dividing(scaleIndex(position, 3), [96], 8)).axes).toEqual([96])
    expect(collapse(dividing(addIndex(position, axisIndex(1, 48)), [96, 48], 8)).axes).toEqual([96, 48])
  })
  test('heads of attention side by side in a row', () => {
    const heads = x(3, 4, 16, 8)
    expect(loopsOf(join(heads))).toEqual(['[3,16,4,8]'])
    expect(loopsOf(join(heads).exp().reshape([48, 32]))).toEqual(['[3,16,4,8]'])
    expect(loopsOf(sp.matmul(join(heads).reshape([48, 32]), x(32, 24)))).toEqual(['[3,16,24]', '[4,8]'])
  })
  test('columns of a product stay one axis', () => {
    const right = sp.permuteDims(x(4, 32, 8), [1, 0, 2]).reshape([32, 32])
    expect(loopsOf(sp.matmul(x(16, 32), right))).toEqual(['[16,32]', '[32]'])
  })
  test('no index of a transformer is a quotient or a remainder', () => {
    const attention = (t: Tensor): Tensor => {
      const [q, k, v] = [1, 2, 3].map(i => split(t.matmul(x(32, 32).add(i)), 4))
      return join(sp.scaledDotProductAttention(q, k, v)).matmul(x(32, 32))
    }
    const gradient = sp.grad((t: Tensor) => attention(t).square().sum())(x(3, 16, 32))
    expect(printSchedule(schedule(canonicalize([gradient.node])))).not.toMatch(/ (div|mod) \d/)
  })
})

describe.each(['wasm', 'reference'] as const)('values on %s', name => {
  let device: sp.Device
  beforeAll(async () => {
    device = await sp.setDevice(name)
  })
  afterAll(() => device.close())
  const heads = (): Tensor => x(3, 4, 16, 8)
  const programs: readonly [string, () => Tensor][] = [
    ['rows of heads', () => join(heads())],
    ['rows of heads, summed along them', () => join(heads()).sum({ axis: 2 })],
    ['rows of heads, summed across them', () => join(heads()).reshape([48, 32]).sum({ axis: 0 })],
    [
      'padded and cut rows of heads',
      () =>
        sp.at(
          sp.pad(join(heads()), [
            [0, 0],
            [1, 1],
            [3, 2],
          ]),
          [],
          [1, 17],
          [1, 30],
        ),
    ],
    ['a product from the left', () => sp.matmul(join(heads()).reshape([48, 32]), x(32, 24))],
    [
      'a product from the left, transposed',
      () => sp.matmul(sp.matrixTranspose(join(heads()).reshape([48, 32])), x(48, 24)),
    ],
    ['a product from the right', () => sp.matmul(x(24, 48), join(heads()).reshape([48, 32]))],
    [
      'a product from the right, transposed',
      () => sp.matmul(x(24, 32), sp.matrixTranspose(join(heads()).reshape([48, 32]))),
    ],
    ['products of a batch', () => sp.matmul(split(x(3, 16, 32), 4), sp.matrixTranspose(split(x(3, 16, 32), 4)))],
    ['normalised rows of heads', () => sp.softmax(join(heads()))],
    [
      'a convolution of images in rows',
      () => sp.conv2d(join(heads()).reshape([3, 4, 4, 32]), x(3, 3, 32, 8), { padding: 'same' }),
    ],
  ]
  test.each(programs)('%s', (_, make) => expectInterpreted(make()))
})

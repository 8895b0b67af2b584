/**
 * Values that fast-math compilers take liberties with: NaN, infinities, zeros, the ends of the integers; the same on
 * `wasm`, to the bit.
 */

import * as sp from 'saddlepoint'
import { afterAll, expect, test } from 'vitest'

const wasm = await sp.setDevice('wasm', { threads: 1 })
const webgpu = await sp.setDevice('webgpu', { software: true })
afterAll(() => Promise.all([wasm.close(), webgpu.close()]))

const floats = [
  0,
  -0,
  1,
  -1,
  0.5,
  -2.5,
  3e38,
  -3e38,
  Infinity,
  -Infinity,
  NaN,
  16777217,
  2147483648,
  -2147483648,
  4294967296,
]
const ints = [0, 1, -1, 2, -3, 7, 31, 33, 2 ** 31 - 1, -(2 ** 31), 123456789, -987654321]
const dtypes = { float32: floats, int32: ints, uint32: ints.map(i => i >>> 0), bool: [0, 1] } as const

/** All pairs of the values of a type. */
function pairs(dtype: keyof typeof dtypes): [sp.Tensor, sp.Tensor] {
  const values = dtypes[dtype]
  const side = (pick: (i: number) => number): sp.Tensor => {
    const data = Array.from({ length: values.length ** 2 }, (_, i) => values[pick(i)])
    return sp.tensor(data, { dtype })
  }
  return [side(i => Math.floor(i / values.length)), side(i => i % values.length)]
}

type Binary = (a: sp.Tensor, b: sp.Tensor) => sp.Tensor
const anyType: Readonly<Record<string, Binary>> = {
  less: sp.less,
  lessEqual: sp.lessEqual,
  greater: sp.greater,
  equal: sp.equal,
  notEqual: sp.notEqual,
  'to float32': (a, b) => sp.astype(a, 'float32').add(sp.astype(b, 'float32')),
  'to int32': a => sp.astype(a, 'int32'),
  'to uint32': a => sp.astype(a, 'uint32'),
  'to bool': a => sp.astype(a, 'bool'),
}
const numeric: Readonly<Record<string, Binary>> = {
  maximum: sp.maximum,
  minimum: sp.minimum,
  abs: a => sp.abs(a),
  sign: a => sp.sign(a),
  'product with 0': a => a.mul(0),
  'difference from itself': (a, b) => a.sub(b).add(b.sub(a)),
}
const integer: Readonly<Record<string, Binary>> = {
  add: sp.add,
  sub: sp.sub,
  mul: sp.mul,
  floorDivide: sp.floorDivide,
  remainder: sp.remainder,
  shiftLeft: (a, b) => sp.bitwiseLeftShift(a, b.bitwiseAnd(31)),
  shiftRight: (a, b) => sp.bitwiseRightShift(a, b.bitwiseAnd(31)),
}
const floating: Readonly<Record<string, Binary>> = {
  isnan: a => sp.isnan(a),
  isfinite: a => sp.isfinite(a),
  floor: a => sp.floor(a),
  ceil: a => sp.ceil(a),
  round: a => sp.round(a),
  trunc: a => sp.trunc(a),
  'where, by NaN': (a, b) => sp.where(sp.equal(a, a), a, b),
  relu: a => a.relu(),
}

for (const dtype of ['float32', 'int32', 'uint32', 'bool'] as const) {
  const isInteger = dtype === 'int32' || dtype === 'uint32'
  const table = {
    ...anyType,
    ...(dtype !== 'bool' && numeric),
    ...(isInteger && integer),
    ...(dtype === 'float32' && floating),
  }
  test.each(Object.entries(table))(`${dtype}: %s`, async (_, f) => {
    const results: (ArrayLike<number> & Iterable<number>)[] = []
    for (const device of [wasm, webgpu]) {
      await sp.setDevice(device)
      results.push(await f(...pairs(dtype)).data())
    }
    expect([...results[1]]).toEqual([...results[0]])
  })
}

test('logarithms of subnormal numbers, which a GPU may take for 0 elsewhere', async () => {
  const results: number[][] = []
  for (const device of [wasm, webgpu]) {
    await sp.setDevice(device)
    const x = sp.tensor([1e-45, 1e-40, 1e-38, 2e-38, 1])
    results.push([...(await x.log().data()), ...(await sp.log2(x).data())])
  }
  for (const [i, want] of results[0].entries()) expect(results[1][i]).toBeCloseTo(want, 4)
})

/** Element-wise functions against JavaScript's own, over the whole range of both precisions, and their special values. */

import * as sp from 'saddlepoint'
import { afterAll, describe, expect, test } from 'vitest'
import { Rng } from '../oracle/property.js'

type Tensor = sp.Tensor
type Precision = 'float32' | 'float64'
const { Infinity: inf, NaN: nan } = globalThis

const wasm = await sp.setDevice('wasm', { threads: 1 })
afterAll(() => wasm.close())

const floats = { float32: Float32Array, float64: Float64Array } as const
const t = (values: readonly number[], dtype: Precision): Tensor => sp.tensor(floats[dtype].from(values))
const data = async (x: Tensor): Promise<number[]> => [...(await x.data())]

/** The distance of neighbours of x in a precision. */
function ulp(x: number, dtype: Precision): number {
  const [digits, lowest] = dtype === 'float32' ? [23, -126] : [52, -1022]
  const exponent = Math.floor(Math.log2(Math.abs(x)))
  return 2 ** (Math.max(Number.isFinite(exponent) ? exponent : lowest, lowest) - digits)
}

/** Magnitudes from subnormal to the largest, of both signs, and plain ones. */
function samples(dtype: Precision, seed: number): number[] {
  const r = new Rng(seed)
  const [low, high] = dtype === 'float32' ? [-148, 127] : [-1073, 1023]
  const wide = Array.from({ length: 600 }, () => (r.int(0, 1) ? -1 : 1) * r.uniform(1, 2) * 2 ** r.int(low, high))
  const plain = Array.from({ length: 600 }, () => r.uniform(-3, 3))
  const edges = [0.5, 1, 2, 3, 20, 88, 89, 89.4, 90, 104, 700, 709, 710, 710.4, 711, 745, 1e8].flatMap(x => [x, -x])
  return [...wide, ...plain, ...edges].map(x => (dtype === 'float32' ? Math.fround(x) : x))
}

/** The largest error in units of the last place, and where. */
async function worst(got: Tensor, want: readonly number[], dtype: Precision): Promise<{ error: number; at: number }> {
  const values = await data(got)
  const largest = dtype === 'float32' ? 3.4028234663852886e38 : Number.MAX_VALUE
  const found = { error: 0, at: 0 }
  want.forEach((w, i) => {
    const limited = Math.abs(w) > largest ? Math.sign(w) * inf : w
    const same = Object.is(values[i], limited) || values[i] === limited
    // Where the result is about to overflow, one neighbour of the largest number is infinity.
    const edge = Math.abs(w) > largest * (1 - 1e-6) && Math.abs(values[i]) > largest * (1 - 1e-6)
    const error = same || edge ? 0 : Math.abs(values[i] - limited) / ulp(limited, dtype)
    if (!(error <= found.error)) Object.assign(found, { error, at: i })
  })
  return found
}

const inside = (x: number): boolean => Math.abs(x) <= 1
const any = (): boolean => true
const unary: readonly [string, (x: Tensor) => Tensor, (x: number) => number, (x: number) => boolean, number][] = [
  ['asin', sp.asin, Math.asin, inside, 3],
  ['acos', sp.acos, Math.acos, inside, 3],
  ['asinh', sp.asinh, Math.asinh, any, 3],
  ['acosh', sp.acosh, Math.acosh, x => x >= 1, 3],
  ['atanh', sp.atanh, Math.atanh, inside, 3],
  ['sinh', sp.sinh, Math.sinh, any, 3],
  ['cosh', sp.cosh, Math.cosh, any, 3],
  ['tan', sp.tan, Math.tan, x => Math.abs(x) < 100, 3],
  ['log2', sp.log2, Math.log2, x => x > 0, 3],
  ['log10', sp.log10, Math.log10, x => x > 0, 3],
]
describe.each(['float64', 'float32'] as const)('%s', dtype => {
  test.each(unary)('%s', async (_, f, want, domain, bound) => {
    const xs = samples(dtype, 1).filter(domain)
    const { error, at } = await worst(f(t(xs, dtype)), xs.map(want), dtype)
    expect(error, `at ${xs[at]}`).toBeLessThan(bound)
  })
  const binary: readonly [string, (a: Tensor, b: Tensor) => Tensor, (a: number, b: number) => number][] = [
    ['atan2', sp.atan2, Math.atan2],
    ['hypot', sp.hypot, Math.hypot],
    ['logaddexp', sp.logaddexp, (a, b) => Math.max(a, b) + Math.log1p(Math.exp(Math.min(a, b) - Math.max(a, b)))],
  ]
  test.each(binary)('%s', async (name, f, want) => {
    const xs = samples(dtype, 2)
    // Half of the pairs are of a like size.
    const ys = samples(dtype, 3).map((y, i) =>
      i % 2 ? y : (dtype === 'float32' ? Math.fround : Number)(xs[i] * (1 + (y % 1))),
    )
    const exact = xs.map((x, i) => want(x, ys[i]))
    // Where the two terms of logaddexp cancel, what is left is no better than their rounding.
    const kept = exact.flatMap((w, i) => (name === 'logaddexp' && Math.abs(w) < Math.abs(xs[i]) / 2 ? [] : [i]))
    const pick = (from: readonly number[]): number[] => kept.map(i => from[i])
    const { error, at } = await worst(f(t(pick(xs), dtype), t(pick(ys), dtype)), pick(exact), dtype)
    expect(error, `at ${pick(xs)[at]}, ${pick(ys)[at]}`).toBeLessThan(3)
  })
})

describe('special values', () => {
  const pi = Math.PI
  const unary: readonly [string, (x: Tensor) => Tensor, readonly (readonly [number, number])[]][] = [
    [
      'asin',
      sp.asin,
      [
        [0, 0],
        [-0, -0],
        [1, pi / 2],
        [-1, -pi / 2],
        [1.1, nan],
        [nan, nan],
      ],
    ],
    [
      'acos',
      sp.acos,
      [
        [1, 0],
        [-1, pi],
        [0, pi / 2],
        [-0, pi / 2],
        [-1.1, nan],
        [nan, nan],
      ],
    ],
    [
      'asinh',
      sp.asinh,
      [
        [0, 0],
        [-0, -0],
        [inf, inf],
        [-inf, -inf],
        [nan, nan],
      ],
    ],
    [
      'acosh',
      sp.acosh,
      [
        [1, 0],
        [inf, inf],
        [0.5, nan],
        [-inf, nan],
        [nan, nan],
      ],
    ],
    [
      'atanh',
      sp.atanh,
      [
        [0, 0],
        [-0, -0],
        [1, inf],
        [-1, -inf],
        [1.1, nan],
        [nan, nan],
      ],
    ],
    [
      'sinh',
      sp.sinh,
      [
        [0, 0],
        [-0, -0],
        [inf, inf],
        [-inf, -inf],
        [nan, nan],
      ],
    ],
    [
      'cosh',
      sp.cosh,
      [
        [0, 1],
        [inf, inf],
        [-inf, inf],
        [nan, nan],
      ],
    ],
    [
      'tan',
      sp.tan,
      [
        [0, 0],
        [-0, -0],
        [inf, nan],
      ],
    ],
    [
      'log2',
      sp.log2,
      [
        [0, -inf],
        [1, 0],
        [inf, inf],
        [-1, nan],
        [nan, nan],
      ],
    ],
    [
      'log10',
      sp.log10,
      [
        [0, -inf],
        [1, 0],
        [inf, inf],
        [-1, nan],
        [nan, nan],
      ],
    ],
    [
      'rsqrt',
      sp.rsqrt,
      [
        [0, inf],
        [4, 0.5],
        [inf, 0],
        [-1, nan],
      ],
    ],
    [
      'reciprocal',
      sp.reciprocal,
      [
        [0, inf],
        [-0, -inf],
        [-inf, -0],
      ],
    ],
    [
      'relu',
      sp.relu,
      [
        [-1, 0],
        [-inf, 0],
        [inf, inf],
        [nan, nan],
      ],
    ],
    [
      'leakyRelu',
      sp.leakyRelu,
      [
        [-100, -1],
        [-inf, -inf],
        [inf, inf],
        [nan, nan],
      ],
    ],
    [
      'elu',
      sp.elu,
      [
        [-inf, -1],
        [inf, inf],
        [nan, nan],
      ],
    ],
    [
      'sigmoid',
      sp.sigmoid,
      [
        [0, 0.5],
        [inf, 1],
        [-inf, 0],
        [800, 1],
        [-740, Math.exp(-740)],
        [nan, nan],
      ],
    ],
    [
      'softplus',
      sp.softplus,
      [
        [0, Math.LN2],
        [inf, inf],
        [-inf, 0],
        [-740, Math.exp(-740)],
        [nan, nan],
      ],
    ],
    [
      'logSigmoid',
      sp.logSigmoid,
      [
        [0, -Math.LN2],
        [inf, 0],
        [-inf, -inf],
        [-800, -800],
      ],
    ],
    [
      'silu',
      sp.silu,
      [
        [0, 0],
        [1e300, 1e300],
        [-1e300, 0],
        [nan, nan],
      ],
    ],
    [
      'gelu',
      sp.gelu,
      [
        [0, 0],
        [1e300, 1e300],
        [-1e300, 0],
        [nan, nan],
      ],
    ],
    [
      'gelu by tanh',
      x => sp.gelu(x, 'tanh'),
      [
        [0, 0],
        [1e300, 1e300],
        [-1e300, 0],
        [nan, nan],
      ],
    ],
    [
      'clip',
      x => sp.clip(x, -1, 1),
      [
        [-inf, -1],
        [inf, 1],
        [-0, -0],
        [nan, nan],
      ],
    ],
  ]
  test.each(unary)('%s', async (_, f, rows) => {
    const got = await data(
      f(
        t(
          rows.map(r => r[0]),
          'float64',
        ),
      ),
    )
    rows.forEach(([x, want], i) => {
      if (Number.isFinite(want) && want !== 0) expect(got[i] / want, `at ${x}`).toBeCloseTo(1, 14)
      else expect(got[i] + 0, `at ${x}`).toBe(want + 0)
      if (Object.is(x, -0) && want === 0) expect(got[i], 'at -0').toBe(want)
    })
  })
  test('atan2 in all quadrants and corners', async () => {
    const values = [0, -0, 1, -1, inf, -inf, nan]
    const pairs = values.flatMap(y => values.map(x => [y, x] as const))
    const got = await data(
      sp.atan2(
        t(
          pairs.map(p => p[0]),
          'float64',
        ),
        t(
          pairs.map(p => p[1]),
          'float64',
        ),
      ),
    )
    pairs.forEach(([y, x], i) => {
      expect(got[i], `atan2(${y}, ${x})`).toBe(Math.atan2(y, x))
    })
  })
  test('hypot, logaddexp', async () => {
    const pairs: readonly (readonly [number, number])[] = [
      [0, 0],
      [3, 4],
      [inf, nan],
      [nan, -inf],
      [1, nan],
      [-inf, 1],
      [1e300, 1e300],
    ]
    const [a, b] = [0, 1].map(k =>
      t(
        pairs.map(p => p[k]),
        'float64',
      ),
    )
    expect(await data(sp.hypot(a, b))).toEqual([0, 5, inf, inf, nan, inf, Math.SQRT2 * 1e300])
    const terms: readonly (readonly [number, number])[] = [
      [-inf, -inf],
      [inf, inf],
      [inf, -inf],
      [-inf, 3],
      [1e4, 1e4],
      [nan, 0],
      [0, nan],
    ]
    const [x, y] = [0, 1].map(k =>
      t(
        terms.map(p => p[k]),
        'float64',
      ),
    )
    expect(await data(sp.logaddexp(x, y))).toEqual([-inf, inf, inf, 3, 1e4 + Math.LN2, nan, nan])
  })
  test.each(['float32', 'float64'] as const)('logarithms of powers are exact in %s', async dtype => {
    const twos = Array.from({ length: 250 }, (_, i) => i - 126)
    expect(
      await data(
        sp.log2(
          t(
            twos.map(k => 2 ** k),
            dtype,
          ),
        ),
      ),
    ).toEqual(twos)
    const tens = Array.from({ length: 11 }, (_, k) => k)
    expect(
      await data(
        sp.log10(
          t(
            tens.map(k => 10 ** k),
            dtype,
          ),
        ),
      ),
    ).toEqual(tens)
  })
  test('quotients: floats as Python has them, integers without a divisor', async () => {
    const [a, b] = [
      [1, -1, 7, -7, 7, 1, -1, 0],
      [0.1, 0.1, 2, 2, -2, inf, 0, 0],
    ].map(v => t(v, 'float64'))
    expect(await data(sp.floorDivide(a, b))).toEqual([9, -10, 3, -4, -4, 0, -inf, nan])
    expect(await data(sp.remainder(t([5, -5, 5, -5], 'float64'), t([3, 3, -3, -3], 'float64')))).toEqual([2, 1, -1, -2])
    expect(await data(sp.remainder(t([0, 0, 5, 0], 'float64'), t([0, nan, 0, Infinity], 'float64')))).toEqual([
      nan,
      nan,
      nan,
      0,
    ])
    const int = (v: number[]): Tensor => sp.tensor(v, { dtype: 'int32' })
    expect(await data(sp.floorDivide(int([7, -7, 5, -(2 ** 31)]), int([2, 2, 0, -1])))).toEqual([3, -4, 0, -(2 ** 31)])
    expect(await data(sp.remainder(int([7, -7, 5]), int([2, 2, 0])))).toEqual([1, 1, 0])
  })
  test('integers wrap', async () => {
    const int = (v: number[]): Tensor => sp.tensor(v, { dtype: 'int32' })
    const top = 2 ** 31 - 1
    expect(await data(sp.add(int([top]), 1))).toEqual([-(2 ** 31)])
    expect(await data(sp.mul(int([top]), int([top])))).toEqual([1])
    expect(await data(sp.neg(int([-(2 ** 31)])))).toEqual([-(2 ** 31)])
    expect(await data(sp.abs(int([-(2 ** 31)])))).toEqual([-(2 ** 31)])
  })
  test('integers become float32 where a fraction may come out', () => {
    const one = sp.tensor([1], { dtype: 'int32' })
    for (const f of [sp.div, sp.atan2, sp.hypot, sp.logaddexp]) expect(f(one, one).dtype).toBe('float32')
  })
  test('float64 operands keep their precision beside numbers', async () => {
    expect(await data(sp.atan2(t([0], 'float64'), -1))).toEqual([Math.PI])
    expect(await data(sp.hypot(t([1], 'float64'), 1))).toEqual([Math.SQRT2])
  })
})

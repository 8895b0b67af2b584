/** Random numbers: the published vectors, the same numbers always, and distributions that are what they say. */

import * as sp from 'saddlepoint'
import { random } from 'saddlepoint'
import { describe, expect, test } from 'vitest'
import { build } from '../../src/tensor/tensor.js'

type Tensor = sp.Tensor
const word = (n: number): Tensor => sp.tensor(new Uint32Array([n]))
const numbers = async (t: Tensor): Promise<number[]> => [...(await t.data())]

describe('Threefry-2x32-20 gives the vectors of Random123', () => {
  const vectors = [
    { counter: [0, 0], key: [0, 0], result: [0x6b200159, 0x99ba4efe] },
    { counter: [0xffffffff, 0xffffffff], key: [0xffffffff, 0xffffffff], result: [0x1cb996fc, 0xbb002be7] },
    { counter: [0x243f6a88, 0x85a308d3], key: [0x13198a2e, 0x03707344], result: [0xc4923a9c, 0x483df7a0] },
  ]
  for (const { counter, key, result } of vectors) {
    test(result.map(r => r.toString(16)).join(' '), async () => {
      const operands = [...key, ...counter].map(word)
      const words = ([0, 1] as const).map(word => build('threefry', operands, { word }))
      await sp.realize(words)
      expect([await words[0].item(), await words[1].item()]).toEqual(result)
    })
  }
})

test('the first bits of key 0 are those of counter (0, 0)', async () => {
  expect(await numbers(random.bits(random.key(0), [1]))).toEqual([0x6b200159])
})

test('a seed beyond 32 bits uses both words', async () => {
  expect(await numbers(random.key(2 ** 32 + 5))).toEqual([1, 5])
  expect(await numbers(random.key(2 ** 53 - 1))).toEqual([2 ** 21 - 1, 2 ** 32 - 1])
})

const n = 40_000
/** The largest distance between the empirical distribution function of the values and the one expected. */
function kolmogorovSmirnov(values: readonly number[], cdf: (x: number) => number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted.reduce((worst, x, i) => {
    const p = cdf(x)
    return Math.max(worst, Math.abs(p - i / sorted.length), Math.abs(p - (i + 1) / sorted.length))
  }, 0)
}
/** The distance that one sample in 10,000 exceeds. */
const critical = 2.23 / Math.sqrt(n)
const moment = (values: readonly number[], k: number): number => values.reduce((s, v) => s + v ** k, 0) / values.length

/** Φ by Simpson's rule. */
function normalCdf(x: number): number {
  const steps = 400
  const h = x / steps
  let total = 0
  for (let i = 0; i <= steps; i++) total += (i === 0 || i === steps ? 1 : i % 2 ? 4 : 2) * Math.exp(-((i * h) ** 2) / 2)
  return 0.5 + (total * h) / 3 / Math.sqrt(2 * Math.PI)
}

describe('distributions', () => {
  for (const dtype of ['float32', 'float64'] as const) {
    test(`uniform ${dtype}`, async () => {
      const values = await numbers(random.uniform(random.key(1), [n], { dtype }))
      expect(Math.min(...values)).toBeGreaterThanOrEqual(0)
      expect(Math.max(...values)).toBeLessThan(1)
      expect(kolmogorovSmirnov(values, x => x)).toBeLessThan(critical)
      expect(moment(values, 1)).toBeCloseTo(0.5, 2)
      expect(moment(values, 2)).toBeCloseTo(1 / 3, 2)
    })
    test(`normal ${dtype}`, async () => {
      const values = await numbers(random.normal(random.key(2), [n], dtype))
      expect(kolmogorovSmirnov(values, normalCdf)).toBeLessThan(critical)
      for (const [k, expected, tolerance] of [
        [1, 0, 0.02],
        [2, 1, 0.03],
        [3, 0, 0.08],
        [4, 3, 0.2],
      ]) {
        expect(Math.abs(moment(values, k) - expected), `moment ${k}`).toBeLessThan(tolerance)
      }
    })
    test(`truncatedNormal ${dtype}`, async () => {
      const [low, high] = [-1, 2.5]
      const values = await numbers(random.truncatedNormal(random.key(3), [n], { low, high, dtype }))
      const [from, to] = [normalCdf(low), normalCdf(high)]
      expect(Math.min(...values)).toBeGreaterThanOrEqual(low - 1e-6)
      expect(Math.max(...values)).toBeLessThanOrEqual(high + 1e-6)
      expect(kolmogorovSmirnov(values, x => (normalCdf(x) - from) / (to - from))).toBeLessThan(critical)
    })
  }
  test('a truncated normal far in the tail', async () => {
    const values = await numbers(random.truncatedNormal(random.key(3), [2000], { low: -9, high: -8, dtype: 'float64' }))
    expect(Math.min(...values)).toBeGreaterThanOrEqual(-9)
    expect(Math.max(...values)).toBeLessThanOrEqual(-8)
  })
  test('bernoulli', async () => {
    const values = await numbers(random.bernoulli(random.key(4), [n], 0.3))
    expect(Math.abs(moment(values, 1) - 0.3)).toBeLessThan(0.012)
    expect(await numbers(random.bernoulli(random.key(4), [9], 0))).toEqual(new Array(9).fill(0))
    expect(await numbers(random.bernoulli(random.key(4), [9], 1))).toEqual(new Array(9).fill(1))
  })
  test('randint', async () => {
    const values = await numbers(random.randint(random.key(5), [n], -2, 3))
    const counts = [-2, -1, 0, 1, 2].map(v => values.filter(w => w === v).length)
    expect(counts.reduce((a, b) => a + b)).toBe(n)
    // χ² with 4 degrees of freedom, 1 in 10,000.
    expect(counts.reduce((s, c) => s + (c - n / 5) ** 2 / (n / 5), 0)).toBeLessThan(23.5)
    const wide = await numbers(random.randint(random.key(5), [1000], -(2 ** 31), 2 ** 31))
    expect(Math.min(...wide)).toBeLessThan(-(2 ** 30))
    expect(Math.max(...wide)).toBeGreaterThan(2 ** 30)
  })
  test('permutation and shuffle', async () => {
    const p = await numbers(random.permutation(random.key(6), 1000))
    expect([...p].sort((a, b) => a - b)).toEqual(Array.from({ length: 1000 }, (_, i) => i))
    expect(p.filter((v, i) => v === i).length).toBeLessThan(10)
    const rows = sp.reshape(sp.arange(30), [10, 3])
    const shuffled = (await random.shuffle(random.key(6), rows).array()) as number[][]
    expect(shuffled.map(r => r[0]).sort((a, b) => a - b)).toEqual([0, 3, 6, 9, 12, 15, 18, 21, 24, 27])
    expect(shuffled.every(([a, b, c]) => b === a + 1 && c === a + 2)).toBe(true)
  })
})

test('the normal quantile has float64 precision', async () => {
  // Uniform values u of the key, and Φ of the normal values made from the same bits.
  const key = random.key(11)
  const u = await numbers(random.uniform(key, [500], { dtype: 'float64' }))
  const z = await numbers(random.normal(key, [500], 'float64'))
  const order = u.map((_, i) => i).sort((i, j) => u[i] - u[j])
  expect(order.every((i, k) => k === 0 || z[order[k - 1]] < z[i])).toBe(true)
  for (const [i, value] of z.entries()) expect(normalCdf(value)).toBeCloseTo(u[i], 11)
})

describe('keys', () => {
  test('the same key, the same numbers; another, others', async () => {
    const draw = (seed: number): Promise<number[]> => numbers(random.uniform(random.key(seed), [20]))
    expect(await draw(1)).toEqual(await draw(1))
    expect(await draw(1)).not.toEqual(await draw(2))
  })
  test('a longer draw begins like a shorter one, and shape does not matter', async () => {
    const key = random.key(3)
    const short = await numbers(random.normal(key, [6]))
    expect((await numbers(random.normal(key, [20]))).slice(0, 6)).toEqual(short)
    expect(await numbers(random.normal(key, [2, 3]))).toEqual(short)
  })
  test('split and foldIn give keys that have nothing to do with each other', async () => {
    const key = random.key(9)
    const keys = random.split(key, 20)
    const folded = Array.from({ length: 20 }, (_, i) => random.foldIn(key, i))
    const all = [key, ...Array.from({ length: 20 }, (_, i) => keys.at(i)), ...folded]
    const draws: number[][] = []
    for (const k of all) draws.push(await numbers(random.normal(k, [500], 'float64')))
    expect(new Set(draws.map(d => d[0])).size).toBe(all.length)
    let worst = 0
    for (let i = 0; i < draws.length; i++)
      for (let j = 0; j < i; j++) {
        const r = draws[i].reduce((s, v, k) => s + v * draws[j][k], 0) / 500
        worst = Math.max(worst, Math.abs(r))
      }
    // 820 correlations with standard deviation 0.045.
    expect(worst).toBeLessThan(0.25)
  })
  test('foldIn takes a tensor, so that a compiled step may count', async () => {
    const key = random.key(1)
    const counter = sp.tensor(7, { dtype: 'int32' })
    expect(await numbers(random.foldIn(key, counter))).toEqual(await numbers(random.foldIn(key, 7)))
  })
})

test('a truncated normal stays inside far out on both sides', async () => {
  for (const [low, high] of [
    [8, 9],
    [-9, -8],
    [9, Number.POSITIVE_INFINITY],
    [-1, 40],
  ]) {
    const data = [...(await random.truncatedNormal(random.key(4), [500], { low, high, dtype: 'float64' }).data())]
    expect(Math.min(...data)).toBeGreaterThanOrEqual(low)
    expect(Math.max(...data)).toBeLessThanOrEqual(high)
    expect(new Set(data).size).toBeGreaterThan(450)
  }
})

test('uniform never reaches its upper bound', async () => {
  // Where the interval has few floats, rounding up would reach it half the time.
  for (const [low, high] of [
    [1, 1 + 2 ** -23],
    [-1, 0],
    [-(1 + 2 ** -23), -1],
  ]) {
    const data = [...(await random.uniform(random.key(4), [2000], { low, high }).data())]
    expect(Math.max(...data)).toBeLessThan(high)
    expect(Math.min(...data)).toBeGreaterThanOrEqual(low)
  }
})

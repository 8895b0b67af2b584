/**
 * The projection onto a boundary within a range, against an enumeration of what may be at an end of it; FAB on linear classifiers,
 * whose distances are those of the projection, beside a plain float64 loop of algorithm 1, and beside DeepFool.
 */

import { matmul, random, setDevice, type Tensor, tanh, tensor } from 'saddlepoint'
import { deepFool, type FabOptions, fab, type Logits, uniformInBall } from 'saddlepoint/adversarial'
import type { Batch } from 'saddlepoint/nn'
import { beforeAll, describe, expect, test } from 'vitest'
import { ontoBoundary } from '../../src/adversarial/boundaries.js'
import { type Classifier, example, f64, rows } from './common.js'
import { type Matrix, plainNorm } from './plain.js'

beforeAll(async () => {
  await setDevice('reference')
})

type Range = readonly [number, number]
type NormName = 'linf' | 'l2'
const anywhere: Range = [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY]
const dot = (a: readonly number[], b: readonly number[]): number => a.reduce((s, v, i) => s + v * b[i], 0)
const key = random.key(3)
const numbers = async (seed: number, count: number): Promise<number[]> =>
  Array.from(await random.uniform(random.key(seed), [count], { low: -1, high: 1, dtype: 'float64' }).data())

/** The least δ with f + <w, δ> = 0 and x + δ in the range; the corner towards it where there is none. */
function plainOnto(
  x: readonly number[],
  f: number,
  w: readonly number[],
  norm: NormName,
  [low, high]: Range,
): number[] {
  const towards = w.map(v => -Math.sign(f) * Math.sign(v))
  const room = x.map((v, i) => (towards[i] > 0 ? high - v : towards[i] < 0 ? v - low : 0))
  const gain = (size: readonly number[]): number =>
    size.reduce((s, v, i) => s + (w[i] === 0 ? 0 : Math.abs(w[i]) * v), 0)
  const signed = (size: readonly number[]): number[] => size.map((v, i) => (towards[i] === 0 ? 0 : towards[i] * v))
  if (gain(room) <= Math.abs(f)) return signed(room)
  if (norm === 'linf') {
    const within = (t: number): number[] => room.map(u => Math.min(t, u))
    let [short, enough] = [0, 1]
    while (gain(within(enough)) < Math.abs(f)) enough *= 2
    for (let i = 0; i < 200; i++) {
      const middle = (short + enough) / 2
      if (gain(within(middle)) < Math.abs(f)) short = middle
      else enough = middle
    }
    return signed(within(enough))
  }
  // Each subset of elements at the end of the range, the others along w: the shortest that is in the range.
  let best: number[] = []
  for (let subset = 0; subset < 2 ** x.length; subset++) {
    const isFull = (i: number): boolean => Boolean(subset & (1 << i))
    if (room.some((u, i) => isFull(i) && u === Number.POSITIVE_INFINITY)) continue
    const left = Math.abs(f) - gain(room.map((u, i) => (isFull(i) ? u : 0)))
    const free = w.reduce((s, v, i) => s + (isFull(i) ? 0 : v * v), 0)
    const size = room.map((u, i) => (isFull(i) ? u : free === 0 ? 0 : (Math.abs(w[i]) * left) / free))
    const isValid = size.every((v, i) => v >= 0 && v <= room[i] + 1e-12) && Math.abs(gain(size) - Math.abs(f)) < 1e-9
    if (isValid && (best.length === 0 || Math.hypot(...size) < Math.hypot(...best))) best = size
  }
  return signed(best)
}

describe('the projection onto a boundary', () => {
  const [n, d] = [60, 5]
  test.each([
    ['linf', [-1, 1]],
    ['l2', [-1, 1]],
    ['linf', anywhere],
    ['l2', anywhere],
    ['linf', [-1, Number.POSITIVE_INFINITY]],
    ['l2', [Number.NEGATIVE_INFINITY, 0.9]],
  ] as const)('%s within %j is the shortest there is', async (norm, range) => {
    const inside = (v: number): number => Math.min(range[1], Math.max(range[0], v))
    const drawn = await numbers(1, 2 * n * d + n)
    const x = Array.from({ length: n }, (_, i) => drawn.slice(i * d, (i + 1) * d).map(inside))
    // Some elements do nothing, some stand at an end, and some boundaries are out of reach.
    const w = x.map((v, i) => v.map((_, j) => ((i + j) % 7 === 0 ? 0 : 3 * drawn[n * d + i * d + j])))
    for (let i = 0; i < n; i += 9) x[i][i % d] = inside(range[0] === -1 ? -1 : 0.9)
    const gap = x.map((_, i) => (i % 11 === 0 ? 0 : 6 * drawn[2 * n * d + i]))
    w[5] = w[5].map(() => 0)
    // Two features of different shapes: the norm is over both.
    const part = (m: Matrix): { a: Tensor; b: Tensor } => ({
      a: f64(m.map(r => r.slice(0, 2))),
      b: f64(m.map(r => r.slice(2))).reshape([n, 3, 1]),
    })
    const bounds = { clipMin: range[0], clipMax: range[1] }
    const moved = ontoBoundary(part(x), { gap: f64(gap), slope: part(w) }, norm, bounds)
    expect(moved.b.shape).toEqual([n, 3, 1])
    const [a, b] = [await rows(moved.a), await rows(moved.b)]
    let [reached, corners, bent] = [0, 0, 0]
    x.forEach((v, i) => {
      const got = [...a[i], ...b[i]]
      const want = plainOnto(v, gap[i], w[i], norm, range)
      got.forEach((g, j) => expect(g).toBeCloseTo(want[j], 9))
      if (Math.abs(gap[i] + dot(w[i], got)) < 1e-9) reached++
      else corners++
      if (got.some((g, j) => w[i][j] !== 0 && (v[j] + g === range[0] || v[j] + g === range[1]))) bent++
    })
    expect(reached).toBeGreaterThan(20)
    // A half-open range is always wide enough for one slope at least.
    if (range[0] === -1 && range[1] === 1) expect(Math.min(corners, bent)).toBeGreaterThan(3)
  })
})

describe('fab', () => {
  const linear: Logits<Tensor> = (w, { x }) => matmul(x, w)
  const [n, d, classes] = [30, 5, 4]
  async function make(): Promise<{ w: Tensor; batch: Batch; x: Matrix; labels: number[]; columns: Matrix }> {
    const w = random.normal(random.key(1), [d, classes], 'float64')
    const x = random.uniform(random.key(2), [n, d], { low: -1, high: 1, dtype: 'float64' })
    const [table, points] = [await rows(w), await rows(x)]
    const columns = Array.from({ length: classes }, (_, c) => table.map(row => row[c]))
    const labels = points.map((p, i) => {
      const z = columns.map(c => dot(p, c))
      const top = z.indexOf(Math.max(...z))
      return i % 10 === 9 ? (top + 1) % classes : top
    })
    return { w, batch: { x, label: tensor(Int32Array.from(labels)) }, x: points, labels, columns }
  }
  /** The δ to the nearest boundary that can be reached; none where there is none. */
  const plainNearest = (x: number[], label: number, columns: Matrix, norm: NormName, range: Range): number[] => {
    const ways = columns.flatMap((c, k) => {
      if (k === label) return []
      const w = c.map((v, i) => v - columns[label][i])
      if (dot(x, w) > 0) return [x.map(() => 0)]
      const delta = plainOnto(x, dot(x, w), w, norm, range)
      return Math.abs(dot(x, w) + dot(w, delta)) < 1e-9 ? [delta] : []
    })
    return ways.sort((a, b) => plainNorm(a, norm) - plainNorm(b, norm))[0] ?? []
  }

  test.each([
    ['linf', undefined, anywhere],
    ['l2', undefined, anywhere],
    ['linf', 3, [-1, 1]],
    ['l2', [2, 3, 1], [-1, 1]],
  ] as const)('linear, %s, targets %j, within %j: as near as the nearest boundary', async (norm, targets, range) => {
    const { w, batch, x, labels, columns } = await make()
    const bounds = { clipMin: range[0], clipMax: range[1] }
    const options = { norm, targets, ...bounds, steps: 40 }
    const { distance, broken, adversarial, report } = await fab(linear, w, batch, options)
    const [got, isBroken] = [Array.from(await distance.data()), Array.from(await broken.data(), Boolean)]
    const moved = await rows(adversarial.x)
    let bent = 0
    x.forEach((p, i) => {
      const nearest = plainNearest(p, labels[i], columns, norm, range)
      expect(isBroken[i]).toBe(nearest.length > 0)
      const z = columns.map(c => dot(moved[i], c))
      expect(z.indexOf(Math.max(...z)) !== labels[i]).toBe(isBroken[i])
      if (!isBroken[i]) {
        expect([got[i], moved[i]]).toEqual([Number.POSITIVE_INFINITY, p])
        return
      }
      const delta = moved[i].map((v, j) => v - p[j])
      expect(Math.max(...moved[i].map(Math.abs))).toBeLessThanOrEqual(range[1])
      expect(plainNorm(delta, norm)).toBeCloseTo(got[i], 14)
      const want = plainNorm(nearest, norm)
      expect(got[i]).toBeGreaterThanOrEqual(want * (1 - 1e-14))
      // Where the extrapolation is clipped, the line back to the original misses the nearest point by a part of it.
      const isBent = nearest.some((v, j) => Math.abs(p[j] + 1.05 * v) >= range[1])
      if (isBent) bent++
      expect(got[i]).toBeLessThanOrEqual(want * (isBent ? 1.01 : 1) + 1e-7)
    })
    if (targets) expect(bent).toBeGreaterThan(3)
    const runs = typeof targets === 'number' ? targets : (targets?.length ?? 1)
    const standing = isBroken.map((is, i) => (got[i] === 0 ? 0 : is ? 1 : 40 * runs))
    expect(await report.gradients.item()).toBe(standing.reduce((s, v) => s + v, 0))
  })

  const net: Logits<Classifier> = (model, { x }) => matmul(tanh(matmul(x, model.w1)), model.w2)

  test.each([
    ['linf', undefined],
    ['l2', undefined],
    ['linf', 2],
    ['l2', 2],
  ] as const)(
    'a network, %s, targets %j: step by step as a plain loop, from random starts too',
    async (norm, targets) => {
      const { model, net: plain, x } = await example(11)
      const range: Range = [-1.2, 1.2]
      const inside = (p: number[]): number[] => p.map(v => Math.min(range[1], Math.max(range[0], v)))
      const hidden = (p: readonly number[]): number[] =>
        plain.w1[0].map((_, j) => Math.tanh(p.reduce((s, v, i) => s + v * plain.w1[i][j], 0)))
      const logits = (p: readonly number[]): number[] =>
        plain.w2[0].map((_, c) =>
          dot(
            hidden(p),
            plain.w2.map(r => r[c]),
          ),
        )
      const slope = (p: readonly number[], c: number): number[] =>
        p.map((_, i) => hidden(p).reduce((s, h, j) => s + plain.w1[i][j] * (1 - h * h) * plain.w2[j][c], 0))
      const top = (z: number[]): number => z.indexOf(Math.max(...z))
      const minus = (a: readonly number[], b: readonly number[]): number[] => a.map((v, i) => v - b[i])

      // One is wrong without an attack.
      const labels = x.map((p, i) => (top(logits(inside(p))) + (i === 0 ? 1 : 0)) % 3)
      const start = { x: f64(x.map(inside)), label: tensor(Int32Array.from(labels)) }
      const mask = [1, 1, 0, 1]
      const bounds = { clipMin: range[0], clipMax: range[1] }
      const [radius, steps] = [1, 3]
      const options: FabOptions = { norm, targets, steps, restarts: 4, epsilon: radius, key, ...bounds }
      const drawn = (rank: number, run: number): Promise<Matrix> =>
        rows(uniformInBall(random.foldIn(random.foldIn(key, rank), run), { x: start.x }, 1, norm).x)
      const draws = await Promise.all((targets ? [1, 2] : [0]).map(r => Promise.all([1, 2, 3].map(k => drawn(r, k)))))
      const nearer = new Set<boolean>()
      const { adversarial, broken, distance } = await fab(net, model, start, { ...options, featureMask: f64([mask]) })
      const [got, isBroken] = [await rows(adversarial.x), Array.from(await broken.data(), Boolean)]
      const far = Array.from(await distance.data())
      let refined = 0
      x.map(inside).forEach((origin, i) => {
        const label = labels[i]
        const clean = logits(origin)
        const wrong = [0, 1, 2].filter(c => c !== label).sort((a, b) => clean[b] - clean[a])
        let [best, least] = [origin, top(clean) === label ? Number.POSITIVE_INFINITY : 0]
        const runs = (targets ? wrong.slice(0, targets) : [undefined]).flatMap((target, r) => [
          { target },
          ...draws[r].map(drawn => ({ target, way: drawn[i].map((v, j) => v * mask[j]) })),
        ])
        for (const { target, way } of runs as { target?: number; way?: number[] }[]) {
          if (way && least > 0) nearer.add(least < radius)
          const size = way ? Math.min(least, radius) / 2 / plainNorm(way, norm) : 0
          let p = inside(origin.map((v, j) => v + (way ? size * way[j] : 0)))
          for (let k = 0; k < steps; k++) {
            const z = logits(p)
            const boundary = (c: number) => ({
              f: z[c] - z[label],
              w: minus(slope(p, c), slope(p, label)).map((v, j) => v * mask[j]),
            })
            const dual = ({ f, w }: { f: number; w: number[] }): number =>
              Math.abs(f) / plainNorm(w, norm === 'l2' ? 'l2' : 'l1')
            const { f, w } =
              target === undefined
                ? wrong.map(boundary).reduce((a, b) => (dual(b) < dual(a) ? b : a))
                : boundary(target)
            const here = plainOnto(p, f, w, norm, range)
            const there = plainOnto(origin, f + dot(w, minus(origin, p)), w, norm, range)
            const [a, b] = [plainNorm(here, norm), plainNorm(there, norm)]
            const alpha = Math.min(0.1, a / (a + b))
            p = inside(p.map((v, j) => (1 - alpha) * (v + 1.05 * here[j]) + alpha * (origin[j] + 1.05 * there[j])))
            if (top(logits(p)) === label) continue
            const size = plainNorm(minus(p, origin), norm)
            if (size < least) [best, least] = [p, size]
            p = p.map((v, j) => origin[j] + 0.9 * (v - origin[j]))
          }
        }
        let [low, high] = [origin, best]
        for (let k = 0; k < 3 && least > 0 && least < Number.POSITIVE_INFINITY; k++) {
          const [under, over] = [logits(low), logits(high)]
          const c = top(over)
          const [u, o] = [under[c] - under[label], over[c] - over[label]]
          const tried = high.map((v, j) => v - ((0.999 * o) / (o - u)) * (v - low[j]))
          if (top(logits(tried)) === label) low = tried
          else high = tried
        }
        if (high !== best) refined++
        expect(isBroken[i]).toBe(least < Number.POSITIVE_INFINITY)
        got[i].forEach((v, j) => expect(v).toBeCloseTo(high[j], 7))
        if (isBroken[i]) expect(far[i]).toBeCloseTo(plainNorm(minus(high, origin), norm), 6)
      })
      expect(refined).toBeGreaterThan(0)
      // Some start by what was found, others by epsilon.
      expect(nearer).toContain(true)
    },
  )

  test('l2: nearer than DeepFool in the mean, and restarts only help', async () => {
    const w1 = random.normal(random.key(5), [6, 12], 'float64').mul(1.5)
    const model = { w1, w2: random.normal(random.key(6), [12, 5], 'float64') }
    const x = random.uniform(random.key(7), [40, 6], { low: -1, high: 1, dtype: 'float64' })
    const batch = { x, label: net(model, { x }, { training: false }).argmax({ axis: -1 }).astype('int32') }
    const common = { clipMin: -1, clipMax: 1, steps: 50 }
    const options = { ...common, norm: 'l2' } as const
    const distances = async (found: Promise<{ distance: Tensor }>): Promise<number[]> =>
      Array.from(await (await found).distance.data())
    const one = await distances(fab(net, model, batch, options))
    const linear = await distances(deepFool(net, model, batch, common))
    const more = await distances(fab(net, model, batch, { ...options, restarts: 3, epsilon: 0.8, key: random.key(8) }))
    const both = one.flatMap((d, i) => (Number.isFinite(d + linear[i]) ? [i] : []))
    const mean = (v: number[]): number => both.reduce((s, i) => s + v[i], 0) / both.length
    expect(both.length).toBeGreaterThan(30)
    expect(one.filter(Number.isFinite).length).toBeGreaterThanOrEqual(linear.filter(Number.isFinite).length)
    expect(mean(one)).toBeLessThan(0.98 * mean(linear))
    more.forEach((d, i) => expect(d).toBeLessThanOrEqual(one[i] * (1 + 1e-3)))
    expect(mean(more)).toBeLessThan(mean(one))
  })

  test('options are checked', async () => {
    const { w, batch } = await make()
    const wrong: [FabOptions, string][] = [
      [{ norm: 'l1' as 'l2' }, "fab: unknown norm 'l1'; one of linf, l2"],
      [{ targets: 9 }, 'fab: target 4 of 3 wrong classes'],
      [{ targets: [0] }, 'fab: target must be an integer >= 1, not 0'],
      [{ targets: 0 }, 'fab: targets must be an integer >= 1, not 0'],
      [{ beta: 1.5 }, 'fab: beta is a share, at most 1, not 1.5'],
      [{ restarts: 2, key }, 'fab: restarts begin at random within a radius: { epsilon, key: random.key(0) }'],
      [{ clipMin: 1, clipMax: 0 }, 'fab: clipMin 1 must not be above clipMax 0'],
    ]
    for (const [options, message] of wrong)
      await expect(fab(linear, w, batch, { steps: 1, ...options })).rejects.toThrow(message)
  })
})

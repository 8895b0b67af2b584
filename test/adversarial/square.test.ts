/** Square in L2, beside algorithm 3 in plain float64 loops: the draws are the library's own, whatever follows from them is not. */

import { concat, matmul, random, setDevice, type Tensor, tensor } from 'saddlepoint'
import { type Logits, square } from 'saddlepoint/adversarial'
import { beforeAll, describe, expect, test } from 'vitest'
import { shareAt } from '../../src/adversarial/square.js'
import { frameOf, oddSideOf, tiles, twoBumps, windowsOf } from '../../src/adversarial/windows.js'
import { f64, rows } from './common.js'
import type { Matrix } from './plain.js'

beforeAll(async () => {
  await setDevice('reference')
})

const key = random.key(21)
const sum = (v: readonly number[]): number => v.reduce((s, x) => s + x, 0)

/** η by rectangles that grow around the centre, one upon another; rows of columns. */
function plainBumps(height: number, width: number): Matrix {
  const grown = (h: number, w: number): Matrix => {
    const values = Array.from({ length: h }, () => new Array<number>(w).fill(0))
    let [top, left] = [Math.floor(h / 2), Math.floor(w / 2)]
    for (let k = 0; k < Math.max(Math.floor(h / 2), Math.floor(w / 2)) + 1; k++) {
      for (let i = Math.max(0, top); i < Math.min(h, top + 2 * k + 1); i++)
        for (let j = Math.max(0, left); j < Math.min(w, left + 2 * k + 1); j++) values[i][j] += 1 / (k + 1) ** 2
      ;[top, left] = [top - 1, left - 1]
    }
    const length = Math.hypot(...values.flat())
    return values.map(r => r.map(v => v / length))
  }
  const upper = Math.floor(height / 2)
  const both = [...(upper ? grown(upper, width) : []), ...grown(height - upper, width).map(r => r.map(v => -v))]
  const length = Math.hypot(...both.flat())
  return both.map(r => r.map(v => v / length))
}
const turned = (m: Matrix): Matrix => m[0].map((_, j) => m.map(r => r[j]))

test.each([
  [5, 5],
  [3, 3],
  [9, 9],
  [7, 1],
  [1, 1],
  [2, 2],
])('η of %i by %i', (height, width) => {
  const want = plainBumps(height, width).flat()
  twoBumps(height, width).forEach((v, i) => expect(v).toBeCloseTo(want[i], 14))
})

test('windows have odd sides, 3 at least, within the frame', () => {
  const sides = (shape: number[]) => [0.8, 0.2, 0.01].map(share => oddSideOf(frameOf([1, ...shape]), share))
  expect(sides([28, 28, 1])).toEqual([25, 13, 3])
  expect(sides([10, 6, 3])).toEqual([5, 3, 3])
  expect(sides([20])).toEqual([17, 5, 3])
  expect(sides([2])).toEqual([1, 1, 1])
})

describe('a search in l2', () => {
  const [n, rowsOf, columns, channels, line, steps] = [3, 7, 8, 2, 11, 40]
  const pixels = rowsOf * columns * channels
  const epsilon = 0.9
  const shapes = { image: [n, rowsOf, columns, channels], line: [n, line, 1, 1] }
  const mask = Array.from({ length: line }, (_, i) => (i % 4 === 1 ? 0 : 1))

  const logits: Logits<Tensor> = (w, { image, line }) =>
    matmul(concat([image.reshape([n, pixels]), line.reshape([n, -1])], 1), w).add(f64([9, 0, 0]))

  const draw = (): { w: Tensor; image: Tensor; line: Tensor } => {
    const unit = { low: 0, high: 1, dtype: 'float64' } as const
    return {
      w: random.normal(random.key(1), [pixels + line, 3], 'float64').mul(0.3),
      image: random.uniform(random.key(2), shapes.image, unit),
      line: random.uniform(random.key(3), [n, line], unit),
    }
  }

  test.each([undefined, 0.25])('follows algorithm 3 in each step (bound of the range: %s)', async bound => {
    const { w, image, line: lines } = draw()
    const label = tensor(Int32Array.of(0, 0, 0))
    const [low, high] = bound === undefined ? [-10, 10] : [bound, 1 - bound]
    const range = (v: number): number => Math.min(high, Math.max(low, v))
    const start = { image: image.clip(low, high), line: lines.clip(low, high) }
    const options = { norm: 'l2', epsilon, key, steps, clipMin: low, clipMax: high } as const
    const { adversarial, broken } = await square(
      logits,
      w,
      { ...start, label },
      { ...options, featureMask: { line: f64(mask) } },
    )
    expect(Array.from(await broken.data())).toEqual([0, 0, 0])
    const got = { image: await rows(adversarial.image), line: await rows(adversarial.line) }
    const origin = { image: await rows(start.image), line: await rows(start.line) }
    const table = await rows(w)
    type Point = { image: number[]; line: number[] }
    const names = ['image', 'line'] as const
    const margin = ({ image, line }: Point): number => {
      const x = [...image, ...line]
      const z = [0, 1, 2].map(c => sum(x.map((v, i) => v * table[i][c])) + (c === 0 ? 9 : 0))
      return z[0] - Math.max(z[1], z[2])
    }
    const free = (name: 'image' | 'line', i: number): number => (name === 'line' ? mask[i] : 1)
    const length = (p: Point): number => Math.hypot(...p.image, ...p.line)
    const minus = (p: Point, i: number): Point => ({
      image: p.image.map((v, j) => v - origin.image[i][j]),
      line: p.line.map((v, j) => v - origin.line[i][j]),
    })
    const plus = (p: Point, i: number): Point => ({
      image: p.image.map((v, j) => range(v + origin.image[i][j])),
      line: p.line.map((v, j) => range(v + origin.line[i][j])),
    })
    const check = (p: Point, i: number): void => {
      expect(length(minus(p, i))).toBeLessThanOrEqual(epsilon + 1e-12)
      for (const v of [...p.image, ...p.line]) expect(range(v)).toBe(v)
    }

    // The tiles: bumps as they are or turned, ± in each channel, all of one length.
    const first: Point[] = []
    const tiled = await Promise.all(
      names.map(async (name, f) => {
        const like = start[name].reshape(shapes[name])
        return rows(tiles(random.foldIn(random.foldIn(key, 0), f), frameOf(shapes[name]), like))
      }),
    )
    const eta = [[-1]]
    for (let i = 0; i < n; i++) {
      // Sides of a fifth: 1 for an image of 7 by 8, and 2 for a line of 11.
      for (const v of tiled[0][i]) expect(Math.abs(v)).toBe(Math.abs(eta[0][0]))
      const pairs = plainBumps(2, 1).flat()
      expect(tiled[1][i][10]).toBe(0)
      for (let t = 0; t < 5; t++) {
        const sign = Math.sign(tiled[1][i][2 * t])
        expect(tiled[1][i].slice(2 * t, 2 * t + 2)).toEqual(pairs.map(v => sign * Math.sign(pairs[0]) * v))
      }
      const p = { image: tiled[0][i], line: tiled[1][i].map((v, j) => v * mask[j]) }
      const scale = epsilon / length(p)
      first.push(plus({ image: p.image.map(v => v * scale), line: p.line.map(v => v * scale) }, i))
    }

    const shares = Array.from({ length: steps }, (_, k) => shareAt(k, steps, 0.8))
    const drawers = names.map(name => {
      const frame = frameOf(shapes[name])
      return windowsOf(
        frame,
        shares.map(s => oddSideOf(frame, s)),
      )
    })
    const current = first
    let [taken, refused, cancelled] = [0, 0, 0]
    const orientations = new Set<boolean>()
    for (let k = 0; k < steps; k++) {
      const draws = await Promise.all(
        names.map(async (name, f) => {
          const own = random.foldIn(random.foldIn(random.foldIn(key, 1), tensor(k, { dtype: 'int32' })), f)
          const d = drawers[f](own, tensor(k, { dtype: 'int32' }), start[name].reshape(shapes[name]))
          const of = async (t: Tensor): Promise<number[][]> => rows(t)
          return {
            to: [await of(d.to.top), await of(d.to.left)],
            from: [await of(d.from.top), await of(d.from.left)],
            sign: await of(d.sign),
            bumps: await of(d.bumps),
          }
        }),
      )
      for (let i = 0; i < n; i++) {
        const delta = minus(current[i], i)
        const left = epsilon ** 2 - length(delta) ** 2
        const unused = left < 1e-6 * epsilon ** 2 ? 0 : left / (channels + 1)
        const next: Point = { image: [...delta.image], line: [...delta.line] }
        names.forEach((name, f) => {
          const [, height, width, depth] = shapes[name]
          const side = oddSideOf(frameOf(shapes[name]), shares[k])
          const across = width === 1 ? 1 : side
          const [top, left] = draws[f].to.map(v => v[i][0])
          const [fromTop, fromLeft] = draws[f].from.map(v => v[i][0])
          for (const [a, b] of [
            [top, left],
            [fromTop, fromLeft],
          ]) {
            expect(Math.min(a, b, height - side - a, width - across - b)).toBeGreaterThanOrEqual(0)
          }
          const isIn = (t: number, l: number) => (r: number, c: number) =>
            r >= t && r < t + side && c >= l && c < l + across
          const [isTo, isFrom] = [isIn(top, left), isIn(fromTop, fromLeft)]
          const at = (r: number, c: number, channel: number): number => (r * width + c) * depth + channel
          const places = Array.from({ length: height * width }, (_, j) => [Math.floor(j / width), j % width])
          const upright = plainBumps(side, across)
          const put = draws[f].bumps[i]
          const isTurned = across > 1 && Math.abs(put[top * width + left + 1] - upright[0][1]) > 1e-12
          if (side > 1 && across > 1) orientations.add(isTurned)
          const pattern = isTurned ? turned(upright) : upright
          for (const [r, c] of places)
            expect(put[r * width + c]).toBeCloseTo(isTo(r, c) ? pattern[r - top][c - left] : 0, 12)
          for (let channel = 0; channel < depth; channel++) {
            const sign = draws[f].sign[i][channel]
            expect(Math.abs(sign)).toBe(1)
            const v = (r: number, c: number): number => delta[name][at(r, c, channel)]
            const norm = Math.hypot(...places.map(([r, c]) => (isTo(r, c) ? v(r, c) : 0)))
            const both = Math.hypot(...places.map(([r, c]) => (isTo(r, c) || isFrom(r, c) ? v(r, c) : 0)))
            const fresh = places.map(([r, c]) =>
              isTo(r, c) ? free(name, at(r, c, channel)) * sign * pattern[r - top][c - left] : 0,
            )
            const added = places.map(([r, c], j) => fresh[j] + (isTo(r, c) && norm > 0 ? v(r, c) / norm : 0))
            const temp = Math.hypot(...added) < 1e-3 ? fresh : added
            if (temp === fresh) cancelled++
            const size = Math.hypot(...temp)
            places.forEach(([r, c], j) => {
              if (isTo(r, c))
                next[name][at(r, c, channel)] = size === 0 ? 0 : (temp[j] / size) * Math.sqrt(both ** 2 + unused)
              else if (isFrom(r, c)) next[name][at(r, c, channel)] = 0
            })
          }
        })
        const tried = plus(next, i)
        check(tried, i)
        if (margin(tried) < margin(current[i])) {
          taken++
          current[i] = tried
        } else refused++
      }
    }
    for (let i = 0; i < n; i++) {
      check(current[i], i)
      for (const name of names) got[name][i].forEach((v, j) => expect(v).toBeCloseTo(current[i][name][j], 9))
    }
    expect(Math.min(taken, refused)).toBeGreaterThan(10)
    expect(orientations.size).toBe(2)
    if (bound === undefined) expect(cancelled).toBeGreaterThan(0)
    // Without a range in the way, all of the ball is used.
    if (bound === undefined) expect(length(minus(current[0], 0))).toBeCloseTo(epsilon, 9)
  })

  test('the grid of larger images: bumps in five by five tiles, the rest as it was', async () => {
    const frame = frameOf([1, 28, 28, 2])
    const [values] = await rows(tiles(key, frame, f64(new Array(28 * 28 * 2).fill(0)).reshape([1, 28, 28, 2])))
    const at = (r: number, c: number, channel: number): number => values[(r * 28 + c) * 2 + channel]
    const upright = plainBumps(5, 5)
    const seen = new Set<string>()
    for (let r = 0; r < 28; r++) {
      for (let c = 0; c < 28; c++) if (Math.min(r, c) < 1 || Math.max(r, c) > 25) expect(at(r, c, 0)).toBe(0)
    }
    for (let tile = 0; tile < 25; tile++) {
      const [top, left] = [1 + 5 * Math.floor(tile / 5), 1 + 5 * (tile % 5)]
      const kinds = [0, 1].map(channel => {
        const kind = [upright, turned(upright)].flatMap((m, t) =>
          [1, -1].flatMap(s =>
            m.every((row, i) => row.every((v, j) => Math.abs(s * v - at(top + i, left + j, channel)) < 1e-12))
              ? [{ t, s }]
              : [],
          ),
        )
        expect(kind).toHaveLength(1)
        return kind[0]
      })
      expect(kinds[0].t).toBe(kinds[1].t)
      seen.add(`${kinds[0].t} ${kinds[0].s} ${kinds[1].s}`)
    }
    expect(seen.size).toBe(8)
  })

  test('a norm that it does not know', async () => {
    const { w, image, line } = draw()
    const batch = { image, line, label: tensor(Int32Array.of(0, 0, 0)) }
    await expect(square(logits, w, batch, { norm: 'l1' as 'l2', epsilon, key })).rejects.toThrow(
      "square: unknown norm 'l1'; one of linf, l2",
    )
  })
})

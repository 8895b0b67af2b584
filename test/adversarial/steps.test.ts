import fc from 'fast-check'
import { grad, random, setDevice, sum, type Tensor, tensor } from 'saddlepoint'
import { type Norm, norms, project, steepest, uniformInBall } from 'saddlepoint/adversarial'
import { beforeAll, describe, expect, test } from 'vitest'
import { canonicalize } from '../../src/compiler/canonical.js'
import { costOf } from '../../src/compiler/cost.js'
import { schedule } from '../../src/compiler/schedule.js'
import { f64, rows } from './common.js'
import { plainNorm, plainProject, plainSteepest } from './plain.js'

beforeAll(async () => {
  await setDevice('reference')
})

const element = fc.oneof(fc.constantFrom(0, 1, -1, 0.5), fc.double({ min: -3, max: 3, noNaN: true }))
const matrix = fc.array(fc.array(element, { minLength: 7, maxLength: 7 }), { minLength: 3, maxLength: 3 })
const norm = fc.constantFrom(...norms)
const close = (found: number[][], wanted: number[][], digits = 12) => {
  for (const [i, row] of found.entries())
    for (const [j, v] of row.entries()) expect(v).toBeCloseTo(wanted[i][j], digits)
}
/** [3, 7] in two features of different rank, and back: norms are joint. */
const parts = (x: Tensor) => ({ a: x.at([], [0, 3]), b: x.at([], [3, null]).reshape([3, 2, 2]) })
const joined = async (f: Readonly<Record<string, Tensor>>) => {
  const [a, b] = [await rows(f.a), await rows(f.b)]
  return a.map((row, i) => [...row, ...b[i]])
}

describe('a radius for each example', () => {
  const radii = [0.4, 0, 1.7]
  test('project: each example on its own ball; a scalar tensor is one for all', () =>
    fc.assert(
      fc.asyncProperty(matrix, norm, async (d, norm) => {
        const each = d.map((row, i) => plainProject(row, radii[i], norm))
        close(await joined(project(parts(f64(d)), f64(radii), norm)), each, 10)
        const all = d.map(row => plainProject(row, 0.7, norm))
        close(await joined(project(parts(f64(d)), f64([0.7]).at(0), norm)), all, 10)
      }),
      { numRuns: 60 },
    ))

  test('uniformInBall: what the unit ball gives, as many times as large', async () => {
    const like = parts(f64(Array.from({ length: 3 }, () => Array(7).fill(0))))
    for (const norm of norms) {
      const unit = await joined(uniformInBall(random.key(1), like, 1, norm))
      const each = await joined(uniformInBall(random.key(1), like, f64(radii), norm))
      close(
        each,
        unit.map((row, i) => row.map(v => v * radii[i])),
      )
    }
  })
})

describe('steepest', () => {
  test('is the plain computation, jointly over features', () =>
    fc.assert(
      fc.asyncProperty(matrix, norm, async (g, norm) => {
        const wanted = g.map(row => plainSteepest(row, norm))
        close(await joined(steepest(parts(f64(g)), norm)), wanted)
      }),
      { numRuns: 60 },
    ))

  test('pinned: the three norms of (3, -4), a tie, and zero', async () => {
    const directions = async (norm: Norm) =>
      rows(
        steepest(
          {
            x: f64([
              [3, -4],
              [2, -2],
              [0, 0],
            ]),
          },
          norm,
        ).x,
      )
    expect(await directions('linf')).toEqual([
      [1, -1],
      [1, -1],
      [0, 0],
    ])
    expect(await directions('l1')).toEqual([
      [0, -1],
      [0.5, -0.5],
      [0, 0],
    ])
    close(await directions('l2'), [
      [0.6, -0.8],
      [Math.SQRT1_2, -Math.SQRT1_2],
      [0, 0],
    ])
  })

  test('does not depend on the scale of the gradient, down to where squares vanish', () =>
    fc.assert(
      fc.asyncProperty(matrix, norm, fc.integer({ min: -900, max: 900 }), async (g, norm, exponent) => {
        // Elements that stay normal numbers: powers of 2 then scale exactly.
        const x = f64(g.map(row => row.map(v => (Math.abs(v) < 1e-6 ? 0 : v))))
        const scaled = await rows(steepest({ x: x.mul(2 ** exponent) }, norm).x)
        expect(scaled).toEqual(await rows(steepest({ x }, norm).x))
      }),
      { numRuns: 60 },
    ))

  test('a zero gradient has finite derivatives to order 3', async () => {
    for (const norm of norms) {
      const value = (x: Tensor) => sum(steepest({ x }, norm).x.mul(f64([[1, 2, 3]])))
      const first = (x: Tensor) => sum(grad(value)(x).mul(f64([[1, -1, 2]])))
      const second = (x: Tensor) => sum(grad(first)(x).mul(x.add(1)))
      const x = f64([[0, 0, 0]])
      for (const f of [value, first, second]) for (const v of await grad(f)(x).data()) expect(v).toBe(0)
    }
  })

  test('the l2 direction is differentiated exactly: ∂(v·c)/∂g = (c - v(v·c)) / ‖g‖', async () => {
    const c = f64([[1, 2]])
    const found = await grad((g: Tensor) => sum(steepest({ g }, 'l2').g.mul(c)))(f64([[3, 4]])).data()
    // v = (0.6, 0.8), v·c = 2.2
    close([Array.from(found)], [[(1 - 0.6 * 2.2) / 5, (2 - 0.8 * 2.2) / 5]])
  })
})

describe('project', () => {
  test.each(norms)('%s: a few operations for each element, however many there are', norm => {
    const x = tensor(new Float32Array(10_000).fill(2), { shape: [2, 5000] })
    const { kernels, buffers } = schedule(canonicalize([project({ x }, 1, norm).x.node]))
    const flops = kernels.reduce((sum, kernel) => sum + costOf(kernel, buffers, () => 4).flops, 0)
    expect(flops).toBeLessThan(100 * x.size)
  })

  const radius = fc.constantFrom(0, 0.1, 1, 2.5, 100)

  test('is the plain computation, stays in the ball and changes nothing twice', () =>
    fc.assert(
      fc.asyncProperty(matrix, norm, radius, async (d, norm, epsilon) => {
        const once = project(parts(f64(d)), epsilon, norm)
        const found = await joined(once)
        close(
          found,
          d.map(row => plainProject(row, epsilon, norm)),
        )
        for (const row of found) expect(plainNorm(row, norm)).toBeLessThanOrEqual(epsilon * (1 + 1e-14) + 1e-15)
        close(await joined(project(once, epsilon, norm)), found)
      }),
      { numRuns: 80 },
    ))

  test('zero has finite derivatives to order 3, inside and on a ball of radius 0', async () => {
    for (const norm of norms) {
      for (const epsilon of [0, 0.5]) {
        const value = (x: Tensor) => sum(project({ x }, epsilon, norm).x.mul(f64([[1, 2, 3]])))
        const first = (x: Tensor) => sum(grad(value)(x).mul(x.add(1)))
        const second = (x: Tensor) => sum(grad(first)(x).mul(x.add(1)))
        for (const f of [value, first, second])
          for (const v of await grad(f)(f64([[0, 0, 0]])).data()) expect(v).toSatisfy(Number.isFinite)
      }
    }
  })
})

describe('uniformInBall', () => {
  test('fills the ball as a uniform distribution does', async () => {
    const like = { a: f64(new Array(400).fill([0, 0])), b: f64(new Array(400).fill([0])) }
    for (const norm of norms) {
      const { a, b } = uniformInBall(random.key(1), like, 0.3, norm)
      const [left, right] = [await rows(a), await rows(b)]
      const sizes = left.map((row, i) => plainNorm([...row, ...right[i]], norm) / 0.3)
      expect(Math.max(...sizes)).toBeLessThanOrEqual(1 + 1e-12)
      // P(‖δ‖ <= r ε) = r³ in three dimensions.
      for (const r of [0.5, 0.8]) expect(sizes.filter(s => s <= r).length / 400).toBeCloseTo(r ** 3, 0.8)
      for (const column of [left.map(row => row[0]), right.map(row => row[0])])
        expect(column.reduce((s, v) => s + v, 0) / 400).toBeCloseTo(0, 1.2)
    }
  })

  test('follows from its key', async () => {
    const like = { x: f64([[0, 0, 0]]) }
    const draw = (seed: number) => rows(uniformInBall(random.key(seed), like, 1, 'l2').x)
    expect(await draw(1)).toEqual(await draw(1))
    expect(await draw(1)).not.toEqual(await draw(2))
  })
})

describe('what is no features, or no norm', () => {
  const calls: Record<string, (features: never, norm: never) => unknown> = {
    steepest: (f, norm) => steepest(f, norm),
    project: (f, norm) => project(f, 1, norm),
    uniformInBall: (f, norm) => uniformInBall(random.key(0), f, 1, norm),
  }
  const x = f64([[1, 2]])
  test.each(Object.entries(calls))('%s', (op, call) => {
    const expects = `${op}: expects features, an object of one tensor [n, ...] or more by name, not `
    for (const norm of norms)
      for (const no of [x, {}, { x, y: 3 }, [], null, undefined, 1])
        expect(() => call(no as never, norm as never)).toThrow(expects)
    expect(() => call({ x } as never, 'l3' as never)).toThrow(`${op}: unknown norm 'l3'; one of linf, l2, l1`)
    expect(() => call({ x } as never, undefined as never)).toThrow(`${op}: unknown norm`)
    call({ x } as never, 'l2' as never)
  })
})

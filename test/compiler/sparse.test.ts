/**
 * Gradients of tables of which few rows are read: values and derivatives against products with one-hot matrices, which have
 * neither gathers nor scatters, and the loops that kernels make.
 */

import fc from 'fast-check'
import * as sp from 'saddlepoint'
import { adam, clipByGlobalNorm } from 'saddlepoint/optim'
import { afterAll, describe, expect, test } from 'vitest'
import { canonicalize } from '../../src/compiler/canonical.js'
import type { Kernel } from '../../src/compiler/kernel.js'
import { schedule } from '../../src/compiler/schedule.js'
import { apply } from '../../src/graph/primitives.js'
import { sizeOf } from '../../src/graph/shape.js'
import { interpret } from '../oracle/interpret.js'
import { holds, Rng } from '../oracle/property.js'

type Tensor = sp.Tensor
const int = (values: readonly number[], shape: number[] = [values.length]): Tensor =>
  sp.tensor(Int32Array.from(values), { shape })
const random = (seed: number, shape: number[], dtype: 'float32' | 'float64' = 'float64'): Tensor => {
  const rng = new Rng(seed)
  const data = Array.from({ length: sizeOf(shape) }, () => rng.normal())
  return sp.tensor(dtype === 'float64' ? Float64Array.from(data) : Float32Array.from(data), { shape })
}

const devices = {
  reference: () => sp.setDevice('reference'),
  wasm: () => sp.setDevice('wasm', { threads: 1 }),
  'wasm, 3 threads': () => sp.setDevice('wasm', { threads: 3 }),
  webgpu: () => sp.setDevice('webgpu', { software: true }),
} as const
type DeviceName = keyof typeof devices
const started = new Map<DeviceName, Promise<sp.Device>>()
async function on(name: DeviceName): Promise<void> {
  const device = started.get(name) ?? devices[name]()
  started.set(name, device)
  await sp.setDevice(await device)
}
afterAll(async () => {
  for (const device of started.values()) await (await device).close()
})

/** Loops that a kernel makes: the elements that it computes, and reads to reduce. */
const loopsOf = (k: Kernel): number =>
  k.kind === 'loop'
    ? sizeOf(k.axes) * sizeOf(k.reduce?.axes ?? [])
    : k.kind === 'scatterAdd'
      ? Math.max(k.rows, k.count) * k.width
      : k.kind === 'firstIndex'
        ? Math.max(k.rows, k.count)
        : k.rows * k.length
const kernelsOf = (results: unknown, maxBuffers?: number): readonly Kernel[] =>
  schedule(canonicalize(sp.leaves(results).map(t => t.node)), maxBuffers).kernels

/** How a program reads a table, and adds to one; the second of each is the oracle. */
interface Access {
  /** Rows of a table, zeros for ids out of range. */
  readonly lookup: (table: Tensor, ids: Tensor) => Tensor
  /** The same with what `take` gives for ids out of range. */
  readonly take: (table: Tensor, ids: Tensor) => Tensor
  readonly scatter: (ids: Tensor, updates: Tensor, rows: number) => Tensor
}
const isInside = (ids: Tensor, rows: number): Tensor => sp.logicalAnd(sp.lessEqual(0, ids), sp.less(ids, rows))
const indexed: Access = {
  lookup: (table, ids) => sp.where(sp.expandDims(isInside(ids, table.shape[0]), -1), sp.take(table, ids), 0),
  take: sp.take,
  scatter: sp.scatterAdd,
}
const oneHot = (ids: Tensor, rows: number, dtype: sp.DType): Tensor =>
  sp.astype(sp.equal(sp.reshape(ids, [ids.size, 1]), sp.arange(rows)), dtype)
const dense: Access = {
  lookup: (table, ids) => {
    const [rows, ...rest] = table.shape
    const flat = sp.reshape(table, [rows, sizeOf(rest)])
    return sp.reshape(sp.matmul(oneHot(ids, rows, table.dtype), flat), [...ids.shape, ...rest])
  },
  take: (table, ids) => {
    const isFloat = table.dtype.startsWith('float')
    const found = dense.lookup(sp.astype(table, 'float64'), ids)
    const inside = sp.reshape(isInside(ids, table.shape[0]), [...ids.shape, ...table.shape.slice(1).map(() => 1)])
    return sp.astype(sp.where(inside, found, isFloat ? Number.NaN : 0), table.dtype)
  },
  scatter: (ids, updates, rows) => sp.matmul(sp.matrixTranspose(oneHot(ids, rows, updates.dtype)), updates),
}

/** Equal to so many digits of a result's largest element, or of `least` where all of them are smaller. */
async function expectSame(got: unknown, want: unknown, digits: number, least = 1e-30): Promise<void> {
  const [a, b] = [got, want].map(sp.leaves)
  await sp.realize(a, b)
  for (const [k, expected] of b.entries()) {
    const [x, y] = [await a[k].data(), await expected.data()]
    expect(x.length).toBe(y.length)
    let [worst, scale] = [0, least]
    for (let i = 0; i < x.length; i++) {
      if (Number.isFinite(y[i])) scale = Math.max(scale, Math.abs(y[i]))
      if (!Object.is(x[i], y[i]) && x[i] !== y[i]) worst = Math.max(worst, Math.abs(x[i] - y[i]) || Infinity)
    }
    expect(worst / scale, `result ${k}`).toBeLessThan(10 ** -digits)
  }
}

/** 4096 x 4 is the smallest table that is worth the rewriting. */
const [rows, width] = [4096, 4]
const table = (dtype: 'float32' | 'float64'): Tensor => random(1, [rows, width], dtype)
const weights = (dtype: 'float32' | 'float64'): Tensor => random(2, [width, 3], dtype)
/** Repeated ids, padding and others out of range. */
const ids = int([7, 4095, 7, 0, -1, 7, 4096, 300])
const others = int([300, 5, 5, -7, 0, 12], [2, 3])

/** A loss of a table and weights. */
type Loss = (e: Tensor, w: Tensor) => Tensor
const norm = (x: Tensor): Tensor => sp.sqrt(sp.sum(sp.square(x)))
const lossBy =
  ({ lookup }: Access, where: Tensor = ids): Loss =>
  (e, w) =>
    sp.mean(sp.square(sp.tanh(sp.matmul(lookup(e, where), w))))
const slope = (loss: Loss, e: Tensor, w: Tensor): Tensor => sp.grad((x: Tensor) => loss(x, w))(e)
const fgm =
  (loss: Loss, through = false): Loss =>
  (e, w) => {
    const g = slope(loss, e, w)
    const delta = sp.mul(g, sp.div(0.5, norm(g)))
    return sp.add(loss(e, w), loss(sp.add(e, through ? delta : sp.stopGradient(delta)), w))
  }
const pgd =
  (loss: Loss): Loss =>
  (e, w) => {
    let delta: Tensor | undefined
    for (let i = 0; i < 3; i++) {
      const g = slope(loss, delta ? sp.add(e, delta) : e, w)
      const stride = sp.mul(g, sp.mul(sp.reciprocal(norm(g)), 0.3))
      const moved: Tensor = delta ? sp.add(delta, stride) : stride
      delta = sp.stopGradient(sp.div(moved, sp.maximum(sp.div(norm(moved), 0.5), 1)))
    }
    return sp.add(loss(e, w), delta ? loss(sp.add(e, delta), w) : 0)
  }
const penalty =
  (loss: Loss): Loss =>
  (e, w) =>
    sp.add(loss(e, w), sp.sum(sp.square(slope(loss, e, w))))
const both = (e: Tensor, w: Tensor, loss: Loss): unknown => sp.valueAndGrad(([e, w]: Tensor[]) => loss(e, w))([e, w])
/** Word, position and type vectors with tied output weights, as in a language model. */
const tied =
  ({ lookup }: Access): Loss =>
  (e, w) => {
    const x = sp.add(lookup(e, others), sp.add(lookup(w, int([0, 1, 2])), lookup(w, int([1, 0, 1, 1, 0, 1], [2, 3]))))
    return sp.mean(sp.logsumexp(sp.matmul(x, sp.matrixTranspose(e)), { axis: -1 }))
  }
const fgmSign =
  (loss: Loss): Loss =>
  (e, w) =>
    loss(sp.add(e, sp.mul(sp.sign(slope(loss, e, w)), 0.1)), w)

const losses: { readonly [name: string]: (access: Access) => Loss } = {
  'FGM, l2': a => fgm(lossBy(a)),
  'FGM, differentiated through': a => fgm(lossBy(a), true),
  'FGM, sign': a => fgmSign(lossBy(a)),
  'PGD of three steps': a => pgd(lossBy(a)),
  penalty: a => penalty(lossBy(a)),
  'penalty of the penalty': a => penalty(penalty(lossBy(a))),
  'penalty of FGM': a => penalty(fgm(lossBy(a), true)),
  'ids of rank 2': a => fgm(lossBy(a, others)),
  'ids of no row': a => fgm((e, w) => sp.add(lossBy(a, int([-1, 4096]))(e, w), norm(e))),
  'an empty batch': a => fgm((e, w) => sp.add(sp.sum(a.lookup(e, int([]))), sp.add(norm(e), norm(w)))),
  'one table at different ids': a => pgd((e, w) => sp.mul(lossBy(a)(e, w), lossBy(a, others)(e, w))),
  'one table at the same ids twice': a => fgm((e, w) => sp.mul(lossBy(a)(e, w), sp.sum(sp.sin(a.lookup(e, ids))))),
  'several tables at the same ids': a => (e, w) => {
    const wide =
      (f: Tensor): Loss =>
      (e, w) =>
        sp.mul(lossBy(a)(e, w), lossBy(a)(sp.mul(f, e), w))
    return penalty(wide(sp.reshape(sp.flip(sp.reshape(e, [width, rows])), [rows, width])))(e, w)
  },
  'tied weights': a => fgm((e, w) => tied(a)(e, sp.matrixTranspose(w))),
  checkpoint: a => fgm((e, w) => sp.checkpoint((e: Tensor, w: Tensor, ids: Tensor) => lossBy(a, ids)(e, w))(e, w, ids)),
  'rows of unit length': a => fgm((e, w) => lossBy(a)(sp.div(e, sp.vectorNorm(e, { axis: 1, keepdims: true })), w)),
}

describe('values and gradients are those of one-hot products', () => {
  for (const [name, make] of Object.entries(losses)) {
    for (const device of ['reference', 'wasm'] as const)
      test(`${name}, float64 on ${device}`, async () => {
        await on(device)
        const [e, w] = [table('float64'), weights('float64')]
        await expectSame(both(e, w, make(indexed)), both(e, w, make(dense)), 10)
      })
    test(`${name}, float32 on webgpu`, async () => {
      await on('webgpu')
      const [e, w] = [table('float32'), weights('float32')]
      await expectSame(both(e, w, make(indexed)), both(e, w, make(dense)), 4)
    })
  }
})

/** What can become of gradients, as expressions of a gradient g, another one h at other ids, and a table e. */
const uses: { readonly [name: string]: (g: Tensor, h: Tensor, e: Tensor, access: Access) => unknown } = {
  'the whole gradient': g => g,
  'sums over each axis': g => [sp.sum(g), sp.sum(sp.square(g), { axis: 0 }), sp.sum(sp.abs(g), { axis: 1 })],
  'largest and least': g => [sp.max(g), sp.max(g, { axis: 0 }), sp.min(sp.neg(sp.abs(g))), sp.max(g, { axis: 1 })],
  'a rest that is not 0': g => [sp.sum(sp.exp(g)), sp.mean(sp.add(g, 2), { axis: 0 }), sp.cos(g)],
  'largest of a rest that is not 0': g => [sp.max(sp.sub(2, sp.square(g))), sp.min(sp.sub(sp.exp(g), 3), { axis: 0 })],
  products: g => [sp.prod(sp.add(g, 1), { axis: 1 }), sp.prod(sp.add(sp.div(g, 100), 1), { axis: 0 })],
  counts: g => [sp.sum(sp.equal(g, 0)), sp.sum(sp.less(0, g), { axis: 0 })],
  'rows by their lengths': g => sp.sum(sp.tanh(sp.vectorNorm(g, { axis: 1, keepdims: true }))),
  'moved by rows': g => [sp.sum(sp.sin(sp.reshape(g, [rows, 2, 2])), { axis: [0, 2] })],
  'moved across rows': g => [sp.sum(sp.square(sp.matrixTranspose(g)), { axis: 0 }), sp.reshape(g, [width, rows])],
  'joined with another': (g, h) => [sp.sum(sp.square(sp.add(g, h))), sp.sub(g, sp.mul(h, 3)), sp.max(sp.maximum(g, h))],
  'beside a table': (g, _, e) => [sp.sum(sp.mul(g, e)), sp.add(e, g), sp.sum(sp.square(sp.sub(e, g)))],
  'chosen rows': (g, _, e) => {
    const chosen = sp.less(0, sp.sum(e, { axis: 1, keepdims: true }))
    return [
      sp.sum(sp.where(chosen, g, 0)),
      norm(sp.mul(sp.astype(chosen, g.dtype), g)),
      sp.sum(sp.where(chosen, g, e)),
      sp.sum(sp.where(chosen, g, sp.cos(g))),
    ]
  },
  'read again': (g, h, e, { take }) => [
    take(g, ids),
    take(sp.add(sp.add(g, h), e), others),
    take(sp.less(g, 0), ids),
    take(sp.add(sp.arange(rows), sp.astype(sp.mul(sp.max(g, { axis: 1 }), 9), 'int32')), ids),
  ],
  'rows of what is computed': (_, __, e, { take }) => [
    take(sp.exp(sp.reshape(e, [rows, 2, 2])), others),
    take(sp.where(sp.less(e, 0.5), sp.less(0, e), sp.less(sp.iota([rows, width]), 10)), ids),
    take(sp.matrixTranspose(sp.sin(sp.reshape(e, [width, rows]))), ids),
    take(sp.div(e, sp.max(e, { axis: 1, keepdims: true })), int([3])),
    take(sp.sum(sp.square(e), { axis: 1 }), others),
    take(sp.prod(sp.add(e, sp.arange(width)), { axis: 1 }), ids),
  ],
  'clipped to a global norm': g => clipByGlobalNorm([g], 0.1),
}
const gradients = ({ scatter }: Access): readonly [Tensor, Tensor] => [
  scatter(ids, random(3, [8, width]), rows),
  scatter(sp.reshape(others, [6]), random(4, [6, width]), rows),
]

describe('what is made of a gradient', () => {
  for (const [name, use] of Object.entries(uses)) {
    test.each(['reference', 'wasm', 'wasm, 3 threads'] as const)(`${name} on %s`, async device => {
      await on(device)
      const e = table('float64')
      await expectSame(use(...gradients(indexed), e, indexed), use(...gradients(dense), e, dense), 11)
    })
  }

  test('the largest element where every index has a row of its own', async () => {
    await on('wasm')
    const g = sp.scatterAdd(int([3, 5]), sp.ones([2, width]), rows)
    expect(await sp.max(sp.neg(sp.abs(g))).item()).toBeCloseTo(0)
  })

  test('the bits of sums in the order of the ids', async () => {
    const updates = random(5, [8, width], 'float32')
    const got = sp.scatterAdd(ids, updates, rows)
    for (const device of ['wasm', 'wasm, 3 threads', 'webgpu'] as const) {
      await on(device)
      const [u, at] = [await updates.data(), await ids.data()]
      const want = new Float32Array(rows * width)
      at.forEach((row, i) => {
        if (row >= 0 && row < rows) for (let j = 0; j < width; j++) want[row * width + j] += u[i * width + j]
      })
      expect(await sp.add(got, 0).data()).toEqual(want)
    }
  })

  test('rows that are no number in the dense gradient are none here', async () => {
    for (const device of ['reference', 'wasm'] as const) {
      await on(device)
      const [g] = gradients(indexed)
      const scaled = sp.mul(g, sp.div(1, sp.sum(sp.mul(g, 0))))
      expect([...(await scaled.data())].filter(Number.isNaN).length).toBeGreaterThan(width * (rows - 8))
      expect(await sp.sum(sp.square(scaled)).item()).toBeNaN()
      // An infinite factor of an untouched row makes NaN of its 0, and a mask does not.
      const wild = sp.where(sp.equal(sp.arange(rows), 17), Infinity, 1)
      const spread = sp.reshape(wild, [rows, 1])
      expect(await sp.sum(sp.mul(g, spread)).item()).toBeNaN()
      expect(await sp.sum(sp.where(sp.equal(spread, 1), g, 0)).item()).not.toBeNaN()
    }
  })
})

test('sums of float16 are made in float32 and rounded once', async () => {
  await on('wasm')
  const half = (...values: number[]): Tensor => sp.tensor(values, { dtype: 'float16' })
  // More rows than float16 counts.
  const g = sp.scatterAdd(int([3, 3]), half(1, 2), 70_000)
  expect(await sp.sum(sp.mul(g, half(2))).item()).toBe(6)
  expect(await sp.max(sp.mul(g, half(2))).item()).toBe(6)
  // 2051 + 70,000 · 2⁻¹⁶ is nearest to 2052; were the sum of the two rows rounded first, to 2054.
  const h = sp.scatterAdd(int([3, 5]), sp.reshape(half(2048, 0, 3, 0), [2, 2]), 35_000)
  expect(await sp.sum(sp.add(h, half(2 ** -16))).item()).toBe(2052)
})

test('square tables and products over their rows', async () => {
  await on('wasm')
  const updates = random(7, [3, 128])
  const [got, want] = [indexed, dense].map(({ scatter }) => {
    const g = scatter(int([3, 5, 3]), updates, 128)
    const product = apply('prod', [sp.add(sp.div(g, 9), 1).node], { axes: [0] })
    return [sp.sum(sp.square(sp.add(sp.matrixTranspose(g), g)), { axis: 0 }), new sp.Tensor(product)]
  })
  await expectSame(got, want, 11)
})

test('a gather of a long chain', async () => {
  await on('wasm')
  let x = table('float64')
  for (let i = 0; i < 5000; i++) x = sp.add(x, 1)
  const [first] = await table('float64').data()
  expect(await sp.at(sp.take(x, int([0])), 0, 0).item()).toBeCloseTo(first + 5000)
})

describe('random programs of gradients', () => {
  const steps = {
    add: (a: Tensor, b: Tensor) => sp.add(a, b),
    sub: (a: Tensor, b: Tensor) => sp.sub(a, b),
    mul: (a: Tensor, b: Tensor) => sp.mul(a, sp.tanh(b)),
    maximum: (a: Tensor, b: Tensor) => sp.maximum(a, b),
    where: (a: Tensor, b: Tensor) => sp.where(sp.less(a, b), a, sp.sin(b)),
    scale: (a: Tensor, b: Tensor) => sp.div(a, sp.add(1, sp.sum(sp.square(b)))),
    shift: (a: Tensor) => sp.add(sp.abs(a), 0.5),
    cos: (a: Tensor) => sp.cos(a),
    rows: (a: Tensor, b: Tensor) => sp.mul(a, sp.sin(sp.sum(b, { axis: 1, keepdims: true }))),
    columns: (a: Tensor, b: Tensor) => sp.sub(a, sp.tanh(sp.mean(b, { axis: 0 }))),
    top: (a: Tensor, b: Tensor) => sp.div(a, sp.add(1, sp.max(sp.abs(b)))),
    mask: (a: Tensor, b: Tensor) => sp.where(sp.less(0, sp.sum(b, { axis: 1, keepdims: true })), a, 0),
  }
  const names = Object.keys(steps) as (keyof typeof steps)[]
  const step = fc.tuple(fc.constantFrom(...names), fc.nat(20), fc.nat(20))
  const idsOf = fc.array(fc.integer({ min: -1, max: 20 }), { minLength: 1, maxLength: 6 })
  const cases = fc.tuple(fc.array(step, { minLength: 1, maxLength: 8 }), idsOf, idsOf, fc.nat(1e6))

  for (const [device, runs] of [
    ['reference', 40],
    ['wasm', 40],
  ] as const)
    test(device, async () => {
      await on(device)
      const property = fc.asyncProperty(cases, async ([program, here, there, seed]) => {
        const run = ({ lookup, scatter }: Access): Tensor[] => {
          const [i, j] = [int(here), int(there)]
          // Read through a derivative, so that the gradient of the gradient is a program too.
          const last = (e: Tensor): Tensor => {
            const pool = [
              scatter(i, sp.sin(lookup(e, i)), rows),
              scatter(j, sp.mul(lookup(e, j), random(seed, [there.length, width])), rows),
              sp.tanh(e),
            ]
            for (const [name, a, b] of program) pool.push(steps[name](pool[a % pool.length], pool[b % pool.length]))
            const result = pool[pool.length - 1]
            return sp.add(sp.mean(sp.square(lookup(result, j))), sp.mean(sp.sin(result), { axis: [0, 1] }))
          }
          const e = random(seed + 1, [rows, width])
          return [last(e), sp.grad(last)(e)]
        }
        // The mean of what has its mean taken off is rounding alone.
        await expectSame(run(indexed), run(dense), 9, 1e-6)
      })
      await holds(property, runs)
    })
})

describe('what kernels loop over', () => {
  const [V, D, T] = [16_000, 16, 64]
  const leaf = (x: Tensor): Tensor => sp.tensor(new Float32Array(x.size), { shape: [...x.shape] })
  const e = leaf(sp.zeros([V, D]))
  const w = leaf(sp.zeros([D, 3]))
  const words = int(
    Array.from({ length: T }, (_, i) => (i * 37) % 50),
    [4, 16],
  )
  const plain = lossBy(indexed, words)
  const few = int([1, 2, 3])
  const twice: Loss = (e, w) => sp.add(plain(e, w), sp.sum(sp.sin(sp.take(e, few))))
  const rows: { readonly [name: string]: Loss } = {
    plain,
    FGM: fgm(plain),
    'FGM, differentiated through': fgm(plain, true),
    'FGM, sign': fgmSign(plain),
    PGD: pgd(plain),
    penalty: penalty(plain),
    'penalty of the penalty': penalty(penalty(plain)),
    'at different ids': pgd(twice),
    checkpoint: fgm((e, w) => sp.checkpoint((e: Tensor, w: Tensor) => plain(e, w))(e, w)),
    'without some rows': (e, w) => {
      const g = sp.where(sp.less(1, sp.iota([V, 1])), slope(plain, e, w), 0)
      const again = sp.mul(g, sp.astype(sp.less(sp.iota([V, 1]), 9), g.dtype))
      return plain(sp.add(e, sp.div(sp.add(g, again), norm(g))), w)
    },
    'what norms and clips there are': (e, w) => {
      const [g] = clipByGlobalNorm([slope(plain, e, w)], 1)
      const parts = [sp.vectorNorm(g), sp.max(sp.abs(g)), sp.mean(g), sp.sum(sp.square(sp.sum(g, { axis: 0 })))]
      const spans = sp.sub(sp.max(g, { axis: 1 }), sp.min(g, { axis: 1 }))
      return sp.add(
        [...parts, norm(spans)].reduce((a, b) => sp.add(a, b)),
        sp.astype(sp.sum(sp.equal(g, 0)), 'float32'),
      )
    },
  }
  for (const [name, loss] of Object.entries(rows)) {
    const isWhole = (k: Kernel): boolean => loopsOf(k) >= V && k.kind !== 'firstIndex'
    test(`${name}: none over the table, and one in a step of Adam`, () => {
      expect(kernelsOf([loss(e, w), slope((w, e) => loss(e, w), w, e)]).filter(isWhole)).toEqual([])
      const optimizer = adam()
      const { moments } = optimizer.init([e, w])
      const state = { step: int([1], []), moments: sp.mapTree(moments, leaf) }
      const step = (): unknown => {
        const [value, slopes] = sp.valueAndGrad(([e, w]: Tensor[]) => loss(e, w))([e, w])
        return { value, ...optimizer.update(slopes, state, [e, w]) }
      }
      const whole = kernelsOf(step()).filter(isWhole)
      expect(whole.map(k => (k.kind === 'loop' ? [k.reduce, k.outputs.length] : k.kind))).toEqual([[undefined, 3]])
      expect(whole.map(loopsOf)).toEqual([V * D])
      // Where few buffers fit a kernel, the update may take two.
      expect(kernelsOf(step(), 8).filter(isWhole).length).toBeLessThanOrEqual(2)
    })
  }

  test('of a table that is computed, the rows that are read are', () => {
    const unit = (e: Tensor): Tensor => sp.div(e, sp.vectorNorm(e, { axis: 1, keepdims: true }))
    const loss: Loss = (e, w) => plain(sp.astype(sp.mul(unit(e), 2), 'float64'), sp.astype(w, 'float64'))
    expect(kernelsOf([loss(e, w), slope((w, e) => loss(e, w), w, e)]).filter(k => loopsOf(k) >= V)).toEqual([])
  })

  test('rows are looked up once for all tables and derivatives of the same ids', () => {
    const loss: Loss = (e, w) => sp.checkpoint((e: Tensor, ids: Tensor) => lossBy(indexed, ids)(e, w))(e, words)
    const kinds = kernelsOf(both(e, w, pgd(loss))).map(k => k.kind)
    expect(kinds.filter(kind => kind === 'firstIndex')).toHaveLength(1)
    // Those at two ids, and at both together, in whatever order they come.
    const swapped: Loss = (e, w) => sp.sub(sp.sum(sp.cos(sp.take(e, few))), plain(e, w))
    const mixed = kernelsOf(
      both(
        e,
        w,
        pgd((e, w) => sp.add(pgd(twice)(e, w), fgm(swapped)(e, w))),
      ),
    ).map(k => k.kind)
    expect(mixed.filter(kind => kind === 'firstIndex')).toHaveLength(3)
  })

  test('tables of few rows and small ones are left alone', () => {
    const table = (rows: number, width: number): Tensor =>
      sp.scatterAdd(sp.reshape(words, [T]), sp.zeros([T, width]), rows)
    const kinds = (rows: number, width: number): string[] => kernelsOf(table(rows, width)).map(k => k.kind)
    expect(kinds(4 * T - 1, 1000)).not.toContain('firstIndex')
    expect(kinds(4 * T, 1000)).toContain('firstIndex')
    expect(kinds(2 ** 14 - 1, 1)).not.toContain('firstIndex')
    const together = kernelsOf([table(V, D), table(T, D), table(V, 1)])
    expect(together.filter(k => k.kind === 'firstIndex')).toHaveLength(1)
    // Rows at two ids that are few apart and not together, and many rows of what is computed.
    const at = (ids: Tensor): Tensor => sp.scatterAdd(sp.reshape(ids, [T]), sp.ones([T, 64]), 6 * T)
    const counts = kernelsOf(sp.sum(sp.square(sp.sub(at(words), at(sp.add(words, 1))))))
    expect(counts.flatMap(k => (k.kind === 'firstIndex' ? [k.count] : []))).toEqual([T, T])
    const single = sp.reshape(words, [T])
    const tables = [sp.add(at(words), 1), e, sp.reshape(e, [200, -1])]
    const { roots } = canonicalize(tables.map(table => sp.take(sp.exp(table), single).node))
    expect(roots.map(root => root.op)).toEqual(['where', 'where', 'gather'])
  })
})

describe('the first occurrence of each row', () => {
  const first = (index: readonly number[], rows: number): Tensor =>
    new sp.Tensor(apply('firstIndex', [int(index).node], { rows }))
  const index = fc.array(fc.integer({ min: -2, max: 40 }), { maxLength: 60 })
  test.each([['reference'], ['wasm'], ['wasm, 3 threads'], ['webgpu']] as const)('%s', async device => {
    await on(device)
    const property = fc.asyncProperty(index, fc.integer({ min: 1, max: 35 }), async (index, rows) => {
      const want = Array.from({ length: rows }, (_, row) => index.indexOf(row))
      expect(await first(index, rows).array()).toEqual(want)
    })
    await holds(property, device === 'webgpu' ? 8 : 40)
    const many = Array.from({ length: 3000 }, (_, i) => (i * 7919) % 2500)
    const want = Array.from({ length: 3000 }, (_, row) => many.indexOf(row))
    expect(await first(many, 3000).array()).toEqual(want)
  })

  test('the interpreter agrees', () => {
    const node = first([3, 1, -1, 3, 9, 1], 5).node
    const known = new Map([[node.inputs[0], { shape: [6], data: [3, 1, -1, 3, 9, 1] }]])
    expect(interpret([node], known)[0].data).toEqual([-1, 1, -1, 0, -1])
  })

  test.each([
    [sp.zeros([2]).node, 'int32', 'float32'],
    [int([1, 2], [1, 2]).node, '[n]', '[1,2]'],
  ])('bad indices', (node, ...words) => {
    for (const word of words) expect(() => apply('firstIndex', [node], { rows: 2 })).toThrow(word)
  })
})

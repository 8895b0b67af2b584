/** What the identities of differentiation are stated with: lists of tensors as vectors, functions of one list. */

import fc from 'fast-check'
import * as sp from 'saddlepoint'
import { arbitraries } from 'saddlepoint/check'
import { expect } from 'vitest'
import type { Rng } from '../oracle/property.js'

export type Tensor = sp.Tensor
export type Vector = Tensor[]
export type Scalar = (xs: Vector) => Tensor

export const { programs } = arbitraries(fc)

export const normal = (r: Rng, ...shape: number[]): Tensor =>
  sp.tensor(
    Float64Array.from({ length: shape.reduce((n, s) => n * s, 1) }, () => r.normal()),
    { shape },
  )
export const normalLike = (r: Rng, xs: Vector): Vector => xs.map(x => normal(r, ...x.shape))

export const total = (ts: Vector): Tensor => ts.reduce((a, b) => sp.add(a, b))
export const inner = (a: Vector, b: Vector): Tensor => total(a.map((t, i) => sp.sum(sp.mul(t, b[i]))))
export const scale = (c: number | Tensor, a: Vector): Vector => a.map(t => sp.mul(t, c))
export const plus = (...vectors: Vector[]): Vector => vectors[0].map((_, i) => total(vectors.map(v => v[i])))

/** The gradient of a scalar function of a list, its derivative along v, and its Hessian times v. */
export const gradient = (f: Scalar, xs: Vector): Vector => sp.grad(f)(xs)
export const along =
  (f: Scalar, v: Vector): Scalar =>
  xs =>
    inner(gradient(f, xs), v)
export const hessianTimes = (f: Scalar, xs: Vector, v: Vector): Vector => sp.hvp(f, xs, v)

/** Demands equal values up to an error relative to the largest of them (or to `size`, where they cancel). */
export async function expectEqual(got: Vector, expected: Vector, size = 1, tolerance = 1e-10): Promise<void> {
  expect(got.map(t => t.shape)).toEqual(expected.map(t => t.shape))
  await sp.realize(got, expected)
  for (const [i, t] of got.entries()) {
    const [g, e] = [[...(await t.data())], [...(await expected[i].data())]]
    const worst = Math.max(0, ...g.map((v, k) => (Number.isNaN(v - e[k]) ? Infinity : Math.abs(v - e[k]))))
    const allowed = tolerance * Math.max(size, ...e.map(Math.abs))
    if (worst > allowed) expect(g, `off by ${worst}, allowed ${allowed}`).toEqual(e)
  }
}

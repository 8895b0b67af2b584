/**
 * Identities that every derivative obeys, over random programs. They need no reference, and see what is inconsistent
 * between orders, modes and arguments; that the derivative is that of the right function is for the other files to see.
 */

import fc from 'fast-check'
import * as sp from 'saddlepoint'
import type { Program } from 'saddlepoint/check'
import { describe, test } from 'vitest'
import { holds, Rng } from '../oracle/property.js'
import {
  along,
  expectEqual,
  gradient,
  hessianTimes,
  inner,
  normalLike,
  plus,
  programs,
  type Scalar,
  scale,
  type Tensor,
  type Vector,
} from './common.js'

/** A program y = f(xs), a scalar of it, another scalar, and random vectors. */
interface Case {
  readonly f: (...xs: Vector) => Tensor
  readonly xs: Vector
  readonly scalar: Scalar
  readonly other: Scalar
  /** Like xs. */
  readonly u: Vector
  readonly v: Vector
  readonly w: Vector
  /** Like y. */
  readonly p: Tensor
  readonly q: Tensor
}
function caseOf({ f, args: xs }: Program): Case {
  const r = new Rng(xs.length + f(...xs).size)
  const [u, v, w, a] = [0, 0, 0, 0].map(() => normalLike(r, xs))
  const [[p], [q]] = [0, 0].map(() => normalLike(r, [f(...xs)]))
  const scalar: Scalar = at => sp.sum(sp.mul(f(...at), p))
  const other: Scalar = at => inner(at.map(sp.cos), a)
  return { f, xs, scalar, other, u, v, w, p, q }
}

/** A function of what a program returns that mixes its elements. */
const outer =
  (p: Tensor) =>
  (y: Tensor): Tensor =>
    sp.mul(sp.tanh(sp.mul(y, p)), sp.sin(sp.sum(y)))

const pull = (f: Case['f'], xs: Vector, cotangent: Tensor): Vector => sp.vjp(f, ...xs)[1](cotangent)
const push = (f: Case['f'], xs: Vector, tangent: Vector): Tensor => sp.jvp(f, xs, tangent)[1]
/** ∂ᵤ∂ᵥ∂w of a scalar. */
const third = (f: Scalar, xs: Vector, u: Vector, v: Vector, w: Vector): Tensor => along(along(along(f, u), v), w)(xs)

/** Both sides of each identity. */
const identities: { readonly [name: string]: (c: Case) => readonly [Vector, Vector] } = {
  'Jᵀ is linear: Jᵀ(2p - 3q) = 2Jᵀp - 3Jᵀq': ({ f, xs, p, q }) => [
    pull(f, xs, sp.sub(sp.mul(p, 2), sp.mul(q, 3))),
    plus(scale(2, pull(f, xs, p)), scale(-3, pull(f, xs, q))),
  ],
  'J is linear: J(2u - 3v) = 2Ju - 3Jv': ({ f, xs, u, v }) => {
    const [, J] = sp.linearize(f, ...xs)
    return [[J(...plus(scale(2, u), scale(-3, v)))], [sp.sub(sp.mul(J(...u), 2), sp.mul(J(...v), 3))]]
  },
  'forward and reverse are adjoint: <Jv, p> = <v, Jᵀp>': ({ f, xs, v, p }) => [
    [inner([push(f, xs, v)], [p])],
    [inner(v, pull(f, xs, p))],
  ],
  'grad is Jᵀ at the weights': ({ f, xs, p, scalar }) => [gradient(scalar, xs), pull(f, xs, p)],
  'chain rule in reverse: (g∘f)ᵀ q = Jfᵀ Jgᵀ q': ({ f, xs, p, q }) => {
    const g = outer(p)
    const [y, pullF] = sp.vjp(f, ...xs)
    return [pull((...at) => g(f(...at)), xs, q), pullF(sp.vjp(g, y)[1](q)[0])]
  },
  'chain rule forward: (g∘f)′v = Jg Jf v': ({ f, xs, p, v }) => {
    const g = outer(p)
    const [y, dy] = sp.jvp(f, xs, v)
    return [[push((...at) => g(f(...at)), xs, v)], [sp.jvp(g, [y], [dy])[1]]]
  },
  'sum rule: ∇(F + G) = ∇F + ∇G': ({ xs, scalar: F, other: G }) => [
    gradient(at => sp.add(F(at), G(at)), xs),
    plus(gradient(F, xs), gradient(G, xs)),
  ],
  'product rule: ∇(FG) = F∇G + G∇F': ({ xs, scalar: F, other: G }) => [
    gradient(at => sp.mul(F(at), G(at)), xs),
    plus(scale(F(xs), gradient(G, xs)), scale(G(xs), gradient(F, xs))),
  ],
  'product rule at order 2: H(FG)v = F HG v + G HF v + <∇F,v>∇G + <∇G,v>∇F': ({ xs, scalar: F, other: G, v }) => [
    hessianTimes(at => sp.mul(F(at), G(at)), xs, v),
    plus(
      scale(F(xs), hessianTimes(G, xs, v)),
      scale(G(xs), hessianTimes(F, xs, v)),
      scale(along(F, v)(xs), gradient(G, xs)),
      scale(along(G, v)(xs), gradient(F, xs)),
    ),
  ],
  'Schwarz: <u, Hv> = <v, Hu>': ({ xs, scalar, u, v }) => [
    [inner(u, hessianTimes(scalar, xs, v))],
    [inner(v, hessianTimes(scalar, xs, u))],
  ],
  'third derivatives are symmetric': ({ xs, scalar, u, v, w }) => [
    [third(scalar, xs, u, v, w), third(scalar, xs, u, v, w)],
    [third(scalar, xs, w, u, v), third(scalar, xs, v, u, w)],
  ],
  'Hv is the derivative of the gradient along v, in forward and in reverse mode': ({ xs, scalar, v }) => {
    const Hv = hessianTimes(scalar, xs, v)
    return [
      [...Hv, ...Hv],
      [...sp.jvp((at: Vector) => gradient(scalar, at), [xs], [v])[1], ...pull2(scalar, xs, v)],
    ]
  },
  'an argument that is ignored has gradient 0': ({ f, xs, p }) => [
    sp
      .vjp((_: Tensor, ...at: Vector) => f(...at), xs[0], ...xs)[1](p)
      .slice(0, 1),
    [sp.zerosLike(xs[0])],
  ],
  'a checkpoint changes nothing, at orders 1 and 2': ({ xs, scalar, v }) => {
    const kept = sp.checkpoint(scalar)
    return [
      [...gradient(kept, xs), ...hessianTimes(kept, xs, v)],
      [...gradient(scalar, xs), ...hessianTimes(scalar, xs, v)],
    ]
  },
}
/** Hᵀv: the pull of the gradient. */
const pull2 = (f: Scalar, xs: Vector, v: Vector): Vector => sp.vjp((at: Vector) => gradient(f, at), xs)[1](v)[0]

describe('over random programs', () => {
  for (const [name, sides] of Object.entries(identities)) {
    test(name, () =>
      holds(
        fc.asyncProperty(programs(), async program => {
          const [left, right] = sides(caseOf(program))
          await expectEqual(left, right)
        }),
        25,
      ),
    )
  }
})

test('vmap of the gradient over a stack of arguments is what a loop computes', () =>
  holds(
    fc.asyncProperty(programs(), async program => {
      const { xs, scalar, u, v } = caseOf(program)
      const examples = [xs, plus(xs, scale(0.01, u)), plus(xs, scale(0.01, v))]
      const each = examples.map(at => gradient(scalar, at))
      const stacked = (lists: Vector[]): Vector => xs.map((_, i) => sp.stack(lists.map(list => list[i])))
      await expectEqual(sp.vmap((at: Vector) => gradient(scalar, at))(stacked(examples)), stacked(each))
    }),
    25,
  ))

test('rows of the Jacobian and of the Hessian are what vjp and hvp contract them to', () =>
  holds(
    fc.asyncProperty(programs({ maxSteps: 4 }), async program => {
      const { f, xs, scalar, v, p } = caseOf(program)
      fc.pre(xs.reduce((n, x) => n + x.size, 0) <= 10)
      const flat = (ts: Vector): Tensor => sp.concat(ts.map(sp.flatten))
      const ends = xs.map((_, i) => xs.slice(0, i + 1).reduce((n, x) => n + x.size, 0))
      const unflat = (t: Tensor): Vector =>
        sp.split(t, ends.slice(0, -1)).map((part, i) => sp.reshape(part, xs[i].shape))
      const J = sp.jacobian(t => sp.flatten(f(...unflat(t))))(flat(xs))
      const H = sp.hessian(t => scalar(unflat(t)))(flat(xs))
      await expectEqual([sp.matmul(sp.flatten(p), J)], [flat(pull(f, xs, p))])
      await expectEqual([sp.matmul(J, flat(v))], [sp.flatten(push(f, xs, v))])
      await expectEqual([sp.matmul(H, flat(v)), sp.matrixTranspose(H)], [flat(hessianTimes(scalar, xs, v)), H])
    }),
    15,
  ))

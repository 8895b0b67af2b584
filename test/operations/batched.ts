/** vmap of a case, and of its gradient, against one example at a time. */

import * as sp from 'saddlepoint'
import { expectClose } from '../oracle/close.js'
import { type Case, isFloat, listOf, type Tensor } from './cases.js'

const examples = 3
/** Another operand of the same kind for each example: floats shrink a little, then all change their order. */
const variant = (x: Tensor, i: number): Tensor => (i === 0 ? x : i === 1 && isFloat(x) ? sp.mul(x, 0.93) : sp.flip(x))

/** The results of f, and the gradients of their sum with respect to all float arguments. */
export function everything(f: (...xs: Tensor[]) => Tensor | readonly Tensor[], flat: boolean) {
  return (...args: Tensor[]): Tensor[] => {
    if (flat) return [...listOf(f(...args))]
    const total = (...xs: Tensor[]): Tensor =>
      listOf(f(...xs))
        .filter(isFloat)
        .map(y => sp.sum(y))
        .reduce((a, b) => sp.add(a, b))
    const argnums = args.flatMap((x, i) => (isFloat(x) ? [i] : []))
    return [...listOf(f(...args)), ...(sp.grad(total, { argnums })(...args) as Tensor[])]
  }
}

/** Demands that vmap gives what a loop over examples gives: with all arguments batched, and with each of them alone. */
export async function expectBatched({ f, args }: Case, flat: boolean): Promise<void> {
  const all = everything(f, flat)
  const choices = [args.map(() => true), ...(args.length > 1 ? args.map((_, i) => args.map((_, k) => k === i)) : [])]
  for (const mapped of args.length ? choices : []) {
    const perExample = Array.from({ length: examples }, (_, i) => args.map((x, k) => (mapped[k] ? variant(x, i) : x)))
    const batch = args.map((x, k) => (mapped[k] ? sp.stack(perExample.map(xs => xs[k])) : x))
    const got = sp.vmap(all, { inAxes: mapped.map(m => (m ? 0 : null)) })(...batch)
    const expected = perExample.map(xs => all(...xs))
    for (const [i, t] of got.entries()) await expectClose(t, sp.stack(expected.map(e => e[i])), 1e-10)
  }
}

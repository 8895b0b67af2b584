/**
 * Derivatives of functions of tensors, as functions: grad, vjp, jvp, hvp, jacobian, hessian, perExampleGrad. Arguments
 * and results are trees of tensors (tree.ts). All of them nest to any order, and a gradient flows to everything the
 * function touches: to closures and to arguments it was not taken with respect to.
 */

import { isFloat } from '../graph/dtype.js'
import type { Node } from '../graph/node.js'
import { knownOptions, type Names } from '../graph/options.js'
import { formatShape, sameShape } from '../graph/shape.js'
import { eye } from '../tensor/create.js'
import { add, astype, mul } from '../tensor/elementwise.js'
import { expandDims, reshape } from '../tensor/movement.js'
import { sum } from '../tensor/reduction.js'
import { build, demandFunction, describe, full, Tensor } from '../tensor/tensor.js'
import { leaves, mapTree, namedLeaves, replaceLeaves } from '../tensor/tree.js'
import { backward } from './backward.js'
import { zeroCotangent } from './rules.js'
import { vmap } from './vmap.js'

/** A fresh variable for each float leaf of a tree: what a derivative is taken with respect to. */
function variables<T>(op: string, tree: T): T {
  if (!leaves(tree).some(t => isFloat(t.dtype)))
    throw new Error(`${op}: an argument to differentiate has no float tensors; pass a tensor or a tree of tensors`)
  return mapTree(tree, t => (isFloat(t.dtype) ? build('variable', [t], {}) : t))
}

/** Cotangents in the shape of a tree: zeros where nothing depends on a leaf. */
function pullTo<T>(tree: T, targets: readonly Node[], outputs: readonly Node[], cotangents: readonly Tensor[]): T {
  const pulled = backward(outputs, cotangents, targets)
  return replaceLeaves(
    tree,
    leaves(tree).map((t, i) => pulled[i] ?? zeroCotangent(t)),
  )
}

export interface GradOptions {
  /** The positions of the arguments to differentiate. */
  argnums?: number | readonly number[]
  /** The function returns [scalar, anything], and so does the result: [gradient, anything]. */
  hasAux?: boolean
}
const gradNames: Names<GradOptions> = { argnums: true, hasAux: true }

/** @throws unless the options are known, and argnums are numbers. */
function gradOptions(op: string, options: GradOptions): GradOptions {
  const { argnums = 0 } = knownOptions(op, options, gradNames)
  if (typeof argnums !== 'number' && !Array.isArray(argnums))
    throw new Error(`${op}: argnums are the position of an argument or a list of them, not ${describe(argnums)}`)
  return options
}

type Fn<A extends unknown[], R> = (...args: A) => R
/** The gradient has the tree of the argument, or a list of them for a list of argnums. */
type Gradient<A extends unknown[], O> = O extends { argnums: infer N }
  ? N extends readonly number[]
    ? unknown[]
    : N extends keyof A | number
      ? A[N & number]
      : A[0]
  : A[0]
type Aux<R> = R extends readonly [Tensor, infer X] ? X : never

/**
 * The value and the gradient of a scalar function.
 *
 * @returns (...args) => [value, gradient]; with `hasAux`, value is the pair [scalar, aux] that f returned.
 * @throws if an argument has no tensors, or the result is not one float tensor with one element.
 */
export function valueAndGrad<A extends unknown[], R, const O extends GradOptions = Record<never, never>>(
  f: Fn<A, R>,
  options?: O,
): (...args: A) => [R, Gradient<A, O>] {
  demandFunction('valueAndGrad', f)
  const { argnums = 0, hasAux = false } = options === undefined ? {} : gradOptions('valueAndGrad', options)
  const positions = typeof argnums === 'number' ? [argnums] : argnums
  return (...args) => {
    const bound = [...args] as A
    for (const i of positions) {
      if (!Number.isInteger(i) || i < 0 || i >= args.length)
        throw new Error(`grad: argnums ${i} is out of range for ${args.length} arguments`)
      bound[i] = variables('grad', args[i])
    }
    const result = f(...bound)
    const isPair = Array.isArray(result) && result.length === 2
    const value = hasAux && isPair ? result[0] : result
    if (!(value instanceof Tensor) || !isFloat(value.dtype) || value.size !== 1 || hasAux !== isPair) {
      throw new Error(
        `grad: the function must return ${hasAux ? 'a pair of one float scalar and anything (hasAux is set)' : 'one float scalar'}, not ${describe(value)}; reduce it, use vjp or jacobian, or set hasAux for a second value`,
      )
    }
    const trees = positions.map(i => bound[i])
    const targets = leaves(trees).map(t => t.node)
    const gradients = pullTo(trees, targets, [value.node], [full(value.shape, 1, value.dtype)])
    return [result, (typeof argnums === 'number' ? gradients[0] : gradients) as Gradient<A, O>]
  }
}

/**
 * The gradient of a scalar function with respect to the arguments named by `argnums` (the first by default).
 *
 * @example
 * const cubic = x => x.pow(3).sum()
 * grad(grad(x => grad(cubic)(x).sum()))(x) // third derivatives
 */
export function grad<A extends unknown[], R, const O extends GradOptions = Record<never, never>>(
  f: Fn<A, R>,
  options?: O,
): (...args: A) => O extends { hasAux: true } ? [Gradient<A, O>, Aux<R>] : Gradient<A, O> {
  demandFunction('grad', f)
  if (options !== undefined) gradOptions('grad', options)
  const both = valueAndGrad(f, options)
  type Result = O extends { hasAux: true } ? [Gradient<A, O>, Aux<R>] : Gradient<A, O>
  return (...args) => {
    const [result, gradient] = both(...args)
    return (options?.hasAux ? [gradient, (result as readonly unknown[])[1]] : gradient) as Result
  }
}

/** Checks that a tree of (co)tangents has the leaves of the tree it belongs to. */
function matching(op: string, what: string, tree: unknown, like: unknown): Tensor[] {
  const given = leaves(tree)
  const expected = namedLeaves(like)
  if (given.length !== expected.length)
    throw new Error(`${op}: ${given.length} ${what}s for ${expected.length} tensors`)
  expected.forEach(({ name, tensor }, i) => {
    if (!sameShape(given[i].shape, tensor.shape)) {
      throw new Error(
        `${op}: the ${what}${name ? ` of ${name}` : ''} has shape ${formatShape(given[i].shape)}, expected ${formatShape(tensor.shape)}`,
      )
    }
  })
  return given.map((t, i) => astype(t, expected[i].tensor.dtype))
}

/** The value of f and the function that pulls a cotangent of the value back to cotangents of all arguments. */
export function vjp<A extends unknown[], R>(f: Fn<A, R>, ...args: A): [R, (cotangent: R) => A] {
  demandFunction('vjp', f)
  const bound = variables('vjp', args)
  const result = f(...bound)
  // The expressions as they are now: a tensor that is read before the pull becomes a leaf, which leads nowhere.
  const [targets, outputs] = [bound, result].map(tree => leaves(tree).map(t => t.node))
  return [result, cotangent => pullTo(bound, targets, outputs, matching('vjp', 'cotangent', cotangent, result))]
}

/**
 * The value of f and the linear function that pushes tangents of the arguments forward. The double-vjp trick: the pull
 * is linear in its cotangent u, so its own pull at any u is the push.
 */
export function linearize<A extends unknown[], R>(f: Fn<A, R>, ...args: A): [R, (...tangents: A) => R] {
  demandFunction('linearize', f)
  const [result, pull] = vjp(f, ...args)
  const [pulled, push] = vjp(
    pull,
    mapTree(result, t => (isFloat(t.dtype) ? zeroCotangent(t) : t)),
  )
  return [
    result,
    (...tangents) => {
      matching('jvp', 'tangent', tangents, args)
      return push(replaceLeaves(pulled, leaves(tangents)))[0]
    },
  ]
}

/** The value of f and its derivative in the direction of the tangents. */
export function jvp<A extends unknown[], R>(f: Fn<A, R>, args: A, tangents: A): [R, R] {
  if (!Array.isArray(args) || !Array.isArray(tangents))
    throw new Error(
      `jvp: expected a list of arguments and one of tangents, got ${describe(args)} and ${describe(tangents)}`,
    )
  const [result, push] = linearize(f, ...args)
  return [result, push(...tangents)]
}

/** The product of the Hessian of a scalar function at x with v: the gradient of <grad f, v>. */
export function hvp<T, R extends Tensor>(f: (x: T) => R, x: T, v: T): T {
  demandFunction('hvp', f)
  const directional = (at: T): Tensor => {
    const g = leaves(grad(f)(at))
    return matching('hvp', 'vector', v, x)
      .map((t, i) => sum(mul(g[i], t)))
      .reduce((a, b) => add(a, b))
  }
  return grad(directional)(x)
}

/** All partial derivatives of f, a function of one tensor: [...result.shape, ...x.shape]. */
export function jacobian(f: (x: Tensor) => Tensor): (x: Tensor) => Tensor {
  demandFunction('jacobian', f)
  return x => {
    if (!(x instanceof Tensor)) throw new Error(`jacobian: needs a function of one tensor, got ${describe(x)}`)
    const [y, pull] = vjp(f, x)
    if (!(y instanceof Tensor)) throw new Error(`jacobian: the function must return one tensor, not ${describe(y)}`)
    const basis = reshape(eye(y.size, y.size, y.dtype), [y.size, ...y.shape])
    return reshape(vmap((u: Tensor) => pull(u)[0])(basis), [...y.shape, ...x.shape])
  }
}

/** The second derivatives of a scalar function of one tensor: [...x.shape, ...x.shape]. */
export function hessian(f: (x: Tensor) => Tensor): (x: Tensor) => Tensor {
  demandFunction('hessian', f)
  return jacobian(grad(f))
}

/**
 * The gradient of a batch's loss with respect to its first argument, for each example by itself: every example is given
 * to the loss as a batch of one. What f does with statistics of a batch (batch norm in training) has no such meaning.
 *
 * @returns (model, ...batch) => the model's tree, with a leading axis of examples in every leaf.
 * @example perExampleGrad((model, x, y) => crossEntropy(model.apply(x), y))(model, x, y)
 */
export function perExampleGrad<M, B extends unknown[]>(
  f: (model: M, ...batch: B) => Tensor,
): (model: M, ...batch: B) => M {
  demandFunction('perExampleGrad', f)
  return (model, ...batch) => {
    const one = (m: M, ...example: B): M => grad(f)(m, ...(mapTree(example, t => expandDims(t, 0)) as B))
    return vmap(one, { inAxes: [null, ...batch.map(() => 0)] })(model, ...batch)
  }
}

/** Functions with a derivative of their own, and functions whose intermediate values are computed again when needed. */

import { isFloat } from '../graph/dtype.js'
import { makeNode, type Node, topological, upcomingId } from '../graph/node.js'
import { knownOptions } from '../graph/options.js'
import { sameShape } from '../graph/shape.js'
import { astype } from '../tensor/elementwise.js'
import { build, demandFunction, demandTensors, describe, Tensor } from '../tensor/tensor.js'
import { leaves, mapTree } from '../tensor/tree.js'
import { applyRule, backward } from './backward.js'

/**
 * f with its derivative replaced: `pull(cotangent, value, ...args)` returns the cotangent of each argument, or null for
 * none. It is made of operations, so it is differentiated in its turn for higher orders. What f reads from a closure gets
 * no gradient.
 *
 * @example const clipped = customVjp(x => x.clip(-1, 1), g => [g]) // straight-through
 */
export function customVjp<A extends Tensor[]>(
  f: (...args: A) => Tensor,
  pull: (cotangent: Tensor, value: Tensor, ...args: A) => readonly (Tensor | null)[],
): (...args: A) => Tensor {
  demandFunction('customVjp', f)
  if (typeof pull !== 'function')
    throw new Error(`customVjp: needs the pull as a second function, got ${describe(pull)}`)
  return (...args) => {
    const value = f(...args)
    demandTensors('customVjp', value, ...args)
    const rule = (g: Node, node: Node): (Node | null)[] => {
      const operands = node.inputs.slice(1).map(n => new Tensor(n)) as A
      const cotangents = pull(new Tensor(g), new Tensor(node), ...operands)
      if (!Array.isArray(cotangents) || cotangents.length !== args.length) {
        const given = Array.isArray(cotangents) ? `${cotangents.length} cotangents` : describe(cotangents)
        throw new Error(`customVjp: the pull returned ${given} for ${args.length} arguments; a list with one each`)
      }
      return cotangents.map((t: unknown, i) => {
        const { shape, dtype } = operands[i]
        if (t === null) return null
        if (!(t instanceof Tensor) || !sameShape(t.shape, shape)) {
          throw new Error(
            `customVjp: the pull returned ${describe(t)} as the cotangent of argument ${i}, ${describe(operands[i])}`,
          )
        }
        return astype(t, dtype).node
      })
    }
    return build('custom', [value, ...args], { rule })
  }
}

/** Which intermediate values a checkpoint keeps: none, those of matrix products and convolutions, or those chosen. */
export type KeepPolicy = 'nothing' | 'contractions' | ((value: Pick<Node, 'op' | 'shape' | 'dtype'>) => boolean)

const policies = {
  nothing: (): boolean => false,
  contractions: ({ op }: Pick<Node, 'op'>): boolean => op === 'matmul' || op === 'conv',
}

/**
 * f, whose intermediate values are computed again in the backward pass instead of kept: memory for time. The value and
 * all derivatives are those of f, closures included. `keep` names the values that are kept all the same.
 *
 * @example checkpoint(block, { keep: 'contractions' }) // recomputes what is cheap
 */
export function checkpoint<A extends unknown[], R>(
  f: (...args: A) => R,
  options: { readonly keep?: KeepPolicy } = {},
): (...args: A) => R {
  demandFunction('checkpoint', f)
  const { keep = 'nothing' } = knownOptions('checkpoint', options, { keep: true })
  const policy = typeof keep === 'function' ? keep : Object.hasOwn(policies, keep) && policies[keep]
  if (!policy) throw new Error(`checkpoint: keep is one of nothing, contractions, or a function, not ${describe(keep)}`)
  return (...args) => {
    const firstId = upcomingId()
    const result = f(...args)
    const isOlder = (node: Node): boolean => node.id < firstId
    const values = leaves(result).filter(t => isFloat(t.dtype))
    const inside = topological(
      values.map(t => t.node),
      n => (isOlder(n) ? [] : n.inputs),
    )
    const boundary = inside.filter(n => isOlder(n) && isFloat(n.dtype))
    /** What the values are computed from, behind fences, and copies of everything in between. */
    const copy = (operands: readonly Node[]): Map<Node, Node> => {
      const copies = new Map(operands.map((n, i) => [boundary[i], build('barrier', [new Tensor(n)], {}).node]))
      for (const n of inside) {
        if (isOlder(n) || n.inputs.length === 0) continue
        const copied = n.inputs.map(i => copies.get(i) ?? i)
        const again = makeNode(n.op, copied, n.attrs, n.shape, n.dtype)
        copies.set(n, isFloat(n.dtype) && policy(n) ? withDerivativeOf(n, again) : again)
      }
      return copies
    }
    // All results of one call share their copies.
    const made = new Map<string, Map<Node, Node>>()
    const recomputed = (value: Tensor): Tensor => {
      const target = value.node
      const rule = (g: Node, node: Node): (Node | null)[] => {
        const operands = node.inputs.slice(1)
        const key = operands.map(n => n.id).join()
        const copies = made.get(key) ?? copy(operands)
        made.set(key, copies)
        const fences = boundary.map(n => copies.get(n)!)
        return backward([copies.get(target)!], [new Tensor(g)], fences).map(t => t?.node ?? null)
      }
      return build('custom', [value, ...boundary.map(n => new Tensor(n))], { rule })
    }
    return mapTree(result, value => (isFloat(value.dtype) && !isOlder(value.node) ? recomputed(value) : value))
  }
}

/** The value of `kept` with the derivative of `again`, the same operation on recomputed operands. */
const withDerivativeOf = (kept: Node, again: Node): Node =>
  build(
    'custom',
    [kept, ...again.inputs].map(n => new Tensor(n)),
    { rule: (g, node) => applyRule(again, new Tensor(g), new Tensor(node)).map(t => t?.node ?? null) },
  ).node

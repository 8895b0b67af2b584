/** Functions with a derivative of their own, and functions whose intermediate values are computed again when needed. */

import { isFloat } from '../graph/dtype.js'
import { makeNode, type Node, topological, upcomingId } from '../graph/node.js'
import { sameShape } from '../graph/shape.js'
import { build, demandFunction, demandTensors, describe, Tensor } from '../tensor/tensor.js'
import { mapTree } from '../tensor/tree.js'
import { backward } from './backward.js'

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
      if (cotangents.length !== args.length)
        throw new Error(`customVjp: the pull returned ${cotangents.length} cotangents for ${args.length} arguments`)
      return cotangents.map((t, i) => {
        if (t && !sameShape(t.shape, args[i].shape)) {
          throw new Error(
            `customVjp: the pull returned ${describe(t)} as the cotangent of argument ${i}, ${describe(args[i])}`,
          )
        }
        return t?.node ?? null
      })
    }
    return build('custom', [value, ...args], { rule })
  }
}

/**
 * f, whose intermediate values are computed again in the backward pass instead of kept: memory for time. The value and
 * all derivatives are those of f, closures included.
 */
export function checkpoint<A extends unknown[], R>(f: (...args: A) => R): (...args: A) => R {
  demandFunction('checkpoint', f)
  return (...args) => {
    const firstId = upcomingId()
    const result = f(...args)
    return mapTree(result, value => (isFloat(value.dtype) ? recomputed(value, firstId) : value))
  }
}

/** `value` as a custom node whose rule differentiates a copy of everything made since `firstId`. */
function recomputed(value: Tensor, firstId: number): Tensor {
  const older = (node: Node): boolean => node.id < firstId
  const target = value.node
  const inside = topological([target], n => (older(n) ? [] : n.inputs))
  const boundary = inside.filter(n => older(n) && isFloat(n.dtype))
  const rule = (g: Node, node: Node): (Node | null)[] => {
    const copies = new Map<Node, Node>()
    const fences = node.inputs.slice(1).map((n, i) => {
      const fence = build('barrier', [new Tensor(n)], {}).node
      copies.set(boundary[i], fence)
      return fence
    })
    for (const n of inside) {
      if (copies.has(n) || older(n) || n.inputs.length === 0) continue
      copies.set(
        n,
        makeNode(
          n.op,
          n.inputs.map(i => copies.get(i) ?? i),
          n.attrs,
          n.shape,
          n.dtype,
        ),
      )
    }
    const copy = copies.get(target)
    if (!copy) return boundary.map(() => null)
    return backward([copy], [new Tensor(g)], fences).map(t => t?.node ?? null)
  }
  return build('custom', [value, ...boundary.map(n => new Tensor(n))], { rule })
}

/** Next values of untrained leaves, such as running statistics: collected while a model runs, put in place afterwards. */

import { formatShape, sameShape } from '../graph/shape.js'
import { isTrainable } from '../nn/parameters.js'
import type { Tensor } from '../tensor/tensor.js'
import { mapTree, namedLeaves } from '../tensor/tree.js'

export interface Updates {
  /** For a context: takes the next value of a leaf of the model. The last one counts. */
  update(leaf: Tensor, value: Tensor): void
  /** The tree, of the model's structure, with the updated leaves replaced. */
  into<M>(tree: M): M
}

/** Collects updates to the leaves of a model. A leaf is known by its identity, also behind the variables of a gradient. */
export function updatesOf(model: unknown): Updates {
  const names = new Map(namedLeaves(model).map(({ name, tensor }) => [tensor.node, name]))
  const values = new Map<string, Tensor>()
  return {
    update(leaf, value) {
      let { node } = leaf
      while (!names.has(node) && node.op === 'variable') node = node.inputs[0]
      const name = names.get(node)
      if (name === undefined || isTrainable(name)) {
        throw new Error(
          `update: ${name ? `'${name}' is trained` : `${leaf} is no leaf of the model`}; only the model's leaves under 'state' can be updated`,
        )
      }
      if (value.dtype !== leaf.dtype || !sameShape(value.shape, leaf.shape)) {
        throw new Error(
          `update: ${value.dtype}${formatShape(value.shape)} cannot replace '${name}', ${leaf.dtype}${formatShape(leaf.shape)}`,
        )
      }
      values.set(name, value)
    },
    into: tree => mapTree(tree, (tensor, name) => values.get(name) ?? tensor),
  }
}

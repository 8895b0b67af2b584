/** Which leaves of a model are parameters. */

import { isFloat } from '../graph/dtype.js'
import type { Tensor } from '../tensor/tensor.js'
import { namedLeaves } from '../tensor/tree.js'

/** Whether a leaf of that name is trained: all but those under a `state`, as the running statistics of BatchNorm are. */
export const isTrainable = (name: string): boolean => !name.split('.').includes('state')

/** Whether optimisers move a leaf: it is trainable and made of floats. */
export const isParameter = (tensor: Tensor, name: string): boolean => isTrainable(name) && isFloat(tensor.dtype)

/**
 * @throws if a parameter stands at two paths: each place would have a gradient, an average and a next value of its own, and
 * only one of them would count.
 */
export function checkUntied(op: string, tree: unknown): void {
  const names = new Map<Tensor, string>()
  for (const { name, tensor } of namedLeaves(tree)) {
    if (!isParameter(tensor, name)) continue
    const other = names.get(tensor)
    if (other !== undefined) {
      throw new Error(
        `${op}: '${other}' and '${name}' are one tensor, whose gradients would be lost in part; give each a tensor of its own, or ` +
          `keep it at '${other}' alone and read it from there`,
      )
    }
    names.set(tensor, name)
  }
}

/** The number of trained values in a tree. */
export const countParameters = (tree: unknown): number =>
  namedLeaves(tree).reduce((n, { name, tensor }) => n + (isParameter(tensor, name) ? tensor.size : 0), 0)

/** Which leaves of a model are parameters. */

import { isFloat } from '../graph/dtype.js'
import type { Tensor } from '../tensor/tensor.js'
import { namedLeaves } from '../tensor/tree.js'

/** Whether a leaf of that name is trained: all but those under a `state`, as the running statistics of BatchNorm are. */
export const isTrainable = (name: string): boolean => !name.split('.').includes('state')

/** Whether optimisers move a leaf: it is trainable and made of floats. */
export const isParameter = (tensor: Tensor, name: string): boolean => isTrainable(name) && isFloat(tensor.dtype)

/** The number of trained values in a tree. */
export const countParameters = (tree: unknown): number =>
  namedLeaves(tree).reduce((n, { name, tensor }) => n + (isParameter(tensor, name) ? tensor.size : 0), 0)

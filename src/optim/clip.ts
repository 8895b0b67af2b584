/** Bounds on the size of a gradient. */

import { computeType } from '../graph/dtype.js'
import { isParameter } from '../nn/parameters.js'
import { add, astype, div, maximum, mul, square } from '../tensor/elementwise.js'
import { sum } from '../tensor/reduction.js'
import { safeSqrt } from '../tensor/shared.js'
import type { Tensor } from '../tensor/tensor.js'
import { mapTree, namedLeaves } from '../tensor/tree.js'

/** The L2 norm of all parameters' gradients together, a scalar. */
export function globalNorm(grads: unknown): Tensor {
  const squares = namedLeaves(grads)
    .filter(({ tensor, name }) => isParameter(tensor, name))
    .map(({ tensor }) => sum(square(astype(tensor, computeType(tensor.dtype)))))
  if (squares.length === 0) throw new Error('globalNorm: the tree has no float tensors that are trained')
  return safeSqrt(squares.reduce(add))
}

/**
 * The gradients, scaled down to a global norm of `max` where it is larger. Pascanu et al. 2013, arXiv:1211.5063,
 * algorithm 1.
 */
export function clipByGlobalNorm<G>(grads: G, max: number): G {
  if (!(max > 0)) throw new Error(`clipByGlobalNorm: max must be a number > 0, not ${max}`)
  const norm = globalNorm(grads)
  const scale = div(max, maximum(norm, max))
  return mapTree(grads, (g, name) => (isParameter(g, name) ? mul(g, astype(scale, g.dtype)) : g))
}

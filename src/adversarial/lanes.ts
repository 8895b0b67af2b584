/**
 * Runs of one attack side by side, as one batch: their states stand along a first axis, and `vmap` makes the step of one that
 * of all.
 */

import { arange } from '../tensor/create.js'
import { add, mul } from '../tensor/elementwise.js'
import { take } from '../tensor/indexing.js'
import { reshape, stack } from '../tensor/movement.js'
import type { Tensor } from '../tensor/tensor.js'
import { zipTrees } from '../tensor/tree.js'

/** The states of runs as one. */
export const sideBySide = <S>([first, ...others]: readonly S[]): S =>
  zipTrees((...tensors) => stack(tensors), first, ...others)

/** x [runs, n, ...] at one run for each example, int32 [n]: [n, ...]. */
export const ofRuns = (x: Tensor, run: Tensor): Tensor => {
  const [runs, n, ...rest] = x.shape
  return take(reshape(x, [runs * n, ...rest]), add(mul(run, n), arange(n)))
}

/** Computing several tensors at once, and looking at how. */

import { inspect as inspectNodes, realize as realizeNodes } from '../runtime/realize.js'
import { leaves } from './tree.js'

/** Computes all tensors of the given trees in one run and keeps their values on the device. */
export async function realize(...trees: readonly unknown[]): Promise<void> {
  await realizeNodes(trees.flatMap(tree => leaves(tree)).map(t => t.node))
}

/**
 * What becomes of expressions on the device in use, as text: the graph of primitives, the schedule of fused kernels, and
 * the code generated for them. Nothing is computed.
 */
export function inspect(...trees: readonly unknown[]): Promise<{ graph: string; schedule: string; code: string }> {
  return inspectNodes(trees.flatMap(tree => leaves(tree)).map(t => t.node))
}

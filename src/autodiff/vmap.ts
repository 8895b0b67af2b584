/** vmap: functions of one example as functions of many. */

import { knownOptions, type Names } from '../graph/options.js'
import { formatShape, normalizeAxis } from '../graph/shape.js'
import { moveaxis } from '../tensor/movement.js'
import { demandFunction, describe, Tensor } from '../tensor/tensor.js'
import { leaves, mapTree, replaceLeaves } from '../tensor/tree.js'
import { batchNodes, exampleOf, spread } from './batching.js'

type Axis = number | null

export interface VmapOptions {
  /**
   * The axis of the examples in all tensors of an argument, or null where all examples share it: one for all arguments
   * (0) or a list.
   */
  inAxes?: Axis | readonly Axis[]
  /** The axis of the examples in the tensors of the result; 0 by default. */
  outAxis?: number
}
const vmapNames: Names<VmapOptions> = { inAxes: true, outAxis: true }

/**
 * f, a function of one example, for all examples along an axis at once: the graph of one example, every primitive in its
 * batched form. Nests with itself and with all derivatives, inside and outside.
 *
 * @throws if the arguments have no tensor to map over, or differ in how many examples they have.
 * @example vmap(grad(loss), { inAxes: [null, 0] })(model, xs) // a gradient for each example
 */
export function vmap<A extends unknown[], R>(f: (...args: A) => R, options: VmapOptions = {}): (...args: A) => R {
  demandFunction('vmap', f)
  const { inAxes = 0, outAxis = 0 } = knownOptions('vmap', options, vmapNames)
  return (...args) => {
    const axes = Array.isArray(inAxes) ? inAxes : args.map(() => inAxes)
    if (axes.length !== args.length)
      throw new Error(`vmap: ${axes.length} inAxes for ${args.length} arguments; one each, null for what is shared`)
    const known = new Map<Tensor['node'], Tensor>()
    let size: number | undefined
    const examples = args.map((arg, i) => {
      const axis = axes[i]
      if (axis === null) return arg
      return mapTree(arg, (t, name) => {
        const all = moveaxis(t, normalizeAxis('vmap', axis, t.ndim), 0)
        size ??= all.shape[0]
        if (all.shape[0] !== size) {
          throw new Error(
            `vmap: argument ${[i, ...(name ? [name] : [])].join('.')} ${formatShape(t.shape)} has ${all.shape[0]} examples along axis ${axis}, those before it ${size}`,
          )
        }
        const example = exampleOf(all)
        known.set(example, all)
        return new Tensor(example)
      })
    }) as A
    if (size === undefined)
      throw new Error(`vmap: no tensor to map over among the arguments ${args.map(describe).join(', ')}`)
    const count = size
    const result = f(...examples)
    const outputs = batchNodes(
      leaves(result).map(t => t.node),
      known,
      count,
    )
    return replaceLeaves(
      result,
      outputs.map(o => moveaxis(spread(o, count), 0, outAxis)),
    )
  }
}

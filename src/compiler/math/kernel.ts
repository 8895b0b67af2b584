/** Whole kernels with their special functions written out as basic operations. */

import { copyExprs } from '../copy.js'
import { ExprTable } from '../expr.js'
import { type LoopKernel, mapTotals } from '../kernel.js'
import { expandOperation } from './expand.js'

/** @param operation what an operation becomes */
export function expandKernel(kernel: LoopKernel, operation = expandOperation): LoopKernel {
  const expand = copyExprs(new ExprTable(), { operation })
  const { reduce } = kernel
  const contraction = reduce?.contraction
  return {
    ...kernel,
    reduce: reduce && {
      ...reduce,
      totals: mapTotals(reduce, t => ({ ...t, body: expand(t.body) })),
      contraction: contraction && { ...contraction, left: expand(contraction.left), right: expand(contraction.right) },
    },
    outputs: kernel.outputs.map(o => ({ buffer: o.buffer, value: expand(o.value) })),
  }
}

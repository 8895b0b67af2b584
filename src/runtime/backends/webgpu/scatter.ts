/**
 * Scatter-add without atomics: the indices are sorted stably, so that the updates of a row are one segment in the order of
 * their indices; kernels/segments.wgsl finds the segments, kernels/scatter.wgsl sums them. Few indices take the same way:
 * their sort is one workgroup, and threads that each scan all indices would cost more than the two dispatches they save
 * as soon as the result has some thousand rows.
 */

import type { FirstKernel, ScatterKernel } from '../../../compiler/kernel.js'
import { type DType, isFloat } from '../../../graph/dtype.js'
import { loaded, stored, valueType } from './print.js'
import { sortStages } from './sort.js'
import type { StageList } from './stage.js'

const threads = 256

/** How a type is summed; float16 in float32, rounded once. */
function arithmetic(type: DType): { readonly zero: string; readonly plus: string; readonly result: string } {
  if (type === 'float64') return { zero: 'vec2u()', plus: 'f64_add(sum, x)', result: 'sum' }
  if (!isFloat(type)) return { zero: `${valueType(type)}()`, plus: 'sum + x', result: 'sum' }
  return { zero: 'bits(0u)', plus: 'keep(sum + x)', result: type === 'float16' ? 'round_to_half(sum)' : 'sum' }
}

/**
 * Sorts the indices, stably. The order that they take, and where in it the segment of each row begins; there is one more
 * start than there are rows.
 */
function segmentsOf(
  { name, rows, count, index }: Pick<FirstKernel, 'name' | 'rows' | 'count' | 'index'>,
  stages: StageList,
): { permutation: number; starts: number } {
  const permutation = stages.scratch('int32', count)
  const sorted = stages.scratch('int32', count)
  sortStages(
    { name: `${name} sort`, type: 'int32', rows: 1, length: count, input: index, output: permutation },
    stages,
    sorted,
  )
  const starts = stages.scratch('uint32', rows + 1)
  stages.add({
    name: `${name} segments`,
    template: 'segments',
    holes: { threads, rows, count, sorted: `b${sorted}`, starts: `b${starts}` },
    reads: [sorted],
    writes: [starts],
    groups: Math.ceil((rows + 1) / threads),
  })
  return { permutation, starts }
}

/** The first occurrence of a row opens its segment: kernels/first.wgsl. */
export function firstIndexStages(kernel: FirstKernel, stages: StageList): void {
  const { name, rows, output } = kernel
  const { permutation, starts } = segmentsOf(kernel, stages)
  stages.add({
    name,
    template: 'first',
    holes: { threads, rows, starts: `b${starts}`, permutation: `b${permutation}`, output: `b${output}` },
    reads: [starts, permutation],
    writes: [output],
    groups: Math.ceil(rows / threads),
  })
}

export function scatterStages(kernel: ScatterKernel, stages: StageList): void {
  const { name, type, rows, width, updates, output } = kernel
  const { permutation, starts } = segmentsOf(kernel, stages)
  const size = rows * width
  const { zero, plus, result } = arithmetic(type)
  stages.add({
    name,
    template: 'scatter',
    holes: {
      threads,
      width,
      size,
      type: valueType(type),
      update: loaded(type, `b${updates}[u32(b${permutation}[place]) * width + column]`),
      zero,
      plus,
      starts: `b${starts}`,
      output: `b${output}`,
      result: stored(type, result, stages.storage),
    },
    reads: [starts, permutation, updates],
    writes: [output],
    groups: Math.ceil(size / threads),
  })
}

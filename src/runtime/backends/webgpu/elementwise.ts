/** Loop kernels without a reduction: kernels/elementwise.wgsl. */

import { bufferReads, type LoopKernel } from '../../../compiler/kernel.js'
import { sizeOf } from '../../../graph/shape.js'
import { axisStatements, nameOf, statements, stored } from './print.js'
import type { StageList } from './stage.js'

const threads = 256

export function elementwiseStage(kernel: LoopKernel, stages: StageList): void {
  const { name, axes, outputs } = kernel
  const size = sizeOf(axes)
  const items = size >= 2 ** 18 ? 4 : 1
  const block = threads * items
  const dtypeOf = (b: number) => stages.dtypeOf(b)
  const body = [
    ...axisStatements('i32(position)', axes),
    ...statements(
      outputs.map(o => o.value),
      dtypeOf,
    ),
    ...outputs.map(o => `b${o.buffer}[position] = ${stored(dtypeOf(o.buffer), nameOf(o.value), stages.storage)};`),
  ]
  stages.add({
    name,
    template: 'elementwise',
    holes: { size, threads, items, block, body: body.join('\n') },
    reads: bufferReads(kernel),
    writes: outputs.map(o => o.buffer),
    groups: Math.ceil(size / block),
  })
}

/** Loop kernels without a reduction: kernels/elementwise.wgsl. */

import { bufferReads, type LoopKernel } from '../../../compiler/kernel.js'
import { sizeOf } from '../../../graph/shape.js'
import type { Instruction } from './machine.js'
import { axisStatements, nameOf, statements, storageBytes, stored } from './print.js'
import type { StageList } from './stage.js'

const threads = 256
/** Up to so many positions the time to compile a float64 expression is longer than the time to compute it. */
const small = 8192

export function elementwiseStage(kernel: LoopKernel, stages: StageList): void {
  const { name, axes, outputs } = kernel
  const size = sizeOf(axes)
  const items = size >= 2 ** 18 ? 4 : 1
  const block = threads * items
  const dtypeOf = (b: number) => stages.dtypeOf(b)
  // A loop over all positions does not depend on their number: one shader serves tensors of all sizes.
  const [first] = outputs
  const isAnySize = axes.length <= 1 && storageBytes(dtypeOf(first.buffer), stages.storage) % 4 === 0
  const instructions: Instruction[] = []
  const body = [
    ...axisStatements('i32(position)', axes),
    ...statements(
      outputs.map(o => o.value),
      dtypeOf,
      { instructions: size <= small ? instructions : undefined },
    ),
    ...outputs.map(o => `b${o.buffer}[position] = ${stored(dtypeOf(o.buffer), nameOf(o.value), stages.storage)};`),
  ]
  stages.add({
    name,
    template: 'elementwise',
    holes: {
      size: isAnySize ? `arrayLength(&b${first.buffer})` : `${size}u`,
      threads,
      items,
      block,
      body: body.join('\n'),
    },
    instructions,
    reads: bufferReads(kernel),
    writes: outputs.map(o => o.buffer),
    groups: Math.ceil(size / block),
  })
}

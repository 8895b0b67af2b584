/** Loop kernels without a reduction: kernels/elementwise.wgsl. */

import { bufferReads, type LoopKernel } from '../../../compiler/kernel.js'
import { sizeOf } from '../../../graph/shape.js'
import type { Instruction } from './machine.js'
import {
  axisStatements,
  type BufferTypes,
  type PlaceOptions,
  statements,
  storageBytes,
  storeStatements,
} from './print.js'
import type { StageList } from './stage.js'

const threads = 256
/** Up to so many positions the time to compile a float64 expression is longer than the time to compute it. */
const small = 8192

export function elementwiseStage(kernel: LoopKernel, stages: StageList): void {
  const { name, axes, outputs } = kernel
  const size = sizeOf(axes)
  const items = size >= 2 ** 18 ? 4 : 1
  const block = threads * items
  // A loop over all positions does not depend on their number: one shader serves tensors of all sizes.
  const [first] = outputs
  const isAnySize = axes.length <= 1 && storageBytes(stages.dtypeOf(first.buffer), stages.storage) % 4 === 0
  const instructions: Instruction[] = []
  const body = elementStatements(kernel, stages, { instructions: size <= small ? instructions : undefined })
  stages.add({
    name,
    template: 'elementwise',
    holes: {
      size: isAnySize ? `arrayLength(&b${first.buffer})` : `${size}u`,
      threads,
      items,
      block,
      body,
    },
    instructions,
    loops: kernel,
    reads: bufferReads(kernel),
    writes: outputs.map(o => o.buffer),
    groups: Math.ceil(size / block),
  })
}

/** What is computed at the position in the variable of that name. */
export function elementStatements({ axes, outputs }: LoopKernel, types: BufferTypes, options: PlaceOptions): string {
  const values = outputs.map(o => o.value)
  return [
    ...axisStatements('i32(position)', axes),
    ...statements(values, b => types.dtypeOf(b), options),
    ...storeStatements(outputs, 'position', types, options.own),
  ].join('\n')
}

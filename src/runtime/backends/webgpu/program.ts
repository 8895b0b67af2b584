/** From a schedule to a list of dispatches over numbered buffers, with the slots of memory that temporaries share. */

import { type Cost, costOf } from '../../../compiler/cost.js'
import { type BufferSpec, type Kernel, type LoopKernel, printKernel, type Schedule } from '../../../compiler/kernel.js'
import { expandKernel } from '../../../compiler/math/kernel.js'
import { planSlots, type SlotPlan } from '../../../compiler/plan-memory.js'
import type { DType } from '../../../graph/dtype.js'
import { contractionStages } from './contraction.js'
import { elementwiseStage } from './elementwise.js'
import { type Storage, storageBytes } from './print.js'
import { reductionStages } from './reduction.js'
import { firstIndexStages, scatterStages } from './scatter.js'
import { argsortStages } from './sort.js'
import { makeStage, type Stage, type StageList, type StageSource } from './stage.js'

/** A dispatch, with the kernel that it belongs to and its share of what that costs. */
export interface KernelStage extends Stage {
  readonly kernel: Kernel
  readonly cost: Cost
}

export interface Program {
  readonly buffers: readonly BufferSpec[]
  readonly stages: readonly KernelStage[]
  readonly slots: SlotPlan
}

/** @param gpu what the device was found to have */
export function buildProgram(
  { buffers: given, kernels }: Schedule,
  gpu: Storage & Pick<StageList, 'matrices'>,
): Program {
  const buffers = [...given]
  const scratch: { buffer: number; kernel: number }[] = []
  const stages: KernelStage[] = []
  kernels.forEach((kernel, i) => {
    const sources: StageSource[] = []
    const list: StageList = {
      storage: gpu,
      matrices: gpu.matrices,
      dtypeOf: buffer => buffers[buffer].dtype,
      scratch: (dtype: DType, size: number) => {
        const buffer = buffers.push({ dtype, size, role: 'temporary' }) - 1
        scratch.push({ buffer, kernel: i })
        return buffer
      },
      add: (source: StageSource) => sources.push(source),
    }
    addStages(kernel, list)
    const cost = costOf(kernel, buffers, spec => storageBytes(spec.dtype, gpu))
    for (const source of sources) {
      const share = { bytes: cost.bytes / sources.length, flops: cost.flops / sources.length }
      stages.push({ ...makeStage(source, buffers, gpu), kernel, cost: share })
    }
  })
  const bytesOf = (b: number): number => buffers[b].size * storageBytes(buffers[b].dtype, gpu)
  return { buffers, stages, slots: planSlots({ buffers, kernels }, scratch, bytesOf) }
}

function addStages(kernel: Kernel, stages: StageList): void {
  switch (kernel.kind) {
    case 'scatterAdd':
      scatterStages(kernel, stages)
      break
    case 'firstIndex':
      firstIndexStages(kernel, stages)
      break
    case 'argsort':
      argsortStages(kernel, stages)
      break
    case 'loop':
      addLoop(expandKernel(kernel), stages)
  }
}

function addLoop(kernel: LoopKernel, stages: StageList): void {
  if (!kernel.reduce) elementwiseStage(kernel, stages)
  else if (!contractionStages(kernel, stages)) reductionStages(kernel, stages)
}

/** For people: the expressions of each kernel, and below them the WGSL that computes them. */
export function printProgram({ stages }: Program): string {
  const comment = (text: string): string => text.replace(/^/gm, '// ')
  return stages
    .map(({ kernel, name, code, groups, bindings }, i) => {
      const isFirst = i === 0 || stages[i - 1].kernel !== kernel
      const [x, y] = groups
      const names = bindings.map(({ buffer }, binding) => `b${binding} is b${buffer}`).join(', ')
      const title = `${name}, ${x * y} workgroup${x * y === 1 ? '' : 's'}; here ${names}`
      return `${isFirst ? `${comment(printKernel(kernel))}\n` : ''}${comment(title)}\n${code.trim()}`
    })
    .join('\n\n')
}

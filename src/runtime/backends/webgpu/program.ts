/** From a schedule to a list of dispatches over numbered buffers, with the slots of memory that temporaries share. */

import { type Cost, costOf } from '../../../compiler/cost.js'
import { type BufferSpec, type Kernel, type LoopKernel, printKernel, type Schedule } from '../../../compiler/kernel.js'
import { expandOperation } from '../../../compiler/math/expand.js'
import { expandKernel } from '../../../compiler/math/kernel.js'
import { planSlots, type SlotPlan } from '../../../compiler/plan-memory.js'
import { joinSteps, momentsOf, type RowStep } from '../../../compiler/rows.js'
import type { DType } from '../../../graph/dtype.js'
import { sizeOf } from '../../../graph/shape.js'
import { contractionStages } from './contraction.js'
import { elementwiseStage } from './elementwise.js'
import { groupStage, isWorth, mayJoin, ownPlaces } from './groups.js'
import { type Storage, storageBytes } from './print.js'
import { reductionStages } from './reduction.js'
import { firstIndexStages, scatterStages } from './scatter.js'
import { argsortStages } from './sort.js'
import { makeStage, type Stage, type StageList, type StageSource } from './stage.js'

/** A dispatch, with the kernels that it belongs to and its share of what they cost. */
export interface KernelStage extends Stage {
  readonly kernels: readonly Kernel[]
  readonly cost: Cost
}

/** A stage before it is one, and its part of what its kernel costs. */
interface Step extends RowStep {
  readonly source: StageSource
  readonly share: number
}

export interface Program {
  readonly buffers: readonly BufferSpec[]
  readonly stages: readonly KernelStage[]
  readonly slots: SlotPlan
}

/** @param gpu what the device was found to have */
export function buildProgram(
  { buffers: given, kernels }: Schedule,
  gpu: Storage & Pick<StageList, 'matrices'> & { readonly maxBuffers: number },
): Program {
  const buffers = [...given]
  const scratch: { buffer: number; kernel: number }[] = []
  const types = { storage: gpu, dtypeOf: (buffer: number) => buffers[buffer].dtype }
  const steps: Step[] = []
  kernels.forEach((kernel, index) => {
    const sources: StageSource[] = []
    const list: StageList = {
      ...types,
      matrices: gpu.matrices,
      scratch: (dtype: DType, size: number) => {
        const buffer = buffers.push({ dtype, size, role: 'temporary' }) - 1
        scratch.push({ buffer, kernel: index })
        return buffer
      },
      add: (source: StageSource) => sources.push(source),
    }
    addStages(kernel, list)
    for (const source of sources) {
      const { loops } = source
      const count = loops && sizeOf(loops.axes)
      const joins = loops && count && mayJoin(loops, buffers)
      const [reads, writes] = [new Set(source.reads), new Set(source.writes)]
      const member = joins ? { kernel: loops, count, multiple: 1 } : undefined
      steps.push({ index, source, share: 1 / sources.length, loops: member, reads, writes })
    }
  })
  const bundles = joinSteps(steps, buffers, bundle => isWorth(bundle, types, buffers, gpu.maxBuffers))
  const slotless = new Set<number>()
  const stages = bundles.map((bundle): KernelStage => {
    const joined = bundle.steps
    const name = joined.map(s => s.source.name).join(' + ')
    const own = ownPlaces(bundle, types, buffers)
    for (const b of own.keys()) slotless.add(b)
    const source = bundle.group ? groupStage(bundle.group, name, own, types) : joined[0].source
    return {
      ...makeStage(source, buffers, gpu),
      kernels: [...new Set(joined.map(s => kernels[s.index]))],
      cost: costOfSteps(joined, new Set([...own.keys()].map(b => buffers[b]))),
    }
  })

  /** What steps cost, if these buffers are in no memory. */
  function costOfSteps(joined: readonly Step[], own: ReadonlySet<BufferSpec>): Cost {
    const bytesOf = (spec: BufferSpec): number => (own.has(spec) ? 0 : storageBytes(spec.dtype, gpu))
    let [bytes, flops] = [0, 0]
    for (const { index, share } of joined) {
      const cost = costOf(kernels[index], buffers, bytesOf)
      bytes += share * cost.bytes
      flops += share * cost.flops
    }
    return { bytes, flops }
  }

  const bytesOf = (b: number): number => buffers[b].size * storageBytes(buffers[b].dtype, gpu)
  const moments = momentsOf(bundles)
  return { buffers, stages, slots: planSlots({ buffers, kernels }, { scratch, moments, slotless }, bytesOf) }
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
      addLoop(expandKernel(kernel, expand), stages)
  }
}

/**
 * A driver may contract what a largest element is made of and not what it is taken from: what is at most 0 is then one
 * place of a large number above it, which is too much for `expBelow0`.
 */
const expand: typeof expandOperation = (exprs, op, type, args) =>
  expandOperation(exprs, op === 'expBelow0' ? 'exp' : op, type, args)

function addLoop(kernel: LoopKernel, stages: StageList): void {
  if (!kernel.reduce) elementwiseStage(kernel, stages)
  else if (!contractionStages(kernel, stages)) reductionStages(kernel, stages)
}

/** For people: the expressions of each kernel, and below them the WGSL that computes them. */
export function printProgram({ stages }: Program): string {
  const comment = (text: string): string => text.replace(/^/gm, '// ')
  return stages
    .map(({ kernels, name, code, groups, bindings }, i) => {
      const isFirst = i === 0 || stages[i - 1].kernels[0] !== kernels[0]
      const [x, y] = groups
      const names = bindings.map(({ buffer }, binding) => `b${binding} is b${buffer}`).join(', ')
      const title = `${name}, ${x * y} workgroup${x * y === 1 ? '' : 's'}; here ${names}`
      return `${isFirst ? `${comment(kernels.map(printKernel).join('\n'))}\n` : ''}${comment(title)}\n${code.trim()}`
    })
    .join('\n\n')
}

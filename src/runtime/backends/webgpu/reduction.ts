/** Loop kernels that reduce: kernels/reduce.wgsl, twice where results are few and loops are long. */

import { axisFactor } from '../../../compiler/affine.js'
import { type Expr, walkExprs } from '../../../compiler/expr.js'
import { bufferReads, identityOf, type LoopKernel, type Reduction } from '../../../compiler/kernel.js'
import { partsOf, splitReduction } from '../../../compiler/split.js'
import { sizeOf } from '../../../graph/shape.js'
import type { Instruction } from './machine.js'
import {
  axisStatements,
  type BufferTypes,
  constantText,
  nameOf,
  type PlaceOptions,
  statements,
  storeStatements,
  valueType,
} from './print.js'
import type { StageList } from './stage.js'

export type ReducingKernel = LoopKernel & { readonly reduce: Reduction }

export const isReducing = (kernel: LoopKernel): kernel is ReducingKernel => kernel.reduce !== undefined

/** How two values are combined, by their type in WGSL. */
const combinations: Readonly<Record<Reduction['op'], Readonly<Record<string, string>>>> = {
  sum: { f32: 'a + b', i32: 'a + b', u32: 'a + b', vec2u: 'f64_add(a, b)' },
  prod: { f32: 'a * b', i32: 'a * b', u32: 'a * b', vec2u: 'f64_mul(a, b)' },
  max: { f32: 'maximum(a, b)', i32: 'max(a, b)', u32: 'max(a, b)', vec2u: 'f64_maximum(a, b)', bool: 'a | b' },
}

export const maxThreads = 256
/** Threads that keep a GPU busy: more of them for one result gain nothing. */
export const busyThreads = 2 ** 16
/** Loops so short are left to one thread each, where there are as many results. */
const short = { inner: 32, count: 2 ** 13 }
/** Workgroups among which long reductions are split, and the positions that are left to a thread at least. */
const split = { groups: 512, perLane: 16 }

export const powerBelow = (n: number): number => 2 ** Math.floor(Math.log2(Math.max(1, n)))
export const powerAbove = (n: number): number => 2 ** Math.ceil(Math.log2(Math.max(1, n)))

/** What a workgroup computes: `slots` results by `lanes` threads each. */
interface Layout {
  readonly slots: number
  readonly lanes: number
  /** Whether neighbouring threads share a result, else they have neighbouring results. */
  readonly isRow: boolean
}

export function layoutOf(kernel: ReducingKernel): Layout {
  const count = sizeOf(kernel.axes)
  const inner = sizeOf(kernel.reduce.axes)
  const isRow = readsAlongRows(kernel)
  const useful = isRow
    ? Math.min(maxThreads, count > 2 ** 12 ? inner / 4 : inner)
    : Math.min(maxThreads / Math.min(32, powerAbove(count)), busyThreads / count, inner / 4)
  const lanes = inner <= short.inner && count >= short.count ? 1 : powerBelow(useful)
  return { slots: Math.min(maxThreads / lanes, powerAbove(count)), lanes, isRow }
}

/** Whether neighbours of the innermost reduced loop are closer together in memory than those of the innermost output loop. */
export const readsAlongRows = ({ axes, reduce }: ReducingKernel): boolean =>
  strideOf(reduce.body, axes.length + reduce.axes.length - 1) <= strideOf(reduce.body, axes.length - 1)

/** Elements between neighbours of a loop, over all loads of an expression; far is far. */
export function strideOf(e: Expr, axis: number): number {
  let total = 0
  walkExprs([e], load => {
    if (load.op === 'load') total += Math.min(32, Math.abs(axisFactor(load.index, axis) ?? 32))
  })
  return total
}

export function reductionStages(kernel: LoopKernel, stages: StageList): void {
  if (!isReducing(kernel)) throw new Error(`webgpu: ${kernel.name} reduces nothing`)
  const { axes, reduce } = kernel
  const { slots, lanes } = layoutOf(kernel)
  const groups = Math.ceil(sizeOf(axes) / slots)
  const wanted = Math.floor(Math.min(split.groups / groups, sizeOf(reduce.axes) / (lanes * split.perLane)))
  if (wanted < 4) {
    addStage(kernel, stages)
    return
  }
  const parts = partsOf(reduce.axes, wanted)
  const buffer = stages.scratch(reduce.type, sizeOf(parts) * sizeOf(axes))
  for (const k of splitReduction(kernel, parts, buffer)) if (isReducing(k)) addStage(k, stages)
}

function addStage(kernel: ReducingKernel, stages: StageList): void {
  const { name, axes, reduce, outputs } = kernel
  const { slots, lanes, isRow } = layoutOf(kernel)
  const count = sizeOf(axes)
  const inner = sizeOf(reduce.axes)
  const steps = Math.ceil(inner / lanes)
  const instructions: Instruction[] = []
  stages.add({
    name,
    template: 'reduce',
    holes: {
      count,
      inner,
      slots,
      lanes,
      order: isRow ? 'Neighbouring threads share an output.' : 'Neighbouring threads have neighbouring outputs.',
      ahead: [4, 3, 2].find(n => steps % n === 0 || steps >= 4 * n) ?? 1,
      type: valueType(reduce.type),
      combination: combinationOf(reduce),
      slot: isRow ? 'thread / lanes' : 'thread % slots',
      lane: isRow ? 'thread % lanes' : 'thread / slots',
      ...reductionHoles(kernel, stages, { instructions }),
    },
    instructions,
    loops: kernel,
    reads: bufferReads(kernel),
    writes: outputs.map(o => o.buffer),
    groups: Math.ceil(count / slots),
  })
}

/** `a` and `b` combined. */
export function combinationOf({ op, type }: Reduction): string {
  const combination = combinations[op][valueType(type)]
  if (combination === undefined) throw new Error(`webgpu: no WGSL for ${op} of ${type}`)
  return combination
}

/** What is computed for the output in the variable of that name: before its loop, at a position of that, and after it. */
export function reductionHoles(
  { axes, reduce, outputs }: ReducingKernel,
  types: BufferTypes,
  options: PlaceOptions,
): Record<'identity' | 'before' | 'body' | 'value' | 'after', string> {
  const { own } = options
  const dtypeOf = (b: number) => types.dtypeOf(b)
  const isOuter = (e: Expr): boolean => [...e.axes].every(a => a < axes.length)
  const done = new Set<Expr>()
  const ofOutput = axisStatements('i32(output)', axes)
  const before = [...ofOutput, ...statements([reduce.body], dtypeOf, { done, own, isWanted: isOuter })]
  const body = [
    // An empty loop has no positions to be told apart.
    ...axisStatements(
      'i32(position)',
      reduce.axes.map(size => Math.max(1, size)),
      axes.length,
    ),
    ...statements([reduce.body], dtypeOf, { done, ...options }),
  ]
  const values = outputs.map(o => o.value)
  const after = [
    ...ofOutput,
    ...statements(values, dtypeOf, options),
    ...storeStatements(outputs, 'output', types, own),
  ]
  return {
    identity: constantText(identityOf(reduce), reduce.type),
    before: before.join('\n'),
    body: body.join('\n'),
    value: nameOf(reduce.body),
    after: after.join('\n'),
  }
}

/** Loop kernels that reduce: kernels/reduce.wgsl, twice where results are few and loops are long. */

import { axisFactor } from '../../../compiler/affine.js'
import { type Expr, reducedName, walkExprs } from '../../../compiler/expr.js'
import {
  bodiesOf,
  bufferReads,
  identityOf,
  type LoopKernel,
  type Reduction,
  type Total,
} from '../../../compiler/kernel.js'
import { isReducing, partsOf, type ReducingKernel, splitReduction } from '../../../compiler/split.js'
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

type Combination = (a: string, b: string) => string
const infix =
  (operator: string): Combination =>
  (a, b) =>
    `${a} ${operator} ${b}`
const call =
  (name: string): Combination =>
  (a, b) =>
    `${name}(${a}, ${b})`

/** How two values are combined, by their type in WGSL. */
const combinations: Readonly<Record<Total['op'], Readonly<Record<string, Combination>>>> = {
  sum: { f32: infix('+'), i32: infix('+'), u32: infix('+'), vec2u: call('f64_add') },
  prod: { f32: infix('*'), i32: infix('*'), u32: infix('*'), vec2u: call('f64_mul') },
  max: { f32: call('maximum'), i32: call('max'), u32: call('max'), vec2u: call('f64_maximum'), bool: infix('|') },
}

function combinationOf({ op, type }: Total): Combination {
  const combination = combinations[op][valueType(type)]
  if (combination === undefined) throw new Error(`webgpu: no WGSL for ${op} of ${type}`)
  return combination
}

/** The totals of a reduction as one value of WGSL: the only one, or a structure of all. */
export interface TotalsCode {
  readonly type: string
  /** The structure, if it is one. */
  readonly declaration: string
  /** A name for how two are combined, and how `a` and `b` are. */
  readonly combine: string
  readonly combination: string
  readonly identity: string
  /** What one position adds. */
  readonly value: string
  /** The variables that expressions know the totals of `result` by. */
  readonly unpacked: readonly string[]
  readonly bytes: number
}

export function totalsCode({ totals }: Reduction): TotalsCode {
  const types = totals.map(t => valueType(t.type))
  const isOne = totals.length === 1
  const type = isOne ? types[0] : `Totals_${types.join('_')}`
  const fields = totals.map((_, i) => `t${i}`)
  const all = (values: readonly string[]): string => (isOne ? values[0] : `${type}(${values.join(', ')})`)
  const of = (value: string, i: number): string => (isOne ? value : `${value}.${fields[i]}`)
  return {
    type,
    declaration: isOne ? '' : `struct ${type} {\n${fields.map((f, i) => `  ${f}: ${types[i]},`).join('\n')}\n}`,
    combine: totals.map((t, i) => `${t.op}_${types[i]}`).join('_'),
    combination: all(totals.map((t, i) => combinationOf(t)(of('a', i), of('b', i)))),
    identity: all(totals.map(t => constantText(identityOf(t), t.type))),
    value: all(totals.map(t => nameOf(t.body))),
    unpacked: totals.map((_, i) => `let ${reducedName(i)} = ${of('result', i)};`),
    bytes: types.reduce((n, t) => n + (t === 'vec2u' ? 8 : 4), 0),
  }
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
export function readsAlongRows(kernel: ReducingKernel): boolean {
  const bodies = bodiesOf(kernel)
  const outputs = kernel.axes.length
  return strideOf(bodies, outputs + kernel.reduce.axes.length - 1) <= strideOf(bodies, outputs - 1)
}

/** Elements between neighbours of a loop, over all loads of expressions; far is far. */
export function strideOf(roots: readonly Expr[], axis: number): number {
  let total = 0
  walkExprs(roots, load => {
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
  const halves = splitReduction(kernel, parts, (...buffer) => stages.scratch(...buffer))
  for (const k of halves) if (isReducing(k)) addStage(k, stages)
}

function addStage(kernel: ReducingKernel, stages: StageList): void {
  const { name, axes, reduce, outputs } = kernel
  const { slots, lanes, isRow } = layoutOf(kernel)
  const count = sizeOf(axes)
  const inner = sizeOf(reduce.axes)
  const steps = Math.ceil(inner / lanes)
  const { type, declaration, combination, identity, value } = totalsCode(reduce)
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
      type,
      declaration,
      combination,
      identity,
      value,
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

/**
 * What is computed for the output in the variable of that name: before its loop, at a position of that, and after it,
 * where `result` has its totals.
 */
export function reductionHoles(
  kernel: ReducingKernel,
  types: BufferTypes,
  options: PlaceOptions,
): Record<'before' | 'body' | 'after', string> {
  const { axes, reduce, outputs } = kernel
  const { own } = options
  const bodies = bodiesOf(kernel)
  const dtypeOf = (b: number) => types.dtypeOf(b)
  const isOuter = (e: Expr): boolean => [...e.axes].every(a => a < axes.length)
  const done = new Set<Expr>()
  const ofOutput = axisStatements('i32(output)', axes)
  const before = [...ofOutput, ...statements(bodies, dtypeOf, { done, own, isWanted: isOuter })]
  const body = [
    // An empty loop has no positions to be told apart.
    ...axisStatements(
      'i32(position)',
      reduce.axes.map(size => Math.max(1, size)),
      axes.length,
    ),
    ...statements(bodies, dtypeOf, { done, ...options }),
  ]
  const values = outputs.map(o => o.value)
  const after = [
    ...totalsCode(reduce).unpacked,
    ...ofOutput,
    ...statements(values, dtypeOf, options),
    ...storeStatements(outputs, 'output', types, own),
  ]
  return { before: before.join('\n'), body: body.join('\n'), after: after.join('\n') }
}

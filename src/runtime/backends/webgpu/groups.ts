/**
 * One dispatch for kernels whose rows can go through them together (compiler/rows.ts says which): kernels/rows.wgsl.
 * A workgroup takes a few rows through all of them; what nobody else knows stays in its memory, where that has room.
 */

import { walkExprs } from '../../../compiler/expr.js'
import { type BufferSpec, bufferReads, bufferWrites, kernelExprs, type LoopKernel } from '../../../compiler/kernel.js'
import { type Bundle, type RowGroup, type RowStep, rowBytes } from '../../../compiler/rows.js'
import { isReducing, type ReducingKernel } from '../../../compiler/split.js'
import { sizeOf } from '../../../graph/shape.js'
import { elementStatements } from './elementwise.js'
import { type BufferTypes, type OwnBuffers, storageBytes, storageType } from './print.js'
import {
  busyThreads,
  maxThreads,
  powerAbove,
  powerBelow,
  readsAlongRows,
  reductionHoles,
  totalsCode,
} from './reduction.js'
import { fill, type StageSource } from './stage.js'
import { templates } from './templates.js'

/**
 * The most bytes of a row in all buffers of a group, and the most positions of its loops in a row: of many rows, and of
 * fewer than keep a GPU busy by a workgroup each.
 */
const largestRow = { many: 2 ** 17, few: 2 ** 14 } as const
const manyRows = 128
/** The most expressions of a group: its shader is its own, and drivers take long for long ones. */
const maxExpressions = 200
/** The bytes of a workgroup's memory, and those at most for what only its rows know and for totals. */
const workgroupBytes = 16 * 1024
const ownBytes = 12 * 1024
const mostTotals = 8 * 1024

/** Whether loops may be part of a group: float64 is a function of many instructions each time, soon too many for drivers. */
export function mayJoin(kernel: LoopKernel, buffers: readonly BufferSpec[]): boolean {
  let narrow = kernel.outputs.every(o => buffers[o.buffer].dtype !== 'float64')
  walkExprs(kernelExprs(kernel), e => {
    narrow &&= e.type !== 'float64' && e.type !== 'int64'
  })
  return narrow
}

/** Whether a group is worth it: its rows are not too large, and its kernels bind no more buffers than they may. */
export function isWorth(
  bundle: Required<Bundle<RowStep>>,
  types: BufferTypes,
  buffers: readonly BufferSpec[],
  maxBuffers: number,
): boolean {
  const { steps, group } = bundle
  const largest = group.rows < manyRows ? largestRow.few : largestRow.many
  if (rowBytes(group, buffers) > largest || longestLoop(group) > largest) return false
  if (expressionsOf(group) > maxExpressions || totalsBytes(group) > mostTotals) return false
  const bound = new Set(steps.flatMap(s => [...s.reads, ...s.writes]))
  for (const b of ownPlaces(bundle, types, buffers).keys()) bound.delete(b)
  return bound.size <= maxBuffers
}

function expressionsOf({ members }: RowGroup): number {
  let count = 0
  for (const { kernel } of members) walkExprs(kernelExprs(kernel), () => count++)
  return count
}

/** How a group's rows are shared out: rows in a workgroup, threads for each. */
interface Layout {
  readonly rows: number
  readonly lanes: number
}

/** Positions of the longest loops that a row goes through. */
const longestLoop = ({ rows, members }: RowGroup): number =>
  Math.max(...members.map(({ kernel, count }) => (count / rows) * sizeOf(kernel.reduce?.axes ?? [])))

function layoutOf(group: RowGroup): Layout {
  const { rows } = group
  const longest = longestLoop(group)
  const lanes = powerBelow(Math.min(maxThreads, rows * longest > 4 * busyThreads ? longest / 4 : longest))
  return { rows: Math.min(maxThreads / lanes, Math.max(32 / lanes, powerBelow(rows / manyRows))), lanes }
}

/** The bytes of the totals of all threads: reductions of the same types share theirs. */
function totalsBytes(group: RowGroup): number {
  const { rows, lanes } = layoutOf(group)
  const bytes = new Map<string, number>()
  for (const { kernel } of group.members) {
    if (!isReducing(kernel)) continue
    const totals = totalsCode(kernel.reduce)
    bytes.set(totals.type, totals.bytes)
  }
  return rows * lanes * [...bytes.values()].reduce((n, b) => n + b, 0)
}

/** A buffer in a workgroup's memory, and how many elements of it a row and a workgroup have. */
interface OwnPlace {
  readonly name: string
  readonly first: string
  readonly type: string
  readonly perRow: number
  readonly size: number
}

/** Which of the buffers that only a bundle knows stay in the memory of workgroups: small ones first, while there is room. */
export function ownPlaces(
  { group, own }: Bundle<RowStep>,
  { storage }: BufferTypes,
  buffers: readonly BufferSpec[],
): Map<number, OwnPlace> {
  const places = new Map<number, OwnPlace>()
  if (!group) return places
  const { rows } = layoutOf(group)
  let free = Math.min(ownBytes, workgroupBytes - totalsBytes(group))
  for (const b of [...own].sort((a, b) => buffers[a].size - buffers[b].size)) {
    const { dtype } = buffers[b]
    const perRow = buffers[b].size / group.rows
    const i = places.size
    const place = {
      name: `own_${i}`,
      first: `first_${i}`,
      type: storageType(dtype, storage),
      perRow,
      size: rows * perRow,
    }
    free -= Math.ceil((place.size * storageBytes(dtype, storage)) / 16) * 16
    if (free < 0) break
    places.set(b, place)
  }
  return places
}

/** The stage of a group. */
export function groupStage(
  group: RowGroup,
  name: string,
  own: ReadonlyMap<number, OwnPlace>,
  types: BufferTypes,
): StageSource {
  const layout = layoutOf(group)
  const declarations = new Set([...own.values()].map(p => `var<workgroup> ${p.name}: array<${p.type}, ${p.size}>;`))
  const members = [...own.values()].map(p => `let ${p.first} = i32(first_row * ${p.perRow}u);`)
  for (const [i, { kernel, count }] of group.members.entries()) {
    if (i > 0) members.push('storageBarrier();', 'workgroupBarrier();')
    const outputs = count / group.rows
    if (!isReducing(kernel)) {
      const body = elementStatements(kernel, types, { own })
      members.push(fill(templates.row_elements, { length: outputs, body }).trim())
      continue
    }
    const { type, declaration, combine, combination } = totalsCode(kernel.reduce)
    if (declaration) declarations.add(declaration)
    declarations.add(`var<workgroup> totals_${type}: array<${type}, rows * lanes>;`)
    declarations.add(`fn ${combine}(a: ${type}, b: ${type}) -> ${type} {\n  return ${combination};\n}`)
    members.push(fill(templates.row_reduction, reductionOf(kernel, outputs, layout, own, types)).trim())
  }
  const kernels = group.members.map(m => m.kernel)
  const isBound = (b: number): boolean => !own.has(b)
  return {
    name,
    template: 'rows',
    holes: {
      count: group.rows,
      ...layout,
      declarations: [...declarations].join('\n'),
      members: members.join('\n'),
    },
    reads: kernels.flatMap(k => [...bufferReads(k)]).filter(isBound),
    writes: kernels.flatMap(k => bufferWrites(k)).filter(isBound),
    groups: Math.ceil(group.rows / layout.rows),
  }
}

/** The holes of a reduction with so many outputs a row. */
function reductionOf(
  kernel: ReducingKernel,
  outputs: number,
  { lanes }: Layout,
  own: OwnBuffers,
  types: BufferTypes,
): Record<string, string | number> {
  const slots = Math.min(lanes, powerAbove(outputs))
  const shares = lanes / slots
  const isRow = readsAlongRows(kernel)
  const { type, combine, identity, value } = totalsCode(kernel.reduce)
  return {
    outputs,
    slots,
    shares,
    inner: sizeOf(kernel.reduce.axes),
    slot: isRow ? `lane / ${shares}u` : `lane % ${slots}u`,
    share: isRow ? `lane % ${shares}u` : `lane / ${slots}u`,
    totals: `totals_${type}`,
    combine,
    identity,
    value,
    ...reductionHoles(kernel, types, { own }),
  }
}

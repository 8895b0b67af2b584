/**
 * From a graph to a schedule of fused kernels. Three questions are answered in turn:
 * 1. which nodes get a buffer (the others are computed inside the kernels that read them),
 * 2. which of those are computed together in one kernel (same loops, each reading the others at its own position only),
 * 3. what each kernel's loops and expressions are.
 */

import { computeType, isFloat } from '../graph/dtype.js'
import { type Attrs, labelOf, type Node, topological } from '../graph/node.js'
import { isView } from '../graph/primitives.js'
import { sameShape, sizeOf } from '../graph/shape.js'
import { addIndex, axisIndex, type Condition, type Index, linearIndex, range, scaleIndex, unravel } from './affine.js'
import type { Canonical } from './canonical.js'
import { collapse } from './collapse.js'
import { type Expr, ExprTable, loadsOnlyAt } from './expr.js'
import { type BufferSpec, isTiled, type Kernel, kernelName, type Reduction, type Schedule } from './kernel.js'
import { isHeavy, Lowering, storedValue } from './lower.js'
import { orderKernels } from './order.js'

/** Expressions up to this cost, reading up to this many buffers, are computed again rather than stored. */
const cheap = { cost: 4, loads: 2 }
/** Operations that one expression may nest: longer chains are cut, so that no walk of one exhausts the stack. */
const maxDepth = 64
/** The cost that one kernel may have for an element: engines limit the size of a function, and of what is in it. */
const maxCost = 480
/** Distinct buffers that one kernel touches at most for the sake of fusion. */
const fusedBuffers = 16

/** Rough cost of computing one element, in simple operations. */
function ownCost(node: Node): number {
  switch (node.op) {
    case 'exp':
    case 'expm1':
    case 'log':
    case 'log1p':
    case 'sin':
    case 'cos':
    case 'tanh':
    case 'atan':
    case 'erf':
      return 10
    case 'pow':
      return 20
    case 'threefry':
      return 100
    case 'div':
    case 'sqrt':
      return 4
    case 'remainder':
      return isFloat(node.dtype) ? 20 : 4
    case 'gather':
      return 2
    case 'constant':
    case 'input':
    case 'iota':
      return 0
    case 'cast':
      // Rounding takes some operations, and the smaller copy is worth reading again.
      return node.dtype === 'float16' ? 8 : 0
    default:
      return isView(node) ? 0 : 1
  }
}

/** The nodes that get a buffer of their own, such that no kernel reads more than `maxReads` others. */
function chooseBuffers(roots: readonly Node[], order: readonly Node[], maxReads: number): Set<Node> {
  const stored = new Set<Node>(order.filter(n => isHeavy(n)))
  for (const root of roots) if (root.op !== 'input') stored.add(root)
  for (const node of order)
    for (const operand of operandsInMemory(node)) if (operand.op !== 'input') stored.add(operand)

  const nested = new Map<Node, { readonly depth: number; readonly cost: number }>()
  for (const node of order) {
    const inside = node.inputs.flatMap(n => (stored.has(n) ? [] : (nested.get(n) ?? [])))
    const depth = 1 + Math.max(0, ...inside.map(n => n.depth))
    // What several operands share is counted once, where that matters.
    const sum = inside.reduce((total, n) => total + n.cost, ownCost(node))
    const cost = sum > maxCost ? inlineCost(node, stored).size : sum
    if (depth > maxDepth || cost > maxCost) stored.add(node)
    nested.set(node, { depth, cost })
  }

  // From consumers to operands: which kernels would compute this node, and how often.
  const readers = new Map<Node, Set<Node>>()
  const widest = new Map<Node, number>()
  for (const node of [...order].reverse()) {
    const users = readers.get(node) ?? new Set<Node>()
    if (!stored.has(node) && node.op !== 'input' && !isView(node) && node.op !== 'constant' && node.op !== 'iota') {
      const { cost, loads } = inlineCost(node, stored)
      const repeated = (widest.get(node) ?? 0) > sizeOf(node.shape) && sizeOf(node.shape) > 1 && cost > cheap.cost
      const shared = users.size > 1 && (cost > cheap.cost || loads > cheap.loads)
      if (repeated || shared) stored.add(node)
    }
    const keep = stored.has(node)
    for (const input of node.inputs) {
      const set = readers.get(input) ?? new Set<Node>()
      if (keep) set.add(node)
      else for (const user of users) set.add(user)
      readers.set(input, set)
      const reach = keep ? reads(node, input) : Math.max(sizeOf(node.shape), widest.get(node) ?? 0)
      // A gathered table is read at as many places as there are indices, which says nothing against it.
      if (node.op !== 'gather' || input === node.inputs[1]) widest.set(input, Math.max(widest.get(input) ?? 0, reach))
    }
  }
  if (Number.isFinite(maxReads)) limitReads(order, stored, maxReads)
  return stored
}

/** Stores operands until no node's expression reads more than `maxReads` buffers. */
function limitReads(order: readonly Node[], stored: Set<Node>, maxReads: number): void {
  for (let before = -1; before !== stored.size; ) {
    before = stored.size
    const reads = new Map<Node, ReadonlySet<Node>>()
    const seenBy = (n: Node): ReadonlySet<Node> =>
      stored.has(n) || n.op === 'input' ? new Set([n]) : (reads.get(n) as ReadonlySet<Node>)
    for (const node of order) {
      const all = (): Set<Node> => new Set(node.inputs.flatMap(n => [...seenBy(n)]))
      while (all().size > maxReads) {
        const [most] = [...node.inputs].sort((a, b) => seenBy(b).size - seenBy(a).size)
        if (seenBy(most).size === 1) break
        stored.add(most)
      }
      reads.set(node, all())
    }
  }
}

/** The number of times that the kernel of a stored node evaluates elements of an operand. */
function reads(node: Node, operand: Node): number {
  if (node.op === 'sum' || node.op === 'prod' || node.op === 'max') return sizeOf(operand.shape)
  if (node.op !== 'matmul' && node.op !== 'conv') return sizeOf(node.shape)
  // Products that are worth tiling evaluate each element of a factor once; others once for each row and column.
  const inner = sizeOf(node.inputs[1].shape) / node.shape[node.shape.length - 1]
  const rows = sizeOf(node.shape.slice(node.op === 'matmul' ? 1 : 0, -1))
  return isTiled(rows, node.shape[node.shape.length - 1], inner) ? sizeOf(operand.shape) : sizeOf(node.shape) * inner
}

/** Where so many elements or more share a cheap number, such as the mean of their row, each bears a part of its cost. */
const sharers = 4

/** What an expression is down to what is stored: its size, the cost of an element, and how many stored values it reads. */
function inlineCost(node: Node, stored: ReadonlySet<Node>): { size: number; cost: number; loads: number } {
  const isShared = (n: Node): boolean => (n.shape.at(-1) ?? 1) === 1 && sizeOf(n.shape) * sharers <= sizeOf(node.shape)
  let [size, cost] = [0, 0]
  const loads = new Set<Node>()
  const seen = new Set<Node>()
  const walk = (n: Node): void => {
    if (seen.has(n)) return
    seen.add(n)
    if (n !== node && (stored.has(n) || n.op === 'input')) {
      if (!isShared(n)) loads.add(n)
      return
    }
    const own = ownCost(n)
    size += own
    cost += isShared(n) && own <= cheap.cost ? own / sharers : own
    n.inputs.forEach(walk)
  }
  walk(node)
  return { size, cost, loads: loads.size }
}

/** Primitives whose kernels are no loops over expressions. */
const isOwnKind = (node?: Node): boolean =>
  node?.op === 'scatterAdd' || node?.op === 'firstIndex' || node?.op === 'argsort'

/**
 * Operands that a kernel reads from memory, not as expressions. A convolution reads its images once for every kernel
 * element, so they are never computed on the fly; other factors of products are, as a prologue.
 */
function operandsInMemory(node: Node): readonly Node[] {
  if (isOwnKind(node)) return node.inputs
  if (node.op !== 'conv') return []
  let images = node.inputs[0]
  while (isView(images) && images.op !== 'pad') images = images.inputs[0]
  return [images]
}

/** Nodes computed by one kernel. */
interface Group {
  /** The kernel's loops run over this shape. */
  readonly shape: readonly number[]
  readonly head?: Node
  readonly members: Node[]
  /** The stored nodes (and leaves) that the members read. */
  readonly reads: Set<Node>
  cost: number
}

/** The stored nodes and leaves that a stored node's expression reads. */
function dependencies(node: Node, stored: ReadonlySet<Node>): Set<Node> {
  const found = new Set<Node>()
  const seen = new Set<Node>()
  const walk = (n: Node): void => {
    if (seen.has(n)) return
    seen.add(n)
    if (n !== node && (stored.has(n) || n.op === 'input')) found.add(n)
    else n.inputs.forEach(walk)
  }
  walk(node)
  return found
}

/** Whether `node`, computed in loops over `shape`, reads `other` only at its own position. */
function readsInPlace(node: Node, other: Node, shape: readonly number[], stored: ReadonlySet<Node>): boolean {
  const ids = new Map<Node, number>()
  const bufferOf = (n: Node): number | undefined => {
    if (n === node || !(stored.has(n) || n.op === 'input')) return undefined
    if (!ids.has(n)) ids.set(n, ids.size)
    return ids.get(n)
  }
  const { value, position } = elementInLoops(node, shape, new Lowering(new ExprTable(), bufferOf))
  const buffer = ids.get(other)
  return buffer === undefined || loadsOnlyAt([value], buffer, position)
}

/** The element of a node at the row-major position of loops over another shape of the same size. */
function elementInLoops(
  node: Node,
  shape: readonly number[],
  lowering: Lowering,
): { value: Expr; position: Index; indices: Index[] } {
  const loops = shape.map((size, axis) => axisIndex(axis, size))
  const position = linearIndex(loops, shape)
  const indices = sameShape(node.shape, shape) ? loops : unravel(position, node.shape)
  return { value: lowering.element(node, indices), position, indices }
}

/** Who reads each stored node: other stored nodes, and the caller (undefined) the roots. */
type Readers = ReadonlyMap<Node, ReadonlySet<Node | undefined>>

function groupNodes(
  roots: readonly Node[],
  order: readonly Node[],
  stored: ReadonlySet<Node>,
  maxBuffers: number,
): Group[] {
  const dependenciesOf = new Map(order.filter(n => stored.has(n)).map(n => [n, dependencies(n, stored)]))
  const readers = new Map<Node, Set<Node | undefined>>(roots.map(root => [root, new Set([undefined])]))
  for (const [node, deps] of dependenciesOf)
    for (const d of deps) readers.set(d, (readers.get(d) ?? new Set()).add(node))
  const groups: Group[] = []
  const groupOf = new Map<Node, number>()
  for (const [node, deps] of dependenciesOf) {
    const { size: cost } = inlineCost(node, stored)
    let chosen = -1
    if (!isHeavy(node)) {
      const earliest = Math.max(-1, ...[...deps].map(d => groupOf.get(d) ?? -1))
      for (let g = Math.max(0, earliest); g < groups.length && chosen < 0; g++) {
        if (groups[g].cost + cost <= maxCost && joins(node, deps, groups[g], stored, readers, maxBuffers)) chosen = g
      }
    }
    if (chosen < 0) {
      chosen = groups.length
      groups.push({ shape: node.shape, head: isHeavy(node) ? node : undefined, members: [], reads: new Set(), cost: 0 })
    }
    groups[chosen].members.push(node)
    groups[chosen].cost += cost
    groupOf.set(node, chosen)
    for (const d of deps) groups[chosen].reads.add(d)
  }
  return groups
}

/** Whether an element-wise node can be computed in a group's kernel. */
function joins(
  node: Node,
  deps: ReadonlySet<Node>,
  group: Group,
  stored: ReadonlySet<Node>,
  readers: Readers,
  maxBuffers: number,
): boolean {
  if (sizeOf(group.shape) !== sizeOf(node.shape) || isOwnKind(group.head)) return false
  // Averages of a row-sparse gradient share the places of its rows, as those of another share the gradient.
  const isWhole = (d: Node): boolean => sizeOf(d.shape) === sizeOf(node.shape) || d.op === 'firstIndex'
  const related = group.members.some(m => deps.has(m)) || [...deps].some(d => group.reads.has(d) && isWhole(d))
  if (!related) return false
  const members = new Set<Node | undefined>(group.members).add(node)
  const isInMemory = (n: Node): boolean => !members.has(n) || [...(readers.get(n) ?? [])].some(r => !members.has(r))
  const touched = new Set([...group.reads, ...deps, ...group.members, node])
  if ([...touched].filter(isInMemory).length > maxBuffers) return false
  return group.members.every(m => !deps.has(m) || readsInPlace(node, m, group.shape, stored))
}

/** @param maxBuffers distinct buffers that one kernel may touch on the device */
export function schedule({ roots, leaves }: Canonical, maxBuffers = Number.POSITIVE_INFINITY): Schedule {
  const order = topological(roots).sort((a, b) => a.id - b.id)
  const stored = chooseBuffers(roots, order, maxBuffers - 1)
  const groups = groupNodes(roots, order, stored, Math.min(maxBuffers, fusedBuffers))

  const buffers: BufferSpec[] = []
  const bufferIds = new Map<Node, number>()
  const addBuffer = (node: Node, role: BufferSpec['role']): void => {
    bufferIds.set(node, buffers.length)
    buffers.push({ dtype: node.dtype, size: sizeOf(node.shape), role })
  }
  for (const leaf of leaves) addBuffer(leaf, 'leaf')
  const rootSet = new Set(roots)
  for (const group of groups) {
    // What only its own kernel reads needs no memory.
    const others = groups.filter(g => g !== group)
    for (const node of group.members) {
      if (rootSet.has(node)) addBuffer(node, 'result')
      else if (others.some(g => g.reads.has(node))) addBuffer(node, 'temporary')
    }
  }
  const kernels = groups.filter(g => sizeOf(g.shape) > 0).map(g => groupKernel(g, bufferIds))
  const bufferId = (node: Node): number => bufferIds.get(node) as number
  return {
    buffers,
    kernels: orderKernels(kernels, buffers),
    leaves: leaves.map(bufferId),
    results: roots.map(bufferId),
  }
}

function groupKernel(group: Group, bufferIds: ReadonlyMap<Node, number>): Kernel {
  const { head, members, shape } = group
  const id = (node: Node): number => bufferIds.get(node) as number
  const name = kernelName(members)
  if (head?.op === 'scatterAdd') {
    const [index, updates] = head.inputs
    const width = sizeOf(head.shape.slice(1))
    return {
      kind: 'scatterAdd',
      name,
      type: head.dtype,
      rows: head.shape[0],
      count: index.shape[0],
      width,
      index: id(index),
      updates: id(updates),
      output: id(head),
    }
  }
  if (head?.op === 'firstIndex') {
    const [index] = head.inputs
    return { kind: 'firstIndex', name, rows: head.shape[0], count: index.shape[0], index: id(index), output: id(head) }
  }
  if (head?.op === 'argsort') {
    const [input] = head.inputs
    const length = input.shape.length ? input.shape[input.shape.length - 1] : 1
    return {
      kind: 'argsort',
      name,
      type: input.dtype,
      rows: sizeOf(input.shape) / length,
      length,
      input: id(input),
      output: id(head),
    }
  }

  const inGroup = new Set(members)
  const exprs = new ExprTable()
  const lowering = new Lowering(exprs, n => (inGroup.has(n) ? undefined : bufferIds.get(n)))
  const axes = head?.op === 'conv' ? convAxes(head) : [...shape]
  let reduce: Reduction | undefined
  if (head) {
    const loops = axes.map((size, axis) => axisIndex(axis, size))
    reduce = reduction(head, axes, loops, lowering)
    const position = linearIndex(loops, axes)
    const value = exprs.reduced(
      computeType(head.dtype),
      axes.map((_, i) => i),
    )
    lowering.define(head, unravel(position, head.shape), value)
  }
  const outputs: { buffer: number; value: Expr }[] = []
  for (const node of members) {
    const { value, indices } = elementInLoops(node, axes, lowering)
    lowering.define(node, indices, value)
    if (bufferIds.has(node)) outputs.push({ buffer: id(node), value: storedValue(exprs, node, value) })
  }
  return collapse({ kind: 'loop', name, axes, reduce, outputs })
}

/** Output loops of a convolution: n, oh, ow, group, channel in group. */
function convAxes(node: Node<'conv'>): number[] {
  const [n, oh, ow, o] = node.shape
  const { groups } = node.attrs
  return groups === 1 ? [n, oh, ow, o] : [n, oh, ow, groups, o / groups]
}

function reduction(head: Node, axes: readonly number[], loops: readonly Index[], lowering: Lowering): Reduction {
  const loop = (i: number, size: number): Index => axisIndex(axes.length + i, size)
  const { exprs } = lowering
  const type = computeType(head.dtype)
  const product = (a: Expr, b: Expr): Expr => exprs.operation('mul', type, a, b)
  switch (head.op) {
    case 'sum':
    case 'prod':
    case 'max': {
      const [x] = head.inputs
      const reduced = head.attrs.axes
      const indices = x.shape.map((_, d) => (reduced.includes(d) ? loop(reduced.indexOf(d), x.shape[d]) : loops[d]))
      return { op: head.op, type, axes: reduced.map(d => x.shape[d]), body: lowering.element(x, indices) }
    }
    case 'matmul': {
      const [a, b] = head.inputs
      const k = loop(0, a.shape[2])
      const left = lowering.element(a, [loops[0], loops[1], k])
      const right = lowering.element(b, [loops[0], k, loops[2]])
      return {
        op: 'sum',
        type,
        axes: [a.shape[2]],
        body: product(left, right),
        contraction: { left, right, batch: [0], rows: [1], columns: [2] },
      }
    }
    case 'conv': {
      const [x, w] = head.inputs
      const { strides, dilation, groups } = head.attrs as Attrs['conv']
      const [kh, kw, c] = w.shape
      const [i, j, channel] = [loop(0, kh), loop(1, kw), loop(2, c)]
      const at = (out: Index, stride: number, k: Index, step: number): Index =>
        addIndex(scaleIndex(out, stride), scaleIndex(k, step))
      const grouped = groups > 1
      const xChannel = grouped ? addIndex(scaleIndex(loops[3], c), channel) : channel
      const wOutput = grouped ? addIndex(scaleIndex(loops[3], axes[4]), loops[4]) : loops[3]
      const pixel = [
        loops[0],
        at(loops[1], strides[0], i, dilation[0]),
        at(loops[2], strides[1], j, dilation[1]),
        xChannel,
      ]
      const left = lowering.element(x, pixel)
      const right = lowering.element(w, [i, j, channel, wOutput])
      const isInner = (i: Index): boolean => i.terms.every(t => t.atom.kind === 'axis' && t.atom.axis >= axes.length)
      const inside = insideOf(x, pixel, isInner)
      const [batch, rows, columns] = [grouped ? [3] : [], [0, 1, 2], [grouped ? 4 : 3]]
      const contraction = { left, right, batch, rows, columns, inside }
      return { op: 'sum', type, axes: [kh, kw, c], body: product(left, right), contraction }
    }
    default:
      throw new Error(`schedule: ${labelOf(head)} is no reduction`)
  }
}

/**
 * Where an element of padded images is none of the padding around them. A column is counted in elements of its row where
 * the loops over those within it may become one with that over columns.
 */
function insideOf(images: Node, at: readonly Index[], isInner: (i: Index) => boolean): Condition[] {
  const [x] = images.inputs
  if (images.op === 'permute') {
    const { axes } = images.attrs
    const source = at.map((_, d) => at[axes.indexOf(d)])
    return insideOf(x, source, isInner)
  }
  if (images.op !== 'pad') return []
  const { before, interior } = images.attrs
  return at.flatMap((index, d) => {
    const [low, high] = [before[d], before[d] + x.shape[d]]
    const all = range(index)
    if (interior[d] > 0 || (all.low >= low && all.high < high)) return []
    const unit = at.slice(d + 1).every(isInner) ? sizeOf(images.shape.slice(d + 1)) : 1
    const whole = unit > 1 ? linearIndex(at.slice(d), images.shape.slice(d)) : index
    return [{ index: whole, low: low * unit, high: high * unit }]
  })
}

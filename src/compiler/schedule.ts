/**
 * From a graph to a schedule of fused kernels. Three questions are answered in turn:
 * 1. which nodes get a buffer (buffers.ts),
 * 2. which of those are computed together in one kernel (grouping.ts),
 * 3. what each kernel's loops and expressions are: here.
 */

import { computeType } from '../graph/dtype.js'
import { type Attrs, labelOf, type Node, topological } from '../graph/node.js'
import { sizeOf } from '../graph/shape.js'
import { addIndex, axisIndex, type Condition, type Index, linearIndex, range, scaleIndex, unravel } from './affine.js'
import { chooseBuffers } from './buffers.js'
import type { Canonical } from './canonical.js'
import { collapse } from './collapse.js'
import { type Expr, ExprTable } from './expr.js'
import { type Group, groupNodes } from './grouping.js'
import { type BufferSpec, type Kernel, kernelName, type Reduction, type Schedule, type Total } from './kernel.js'
import { Lowering, storedValue } from './lower.js'
import { orderKernels } from './order.js'

/** @param maxBuffers distinct buffers that one kernel may touch on the device */
export function schedule({ roots, leaves }: Canonical, maxBuffers = Number.POSITIVE_INFINITY): Schedule {
  const order = topological(roots).sort((a, b) => a.id - b.id)
  const stored = chooseBuffers(roots, order, maxBuffers - 1)
  const groups = groupNodes(roots, order, stored, maxBuffers)

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
  const { heads, members, shape } = group
  const [head] = heads
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
  const loops = axes.map((size, axis) => axisIndex(axis, size))
  const reduce = reductionOf(heads, axes, loops, lowering)
  for (const [i, node] of heads.entries()) {
    const value = exprs.reduced(computeType(node.dtype), [...axes.keys()], i)
    lowering.define(node, unravel(linearIndex(loops, axes), node.shape), value)
  }
  const outputs: { buffer: number; value: Expr }[] = []
  for (const node of members) {
    const { value, indices } = lowering.inLoops(node, axes)
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

/** The reduction that heads over the same loops are. */
function reductionOf(
  [head, ...others]: readonly Node[],
  axes: readonly number[],
  loops: readonly Index[],
  lowering: Lowering,
): Reduction | undefined {
  if (!head) return undefined
  const first = reduction(head, axes, loops, lowering)
  const more = others.flatMap(node => reduction(node, axes, loops, lowering).totals)
  return { ...first, totals: [first.totals[0], ...more] }
}

function reduction(head: Node, axes: readonly number[], loops: readonly Index[], lowering: Lowering): Reduction {
  const loop = (i: number, size: number): Index => axisIndex(axes.length + i, size)
  const { exprs } = lowering
  const type = computeType(head.dtype)
  const product = (a: Expr, b: Expr): Total => ({ op: 'sum', type, body: exprs.operation('mul', type, a, b) })
  switch (head.op) {
    case 'sum':
    case 'prod':
    case 'max': {
      const [x] = head.inputs
      const reduced = head.attrs.axes
      const indices = x.shape.map((_, d) => (reduced.includes(d) ? loop(reduced.indexOf(d), x.shape[d]) : loops[d]))
      const body = lowering.element(x, indices)
      return { axes: reduced.map(d => x.shape[d]), totals: [{ op: head.op, type, body }] }
    }
    case 'matmul': {
      const [a, b] = head.inputs
      const k = loop(0, a.shape[2])
      const left = lowering.element(a, [loops[0], loops[1], k])
      const right = lowering.element(b, [loops[0], k, loops[2]])
      const contraction = { left, right, batch: [0], rows: [1], columns: [2] }
      return { axes: [a.shape[2]], totals: [product(left, right)], contraction }
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
      return { axes: [kh, kw, c], totals: [product(left, right)], contraction }
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

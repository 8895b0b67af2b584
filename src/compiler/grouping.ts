/**
 * The second question of a schedule: which nodes with a buffer are computed together in one kernel? Those over the same
 * loops that read each other at their own position only.
 */

import { computeType } from '../graph/dtype.js'
import type { Node } from '../graph/node.js'
import { isReduction } from '../graph/primitives.js'
import { sameShape, sizeOf } from '../graph/shape.js'
import { inlineCost, isOwnKind, maxCost } from './buffers.js'
import { ExprTable, loadsOnlyAt } from './expr.js'
import { isHeavy, Lowering } from './lower.js'

/** Distinct buffers that one kernel touches at most for the sake of fusion. */
const fusedBuffers = 16

/** Nodes computed by one kernel. */
export interface Group {
  /** The kernel's loops run over this shape. */
  readonly shape: readonly number[]
  /** Reductions over the same loops, or another heavy node; none if all members are element-wise. */
  readonly heads: readonly Node[]
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
  const { value, position } = new Lowering(new ExprTable(), bufferOf).inLoops(node, shape)
  const buffer = ids.get(other)
  return buffer === undefined || loadsOnlyAt([value], buffer, position)
}

interface Context {
  readonly stored: ReadonlySet<Node>
  /** Who reads each stored node: other stored nodes, and the caller (undefined) the roots. */
  readonly readers: ReadonlyMap<Node, ReadonlySet<Node | undefined>>
  /** What each stored node reads. */
  readonly dependenciesOf: ReadonlyMap<Node, ReadonlySet<Node>>
  /** The most buffers that a kernel may touch. */
  readonly maxBuffers: number
}

export function groupNodes(
  roots: readonly Node[],
  order: readonly Node[],
  stored: ReadonlySet<Node>,
  maxBuffers: number,
): Group[] {
  const dependenciesOf = new Map(order.filter(n => stored.has(n)).map(n => [n, dependencies(n, stored)]))
  const readers = new Map<Node, Set<Node | undefined>>(roots.map(root => [root, new Set([undefined])]))
  for (const [node, deps] of dependenciesOf)
    for (const d of deps) readers.set(d, (readers.get(d) ?? new Set()).add(node))
  const context = { stored, readers, dependenciesOf, maxBuffers: Math.min(maxBuffers, fusedBuffers) }
  const groups: Group[] = []
  const groupOf = new Map<Node, number>()
  for (const [node, deps] of dependenciesOf) {
    const { size: cost } = inlineCost(node, stored)
    let chosen = -1
    if (!isHeavy(node)) {
      const earliest = Math.max(-1, ...[...deps].map(d => groupOf.get(d) ?? -1))
      for (let g = Math.max(0, earliest); g < groups.length && chosen < 0; g++) {
        if (groups[g].cost + cost <= maxCost && joins(node, deps, groups[g], context)) chosen = g
      }
    }
    if (chosen < 0) {
      chosen = groups.length
      const heads = isHeavy(node) ? [node] : []
      groups.push({ shape: node.shape, heads, members: [], reads: new Set(), cost: 0 })
    }
    groups[chosen].members.push(node)
    groups[chosen].cost += cost
    groupOf.set(node, chosen)
    for (const d of deps) groups[chosen].reads.add(d)
  }
  return joinReductions(groups, context)
}

/** Those of some nodes that are in memory when the members of a kernel are computed in it. */
function inMemory(nodes: Iterable<Node>, members: Iterable<Node>, { readers }: Context): Node[] {
  const own = new Set<Node | undefined>(members)
  return [...nodes].filter(n => !own.has(n) || [...(readers.get(n) ?? [])].some(r => !own.has(r)))
}

/** Whether an element-wise node can be computed in a group's kernel. */
function joins(node: Node, deps: ReadonlySet<Node>, group: Group, context: Context): boolean {
  if (sizeOf(group.shape) !== sizeOf(node.shape) || isOwnKind(group.heads[0])) return false
  // Averages of a row-sparse gradient share the places of its rows, as those of another share the gradient.
  const isWhole = (d: Node): boolean => sizeOf(d.shape) === sizeOf(node.shape) || d.op === 'firstIndex'
  const related = group.members.some(m => deps.has(m)) || [...deps].some(d => group.reads.has(d) && isWhole(d))
  if (!related) return false
  const touched = new Set([...group.reads, ...deps, ...group.members, node])
  if (inMemory(touched, [...group.members, node], context).length > context.maxBuffers) return false
  return group.members.every(m => !deps.has(m) || readsInPlace(node, m, group.shape, context.stored))
}

/** The groups, of which those that reduce what they share in the same loops are one, in the place of the later. */
function joinReductions(groups: readonly Group[], context: Context): Group[] {
  const { dependenciesOf, stored } = context
  /** Whether members of a group read those of another at their own position only, and its reductions not at all. */
  const readsBeside = ({ heads, members, shape }: Group, other: Group): boolean =>
    members.every(node => {
      const read = other.members.filter(m => dependenciesOf.get(node)?.has(m))
      return heads.includes(node) ? read.length === 0 : read.every(m => readsInPlace(node, m, shape, stored))
    })
  const joined: Group[] = []
  for (let group of groups) {
    for (let g = joined.length - 1; g >= 0; g--) {
      const other = joined[g]
      if (!areSiblings(group, other) || !readsBeside(group, other)) continue
      const isNeeded = joined.slice(g + 1).some(between => other.members.some(m => between.reads.has(m)))
      if (isNeeded) continue
      const both = {
        shape: group.shape,
        heads: [...other.heads, ...group.heads],
        members: [...other.members, ...group.members],
        reads: new Set([...other.reads, ...group.reads]),
        cost: other.cost + group.cost,
      }
      if (both.cost > maxCost || !fits(both, context)) continue
      joined.splice(g, 1)
      group = both
      // What did not share anything with the one may do so with both.
      g = joined.length
    }
    joined.push(group)
  }
  return joined
}

/** The most totals of one kernel: each has registers of its own. */
const mostTotals = 4

/** Whether two groups reduce in the same loops, and all of something that both read. */
function areSiblings(a: Group, b: Group): boolean {
  const [[head], [other]] = [a.heads, b.heads]
  if (!head || !other || !isReduction(head) || !isReduction(other)) return false
  if (a.heads.length + b.heads.length > mostTotals) return false
  const [x, y] = [head.inputs[0], other.inputs[0]]
  if (!sameShape(x.shape, y.shape) || head.attrs.axes.join() !== other.attrs.axes.join()) return false
  if (computeType(head.dtype) !== computeType(other.dtype)) return false
  return [...a.reads].some(d => b.reads.has(d) && sizeOf(d.shape) >= sizeOf(x.shape))
}

/** Whether a group of reductions touches no more buffers than it may, in two kernels either: of parts, and of those. */
function fits({ heads, members, reads }: Group, context: Context): boolean {
  const readBy = (nodes: readonly Node[]): number =>
    new Set(nodes.flatMap(n => [...(context.dependenciesOf.get(n) ?? [])]).filter(d => !members.includes(d))).size
  const written = inMemory(members, members, context).length
  const after = readBy(members.filter(m => !heads.includes(m)))
  const inAll = inMemory(new Set([...reads, ...members]), members, context).length
  return Math.max(inAll, readBy(heads) + heads.length, heads.length + after + written) <= context.maxBuffers
}

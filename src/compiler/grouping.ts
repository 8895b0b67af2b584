/**
 * The second question of a schedule: which nodes with a buffer are computed together in one kernel? Those over the same
 * loops that read each other at their own position only.
 */

import type { Node } from '../graph/node.js'
import { sizeOf } from '../graph/shape.js'
import { inlineCost, isOwnKind, maxCost } from './buffers.js'
import { ExprTable, loadsOnlyAt } from './expr.js'
import { isHeavy, Lowering } from './lower.js'

/** Distinct buffers that one kernel touches at most for the sake of fusion. */
const fusedBuffers = 16

/** Nodes computed by one kernel. */
export interface Group {
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
  const { value, position } = new Lowering(new ExprTable(), bufferOf).inLoops(node, shape)
  const buffer = ids.get(other)
  return buffer === undefined || loadsOnlyAt([value], buffer, position)
}

/** Who reads each stored node: other stored nodes, and the caller (undefined) the roots. */
type Readers = ReadonlyMap<Node, ReadonlySet<Node | undefined>>

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
  const groups: Group[] = []
  const groupOf = new Map<Node, number>()
  for (const [node, deps] of dependenciesOf) {
    const { size: cost } = inlineCost(node, stored)
    let chosen = -1
    if (!isHeavy(node)) {
      const earliest = Math.max(-1, ...[...deps].map(d => groupOf.get(d) ?? -1))
      for (let g = Math.max(0, earliest); g < groups.length && chosen < 0; g++) {
        if (
          groups[g].cost + cost <= maxCost &&
          joins(node, deps, groups[g], stored, readers, Math.min(maxBuffers, fusedBuffers))
        )
          chosen = g
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

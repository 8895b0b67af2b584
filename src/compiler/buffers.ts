/**
 * The first question of a schedule: which nodes get a buffer? The others are computed inside the kernels that read them, as
 * often as those read them.
 */

import { isFloat } from '../graph/dtype.js'
import type { Node } from '../graph/node.js'
import { isView } from '../graph/primitives.js'
import { sizeOf } from '../graph/shape.js'
import { isTiled } from './kernel.js'
import { isHeavy } from './lower.js'

/** Expressions up to this cost, reading up to this many buffers, are computed again rather than stored. */
const cheap = { cost: 4, loads: 2 }
/** Operations that one expression may nest: longer chains are cut, so that no walk of one exhausts the stack. */
const maxDepth = 64
/** The cost that one kernel may have for an element: engines limit the size of a function, and of what is in it. */
export const maxCost = 480
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
export function chooseBuffers(roots: readonly Node[], order: readonly Node[], maxReads: number): Set<Node> {
  const stored = new Set<Node>(order.filter(n => isHeavy(n)))
  for (const root of roots) if (root.op !== 'input') stored.add(root)
  for (const node of order)
    for (const operand of operandsInMemory(node)) if (operand.op !== 'input') stored.add(operand)

  const nested = new Map<Node, { readonly depth: number; readonly cost: number }>()
  for (const node of order) {
    const inside = node.inputs.flatMap(n => (stored.has(n) ? [] : (nested.get(n) ?? [])))
    const depth = 1 + Math.max(0, ...inside.map(n => n.depth))
    // What several operands share at the same place is counted once, where that matters.
    const sum = inside.reduce((total, n) => total + n.cost, ownCost(node))
    const cost = sum > maxCost ? inlineCost(node, stored).size : sum
    if (depth > maxDepth || cost > maxCost) stored.add(node)
    nested.set(node, { depth, cost })
  }

  // From consumers to operands: which kernels would compute this node, and how often.
  const paths = new Paths()
  const readers = new Map<Node, Users>()
  for (const node of [...order].reverse()) {
    const users: Users = readers.get(node) ?? new Map()
    const size = sizeOf(node.shape)
    if (!stored.has(node) && node.op !== 'input' && !isView(node) && node.op !== 'constant' && node.op !== 'iota') {
      const { cost, loads } = inlineCost(node, stored)
      const isRepeated = (places: Map<Path, number>): boolean => [...places.values()].reduce((n, m) => n + m, 0) > size
      const repeated = cost > cheap.cost && size > 1 && [...users.values()].some(isRepeated)
      const shared = users.size > 1 && (cost > cheap.cost || loads > cheap.loads)
      if (repeated || shared) stored.add(node)
    }
    const keep = stored.has(node)
    for (const input of node.inputs) {
      const found: Users = readers.get(input) ?? new Map()
      readers.set(input, found)
      const add = (kernel: Node, path: Path, elements: number): void => {
        const places = found.get(kernel) ?? new Map<Path, number>()
        found.set(kernel, places)
        const there = paths.through(path, node, input)
        places.set(there, Math.max(places.get(there) ?? 0, elements))
      }
      if (keep) add(node, paths.start, reads(node, input))
      else for (const [kernel, places] of users) for (const [path, elements] of places) add(kernel, path, elements)
    }
  }
  if (Number.isFinite(maxReads)) limitReads(order, stored, maxReads)
  return stored
}

/** Where a kernel computes a node: the movements between them. */
type Path = number
/** For each kernel that would compute a node, known by what it stores: how many elements of it the kernel needs at each path. */
type Users = Map<Node, Map<Path, number>>

/** Movements in a row, each known by a number: what a kernel reaches by the same ones it computes once. */
class Paths {
  readonly start: Path = 0
  readonly #known = new Map<string, Path>()

  /** Where an operand is reached from a path by way of a node. Reshaping and broadcasting alone tell no places apart. */
  through(path: Path, { op, attrs, inputs }: Node, operand: Node): Path {
    const isTable = op === 'gather' && operand === inputs[0]
    if (op !== 'slice' && op !== 'pad' && op !== 'flip' && op !== 'permute' && !isTable) return path
    const how = isTable ? inputs[1].id : `${operand.shape} ${JSON.stringify(attrs)}`
    const key = `${path} ${op} ${how}`
    const known = this.#known.get(key) ?? this.#known.size + 1
    this.#known.set(key, known)
    return known
  }
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

/**
 * What an expression is down to what is stored: its size, the cost of an element, and how many stored values it reads. What
 * is read at several places counts for each of them. Beyond `maxCost` these are lower bounds: nobody asks by how much.
 */
export function inlineCost(node: Node, stored: ReadonlySet<Node>): { size: number; cost: number; loads: number } {
  const isShared = (n: Node): boolean => (n.shape.at(-1) ?? 1) === 1 && sizeOf(n.shape) * sharers <= sizeOf(node.shape)
  let [size, cost] = [0, 0]
  const loads = new Set<Node>()
  const paths = new Paths()
  const seen = new Map<Node, Set<Path>>()
  const walk = (n: Node, path: Path): void => {
    const places = seen.get(n) ?? new Set()
    if (places.has(path) || size > maxCost) return
    seen.set(n, places.add(path))
    if (n !== node && (stored.has(n) || n.op === 'input')) {
      if (!isShared(n)) loads.add(n)
      return
    }
    const own = ownCost(n)
    size += own
    cost += isShared(n) && own <= cheap.cost ? own / sharers : own
    for (const input of n.inputs) walk(input, paths.through(path, n, input))
  }
  walk(node, paths.start)
  return { size, cost, loads: loads.size }
}

/** Primitives whose kernels are no loops over expressions. */
export const isOwnKind = (node?: Node): boolean =>
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

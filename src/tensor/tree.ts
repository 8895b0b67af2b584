/**
 * Trees of tensors: nested arrays, plain objects and class instances whose leaves are tensors. Whatever is no tensor
 * (numbers, strings, functions) is structure and is carried along. Models, gradients and optimiser states are trees. The
 * fields of a class must be public: a copy of an instance has no #private ones.
 */

import { Tensor } from './tensor.js'

/** A name for a leaf: the path to it, `layers.0.weight`. */
export interface NamedLeaf {
  readonly name: string
  readonly tensor: Tensor
}

/** Where a walk stands; undefined is the root. Names are put together only where somebody asks for them. */
interface Place {
  readonly above: Place | undefined
  readonly key: string
  readonly depth: number
}

const below = (above: Place | undefined, key: string): Place => ({ above, key, depth: above ? above.depth + 1 : 1 })

function nameOf(place: Place | undefined): string {
  const keys: string[] = []
  for (let at = place; at; at = at.above) keys.push(at.key)
  return keys.reduceRight((path, key) => (path ? `${path}.${key}` : key), '')
}

const isBranch = (x: unknown): x is Record<string, unknown> =>
  typeof x === 'object' && x !== null && !(x instanceof Tensor) && !ArrayBuffer.isView(x)

/** No honest path is longer. */
const longestPath = 1000

/** The names of a branch's fields. */
function fields(branch: Record<string, unknown>, place: Place | undefined): string[] {
  if (branch instanceof Map || branch instanceof Set)
    throw new Error(
      `tree: a ${branch.constructor.name} at '${nameOf(place)}' cannot be walked; use a plain object or an array`,
    )
  if (branch instanceof Promise)
    throw new Error(
      `tree: a promise at '${nameOf(place)}'; functions of tensors build expressions at once, without async`,
    )
  if (place && place.depth > longestPath)
    throw new Error(`tree: the path ${nameOf(place).slice(0, 40)}... does not end; a tree cannot contain itself`)
  return Object.keys(branch)
}

/** What is met on a walk through a tree. */
interface Visitor {
  tensor: (tensor: Tensor, place: Place | undefined) => void
  branch?: (branch: object, fields: readonly string[]) => void
  other?: (value: unknown) => void
}

/** Goes through a tree from the root on, fields in their order. */
export function visit(tree: unknown, visitor: Visitor, place?: Place): void {
  if (tree instanceof Tensor) visitor.tensor(tree, place)
  else if (isBranch(tree)) {
    const keys = fields(tree, place)
    visitor.branch?.(tree, keys)
    for (const key of keys) visit(tree[key], visitor, below(place, key))
  } else visitor.other?.(tree)
}

/** All tensors of a tree with their paths, in a fixed order. */
export function namedLeaves(tree: unknown): NamedLeaf[] {
  const found: NamedLeaf[] = []
  visit(tree, { tensor: (tensor, place) => found.push({ name: nameOf(place), tensor }) })
  return found
}

export function leaves(tree: unknown): Tensor[] {
  const found: Tensor[] = []
  visit(tree, { tensor: tensor => found.push(tensor) })
  return found
}

function rebuild(
  tree: unknown,
  place: Place | undefined,
  f: (tensor: Tensor, place: Place | undefined) => Tensor,
): unknown {
  if (tree instanceof Tensor) return f(tree, place)
  if (!isBranch(tree)) return tree
  const copy: Record<string, unknown> = Array.isArray(tree)
    ? ([] as unknown as Record<string, unknown>)
    : Object.create(Object.getPrototypeOf(tree))
  for (const key of fields(tree, place)) copy[key] = rebuild(tree[key], below(place, key), f)
  return copy
}

/** The tree with each tensor replaced by f(tensor, name); prototypes and all other values are kept. */
export const mapTree = <T>(tree: T, f: (tensor: Tensor, name: string) => Tensor): T =>
  rebuild(tree, undefined, (tensor, place) => f(tensor, nameOf(place))) as T

/** f over the corresponding leaves of trees with the structure of the first. */
export function zipTrees<T>(f: (...tensors: Tensor[]) => Tensor, tree: T, ...others: T[]): T {
  const lists = others.map(o => leaves(o))
  const n = leaves(tree).length
  for (const list of lists)
    if (list.length !== n)
      throw new Error(`zipTrees: trees have ${n} and ${list.length} tensors; they must have the same structure`)
  let i = 0
  return mapTree(tree, t => {
    const result = f(t, ...lists.map(list => list[i]))
    i++
    return result
  })
}

/** The tree with its tensors replaced, in the order of `leaves`. */
export function replaceLeaves<T>(tree: T, tensors: readonly Tensor[]): T {
  let i = 0
  const replaced = rebuild(tree, undefined, t => tensors[i++] ?? t) as T
  if (i !== tensors.length) throw new Error(`replaceLeaves: ${tensors.length} tensors for a tree with ${i}`)
  return replaced
}

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

const isBranch = (x: unknown): x is Record<string, unknown> =>
  typeof x === 'object' && x !== null && !(x instanceof Tensor) && !ArrayBuffer.isView(x)

/** No honest path is longer. */
const longestPath = 2000

/** The names of a branch's fields. */
function fields(branch: Record<string, unknown>, path: string): string[] {
  if (branch instanceof Map || branch instanceof Set)
    throw new Error(`tree: a ${branch.constructor.name} at '${path}' cannot be walked; use a plain object or an array`)
  if (branch instanceof Promise)
    throw new Error(`tree: a promise at '${path}'; functions of tensors build expressions at once, without async`)
  if (path.length > longestPath)
    throw new Error(`tree: the path ${path.slice(0, 40)}... does not end; a tree cannot contain itself`)
  return Object.keys(branch)
}

const below = (path: string, key: string): string => (path ? `${path}.${key}` : key)

function visit(tree: unknown, path: string, found: NamedLeaf[]): void {
  if (tree instanceof Tensor) found.push({ name: path, tensor: tree })
  else if (isBranch(tree)) for (const key of fields(tree, path)) visit(tree[key], below(path, key), found)
}

/** All tensors of a tree with their paths, in a fixed order. */
export function namedLeaves(tree: unknown): NamedLeaf[] {
  const found: NamedLeaf[] = []
  visit(tree, '', found)
  return found
}

export const leaves = (tree: unknown): Tensor[] => namedLeaves(tree).map(l => l.tensor)

/** The tree with each tensor replaced by f(tensor, name); prototypes and all other values are kept. */
export function mapTree<T>(tree: T, f: (tensor: Tensor, name: string) => Tensor): T {
  const walk = (node: unknown, path: string): unknown => {
    if (node instanceof Tensor) return f(node, path)
    if (!isBranch(node)) return node
    const copy: Record<string, unknown> = Array.isArray(node)
      ? ([] as unknown as Record<string, unknown>)
      : Object.create(Object.getPrototypeOf(node))
    for (const key of fields(node, path)) copy[key] = walk(node[key], below(path, key))
    return copy
  }
  return walk(tree, '') as T
}

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
  const replaced = mapTree(tree, t => tensors[i++] ?? t)
  if (i !== tensors.length) throw new Error(`replaceLeaves: ${tensors.length} tensors for a tree with ${i}`)
  return replaced
}

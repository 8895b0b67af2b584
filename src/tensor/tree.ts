/**
 * Trees of tensors: nested arrays, plain objects and class instances whose leaves are tensors. Whatever is no tensor
 * (numbers, strings, functions) is structure and is carried along. Models, gradients and optimiser states are trees.
 */

import { Tensor } from './tensor.js'

/** A name for a leaf: the path to it, `layers.0.weight`. */
export interface NamedLeaf {
  readonly name: string
  readonly tensor: Tensor
}

const isBranch = (x: unknown): x is Record<string, unknown> =>
  typeof x === 'object' && x !== null && !(x instanceof Tensor) && !ArrayBuffer.isView(x)

function visit(tree: unknown, path: string, found: NamedLeaf[]): void {
  if (tree instanceof Tensor) found.push({ name: path, tensor: tree })
  else if (isBranch(tree)) for (const key of Object.keys(tree)) visit(tree[key], path ? `${path}.${key}` : key, found)
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
    for (const key of Object.keys(node)) copy[key] = walk(node[key], path ? `${path}.${key}` : key)
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

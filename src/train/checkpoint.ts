/** Trees of tensors in safetensors files, each under its leaf's name. */

import { readSafetensors, writeSafetensors } from '../data/safetensors.js'
import type { DType, HostArray } from '../graph/dtype.js'
import { sameShape } from '../graph/shape.js'
import { tensor } from '../tensor/create.js'
import { realize } from '../tensor/realize.js'
import { namedLeaves } from '../tensor/tree.js'

export type Metadata = Readonly<Record<string, string>>

/** Writes all tensors of a tree to a file, which appears whole or not at all. Node only. */
export async function saveTree(path: string, tree: unknown, metadata: Metadata = {}): Promise<void> {
  await realize(tree)
  const arrays: Record<string, HostArray> = {}
  for (const { name, tensor: t } of namedLeaves(tree))
    arrays[name] = { dtype: t.dtype, shape: t.shape, data: await t.data() }
  await writeSafetensors(path, arrays, metadata)
}

const widens = (from: DType, to: DType): boolean => from === 'float16' && to === 'float32'

/**
 * Gives the tensors of a tree the values of a file, in place; those of float16 may fill a float32.
 *
 * @param accept looks at the file's metadata before anything changes, and throws to refuse the file.
 * @returns what `accept` returned.
 * @throws if a tensor is missing, left over, or has another shape or dtype; the tree is then as it was.
 */
export async function loadTree<T>(path: string, tree: unknown, accept: (metadata: Metadata) => T): Promise<T> {
  const { tensors, metadata } = await readSafetensors(path)
  const accepted = accept(metadata)
  fillTree(path, tree, tensors)
  return accepted
}

/** Gives the tensors of a tree the values of a file, as `loadTree` does. */
export function fillTree(path: string, tree: unknown, tensors: Readonly<Record<string, HostArray>>): void {
  const wanted = namedLeaves(tree)
  const names = new Set(wanted.map(l => l.name))
  const problems = [
    ...wanted.flatMap(({ name, tensor: { dtype, shape } }) => {
      if (!Object.hasOwn(tensors, name)) return [`'${name}' is missing`]
      const found = tensors[name]
      const fits = (found.dtype === dtype || widens(found.dtype, dtype)) && sameShape(found.shape, shape)
      return fits ? [] : [`'${name}' is ${found.dtype}[${found.shape}], expected ${dtype}[${shape}]`]
    }),
    ...Object.keys(tensors).flatMap(name => (names.has(name) ? [] : [`'${name}' is not expected`])),
  ]
  if (problems.length) {
    const more = problems.length > 3 ? ` and ${problems.length - 3} more` : ''
    throw new Error(`load: ${path} does not fit: ${problems.slice(0, 3).join('; ')}${more}; nothing was loaded`)
  }
  for (const { name, tensor: t } of wanted) t.assign(tensor(tensors[name], { dtype: t.dtype }))
}

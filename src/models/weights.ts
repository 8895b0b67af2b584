/**
 * Pretrained weights: named arrays of any origin into the leaves of a model, converted from the layouts of other libraries. How
 * the files are read is the concern of `saddlepoint/data`.
 */

import { type HostArray, isFloat } from '../graph/dtype.js'
import { knownOptions, type Names } from '../graph/options.js'
import { formatShape, sameShape } from '../graph/shape.js'
import { tensor } from '../tensor/create.js'
import { astype } from '../tensor/elementwise.js'
import { matrixTranspose, permuteDims, reshape } from '../tensor/movement.js'
import { realize } from '../tensor/realize.js'
import type { Tensor } from '../tensor/tensor.js'
import { namedLeaves } from '../tensor/tree.js'

/** The values of a leaf, made of those that another library stored. */
export type Layout = (stored: Tensor) => Tensor

/** Convolution kernels of torch, [outputs, inputs, height, width] -> [height, width, inputs, outputs]. */
export const fromOihw: Layout = x => permuteDims(x, [2, 3, 1, 0])

/** Linear weights of torch, [outputs, inputs] -> [inputs, outputs]. */
export const fromOutIn: Layout = matrixTranspose

/**
 * Linear weights of torch behind flattened images: [outputs, channels·h·w] -> [h·w·channels, outputs]. Images are flattened
 * channels first there and channels last here.
 */
export const fromFlattened =
  (channels: number, height: number, width: number): Layout =>
  x => {
    const [outputs] = x.shape
    return reshape(permuteDims(reshape(x, [outputs, channels, height, width]), [2, 3, 1, 0]), [-1, outputs])
  }

/**
 * Which array a leaf is filled from: the first row whose pattern matches all of the leaf's name gives the array's name, a
 * replacement as of `String.replace`, and its layout if that is another than the leaf's.
 */
export type WeightMap = readonly (readonly [leaf: RegExp, stored: string, layout?: Layout])[]

export interface LoadWeightsOptions {
  /** Arrays that may be left over: what the file holds beside the model. */
  readonly ignore?: RegExp
  /** Leaves that may keep their values where the file has none: a new head on an old body. */
  readonly keep?: RegExp
}
const loadNames: Names<LoadWeightsOptions> = { ignore: true, keep: true }

/** The `:0` that TensorFlow puts behind the name of a variable. */
const withoutOutput = (name: string): string => name.replace(/:0$/, '')

const list = (what: string, names: readonly string[]): string[] => {
  if (names.length === 0) return []
  const more = names.length > 10 ? ` and ${names.length - 10} more` : ''
  return [`${what}: ${names.slice(0, 10).join(', ')}${more}`]
}

/**
 * Gives the leaves of a model the values of named arrays, in place, and returns the model. Floats become the leaf's dtype.
 *
 * @example await loadWeights(new ResNet20({ key }), (await readSafetensors(path)).tensors, resNetNames, { ignore: /num_batches/ })
 * @throws if leaves find no array, arrays no leaf, or shapes and dtypes do not fit: all names are listed, and the model is as
 * it was.
 */
export async function loadWeights<M>(
  model: M,
  tensors: Readonly<Record<string, HostArray>>,
  map: WeightMap,
  options: LoadWeightsOptions = {},
): Promise<M> {
  const { ignore, keep } = knownOptions('loadWeights', options, loadNames)
  const arrays = new Map(Object.entries(tensors).map(([name, array]) => [withoutOutput(name), array]))
  const used = new Set<string>()
  const missing: string[] = []
  const unfit: string[] = []
  const found: { readonly leaf: Tensor; readonly value: Tensor }[] = []
  for (const { name, tensor: leaf } of namedLeaves(model)) {
    const row = map.find(([pattern]) => pattern.exec(name)?.[0] === name)
    const stored = row && name.replace(row[0], row[1])
    const array = stored === undefined ? undefined : arrays.get(stored)
    if (stored === undefined || !array) {
      if (!keep?.test(name)) missing.push(stored === undefined ? `${name} (not in the map)` : `${stored} (for ${name})`)
      continue
    }
    used.add(stored)
    const value = laidOut(array, row?.[2])
    if (value && sameShape(value.shape, leaf.shape) && isFloat(value.dtype) === isFloat(leaf.dtype))
      found.push({ leaf, value: astype(value, leaf.dtype) })
    else
      unfit.push(
        `${stored} is ${array.dtype}${formatShape(array.shape)}` +
          `${value && row?.[2] ? `, laid out ${formatShape(value.shape)}` : ''}, but ${name} is ${leaf.dtype}${formatShape(leaf.shape)}`,
      )
  }
  const unexpected = [...arrays.keys()].filter(name => !used.has(name) && !ignore?.test(name))
  const problems = [
    ...list('missing', missing),
    ...list('unexpected', unexpected),
    ...list('of another shape or dtype', unfit),
  ]
  if (problems.length) throw new Error(`loadWeights: ${problems.join('; ')}; nothing was loaded`)
  await realize(found.map(f => f.value))
  for (const { leaf, value } of found) leaf.assign(value)
  return model
}

/** An array in the layout of its leaf; undefined where it has not even the layout that is converted. */
function laidOut(array: HostArray, layout: Layout | undefined): Tensor | undefined {
  const stored = tensor(array)
  if (!layout) return stored
  try {
    return layout(stored)
  } catch {
    return undefined
  }
}

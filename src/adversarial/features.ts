/**
 * Which columns of a batch an attack may change, and by how much: labels, weights and integers stay as they are, and a
 * mask holds parts of the rest. What is done to the others is steps.ts's concern.
 */

import { isFloat } from '../graph/dtype.js'
import { inWords } from '../graph/options.js'
import { formatShape } from '../graph/shape.js'
import type { Batch } from '../nn/context.js'
import { astype, mul } from '../tensor/elementwise.js'
import { Tensor } from '../tensor/tensor.js'
import { warnOnce } from '../tensor/warn.js'

/** The float columns under attack, or something of their shapes: gradients, perturbations. All are [n, ...]. */
export type Features = Readonly<Record<string, Tensor>>

/** What gradients and perturbations are multiplied by: 1 leaves an element to the attack, 0 keeps it as it is. */
export type Mask = Tensor | number

export interface FeatureOptions {
  /** Columns that are labels; `[]` for none. Default `['label']`. */
  labelKeys?: readonly string[]
  /** The column of sample weights. Default none. */
  sampleWeightKey?: string
  /** The columns to perturb. Default all float columns that are neither labels nor weights. */
  features?: readonly string[]
  /**
   * One mask for all features, or one for each name (those not named are not masked). A mask broadcasts to its feature.
   * Default none.
   */
  featureMask?: Mask | Readonly<Record<string, Mask>>
}

const listed = (batch: Batch): string =>
  Object.entries(batch)
    .map(([name, t]) => `'${name}' ${t.dtype}${formatShape(t.shape)}`)
    .join(', ')

/** f over features, by name. */
export const mapFeatures = (features: Features, f: (x: Tensor, name: string) => Tensor): Features =>
  Object.fromEntries(Object.entries(features).map(([name, x]) => [name, f(x, name)]))

/** @throws if these are no features, as a tensor alone or an empty object. */
export function demandFeatures(op: string, features: Features): void {
  const isRecord = typeof features === 'object' && features !== null && !(features instanceof Tensor)
  if (isRecord && Object.keys(features).length > 0 && Object.values(features).every(x => x instanceof Tensor)) return
  throw new Error(
    `${op}: expects features, an object of one tensor [n, ...] or more by name, not ${inWords(features)}; a tensor x alone is { x }`,
  )
}

/** Features in the dtypes of others: what float16 has become while it was computed with is float16 again. */
export const alike = (features: Features, others: Features): Features =>
  mapFeatures(features, (x, name) => astype(x, others[name].dtype))

/**
 * The columns of `batch` to perturb. Integer columns that are neither label nor weight pass through, with one warning.
 *
 * @throws if an option names a column that is not there or not float, nothing is left to perturb, or columns differ in
 * their number of examples.
 */
export function perturbable(op: string, batch: Batch, options: FeatureOptions): Features {
  const { labelKeys = ['label'], sampleWeightKey, features: chosen, featureMask } = options
  const held = [...(chosen && !options.labelKeys ? [] : labelKeys), ...(sampleWeightKey ? [sampleWeightKey] : [])]
  const masked = featureMask === undefined || isMask(featureMask) ? [] : Object.keys(featureMask)
  for (const [option, names] of Object.entries({
    'labelKeys or sampleWeightKey': held,
    features: chosen ?? [],
    featureMask: masked,
  })) {
    const missing = names.find(name => !(name in batch))
    if (missing !== undefined)
      throw new Error(
        `${op}: ${option} names '${missing}', but the batch has ${listed(batch)}; name its columns, with labelKeys: [] for no labels`,
      )
  }
  const candidates = Object.entries(batch).filter(([name]) => (chosen ? chosen.includes(name) : !held.includes(name)))
  const integers = candidates.filter(([, x]) => !isFloat(x.dtype)).map(([name]) => name)
  if (chosen && integers.length)
    throw new Error(
      `${op}: feature '${integers[0]}' is ${batch[integers[0]].dtype}: only float columns have a gradient`,
    )
  if (integers.length)
    warnOnce(
      `${op}: ${integers.map(name => `'${name}'`).join(', ')} cannot be perturbed (not float) and is passed through; add labels to labelKeys`,
    )
  const features = Object.fromEntries(candidates.filter(([, x]) => isFloat(x.dtype)))
  if (Object.keys(features).length === 0)
    throw new Error(
      `${op}: no float column to perturb among ${listed(batch)}; ids are perturbed in the embedding that looks them up, by the methods that take on: 'embedding'`,
    )
  examples(op, batch)
  return features
}

/** @throws if the batch lacks a column. */
export function column(op: string, batch: Batch, name: string): Tensor {
  if (name in batch) return batch[name]
  throw new Error(`${op}: the batch has no column '${name}', only ${Object.keys(batch).join(', ')}`)
}

/** The number of examples of a batch. */
export function examples(op: string, batch: Batch): number {
  const sizes = new Set(Object.values(batch).map(t => t.shape[0]))
  const [n] = sizes
  if (sizes.size !== 1 || n === undefined)
    throw new Error(`${op}: all columns need the same first dimension, the examples: ${listed(batch)}`)
  return n
}

const isMask = (mask: Mask | Readonly<Record<string, Mask>>): mask is Mask =>
  mask instanceof Tensor || typeof mask === 'number'

/** x times its mask. */
export function applyMask(x: Tensor, name: string, featureMask: FeatureOptions['featureMask']): Tensor {
  const mask = featureMask === undefined || isMask(featureMask) ? featureMask : featureMask[name]
  if (mask === undefined) return x
  const product = mul(x, typeof mask === 'number' ? mask : astype(mask, x.dtype))
  if (formatShape(product.shape) !== formatShape(x.shape))
    throw new Error(
      `featureMask: the mask of '${name}' does not broadcast to it: its product with ${formatShape(x.shape)} is ${formatShape(product.shape)}`,
    )
  return product
}

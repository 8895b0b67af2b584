/** What all layers share: the interface, the options of their constructors, the checks of sizes. */

import type { DType } from '../graph/dtype.js'
import { knownOptions, type Names } from '../graph/options.js'
import { formatShape } from '../graph/shape.js'
import { Tensor } from '../tensor/tensor.js'
import type { Context } from './context.js'
import type { Initializer } from './initializers.js'

/** A tree of tensors that maps a tensor to a tensor. */
export interface Layer {
  apply(x: Tensor, ctx?: Context): Tensor
}

export interface WeightOptions {
  /** The random key of the first weights. */
  readonly key: Tensor
  readonly initializer?: Initializer
  readonly dtype?: DType
}

export interface BiasOptions extends WeightOptions {
  /** Whether a bias, first zero, is added. */
  readonly bias?: boolean
}

export const weightNames: Names<WeightOptions> = { key: true, initializer: true, dtype: true }
export const biasNames: Names<BiasOptions> = { ...weightNames, bias: true }

/** Options with a random key, from which all weights are drawn, given back. @throws unless they are of known names. */
export function weightOptions<O extends WeightOptions>(layer: string, options: O, names: Names<NoInfer<O>>): O {
  if (!(options?.key instanceof Tensor))
    throw new Error(`${layer}: its first weights need a random key: pass the options { key: random.key(0) }`)
  return knownOptions(layer, options, names)
}

/** Throws unless every size is an integer of at least 1. */
export function checkSizes(layer: string, sizes: Readonly<Record<string, number>>): void {
  for (const [name, size] of Object.entries(sizes)) {
    if (!Number.isInteger(size) || size < 1)
      throw new Error(`${layer}: ${name} must be a positive integer, not ${size}`)
  }
}

/** Throws unless the last axis of x has the size that the layer was made for. */
export function checkLastAxis(layer: string, x: Tensor, size: number): void {
  if (x.shape[x.ndim - 1] !== size)
    throw new Error(`${layer}: was made for ${size} on the last axis, got ${formatShape(x.shape)}`)
}

/** Random zeros in training. */

import { dropout } from '../tensor/neural.js'
import type { Tensor } from '../tensor/tensor.js'
import { type Context, evaluation, isTraining } from './context.js'
import type { Layer } from './layer.js'

export function checkRate(layer: string, rate: number): void {
  if (!(rate >= 0 && rate < 1)) throw new Error(`${layer}: the rate of dropout must lie in [0, 1), not ${rate}`)
}

/** What a layer drops in a pass: nothing but in training. */
export function dropoutIn(
  layer: string,
  rate: number,
  ctx: Context,
): { readonly key: Tensor; readonly rate: number } | undefined {
  if (!isTraining(layer, ctx) || rate === 0) return undefined
  if (!ctx.key) throw new Error(`${layer}: training needs a random key in the context: { training: true, key }`)
  return { key: ctx.key, rate }
}

/**
 * In training, sets each element to 0 with probability `rate` and divides the others by 1 - rate; else the identity.
 * Srivastava et al., JMLR 2014.
 */
export class Dropout implements Layer {
  readonly rate: number

  constructor(rate: number) {
    checkRate('Dropout', rate)
    this.rate = rate
  }

  apply(x: Tensor, ctx: Context = evaluation): Tensor {
    const drop = dropoutIn('Dropout', this.rate, ctx)
    return drop ? dropout(x, drop.key, drop.rate) : x
  }
}

/** Random zeros in training. */

import { mul, where } from '../tensor/elementwise.js'
import * as random from '../tensor/random.js'
import type { Tensor } from '../tensor/tensor.js'
import { type Context, evaluation } from './context.js'
import type { Layer } from './layer.js'

/**
 * In training, sets each element to 0 with probability `rate` and divides the others by 1 - rate; else the identity.
 * Srivastava et al., JMLR 2014.
 */
export class Dropout implements Layer {
  readonly rate: number

  constructor(rate: number) {
    if (!(rate >= 0 && rate < 1)) throw new Error(`Dropout: the rate must lie in [0, 1), not ${rate}`)
    this.rate = rate
  }

  apply(x: Tensor, ctx: Context = evaluation): Tensor {
    if (!ctx.training || this.rate === 0) return x
    if (!ctx.key) throw new Error('Dropout: training needs a random key in the context: { training: true, key }')
    const kept = random.bernoulli(ctx.key, x.shape, 1 - this.rate)
    return where(kept, mul(x, 1 / (1 - this.rate)), 0)
  }
}

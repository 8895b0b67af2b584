/** Layers one after another. */

import type { Tensor } from '../tensor/tensor.js'
import { type Context, evaluation, partOf } from './context.js'
import type { Layer } from './layer.js'

/** A layer, or a plain function such as `relu`. */
export type Stage = Layer | ((x: Tensor) => Tensor)

/**
 * Applies its layers in order. Each gets a random key of its own, made from the context's and the layer's number.
 *
 * @example new Sequential([new Linear(784, 64, { key: a }), relu, new Linear(64, 10, { key: b })])
 */
export class Sequential implements Layer {
  readonly layers: readonly Stage[]

  constructor(layers: readonly Stage[]) {
    layers.forEach((layer, i) => {
      if (typeof layer !== 'function' && typeof layer?.apply !== 'function')
        throw new Error(`Sequential: layer ${i} is neither a function nor has a method apply(x, ctx)`)
    })
    this.layers = layers
  }

  apply(x: Tensor, ctx: Context = evaluation): Tensor {
    return this.layers.reduce((y, layer, i) => {
      if (typeof layer === 'function') return layer(y)
      return layer.apply(y, partOf(ctx, i))
    }, x)
  }
}

/** The fully connected layer. */

import { matmul } from '../tensor/contraction.js'
import { zeros } from '../tensor/create.js'
import { add } from '../tensor/elementwise.js'
import type { Tensor } from '../tensor/tensor.js'
import { glorotUniform } from './initializers.js'
import { type BiasOptions, biasNames, checkLastAxis, checkSizes, type Layer, weightOptions } from './layer.js'

/**
 * x·weight + bias on the last axis: [..., inputs] -> [..., outputs].
 *
 * @example new Linear(784, 10, { key: random.key(0) }).apply(x)
 */
export class Linear implements Layer {
  /** [inputs, outputs] */
  readonly weight: Tensor
  /** [outputs] */
  readonly bias?: Tensor

  constructor(inputs: number, outputs: number, options: BiasOptions) {
    const {
      key,
      bias = true,
      initializer = glorotUniform,
      dtype = 'float32',
    } = weightOptions('Linear', options, biasNames)
    checkSizes('Linear', { inputs, outputs })
    this.weight = initializer(key, [inputs, outputs], dtype)
    if (bias) this.bias = zeros([outputs], dtype)
  }

  apply(x: Tensor): Tensor {
    checkLastAxis('Linear', x, this.weight.shape[0])
    const y = matmul(x, this.weight)
    return this.bias ? add(y, this.bias) : y
  }
}

/** The two-dimensional convolution layer. */

import { type ConvOptions, conv2d } from '../tensor/contraction.js'
import { zeros } from '../tensor/create.js'
import { add } from '../tensor/elementwise.js'
import type { Tensor } from '../tensor/tensor.js'
import { glorotUniform } from './initializers.js'
import { type BiasOptions, checkKey, checkLastAxis, checkSizes, type Layer } from './layer.js'

/**
 * Convolution of channels-last images: [n, h, w, inputs] -> [n, oh, ow, outputs].
 *
 * @example new Conv2d(1, 32, 3, { key, padding: 'same' })
 */
export class Conv2d implements Layer {
  /** [kernelHeight, kernelWidth, inputs / groups, outputs] */
  readonly weight: Tensor
  /** [outputs] */
  readonly bias?: Tensor
  readonly options: ConvOptions

  constructor(
    inputs: number,
    outputs: number,
    kernel: number | readonly [number, number],
    layerOptions: BiasOptions & ConvOptions,
  ) {
    checkKey('Conv2d', layerOptions)
    const { key, bias = true, initializer = glorotUniform, dtype = 'float32', ...options } = layerOptions
    const [height, width] = typeof kernel === 'number' ? [kernel, kernel] : kernel
    const { groups = 1 } = options
    checkSizes('Conv2d', { inputs, outputs, 'kernel height': height, 'kernel width': width, groups })
    if (inputs % groups || outputs % groups)
      throw new Error(`Conv2d: ${inputs} inputs and ${outputs} outputs do not divide into ${groups} groups`)
    this.weight = initializer(key, [height, width, inputs / groups, outputs], dtype)
    if (bias) this.bias = zeros([outputs], dtype)
    this.options = options
  }

  apply(x: Tensor): Tensor {
    checkLastAxis('Conv2d', x, this.weight.shape[2] * (this.options.groups ?? 1))
    const y = conv2d(x, this.weight, this.options)
    return this.bias ? add(y, this.bias) : y
  }
}

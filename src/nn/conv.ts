/** Convolution layers. */

import type { Names } from '../graph/options.js'
import type { Shape } from '../graph/shape.js'
import {
  type Conv1dOptions,
  type ConvOptions,
  type ConvTransposeOptions,
  conv1d,
  conv2d,
  convTranspose2d,
} from '../tensor/convolution.js'
import { zeros } from '../tensor/create.js'
import { add } from '../tensor/elementwise.js'
import { convNames, convTransposeNames, depthwiseNames } from '../tensor/options.js'
import type { Tensor } from '../tensor/tensor.js'
import { glorotUniform } from './initializers.js'
import { type BiasOptions, biasNames, checkLastAxis, checkSizes, type Layer, weightOptions } from './layer.js'

type Kernel = number | readonly [number, number]
const both = (kernel: Kernel): readonly [number, number] => (typeof kernel === 'number' ? [kernel, kernel] : kernel)

type ConvolutionOptions = BiasOptions & { readonly groups?: number }
const layerNames: Names<BiasOptions & ConvOptions> & Names<BiasOptions & Conv1dOptions> = { ...biasNames, ...convNames }
const transposeNames: Names<BiasOptions & ConvTransposeOptions> = { ...biasNames, ...convTransposeNames }

/** The weights of a convolution; the operation is the subclass's. */
abstract class Convolution implements Layer {
  readonly weight: Tensor
  /** [outputs] */
  readonly bias?: Tensor
  readonly inputs: number

  constructor(
    inputs: number,
    outputs: number,
    kernel: Readonly<Record<string, number>>,
    options: ConvolutionOptions,
    names: Names<ConvolutionOptions>,
    shapeOf: (groups: number) => Shape,
  ) {
    const layer = new.target.name
    weightOptions(layer, options, names)
    const { key, bias = true, initializer = glorotUniform, dtype = 'float32', groups = 1 } = options
    checkSizes(layer, { inputs, outputs, ...kernel, groups })
    if (inputs % groups || outputs % groups)
      throw new Error(`${layer}: ${inputs} inputs and ${outputs} outputs do not divide into ${groups} groups`)
    this.weight = initializer(key, shapeOf(groups), dtype)
    if (bias) this.bias = zeros([outputs], dtype)
    this.inputs = inputs
  }

  protected abstract convolve(x: Tensor): Tensor

  apply(x: Tensor): Tensor {
    checkLastAxis(this.constructor.name, x, this.inputs)
    const y = this.convolve(x)
    return this.bias ? add(y, this.bias) : y
  }
}

/**
 * Convolution of channels-last images: [n, h, w, inputs] -> [n, oh, ow, outputs], weight
 * [kernelHeight, kernelWidth, inputs / groups, outputs].
 *
 * @example new Conv2d(1, 32, 3, { key, padding: 'same' })
 */
export class Conv2d extends Convolution {
  readonly options: ConvOptions

  constructor(inputs: number, outputs: number, kernel: Kernel, layerOptions: BiasOptions & ConvOptions) {
    const [height, width] = both(kernel)
    const sizes = { 'kernel height': height, 'kernel width': width }
    super(inputs, outputs, sizes, layerOptions, layerNames, groups => [height, width, inputs / groups, outputs])
    const { key, bias, initializer, dtype, ...options } = layerOptions
    this.options = options
  }

  protected convolve(x: Tensor): Tensor {
    return conv2d(x, this.weight, this.options)
  }
}

export interface DepthwiseOptions extends BiasOptions, Omit<ConvOptions, 'groups'> {
  /** The outputs of each channel. */
  readonly multiplier?: number
}
const depthwiseLayerNames: Names<DepthwiseOptions> = { ...biasNames, ...depthwiseNames, multiplier: true }

/** Each channel convolved by itself: Conv2d with a group per channel. */
export class DepthwiseConv2d extends Conv2d {
  constructor(channels: number, kernel: Kernel, layerOptions: DepthwiseOptions) {
    const { multiplier = 1, ...options } = weightOptions('DepthwiseConv2d', layerOptions, depthwiseLayerNames)
    super(channels, channels * multiplier, kernel, { ...options, groups: channels })
  }
}

/** Convolution of sequences: [n, length, inputs] -> [n, positions, outputs], weight [kernel, inputs / groups, outputs]. */
export class Conv1d extends Convolution {
  readonly options: Conv1dOptions

  constructor(inputs: number, outputs: number, kernel: number, layerOptions: BiasOptions & Conv1dOptions) {
    super(inputs, outputs, { kernel }, layerOptions, layerNames, groups => [kernel, inputs / groups, outputs])
    const { key, bias, initializer, dtype, ...options } = layerOptions
    this.options = options
  }

  protected convolve(x: Tensor): Tensor {
    return conv1d(x, this.weight, this.options)
  }
}

/**
 * The adjoint of a convolution from outputs to inputs, which enlarges images by its stride: [n, h, w, inputs] ->
 * [n, oh, ow, outputs], weight [kernelHeight, kernelWidth, outputs / groups, inputs].
 */
export class ConvTranspose2d extends Convolution {
  readonly options: ConvTransposeOptions

  constructor(inputs: number, outputs: number, kernel: Kernel, layerOptions: BiasOptions & ConvTransposeOptions) {
    const [height, width] = both(kernel)
    const sizes = { 'kernel height': height, 'kernel width': width }
    super(inputs, outputs, sizes, layerOptions, transposeNames, groups => [height, width, outputs / groups, inputs])
    const { key, bias, initializer, dtype, ...options } = layerOptions
    this.options = options
  }

  protected convolve(x: Tensor): Tensor {
    return convTranspose2d(x, this.weight, this.options)
  }
}

/** Residual networks for small images, after He et al. 2015, arXiv:1512.03385, section 4.2. */

import type { Names } from '../graph/options.js'
import { type Context, evaluation } from '../nn/context.js'
import { Conv2d } from '../nn/conv.js'
import { heNormal } from '../nn/initializers.js'
import { type Layer, type WeightOptions, weightOptions } from '../nn/layer.js'
import { Linear } from '../nn/linear.js'
import { BatchNorm } from '../nn/norm.js'
import { globalAvgPool2d } from '../tensor/convolution.js'
import { add, relu } from '../tensor/elementwise.js'
import { pad } from '../tensor/movement.js'
import { foldIn } from '../tensor/random.js'
import { at } from '../tensor/slicing.js'
import type { Tensor } from '../tensor/tensor.js'
import { fromOihw, fromOutIn, type WeightMap } from './weights.js'

type Weights = Pick<WeightOptions, 'key' | 'dtype'>

const convolution = (inputs: number, outputs: number, stride: number, options: Weights): Conv2d =>
  new Conv2d(inputs, outputs, 3, { ...options, stride, padding: 1, bias: false, initializer: heNormal })

/** Two convolutions and what they are added to: the input, thinned out and with new channels of zeros (option A). */
class ResidualBlock implements Layer {
  readonly conv1: Conv2d
  readonly bn1: BatchNorm
  readonly conv2: Conv2d
  readonly bn2: BatchNorm
  readonly stride: number

  constructor(inputs: number, outputs: number, stride: number, { key, dtype }: Weights) {
    this.conv1 = convolution(inputs, outputs, stride, { key: foldIn(key, 0), dtype })
    this.bn1 = new BatchNorm(outputs, { dtype })
    this.conv2 = convolution(outputs, outputs, 1, { key: foldIn(key, 1), dtype })
    this.bn2 = new BatchNorm(outputs, { dtype })
    this.stride = stride
  }

  apply(x: Tensor, ctx: Context = evaluation): Tensor {
    const y = relu(this.bn1.apply(this.conv1.apply(x), ctx))
    const thin = at(x, [], [null, null, this.stride], [null, null, this.stride])
    const more = this.bn2.weight.size - this.conv1.inputs
    const shortcut = pad(thin, [
      [0, 0],
      [0, 0],
      [0, 0],
      [Math.floor(more / 2), Math.ceil(more / 2)],
    ])
    return relu(add(this.bn2.apply(this.conv2.apply(y), ctx), shortcut))
  }
}

export interface ResNet20Options extends Weights {
  readonly classes?: number
  /** The channels of the three stages; 16, 32 and 64 by default. */
  readonly widths?: readonly [number, number, number]
}

const modelNames: Names<ResNet20Options> = { key: true, dtype: true, classes: true, widths: true }

/**
 * The network of 20 layers for CIFAR-10: images [n, h, w, 3] -> logits [n, classes]. Three stages of three residual blocks, the
 * later two at half the height and width of the one before. Its leaves have the names of the published weights.
 */
export class ResNet20 implements Layer {
  readonly conv1: Conv2d
  readonly bn1: BatchNorm
  readonly layer1: readonly ResidualBlock[]
  readonly layer2: readonly ResidualBlock[]
  readonly layer3: readonly ResidualBlock[]
  readonly linear: Linear

  constructor(options: ResNet20Options) {
    weightOptions('ResNet20', options, modelNames)
    const { key, dtype, classes = 10, widths = [16, 32, 64] } = options
    const weights = (i: number): Weights => ({ key: foldIn(key, i), dtype })
    const stage = (s: number, inputs: number, stride: number): ResidualBlock[] =>
      [0, 1, 2].map(i => new ResidualBlock(i ? widths[s] : inputs, widths[s], i ? 1 : stride, weights(3 * s + i + 2)))
    this.conv1 = convolution(3, widths[0], 1, weights(0))
    this.bn1 = new BatchNorm(widths[0], { dtype })
    this.layer1 = stage(0, widths[0], 1)
    this.layer2 = stage(1, widths[0], 2)
    this.layer3 = stage(2, widths[1], 2)
    this.linear = new Linear(widths[2], classes, weights(1))
  }

  apply(x: Tensor, ctx: Context = evaluation): Tensor {
    const stem = relu(this.bn1.apply(this.conv1.apply(x), ctx))
    const blocks = [...this.layer1, ...this.layer2, ...this.layer3]
    return this.linear.apply(globalAvgPool2d(blocks.reduce((y, block) => block.apply(y, ctx), stem)))
  }
}

/** The names of torch's weights, as in `pytorch_resnet_cifar10`; beside them it may store `num_batches_tracked`. */
export const resNet20Names: WeightMap = [
  [/^(.*conv\d\.weight)$/, '$1', fromOihw],
  [/^(.*)\.state\.mean$/, '$1.running_mean'],
  [/^(.*)\.state\.variance$/, '$1.running_var'],
  [/^linear\.weight$/, 'linear.weight', fromOutIn],
  [/^(.*)$/, '$1'],
]

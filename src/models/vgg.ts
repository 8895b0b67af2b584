/** VGG16: thirteen convolutions and three linear layers. Simonyan and Zisserman 2014, arXiv:1409.1556, configuration D. */

import type { Names } from '../graph/options.js'
import { formatShape } from '../graph/shape.js'
import { type Context, evaluation, partOf } from '../nn/context.js'
import { Conv2d } from '../nn/conv.js'
import { Dropout } from '../nn/dropout.js'
import { heNormal } from '../nn/initializers.js'
import { type Layer, type WeightOptions, weightOptions } from '../nn/layer.js'
import { Linear } from '../nn/linear.js'
import { Flatten } from '../nn/pool.js'
import { maxPool2d } from '../tensor/convolution.js'
import { relu } from '../tensor/elementwise.js'
import { foldIn } from '../tensor/random.js'
import type { Tensor } from '../tensor/tensor.js'
import { fromFlattened, fromOihw, fromOutIn, type WeightMap } from './weights.js'

/** The convolutions of each block. */
const depths = [2, 2, 3, 3, 3] as const

export interface Vgg16Options extends Pick<WeightOptions, 'key' | 'dtype'> {
  /** Height and width of the images, at least 32; 224 by default. */
  readonly inputSize?: number | readonly [number, number]
  readonly classes?: number
  /** The channels of the five blocks; 64, 128, 256, 512 and 512 by default. */
  readonly widths?: readonly [number, number, number, number, number]
  /** The width of the linear layers; 4096 by default. */
  readonly hidden?: number
  /** The rate at which their results are dropped in training; 0.5 by default. */
  readonly dropout?: number
}

const modelNames: Names<Vgg16Options> = {
  key: true,
  dtype: true,
  inputSize: true,
  classes: true,
  widths: true,
  hidden: true,
  dropout: true,
}

/** Images [n, h, w, 3] -> logits [n, classes]. The five blocks each end with a pool that halves height and width. */
export class Vgg16 implements Layer {
  readonly blocks: readonly (readonly Conv2d[])[]
  readonly hidden: readonly Linear[]
  readonly output: Linear
  readonly dropout: Dropout
  readonly inputSize: readonly [number, number]

  constructor(options: Vgg16Options) {
    weightOptions('Vgg16', options, modelNames)
    const { key, dtype, inputSize = 224, classes = 1000, hidden = 4096, dropout = 0.5 } = options
    const { widths = [64, 128, 256, 512, 512] } = options
    this.inputSize = typeof inputSize === 'number' ? [inputSize, inputSize] : inputSize
    if (!this.inputSize.every(n => Number.isInteger(n) && n >= 32))
      throw new Error(`Vgg16: height and width must be integers of at least 32, not ${this.inputSize.join(' x ')}`)
    let count = 0
    const weights = () => ({ key: foldIn(key, count++), dtype, initializer: heNormal })
    this.blocks = depths.map((depth, b) =>
      Array.from({ length: depth }, (_, i) => {
        const inputs = i ? widths[b] : b ? widths[b - 1] : 3
        return new Conv2d(inputs, widths[b], 3, { ...weights(), padding: 1 })
      }),
    )
    const [height, width] = this.pooledSize
    this.hidden = [new Linear(height * width * widths[4], hidden, weights()), new Linear(hidden, hidden, weights())]
    this.output = new Linear(hidden, classes, weights())
    this.dropout = new Dropout(dropout)
  }

  /** Height and width behind the last pool: a 32nd of the images'. */
  get pooledSize(): readonly [number, number] {
    const [height, width] = this.inputSize
    return [Math.floor(height / 32), Math.floor(width / 32)]
  }

  /** What the convolutions see: images [n, h, w, 3] -> [n, h / 32, w / 32, channels]. */
  features(x: Tensor): Tensor {
    if (x.ndim !== 4 || x.shape[1] !== this.inputSize[0] || x.shape[2] !== this.inputSize[1])
      throw new Error(`Vgg16: was made for images [n, ${this.inputSize.join(', ')}, 3], got ${formatShape(x.shape)}`)
    const block = (y: Tensor, convolutions: readonly Conv2d[]): Tensor =>
      maxPool2d(
        convolutions.reduce((z, convolution) => relu(convolution.apply(z)), y),
        2,
      )
    return this.blocks.reduce(block, x)
  }

  apply(x: Tensor, ctx: Context = evaluation): Tensor {
    const y = this.hidden.reduce(
      (z, linear, i) => this.dropout.apply(relu(linear.apply(z)), partOf(ctx, i)),
      new Flatten().apply(this.features(x)),
    )
    return this.output.apply(y)
  }
}

/** The names and layouts of torchvision: one list of convolutions, activations and pools, and channels first. */
export function torchvisionNames(model: Vgg16): WeightMap {
  const channels = model.blocks[4][0].weight.shape[3]
  let place = 0
  const features = model.blocks.flatMap((block, b) => {
    const first = place
    // Each convolution and its activation take a place, and the pool behind them one.
    place += 2 * block.length + 1
    return block.flatMap(
      (_, i): WeightMap => [
        [new RegExp(`^blocks\\.${b}\\.${i}\\.weight$`), `features.${first + 2 * i}.weight`, fromOihw],
        [new RegExp(`^blocks\\.${b}\\.${i}\\.bias$`), `features.${first + 2 * i}.bias`],
      ],
    )
  })
  return [
    ...features,
    [/^hidden\.0\.weight$/, 'classifier.0.weight', fromFlattened(channels, ...model.pooledSize)],
    [/^hidden\.1\.weight$/, 'classifier.3.weight', fromOutIn],
    [/^output\.weight$/, 'classifier.6.weight', fromOutIn],
    [/^hidden\.0\.bias$/, 'classifier.0.bias'],
    [/^hidden\.1\.bias$/, 'classifier.3.bias'],
    [/^output\.bias$/, 'classifier.6.bias'],
  ]
}

/** A layer's two leaves by the names of Keras. */
const kerasLayer = (leaf: string, layer: string): WeightMap => [
  [new RegExp(`^${leaf}\\.weight$`), `${layer}/kernel`],
  [new RegExp(`^${leaf}\\.bias$`), `${layer}/bias`],
]

/** The names of Keras, `block1_conv1/kernel` to `predictions/bias`. Its layouts are those of this library. */
export const kerasNames: WeightMap = [
  ...depths.flatMap((depth, b) =>
    Array.from({ length: depth }, (_, i) => kerasLayer(`blocks\\.${b}\\.${i}`, `block${b + 1}_conv${i + 1}`)).flat(),
  ),
  ...kerasLayer('hidden\\.0', 'fc1'),
  ...kerasLayer('hidden\\.1', 'fc2'),
  ...kerasLayer('output', 'predictions'),
]

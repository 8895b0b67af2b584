/** Layers, initialisers and losses. Models are plain trees of tensors with a method `apply(x, ctx)`. */

import '../tensor/methods.js'

export { type Batch, type Context, evaluation, type Loss } from './context.js'
export { Conv2d } from './conv.js'
export { Dropout } from './dropout.js'
export { Embedding, type EmbeddingOptions } from './embedding.js'
export type { Initializer } from './initializers.js'
export * as initializers from './initializers.js'
export type { BiasOptions, Layer, WeightOptions } from './layer.js'
export { Linear } from './linear.js'
export {
  accuracy,
  binaryCrossEntropy,
  type CrossEntropyOptions,
  crossEntropy,
  huber,
  klDivergence,
  type LossOptions,
  mae,
  mse,
} from './losses.js'
export { BatchNorm, type BatchNormOptions, LayerNorm, type NormOptions } from './norm.js'
export { countParameters, isParameter, isTrainable } from './parameters.js'
export { AvgPool2d, Flatten, MaxPool2d } from './pool.js'
export { Sequential, type Stage } from './sequential.js'

/** Layers, initialisers and losses. Models are plain trees of tensors with a method `apply(x, ctx)`. */

import '../tensor/methods.js'

export { type AttendOptions, MultiHeadAttention, type MultiHeadAttentionOptions } from './attention.js'
export { type Batch, type Context, evaluation, type Loss } from './context.js'
export { Conv1d, Conv2d, ConvTranspose2d, DepthwiseConv2d, type DepthwiseOptions } from './conv.js'
export { Dropout } from './dropout.js'
export { Embedding, type EmbeddingOptions } from './embedding.js'
export type { Initializer } from './initializers.js'
export * as initializers from './initializers.js'
export type { BiasOptions, Layer, WeightOptions } from './layer.js'
export { Linear } from './linear.js'
export type { LossOptions } from './loss.js'
export {
  accuracy,
  type BinaryCrossEntropyOptions,
  binaryCrossEntropy,
  type CrossEntropyOptions,
  cosineLoss,
  crossEntropy,
  type DlrOptions,
  dlrLoss,
  hinge,
  huber,
  klDivergence,
  type MarginOptions,
  mae,
  marginLoss,
  mse,
  multiclassHinge,
} from './losses.js'
export { BatchNorm, type BatchNormOptions, GroupNorm, LayerNorm, type NormOptions, RMSNorm } from './norm.js'
export { countParameters, isParameter, isTrainable } from './parameters.js'
export { AvgPool2d, Flatten, GlobalAvgPool2d, GlobalMaxPool2d, MaxPool2d, Upsample } from './pool.js'
export { Sequential, type Stage } from './sequential.js'

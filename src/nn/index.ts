/** Layers, initialisers and losses. Models are plain trees of tensors with a method `apply(x, ctx)`. */

import '../tensor/methods.js'

export * from './attention.js'
export { type Batch, type Context, evaluation, type Loss, type Memory } from './context.js'
export * from './conv.js'
export { Dropout } from './dropout.js'
export { Embedding, type EmbeddingOptions } from './embedding.js'
export type { Initializer } from './initializers.js'
export * as initializers from './initializers.js'
export type { BiasOptions, Layer, WeightOptions } from './layer.js'
export { Linear } from './linear.js'
export type { LossOptions } from './loss.js'
export * from './losses.js'
export * from './norm.js'
export { countParameters, isParameter, isTrainable } from './parameters.js'
export * from './pool.js'
export { Sequential, type Stage } from './sequential.js'

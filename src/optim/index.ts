/** Optimisers as pure functions of gradients, state and parameters; learning-rate schedules; gradient clipping. */

import '../tensor/methods.js'

export { type AdamOptions, adam, adamW } from './adam.js'
export { clipByGlobalNorm, globalNorm } from './clip.js'
export type { Optimizer, OptimizerState } from './optimizer.js'
export { constant, cosine, exponential, linearWarmup, type Schedule, stepDecay } from './schedules.js'
export { type SgdOptions, sgd } from './sgd.js'

/** Training: a Trainer with metrics, checkpoints and exact resumption; trees of tensors in files; progress of long jobs. */

import '../tensor/methods.js'

export { loadTree, type Metadata, saveTree } from './checkpoint.js'
export type { EarlyStop, EpochRecord, History, Means } from './history.js'
export type { PrecisionOptions } from './loss-scale.js'
export { type Fields, type Progress, progress, type Screen } from './progress.js'
export type { Metric, Objective } from './step.js'
export { type FitOptions, type StepReport, Trainer, type TrainerOptions } from './trainer.js'

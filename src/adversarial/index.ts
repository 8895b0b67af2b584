/** saddlepoint/adversarial: attacks along the gradient, and losses that train against them. */

import '../tensor/methods.js'

export { type Attacked, type FgsmOptions, fgsm, type PgdOptions, pgd } from './attacks.js'
export { type AttackDatasetOptions, attackDataset, type GradientCounts } from './dataset.js'
export type { FeatureOptions, Features, Mask } from './features.js'
export type { GradientReport } from './gradient.js'
export {
  adversarialRegularization,
  type PerturbationOptions,
  perturbOnBatch,
  type RegularizationOptions,
  type RegularizedLoss,
} from './regularization.js'
export { type Norm, norms, project, steepest, uniformInBall } from './steps.js'

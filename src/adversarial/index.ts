/** saddlepoint/adversarial: attacks along the gradient, and losses that train against them. */

import '../tensor/methods.js'

export { type ApgdOptions, apgd } from './apgd.js'
export { type Attacked, bim, type FgsmOptions, fgsm, mifgsm, type PgdOptions, pgd } from './attacks.js'
export type { BallOptions } from './ball.js'
export {
  type Bounds,
  certified,
  type IntervalOptions,
  intervalBounds,
  type SmoothedExample,
  type SmoothingOptions,
  smoothed,
  worstLogits,
} from './certificates.js'
export { type AttackDatasetOptions, attackDataset } from './dataset.js'
export { type GradientCounts, type GradientDeaths, gradientDeaths } from './deaths.js'
export {
  type EmbeddingOptions,
  type EmbeddingPgdOptions,
  type FgmOptions,
  type FreeLbOptions,
  fgm,
  freeLB,
  type PerturbedLoss,
} from './embedding.js'
export { type AutoAttackOptions, autoAttack, type EnsembleAttack, type Evaluated, ensemble } from './ensemble.js'
export {
  type AccuracyOptions,
  accuracyCurve,
  accuracyOn,
  type CurvePoint,
  type Linearity,
  type LinearityOptions,
  linearity,
  transferMatrix,
} from './evaluation.js'
export { type FabOptions, fab } from './fab.js'
export type { FeatureOptions, Features, Mask } from './features.js'
export { type FreeTrainingOptions, freeTraining } from './free.js'
export type { GradientReport } from './gradient.js'
export type { Logits } from './logits.js'
export type { Method } from './method.js'
export {
  type AlignmentOptions,
  type CurvaturePenaltyOptions,
  curvaturePenalty,
  type GradientPenaltyOptions,
  gradientAlignment,
  gradientPenalty,
  type InputPenaltyOptions,
  inputGradientPenalty,
  type JacobianPenaltyOptions,
  jacobianPenalty,
  type LocalLinearityOptions,
  localLinearity,
  type WganPenaltyOptions,
  wganGradientPenalty,
} from './penalties.js'
export type { Chosen, LeafOptions, PlaceOptions, Scope } from './places.js'
export { type ProximalOptions, proximal } from './proximal.js'
export { type QuantizationOptions, quantized } from './quantization.js'
export {
  adversarialRegularization,
  type PerturbationOptions,
  perturbOnBatch,
  type RegularizationOptions,
  type RegularizedLoss,
} from './regularization.js'
export type { Found, Searched, SearchOptions } from './search.js'
export { type AwpOptions, awp, hessianTrace, type SharpnessOptions, sam, topEigenvalue } from './sharpness.js'
export {
  type CarliniWagnerOptions,
  carliniWagner,
  type DeepFoolOptions,
  deepFool,
  type Smallest,
} from './smallest.js'
export {
  type MartOptions,
  mart,
  type RDropOptions,
  rDrop,
  type SmartOptions,
  smart,
  type TradesOptions,
  trades,
  type VatOptions,
  vat,
} from './smoothness.js'
export { type SquareOptions, square } from './square.js'
export { type Norm, norms, type PerExample, project, steepest, uniformInBall } from './steps.js'
export {
  type AdversarialTrainingOptions,
  adversarialTraining,
  catastrophicOverfitting,
  type FastTrainingOptions,
  fastTraining,
  type RobustAccuracyOptions,
  robustAccuracy,
} from './training.js'

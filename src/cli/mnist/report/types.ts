/** What the main job hands to its report. Accuracies are fractions, 0..1. */

export interface ModelResult {
  readonly name: 'base' | 'adversarial'
  readonly parameters: number
  readonly clean: number
  /** Under FGSM examples made from the BASE model, for both models. */
  readonly fgsmTransfer: number
  /** Under FGSM examples made from the model itself. */
  readonly fgsm: number
  /** Under 40 steps of PGD against the model itself. */
  readonly pgd40: number
  readonly secondsPerEpoch: number
}

export interface Run {
  readonly device: string
  readonly threads: number
  readonly seed: number
  /** Images trained on. */
  readonly train: number
  /** Images tested on. */
  readonly test: number
  readonly epochs: number
  readonly secondsTotal: number
  readonly epsilon: number
  readonly multiplier: number
  /** The steps of the regularisation, in words, where they are not the tutorial's. */
  readonly steps?: string
  readonly norm: string
  readonly batchSize: number
  readonly models: readonly ModelResult[]
}

/** One reading during training, on the training data. */
export interface CurvePoint {
  readonly model: string
  readonly step: number
  readonly epoch: number
  readonly loss: number
  readonly accuracy: number
}

/** One perturbed digit, [28, 28] row by row, and what the models say about it. */
export interface Sample {
  readonly pixels: Float32Array
  readonly label: number
  readonly base: number
  readonly adversarial: number
}

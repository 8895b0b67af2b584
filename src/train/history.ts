/** What training leaves behind: means per epoch, and when they no longer improve. */

/** The loss and the metrics by name, each a mean over examples. */
export interface Means {
  readonly loss: number
  readonly [metric: string]: number
}

export interface EpochRecord {
  /** From 1. */
  readonly epoch: number
  /** Time spent in training steps. */
  readonly seconds: number
  /** Over the epoch's steps, while the model changed. */
  readonly train: Means
  /** Over the validation data, after the epoch. */
  readonly validation?: Means
}

export interface History {
  readonly epochs: readonly EpochRecord[]
  /** Ctrl-C or the abort signal ended the run. */
  readonly interrupted: boolean
  /** The early stop ended the run. */
  readonly stoppedEarly: boolean
}

export interface EarlyStop {
  /** The name of a metric, or 'loss': of the validation data where there is some, else of training. */
  readonly metric: string
  /** The number of epochs without a new best after which to stop. */
  readonly patience: number
  readonly mode: 'min' | 'max'
}

/** Whether the best epoch lies `patience` epochs back. */
export function exhausted(epochs: readonly EpochRecord[], { metric, patience, mode }: EarlyStop): boolean {
  const costs = epochs.map(e => (e.validation ?? e.train)[metric] * (mode === 'min' ? 1 : -1))
  const values = costs.map(c => (Number.isNaN(c) ? Infinity : c))
  const best = values.indexOf(Math.min(...values))
  return values.length > 0 && values.length - 1 - best >= patience
}

/** One model of the main job: trained, timed, and its curves recorded. */

import type { Dataset } from '../../data/dataset.js'
import type { Loss } from '../../nn/context.js'
import { accuracy, crossEntropy } from '../../nn/losses.js'
import type { Sequential } from '../../nn/sequential.js'
import { adam } from '../../optim/adam.js'
import * as random from '../../tensor/random.js'
import type { Means } from '../../train/history.js'
import { progress, type Screen } from '../../train/progress.js'
import { Trainer } from '../../train/trainer.js'
import { network } from '../tasks/network.js'
import type { CurvePoint } from './report/types.js'
import type { Settings } from './settings.js'

export interface Trained {
  readonly model: Sequential
  readonly curves: readonly CurvePoint[]
  readonly secondsPerEpoch: number
  /** The steps made; if any, they are in the checkpoint. */
  readonly steps: number
}

/** The mean cross-entropy of a batch { image [n, 28, 28, 1], label int32 [n] }. */
export const loss: Loss<Sequential> = (model, { image, label }, ctx) => crossEntropy(model.apply(image, ctx), label)

/**
 * Trains a new network by Adam, with a checkpoint after each epoch and where the signal ends it. The seed alone decides on
 * first weights and order, so that objectives can be compared.
 */
export async function trainModel(
  name: string,
  objective: Loss<Sequential>,
  data: Dataset,
  { epochs, batchSize, seed }: Settings,
  checkpoint: string,
  { screen, signal }: { readonly screen?: Screen; readonly signal?: AbortSignal },
): Promise<Trained> {
  const trainer = new Trainer({
    model: network(random.key(seed)),
    loss: objective,
    optimizer: adam({ learningRate: 1e-3 }),
    metrics: { accuracy: (model, { image, label }, ctx) => accuracy(model.apply(image, ctx), label) },
    seed,
  })
  const curve = recorder(name, batchSize, data.size)
  const shown = await progress(epochs * Math.ceil(data.size / batchSize), `training ${name}`, screen)
  try {
    const history = await trainer.fit(data, {
      epochs,
      batchSize,
      checkpoint,
      signal,
      handleInterrupt: false,
      onStep: ({ epoch, step, stepsPerEpoch, means }) => {
        const done = (epoch - 1) * stepsPerEpoch + step
        shown.update(done, { epoch: `${epoch}/${epochs}`, ...means })
        if (means) curve.read(done, epoch, step, means)
      },
    })
    const seconds = history.epochs.reduce((total, e) => total + e.seconds, 0)
    const secondsPerEpoch = seconds / Math.max(1, history.epochs.length)
    return { model: trainer.model, curves: curve.points, secondsPerEpoch, steps: trainer.step }
  } finally {
    shown.stop()
  }
}

/** Makes points of a curve, each over the examples since the one before, of the running means of each epoch. */
function recorder(model: string, batchSize: number, size: number) {
  const points: CurvePoint[] = []
  let last = { epoch: 0, count: 0, loss: 0, accuracy: 0 }
  return {
    points,
    read(done: number, epoch: number, step: number, means: Means): void {
      if (epoch !== last.epoch) last = { epoch, count: 0, loss: 0, accuracy: 0 }
      // The means change when they are read from the device, and then cover all steps so far.
      const count = Math.min(step * batchSize, size)
      const sums = { epoch, count, loss: means.loss * count, accuracy: means.accuracy * count }
      if (last.count > 0 && means.loss === last.loss / last.count) return
      const mean = (of: 'loss' | 'accuracy'): number => (sums[of] - last[of]) / (count - last.count)
      points.push({ model, step: done, epoch, loss: mean('loss'), accuracy: mean('accuracy') })
      last = sums
    },
  }
}

/**
 * The main job: the tutorial's network trained on MNIST as it is and with adversarial regularisation, from the same first
 * weights and in the same order, then both attacked. What is said and written about it is main.ts's and report's concern.
 */

import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { attackDataset } from '../../adversarial/dataset.js'
import { adversarialRegularization, type RegularizationOptions } from '../../adversarial/regularization.js'
import { batches, type Dataset } from '../../data/dataset.js'
import { firstImages, imageDataset } from '../../data/images.js'
import type { Mnist } from '../../data/mnist.js'
import type { Loss } from '../../nn/context.js'
import type { Sequential } from '../../nn/sequential.js'
import type { Device } from '../../runtime/device.js'
import { turn } from '../../runtime/turns.js'
import { compile } from '../../tensor/compile.js'
import { ones, tensor } from '../../tensor/create.js'
import { pad } from '../../tensor/movement.js'
import * as random from '../../tensor/random.js'
import { argmax } from '../../tensor/reduction.js'
import type { Tensor } from '../../tensor/tensor.js'
import { saveTree } from '../../train/checkpoint.js'
import { progress, type Screen } from '../../train/progress.js'
import { Interrupted } from '../session.js'
import { parameters } from '../tasks/network.js'
import type { CurvePoint, ModelResult, Run, Sample } from './report/types.js'
import { type Settings, stepsInWords } from './settings.js'
import { loss, type Trained, trainModel } from './training.js'

export interface Surroundings {
  readonly device: Device
  /** Ends the job after the running step. */
  readonly signal?: AbortSignal
  /** Where progress is shown; standard error by default. */
  readonly screen?: Screen
  /** Takes a line about something that the reader should know. */
  readonly note: (line: string) => void
}

export interface Outcome {
  readonly run: Run
  readonly curves: readonly CurvePoint[]
  readonly samples: readonly Sample[]
}

const pgdSteps = 40
/** Images in the report's figure: the tutorial's first batch. */
const shownImages = 32
/** Images attacked or classified at once: a divisor of the usual numbers of test images, so that one plan serves all. */
const batchSize = 250

type Name = ModelResult['name']

const predict = compile((model: Sequential, image: Tensor) => argmax(model.apply(image), { axis: 1 }))

/**
 * Runs the job and leaves both trained models in the folder `settings.out`.
 * @throws Interrupted when the signal ended it
 */
export async function runJob(settings: Settings, data: Mnist, surroundings: Surroundings): Promise<Outcome> {
  const { device, note, signal } = surroundings
  const { train, test, epsilon, norm, seed, out } = settings
  const begun = performance.now()
  const testSet = imageDataset(firstImages(data.test, test))
  const trainSet = imageDataset(firstImages(data.train, train))
  const curves: CurvePoint[] = []
  /** The files saved so far, for whoever stops the job. */
  const kept: string[] = []
  const check = (doing: string): void => {
    if (!signal?.aborted) return
    throw new Interrupted(
      `stopped while ${doing}: no report; ${kept.length ? `kept ${kept.join(', ')}` : 'nothing was kept'}`,
    )
  }

  const trained = async (name: Name, objective: Loss<Sequential>): Promise<Trained> => {
    const checkpoint = join(out, `${name}.checkpoint.safetensors`)
    const result = await trainModel(name, objective, trainSet, settings, checkpoint, surroundings)
    curves.push(...result.curves)
    if (signal?.aborted && result.steps > 0) kept.push(`${checkpoint} (for Trainer.load)`)
    check(`training ${name}`)
    const file = join(out, `${name}.safetensors`)
    await saveTree(file, result.model)
    await rm(checkpoint, { force: true })
    kept.push(file)
    return result
  }
  const base = await trained('base', loss)
  const regularize = adversarialRegularization(regularizationOf(settings))
  const adversarial = await trained('adversarial', regularize(loss))

  const labels = testSet.columns.label.data
  const rate = async (model: Sequential, images: Dataset): Promise<number> => {
    const found = await predictions(model, images)
    return found.reduce((right, label, i) => right + Number(label === labels[i]), 0) / labels.length
  }
  const attack = async (name: Name, { model }: Trained, steps: number): Promise<Dataset> => {
    const doing = `attacking ${name} with ${steps === 1 ? 'FGSM' : `PGD-${steps}`}`
    const shown = await progress(test, doing, surroundings.screen)
    const start = steps === 1 ? { stepSize: epsilon } : { randomStart: true, key: random.key(seed) }
    const options = { epsilon, norm, steps, ...start, clipMin: 0, clipMax: 1 }
    const onBatch = (done: number): Promise<void> => {
      shown.update(done)
      return turn()
    }
    const { data: attacked, report } = await attackDataset(loss, model, testSet, options, {
      batchSize,
      onBatch,
      signal,
    })
    shown.stop()
    check(doing)
    const dead = report.zero / report.gradients
    if (dead > 0.01)
      note(
        `${doing}: ${(100 * dead).toFixed(1)}% of the gradients are exactly 0, so the attack is weaker than it could be.`,
      )
    return attacked
  }

  const transfer = await attack('base', base, 1)
  const models: ModelResult[] = []
  for (const [name, result] of [
    ['base', base],
    ['adversarial', adversarial],
  ] as const) {
    const { model, secondsPerEpoch } = result
    const fgsm = name === 'base' ? transfer : await attack(name, result, 1)
    const pgd = await attack(name, result, pgdSteps)
    models.push({
      name,
      parameters,
      clean: await rate(model, testSet),
      fgsmTransfer: await rate(model, transfer),
      fgsm: await rate(model, fgsm),
      pgd40: await rate(model, pgd),
      secondsPerEpoch,
    })
  }
  const figure = transfer.slice(0, Math.min(shownImages, test))
  const secondsTotal = (performance.now() - begun) / 1000
  const run: Run = {
    ...settings,
    steps: stepsInWords(settings),
    device: device.name,
    threads: device.threads,
    secondsTotal,
    models,
  }
  return { run, curves, samples: await samplesOf(figure, base.model, adversarial.model) }
}

/** What the settings say of the regularisation. */
export function regularizationOf(settings: Settings): RegularizationOptions {
  const { multiplier, epsilon, norm, stepSize = epsilon, iterations, radius, randomInit, clip, border } = settings
  return {
    ...{ multiplier, norm, stepSize, iterations },
    ...(radius !== undefined && { epsilon: radius }),
    ...(randomInit && { randomInit }),
    ...(clip && { clipMin: 0, clipMax: 1 }),
    ...(border > 0 && { featureMask: inside(border) }),
  }
}

/** 1 for the pixels of an image [28, 28, 1] that are further than so many from its border, 0 for the others. */
function inside(border: number): Tensor {
  const around = [border, border] as const
  return pad(ones([28 - 2 * border, 28 - 2 * border, 1]), [around, around, [0, 0]])
}

/** The most probable class of each image. */
async function predictions(model: Sequential, data: Dataset): Promise<number[]> {
  const found: number[] = []
  for (const { image } of batches(data, { batchSize }))
    found.push(...(await (await predict(model, tensor(image))).data()))
  return found
}

async function samplesOf(images: Dataset, base: Sequential, adversarial: Sequential): Promise<Sample[]> {
  const [byBase, byAdversarial] = [await predictions(base, images), await predictions(adversarial, images)]
  const { image, label } = images.columns
  const size = image.data.length / images.size
  return Array.from(label.data, (truth, i) => ({
    pixels: Float32Array.from(image.data.subarray(i * size, (i + 1) * size)),
    label: truth,
    base: byBase[i],
    adversarial: byAdversarial[i],
  }))
}

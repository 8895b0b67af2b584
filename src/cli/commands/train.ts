/** `saddlepoint train`: trains the model of a task. */

import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { type Command, Option } from 'commander'
import { isRight } from '../../adversarial/search.js'
import type { Loss } from '../../nn/context.js'
import { countParameters } from '../../nn/parameters.js'
import { adam } from '../../optim/adam.js'
import { astype } from '../../tensor/elementwise.js'
import { mean } from '../../tensor/reduction.js'
import { saveTree } from '../../train/checkpoint.js'
import type { EpochRecord } from '../../train/history.js'
import { Trainer } from '../../train/trainer.js'
import { methodNames, methodOf, type Named, named } from '../named.js'
import { addDeviceOptions, amount, count, type DeviceSettings, jsonOption, repeated, seedOption } from '../options.js'
import { type JsonOption, percent, print, tableOf } from '../output.js'
import { Interrupted, session } from '../session.js'
import { firstOf, modelOf, type Task, taskArgument, taskOf } from '../task.js'
import { checkFile } from '../writable.js'

interface TrainOptions extends DeviceSettings, JsonOption {
  readonly use: readonly Named[]
  readonly epochs: number
  readonly batchSize: number
  readonly microBatches: number
  readonly learningRate: number
  readonly precision: 'float32' | 'float16'
  readonly train?: number
  readonly test?: number
  readonly out: string
  readonly resume?: true
  readonly seed: number
}

export const addTrain = (program: Command): Command =>
  addDeviceOptions(
    program
      .command('train')
      .description(
        'Trains the model of a task by Adam and writes its weights, and after each epoch a checkpoint beside them.',
      )
      .addArgument(taskArgument)
      .addOption(
        repeated(
          '--use <method>',
          `a training method and its options, such as trades:beta=3,steps=5; may be repeated, the last one outermost. Of ${methodNames.join(', ')}`,
          named(methodNames),
          'none',
        ),
      )
      .option('--epochs <n>', 'passes over the training set', count, 3)
      .option('--batch-size <n>', 'examples per step', count, 64)
      .option('--micro-batches <n>', 'parts of a batch, one after another, to save memory', count, 1)
      .option('--learning-rate <x>', 'of Adam', amount, 1e-3)
      .addOption(new Option('--precision <name>').choices(['float32', 'float16']).default('float32'))
      .option('--train <n>', 'the first n training examples (default: all)', count)
      .option('--test <n>', 'the first n test examples (default: all)', count)
      .option('--out <file>', 'where the weights go', 'model.safetensors')
      .option('--resume', 'go on from the checkpoint beside --out')
      .addOption(seedOption('of the first weights, the order of the examples and all that is random'))
      .addOption(jsonOption()),
  ).action((name: string, options: TrainOptions) => session(options, (_, signal) => run(name, options, signal)))

async function run(name: string, options: TrainOptions, signal: AbortSignal): Promise<void> {
  const { use, epochs, batchSize, out, resume, seed } = options
  const checkpoint = `${out.replace(/\.safetensors$/, '')}.checkpoint.safetensors`
  await checkFile('--out', out)
  if (!resume && existsSync(checkpoint))
    throw new Error(
      `${checkpoint} is of a training that was interrupted or is still running: wait for it, or go on with --resume once it has ended; or remove the file to begin anew`,
    )
  if (resume && !existsSync(checkpoint))
    throw new Error(`there is no checkpoint ${checkpoint} to go on from; leave --resume out to begin`)
  const task = await taskOf(name)
  const trainer = await trainerOf(task, options)
  for (const method of use) trainer.use(methodOf(method, task))
  if (resume) await trainer.load(checkpoint)
  if (trainer.epoch >= epochs)
    throw new Error(`${checkpoint} has ${trainer.epoch} epochs; ask for more, as in --epochs ${trainer.epoch + 1}`)
  const history = await trainer.fit(firstOf(task.train, options.train), {
    epochs,
    batchSize,
    validation: firstOf(task.test, options.test),
    progress: true,
    checkpoint,
    signal,
    handleInterrupt: false,
  })
  if (history.interrupted && trainer.epoch < epochs)
    throw new Interrupted(
      existsSync(checkpoint)
        ? `stopped after ${trainer.step} steps; the same command with --resume goes on from ${checkpoint}`
        : 'stopped before the first step: nothing was written',
    )
  await saveTree(out, trainer.model)
  await rm(checkpoint, { force: true })
  const parameters = countParameters(trainer.model)
  const uses = use.map(u => u.text)
  const result = { task: name, use: uses, seed, parameters, epochs: history.epochs, weights: out }
  const title = `${name}, ${parameters.toLocaleString('en-US')} parameters${uses.map(u => `, ${u}`).join('')}`
  print(options, result, `${title}\n\n${tableOf(history.epochs.map(rowOf))}\n\nwrote ${out}`)
}

async function trainerOf(task: Task, options: TrainOptions): Promise<Trainer<unknown>> {
  const { learningRate, microBatches, precision, seed } = options
  const accuracy: Loss<unknown> = (model, batch, ctx) =>
    mean(astype(isRight(task.logits(model, batch, ctx), batch.label), 'float32'))
  return new Trainer({
    model: await modelOf(task, seed),
    loss: task.loss,
    optimizer: adam({ learningRate }),
    metrics: { accuracy },
    microBatches,
    precision,
    seed,
    about: aboutOf(task, options),
  })
}

/** What must be the same for --resume. */
const aboutOf = (
  { name }: Task,
  { use, batchSize, microBatches, learningRate, precision, train, seed }: TrainOptions,
) =>
  JSON.stringify({
    task: name,
    use: use.map(u => u.text),
    batchSize,
    microBatches,
    learningRate,
    precision,
    train,
    seed,
  })

const rowOf = ({ epoch, train, validation, seconds }: EpochRecord) => ({
  epoch,
  loss: train.loss,
  accuracy: percent(train.accuracy),
  ...(validation && { 'test loss': validation.loss, 'test accuracy': percent(validation.accuracy) }),
  's / epoch': +seconds.toPrecision(3),
})

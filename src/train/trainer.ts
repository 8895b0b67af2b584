/**
 * The Trainer: the compiled step, repeated over epochs, with what a run of hours needs around it: metrics, progress,
 * checkpoints, early stop, interruption and exact resumption. What is minimised is the loss's own business.
 */

import { demandWritable } from '../data/atomic.js'
import { batches, type Dataset } from '../data/dataset.js'
import { readSafetensors } from '../data/safetensors.js'
import { tensorsOf } from '../data/tensors.js'
import { knownOptions, type Names } from '../graph/options.js'
import type { Loss } from '../nn/context.js'
import { checkUntied } from '../nn/parameters.js'
import { turn } from '../runtime/turns.js'
import { tensor } from '../tensor/create.js'
import * as random from '../tensor/random.js'
import { realize } from '../tensor/realize.js'
import { build } from '../tensor/tensor.js'
import { leaves, mapTree } from '../tensor/tree.js'
import { fillTree, saveTree } from './checkpoint.js'
import { type EarlyStop, type EpochRecord, exhausted, type History, type Means } from './history.js'
import { interrupts } from './interrupt.js'
import type { Memories } from './memory.js'
import { type Progress, type Screen, progress as showProgress } from './progress.js'
import { type Order, orderSeed, parseRun, printRun, type Running, stepsOf } from './run.js'
import { type Compiled, compileObjective, countOf, noSums, type Objective, objectiveNames, type State } from './step.js'

export interface TrainerOptions<M> extends Objective<M> {
  /** A tree of tensors. Training replaces its tensors in place. */
  readonly model: M
  /** Determines the order of the examples and all random keys. */
  readonly seed?: number
  /** What is trained and how, in words that checkpoints keep: `load` refuses those of something else. */
  readonly about?: string
}
const trainerNames: Names<TrainerOptions<unknown>> = { model: true, ...objectiveNames, seed: true, about: true }

export interface StepReport {
  /** From 1. */
  readonly epoch: number
  /** Steps done in this epoch. */
  readonly step: number
  readonly stepsPerEpoch: number
  /** The epoch's means so far, as of the last reading from the device. */
  readonly means?: Means
}

export interface FitOptions {
  /**
   * Train until this many epochs are done, those before this call and those of a loaded checkpoint included. Where a loss
   * asks for several steps with each batch, an epoch has that many times the steps.
   */
  readonly epochs: number
  readonly batchSize: number
  /** A new order of the examples in each epoch; true by default. */
  readonly shuffle?: boolean
  readonly validation?: Dataset
  /** Leave out a last batch that is smaller than batchSize. */
  readonly dropLast?: boolean
  /** Show progress on standard error, or where given: a bar on a terminal, else a few lines. */
  readonly progress?: boolean | Screen
  /** Called after each step, and awaited. */
  readonly onStep?: (report: StepReport) => void | Promise<void>
  /** Called after each epoch and its checkpoint, and awaited. */
  readonly onEpoch?: (record: EpochRecord) => void | Promise<void>
  readonly earlyStop?: EarlyStop
  /** The file that is written after each epoch and on interruption. */
  readonly checkpoint?: string
  /** When aborted, training ends after the running step. */
  readonly signal?: AbortSignal
  /** Whether Ctrl-C ends training after the running step; true by default where there is a checkpoint. */
  readonly handleInterrupt?: boolean
}
const fitNames: Names<FitOptions> = {
  epochs: true,
  batchSize: true,
  shuffle: true,
  validation: true,
  dropLast: true,
  progress: true,
  onStep: true,
  onEpoch: true,
  earlyStop: true,
  checkpoint: true,
  signal: true,
  handleInterrupt: true,
}
const stopNames: Names<EarlyStop> = { metric: true, patience: true, mode: true }

/** Steps between readings of the sums: a reading waits for the device. */
const readEvery = 20

/**
 * Trains a model.
 *
 * @example
 * const trainer = new Trainer({ model, loss, optimizer: adam(), metrics: { accuracy } })
 * const { epochs } = await trainer.fit(train, { epochs: 5, batchSize: 32, validation: test, progress: true })
 */
export class Trainer<M> {
  #state: State<M>
  #objective: Objective<M>
  #compiled: Compiled<M>
  readonly #names: readonly string[]
  #seed: number
  readonly #about: string | undefined
  #steps = 0
  #epochs: EpochRecord[] = []
  #running: Running | undefined
  #busy = false

  /**
   * @throws if the model has no tensors or one parameter at two paths, the seed is no integer from 0 to 2^53 - 1, or an
   * option is out of range.
   */
  constructor(options: TrainerOptions<M>) {
    const { model, seed = 0, about, ...objective } = knownOptions('Trainer', options, trainerNames)
    const { loss, optimizer, metrics = {}, clipNorm, microBatches = 1, precision = 'float32', lossScale } = objective
    if (leaves(model).length === 0) throw new Error('Trainer: the model has no tensors')
    checkUntied('Trainer', model)
    if (typeof loss !== 'function') throw new Error('Trainer: loss must be a function (model, batch, ctx) => scalar')
    if (typeof optimizer?.update !== 'function')
      throw new Error('Trainer: optimizer must be one of saddlepoint/optim, such as adam({ learningRate: 0.001 })')
    if ('loss' in metrics) throw new Error("Trainer: a metric cannot be called 'loss'; rename it")
    if (clipNorm !== undefined && !(clipNorm > 0))
      throw new Error(`Trainer: clipNorm must be a number > 0, not ${clipNorm}`)
    if (!Number.isInteger(microBatches) || microBatches < 1)
      throw new Error(`Trainer: microBatches must be an integer >= 1, not ${microBatches}`)
    if (precision !== 'float32' && precision !== 'float16')
      throw new Error(`Trainer: precision must be 'float32' or 'float16', not '${precision}'`)
    if (lossScale !== undefined && precision === 'float32')
      throw new Error("Trainer: lossScale is for precision 'float16'; leave it out, or set the precision")
    if (
      typeof lossScale === 'number' ? !(lossScale > 0 && lossScale < Infinity) : (lossScale ?? 'dynamic') !== 'dynamic'
    )
      throw new Error(`Trainer: lossScale must be 'dynamic' or a finite number > 0, not ${lossScale}`)
    if (!Number.isSafeInteger(seed) || seed < 0)
      throw new Error(`Trainer: the seed must be an integer from 0 to 2^53 - 1, not ${seed}`)
    this.#seed = seed
    this.#about = about
    this.#names = ['loss', ...Object.keys(metrics)]
    this.#objective = objective
    this.#compiled = compileObjective(objective)
    this.#state = this.#compiled.init(model)
  }

  /** The model as trained so far: the one given, whose tensors are replaced in place. */
  get model(): M {
    return this.#state.model
  }
  /** Steps made so far. */
  get step(): number {
    return this.#steps
  }
  /** Epochs completed so far. */
  get epoch(): number {
    return this.#epochs.length
  }

  /**
   * Trains with another loss from the next step on: what a method makes of the one in use. Methods used one after another
   * wrap each other, the last one outermost. Evaluation reports that loss too.
   *
   * @param method a function from loss to loss, such as those of saddlepoint/adversarial
   * @returns this trainer
   * @throws if the trainer is fitting
   * @example trainer.use(fgm({ on: 'embedding', epsilon: 0.5 }))
   */
  use(method: (loss: Loss<M>) => Loss<M>): this {
    if (this.#busy) throw new Error('use: the trainer is fitting; wait for fit to end')
    const loss: unknown = typeof method === 'function' ? method(this.#objective.loss) : undefined
    if (typeof loss !== 'function')
      throw new Error('use: expects a method, a function from loss to loss, such as fgm({ on })')
    this.#objective = { ...this.#objective, loss: loss as Loss<M> }
    this.#compiled = compileObjective(this.#objective)
    return this
  }

  /**
   * Trains on a data set until `epochs` epochs are done. An epoch that was interrupted goes on where it stopped, and what
   * follows is the same, number for number, as without the interruption.
   *
   * @throws if an option is out of range, the checkpoint cannot be written where it is to be, or the loss is not finite
   * (noticed within 20 steps); the checkpoint file is then the last good one.
   */
  async fit(data: Dataset, options: FitOptions): Promise<History> {
    const { epochs, validation, batchSize, checkpoint, earlyStop } = knownOptions('fit', options, fitNames)
    const { order, memories } = this.#checkFit(data, options)
    this.#busy = true
    const interrupt = interrupts(options.handleInterrupt ?? checkpoint !== undefined, options.signal)
    const stopped = (): boolean => earlyStop !== undefined && exhausted(this.#epochs, earlyStop)
    let bar: Progress | undefined
    try {
      if (checkpoint !== undefined) await demandWritable('fit: checkpoint', checkpoint)
      this.#state = { ...this.#state, memory: memories.begin(this.#state.memory) }
      await this.#ownTensors()
      const first = this.#steps
      const left = (epochs - this.epoch) * stepsOf(order) - (this.#running?.steps ?? 0)
      if (options.progress && left > 0)
        bar = await showProgress(left, 'training', options.progress === true ? undefined : options.progress)
      const onStep = async (report: StepReport): Promise<void> => {
        bar?.update(this.#steps - first, { epoch: `${report.epoch}/${epochs}`, ...report.means })
        await options.onStep?.(report)
      }
      while (this.epoch < epochs && !stopped() && !interrupt.requested) {
        const running = (this.#running ??= { order, steps: 0, seen: 0, read: 0, sums: [], seconds: 0 })
        await this.#runEpoch(data, running, onStep, () => interrupt.requested)
        const finished = running.steps === stepsOf(order)
        if (finished) {
          const record: EpochRecord = {
            epoch: this.epoch + 1,
            seconds: running.seconds,
            train: this.#means(running),
            ...(validation && { validation: await this.#measure(validation, batchSize) }),
          }
          this.#epochs.push(record)
          this.#running = undefined
        }
        if (checkpoint !== undefined) await this.save(checkpoint)
        if (finished) await options.onEpoch?.(this.#epochs[this.#epochs.length - 1])
      }
      const stoppedEarly = this.epoch < epochs && stopped()
      return { epochs: [...this.#epochs], interrupted: interrupt.requested, stoppedEarly }
    } finally {
      bar?.stop()
      interrupt.release()
      this.#busy = false
    }
  }

  /**
   * The loss and the metrics of a data set, as means over all its examples; the model runs in evaluation mode.
   *
   * @throws if the data set is empty or batchSize no positive integer.
   */
  async evaluate(data: Dataset, options: { readonly batchSize: number }): Promise<Means> {
    checkData('evaluate', data)
    const { batchSize } = knownOptions('evaluate', options, { batchSize: true })
    return this.#measure(data, batchSize)
  }

  /** Writes the model, the optimiser's state and all that resumption needs to a safetensors file. Node only. */
  save(path: string): Promise<void> {
    const run = printRun({
      seed: this.#seed,
      about: this.#about,
      names: this.#names,
      steps: this.#steps,
      epochs: this.#epochs,
      running: this.#running,
    })
    return saveTree(path, this.#state, { run })
  }

  /**
   * Goes back (or on) to a saved state; the next `fit` continues from there, with the seed of the checkpoint.
   *
   * @throws if the file was not written by `save`, or is about something else, or a tensor or metric is missing, left over or of another shape or
   * dtype; nothing has then changed.
   */
  async load(path: string): Promise<void> {
    if (this.#busy) throw new Error('load: the trainer is fitting; wait for fit to end')
    const { tensors, metadata } = await readSafetensors(path)
    const run = parseRun(path, metadata.run, this.#names, this.#about)
    // What losses remember is as the file has it: which of it is of use, the next fit finds out.
    const prefix = 'memory.'
    const remembered = Object.entries(tensors).filter(([name]) => name.startsWith(prefix))
    const memory = Object.fromEntries(remembered.map(([name, values]) => [name.slice(prefix.length), tensor(values)]))
    const state = { ...this.#state, memory }
    fillTree(path, state, tensors)
    this.#state = state
    this.#seed = run.seed
    this.#steps = run.steps
    this.#epochs = [...run.epochs]
    this.#running = run.running
  }

  /**
   * Gives every tensor of the state memory of its own: a step frees what it replaces, and equal constants (the zero biases
   * of two models) may share theirs.
   */
  async #ownTensors(): Promise<void> {
    const copies = mapTree(this.#state, t => build('barrier', [t], {}))
    await realize(copies)
    this.#assign(copies)
  }

  #assign(state: State<M>): void {
    const next = leaves(state)
    leaves(this.#state).forEach((t, i) => {
      t.assign(next[i])
    })
  }

  /** Steps through an epoch, or what is left of it, unless interrupted. */
  async #runEpoch(
    data: Dataset,
    running: Running,
    onStep: (report: StepReport) => Promise<void>,
    interrupted: () => boolean,
  ): Promise<void> {
    const { batchSize, shuffle, dropLast, replays } = running.order
    const key = random.key(this.#seed)
    const done = running.steps
    let i = 0
    for (const rows of replayed(
      batches(data, { batchSize, dropLast, shuffle: shuffle ? orderSeed(this.#seed, this.epoch) : undefined }),
      replays,
    )) {
      if (i++ < done) continue
      const began = performance.now()
      this.#assign(await this.#compiled.step(this.#state, key, tensorsOf(rows)))
      this.#steps++
      running.steps++
      running.seen += countOf(rows)
      if (running.steps % readEvery === 0 || running.steps === stepsOf(running.order)) await this.#read(running)
      running.seconds += (performance.now() - began) / 1000
      const means = running.read > 0 ? this.#means(running) : undefined
      await onStep({ epoch: this.epoch + 1, step: running.steps, stepsPerEpoch: stepsOf(running.order), means })
      await turn()
      if (interrupted()) break
    }
    key.dispose()
    await this.#checkFinite(running)
  }

  /** Takes the sums from the device. */
  async #read(running: Running): Promise<void> {
    await this.#checkFinite(running)
    const { sums } = this.#state
    running.sums = Array.from(await sums.data(), (s, i) => s + (running.sums[i] ?? 0))
    running.read = running.seen
    sums.dispose()
    sums.assign(noSums(sums.size))
  }

  #means({ sums, read }: Pick<Running, 'sums' | 'read'>): Means {
    const [loss, ...metrics] = sums.map(s => s / read)
    return { loss, ...Object.fromEntries(metrics.map((m, i) => [this.#names[i + 1], m])) }
  }

  async #checkFinite(running: Running): Promise<void> {
    const bad = await this.#state.badStep.item()
    if (bad < 0) return
    const step = bad - (this.#steps - running.steps) + 1
    throw new Error(
      `fit: the loss is not finite at epoch ${this.epoch + 1}, step ${step} of ${stepsOf(running.order)}; ` +
        'lower the learning rate, set clipNorm or check the data, and start from a checkpoint or a new model',
    )
  }

  async #measure(data: Dataset, batchSize: number): Promise<Means> {
    await realize(this.model)
    const k = this.#names.length
    const total: number[] = new Array(k).fill(0)
    let pending = 0
    let sums = noSums(k)
    const read = async (): Promise<void> => {
      ;(await sums.data()).forEach((s, i) => {
        total[i] += s
      })
      sums.dispose()
      sums = noSums(k)
      pending = 0
    }
    for (const rows of batches(data, { batchSize })) {
      sums = await this.#compiled.evaluate(sums, tensorsOf(rows), this.model)
      if (++pending === readEvery) await read()
    }
    await read()
    return this.#means({ sums: total, read: data.size })
  }

  #checkFit(data: Dataset, options: FitOptions): { order: Order; memories: Memories } {
    const { epochs, batchSize, shuffle = true, dropLast = false, validation, earlyStop } = options
    if (this.#busy) throw new Error('fit: this trainer is fitting already; wait for it to end')
    checkData('fit', data)
    if (validation) checkData('fit: validation', validation)
    if (!Number.isInteger(epochs) || epochs < 1)
      throw new Error(`fit: epochs must be a positive integer, not ${epochs}`)
    batches(data, { batchSize, dropLast })
    if (earlyStop) {
      const { metric, patience, mode } = knownOptions('fit: earlyStop', earlyStop, stopNames)
      if (!this.#names.includes(metric))
        throw new Error(`fit: earlyStop watches '${metric}', but there are only ${this.#names.join(', ')}`)
      if (!Number.isInteger(patience) || patience < 1)
        throw new Error(`fit: earlyStop.patience must be a positive integer, not ${patience}`)
      if (mode !== 'min' && mode !== 'max') throw new Error(`fit: earlyStop.mode must be 'min' or 'max', not '${mode}'`)
    }
    const rows = data.rows(Array.from({ length: Math.min(batchSize, data.size) }, (_, i) => i))
    const memories = this.#compiled.memories(this.model, tensorsOf(rows))
    const { replays } = memories
    const order = { rows: data.size, batchSize, shuffle, dropLast, ...(replays > 1 && { replays }) }
    const begun = this.#running && JSON.stringify(this.#running.order)
    if (begun && begun !== JSON.stringify(order)) {
      throw new Error(
        `fit: the interrupted epoch began with ${begun} and cannot go on with ${JSON.stringify(order)}; pass the same data and options`,
      )
    }
    return { order, memories }
  }
}

/** Each item as many times over as is said. */
function* replayed<T>(items: Iterable<T>, times = 1): Generator<T, void, undefined> {
  for (const item of items) for (let k = 0; k < times; k++) yield item
}

function checkData(name: string, data: Dataset): void {
  if (typeof data?.rows !== 'function') throw new Error(`${name}: expects a data set made by dataset({ ... })`)
  if (data.size === 0) throw new Error(`${name}: the data set has no rows`)
}

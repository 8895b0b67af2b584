/** `saddlepoint evaluate`: what can honestly be said of the robustness of trained models. */

import { type Command, InvalidArgumentError, Option } from 'commander'
import { fgsm } from '../../adversarial/attacks.js'
import { type AutoAttackOptions, autoAttack, type Evaluated } from '../../adversarial/ensemble.js'
import { linearity, transferMatrix } from '../../adversarial/evaluation.js'
import type { Dataset } from '../../data/dataset.js'
import { tensorsOf } from '../../data/tensors.js'
import * as random from '../../tensor/random.js'
import { attack, rightOn, share } from '../attacks.js'
import { assumed, parseOptions } from '../named.js'
import {
  addDeviceOptions,
  amount,
  count,
  type DeviceSettings,
  jsonOption,
  many,
  repeated,
  seedOption,
} from '../options.js'
import { type JsonOption, percent, print, tableOf } from '../output.js'
import { bars, Interrupted, session } from '../session.js'
import { firstOf, type Task, taskArgument, taskOf, trainedModel } from '../task.js'

interface EvaluateOptions extends DeviceSettings, JsonOption {
  readonly weights: readonly string[]
  readonly epsilon?: number
  readonly norm?: 'linf' | 'l2'
  readonly steps: number
  /** False for `--no-ensemble`. */
  readonly ensemble?: EnsembleOptions | false
  readonly test: number
  readonly seed: number
}

type EnsembleOptions = Partial<AutoAttackOptions>

function parseEnsemble(text: string): EnsembleOptions {
  const options = parseOptions(text)
  for (const name of ['epsilon', 'norm'])
    if (name in options) throw new InvalidArgumentError(`Give --${name}, which all of the evaluation goes by.`)
  return options as EnsembleOptions
}

export const addEvaluate = (program: Command): Command =>
  addDeviceOptions(
    program
      .command('evaluate')
      .description(
        'Judges trained models: the accuracy against the radius under PGD, the accuracy under the ensemble of attacks, how the ' +
          "examples of one model carry over to the others, and what makes these numbers doubtful. Where a task's attacker perturbs " +
          'looked-up vectors, there is the first of these alone.',
      )
      .addArgument(taskArgument)
      .addOption(repeated('--weights <file>', 'of train; may be repeated, to compare', many, 'model.safetensors'))
      .option('--epsilon <x>', "the radius (default: the task's)", amount)
      .addOption(new Option('--norm <name>', "the norm of the ball (default: the task's)").choices(['linf', 'l2']))
      .option('--steps <n>', 'of PGD', count, 20)
      .option(
        '--ensemble <options>',
        'of the ensemble, for less than the standard; also attacks=apgd-ce+square (default: steps=100,targets=9,queries=5000)',
        parseEnsemble,
      )
      .option('--no-ensemble', 'leaves the ensemble out')
      .option('--test <n>', 'the first n test examples', count, 1000)
      .addOption(seedOption('of what is random in an attack'))
      .addOption(jsonOption()),
  ).action((name: string, options: EvaluateOptions) => session(options, (_, signal) => run(name, options, signal)))

/** Radii of the curve, as parts of epsilon. */
const parts = [0.25, 0.5, 0.75, 1, 1.5, 2]
/** Examples that the linearity of the loss is looked at for. */
const looked = 100

interface Judged {
  readonly weights: string
  readonly clean: number
  readonly curve: readonly { readonly epsilon: number; readonly accuracy: number }[]
  /** The share of examples whose loss rises by more than its derivatives promise. */
  readonly masked?: number
  readonly ensemble?: Pick<Evaluated, 'accuracies' | 'errors' | 'report'>
}

async function run(name: string, options: EvaluateOptions, signal: AbortSignal): Promise<void> {
  const files = options.weights.length ? [...new Set(options.weights)] : ['model.safetensors']
  const task = withThreat(await taskOf(name), options)
  const models: unknown[] = []
  for (const file of files) models.push(await trainedModel(task, file))
  const data = firstOf(task.test, options.test)
  const judged: Judged[] = []
  const show = (transfer?: number[][]): void => {
    const { epsilon, norm = 'linf' } = task.threat
    const { seed } = options
    const title = `${name}, first ${data.size} test examples, ${norm}, epsilon ${epsilon}, seed ${seed}`
    const result = { task: name, examples: data.size, seed, threat: task.threat, models: judged, transfer }
    print(options, result, [title, ...sections(judged, transfer)].join('\n\n'))
  }
  let transfer: number[][] | undefined
  let doing = ''
  try {
    for (const [i, model] of models.entries()) {
      doing = files[i]
      judged.push({
        weights: files[i],
        ...(await judge(task, model, data, options, signal, labelOf(files, i))),
      })
    }
    if (models.length > 1 && !task.threat.on) {
      doing = 'the transfer between the models'
      const pgd = { ...assumed(task, ball, {}), steps: options.steps } as { epsilon: number }
      transfer = await transferMatrix(task.logits, task.loss, models, data, { ...pgd, signal })
    }
  } catch (error) {
    // A model that is done is not lost; of one that is not, part of an evaluation says nothing.
    if (judged.length) show()
    if (!signal.aborted) throw error
    throw new Interrupted(`stopped during ${doing}${judged.length ? '' : ': there is no result'}`)
  }
  show(transfer)
}

const ball = ['epsilon', 'norm', 'clipMin', 'clipMax', 'features'] as const

const withThreat = (task: Task, { epsilon, norm }: EvaluateOptions): Task => ({
  ...task,
  threat: { ...task.threat, ...(epsilon !== undefined && { epsilon }), ...(norm && { norm }) },
})

const labelOf = (files: readonly string[], i: number): string => (files.length > 1 ? ` of ${files[i]}` : '')

async function judge(
  task: Task,
  model: unknown,
  data: Dataset,
  { steps, ensemble, seed }: EvaluateOptions,
  signal: AbortSignal,
  label: string,
): Promise<Omit<Judged, 'weights'>> {
  const shown = bars()
  try {
    const victim = { task, model, data }
    const clean = share(await rightOn(victim, signal))
    // First, since it has much to say about its options.
    const found =
      ensemble === false || task.threat.on
        ? undefined
        : await autoAttack(task.logits, model, data, {
            ...(assumed(task, ball, {}) as { epsilon: number }),
            ...ensemble,
            key: random.key(seed),
            onProgress: (name, done) => shown.update(`${name}${label}`, done),
            signal,
          })
    const curve = [{ epsilon: 0, accuracy: clean }]
    for (const [i, part] of parts.entries()) {
      const epsilon = Number((part * task.threat.epsilon).toPrecision(6))
      const onBatch = (done: number) => shown.update(`PGD-${steps}${label}`, (i + done / data.size) / parts.length)
      const pgd = { name: 'pgd', options: { epsilon, steps } }
      const { accuracy } = await attack(pgd, victim, { seed, onBatch, signal })
      curve.push({ epsilon, accuracy })
    }
    return {
      clean,
      curve,
      ...(!task.threat.on && { masked: await maskedShare(task, model, data) }),
      ...(found && { ensemble: { accuracies: found.accuracies, errors: found.errors, report: found.report } }),
    }
  } finally {
    shown.stop()
  }
}

/** How often the loss rises by more than its derivatives promise, along a step of FGSM. */
async function maskedShare(task: Task, model: unknown, data: Dataset): Promise<number | undefined> {
  if (!task.losses) return undefined
  const batch = tensorsOf(firstOf(data, looked).columns)
  const { adversarial } = fgsm(task.losses, model, batch, assumed(task, ball, {}) as { epsilon: number })
  return (await linearity(task.losses, model, batch, adversarial)).masked
}

/** The result as tables and sentences. */
function sections(judged: readonly Judged[], transfer: number[][] | undefined): string[] {
  const curves = judged.map(({ weights, clean, curve, masked }) => ({
    model: weights,
    clean: percent(clean),
    ...Object.fromEntries(curve.slice(1).map(({ epsilon, accuracy }) => [`at ${epsilon}`, percent(accuracy)])),
    ...(masked !== undefined && { 'rises beyond derivatives': percent(masked) }),
  }))
  const ensembles = judged.flatMap(({ weights, ensemble }) =>
    ensemble
      ? [{ model: weights, ...Object.fromEntries(ensemble.accuracies.map(a => [a.attack, percent(a.accuracy)])) }]
      : [],
  )
  const carried = transfer?.map((row, i) => ({
    'made from': judged[i].weights,
    ...Object.fromEntries(row.map((accuracy, j) => [judged[j].weights, percent(accuracy)])),
  }))
  const errors = judged.flatMap(({ weights, ensemble }) => (ensemble?.errors ?? []).map(e => `${weights}: ${e}`))
  return [
    `Accuracy under PGD\n\n${tableOf(curves)}`,
    ...(ensembles.length ? [`Accuracy after each attack of the ensemble\n\n${tableOf(ensembles)}`] : []),
    ...(carried ? [`Accuracy of a column's model on examples made from the row's\n\n${tableOf(carried)}`] : []),
    ...errors.map(error => `error: ${error}`),
  ]
}

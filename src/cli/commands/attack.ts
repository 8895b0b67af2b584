/** `saddlepoint attack`: the accuracy of a trained model under attacks, one by one. */

import type { Command } from 'commander'
import { writeSafetensors } from '../../data/safetensors.js'
import { progress } from '../../train/progress.js'
import { type Attacked, attack, attackNames, checkAttack, rightOn, share } from '../attacks.js'
import { type Named, named, parseNamed } from '../named.js'
import { addDeviceOptions, count, type DeviceSettings, jsonOption, repeated, seedOption } from '../options.js'
import { type JsonOption, percent, print, tableOf } from '../output.js'
import { Interrupted, session } from '../session.js'
import { firstOf, taskArgument, taskOf, trainedModel } from '../task.js'
import { checkFile } from '../writable.js'

interface AttackOptions extends DeviceSettings, JsonOption {
  readonly weights: string
  readonly use: readonly Named[]
  readonly test: number
  readonly out?: string
  readonly seed: number
}

export const addAttack = (program: Command): Command =>
  addDeviceOptions(
    program
      .command('attack')
      .description('Attacks a trained model, and says how accurate it still is and whether the gradients were alive.')
      .addArgument(taskArgument)
      .option('--weights <file>', 'of train', 'model.safetensors')
      .addOption(
        repeated(
          '--use <attack>',
          `an attack and its options, such as pgd:epsilon=0.3,steps=100; may be repeated. Of ${attackNames.join(', ')}`,
          named(attackNames),
          'fgsm and pgd',
        ),
      )
      .option('--test <n>', 'the first n test examples', count, 1000)
      .option('--out <file>', 'writes the attacked examples as safetensors, each column under ATTACK.COLUMN')
      .addOption(seedOption('of what is random in an attack'))
      .addOption(jsonOption()),
  ).action((name: string, options: AttackOptions) => session(options, (_, signal) => run(name, options, signal)))

type Result = Named & Attacked

async function run(name: string, options: AttackOptions, signal: AbortSignal): Promise<void> {
  const { weights, use, out, seed } = options
  if (out !== undefined) await checkFile('--out', out)
  const task = await taskOf(name)
  if (out !== undefined && task.threat.on)
    throw new Error(
      `--out: what is attacked here are the vectors that '${task.threat.on}' looks up; there are no examples`,
    )
  const model = await trainedModel(task, weights)
  const data = firstOf(task.test, options.test)
  const victim = { task, model, data }
  const uses = use.length ? use : ['fgsm', 'pgd'].map(parseNamed)
  for (const one of uses) await checkAttack(one, victim, seed)
  const results: Result[] = []
  /** Prints the results, and writes their examples; those of the attacks that are done, where a later one is not. */
  const give = async (clean: number): Promise<void> => {
    const rows = [{ attack: 'none', within: '', accuracy: percent(clean), ...blank }, ...results.map(rowOf)]
    const title = `${name}, ${weights}, first ${data.size} test examples, seed ${seed}`
    const attacks = results.map(({ data: _, ...result }) => result)
    print(options, { task: name, weights, seed, examples: data.size, clean, attacks }, `${title}\n\n${tableOf(rows)}`)
    if (out === undefined) return
    await writeSafetensors(out, columnsOf(results))
    if (!options.json) console.log(`\nwrote ${out}`)
  }
  let clean: number | undefined
  let doing = 'the clean examples'
  try {
    clean = share(await rightOn(victim, signal))
    for (const one of uses) {
      doing = one.text
      const shown = await progress(data.size, one.text)
      try {
        const around = { seed, onBatch: (done: number) => shown.update(done), signal }
        results.push({ ...one, ...(await attack(one, victim, around)) })
      } finally {
        shown.stop()
      }
    }
  } catch (error) {
    // What is done is not lost.
    if (clean !== undefined && results.length) await give(clean)
    if (!signal.aborted) throw error
    const kept = results.length ? ': the examples are of the attacks before it' : ': no examples were written'
    throw new Interrupted(`stopped during ${doing}${out === undefined ? '' : kept}`)
  }
  await give(clean)
}

const blank = { 'median length': '', 'gradients 0': '', 'not finite': '' }

function rowOf({ text, norm, epsilon, accuracy, distance, gradients }: Result) {
  const of = (dead: number): string => percent(dead / (gradients?.gradients ?? 1))
  return {
    attack: text,
    within: `${norm} ${epsilon ?? 'any'}`,
    accuracy: percent(accuracy),
    'median length': distance === undefined ? '' : distance.toFixed(4),
    'gradients 0': gradients ? of(gradients.zero) : '',
    'not finite': gradients ? of(gradients.nonFinite) : '',
  }
}

/** The columns of what each attack made; those of a second attack of a name are called NAME-2. */
function columnsOf(results: readonly Result[]) {
  const seen = new Map<string, number>()
  return Object.fromEntries(
    results.flatMap(({ name, data }) => {
      const nth = (seen.get(name) ?? 0) + 1
      seen.set(name, nth)
      const own = nth === 1 ? name : `${name}-${nth}`
      return Object.entries(data?.columns ?? {}).map(([column, values]) => [`${own}.${column}`, values])
    }),
  )
}

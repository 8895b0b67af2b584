/** `saddlepoint attack`: the accuracy of a trained model under attacks, one by one. */

import type { Command } from 'commander'
import { writeSafetensors } from '../../data/safetensors.js'
import { progress } from '../../train/progress.js'
import { type Attacked, attack, attackNames, checkAttack, rightOn, share } from '../attacks.js'
import { type Named, parseNamed } from '../named.js'
import { addDeviceOptions, count, type DeviceSettings, jsonOption, many, seedOption } from '../options.js'
import { type JsonOption, percent, print, tableOf } from '../output.js'
import { Interrupted, session } from '../session.js'
import { firstOf, taskArgument, taskOf, trainedModel } from '../task.js'
import { checkFile } from '../writable.js'

interface AttackOptions extends DeviceSettings, JsonOption {
  readonly weights: string
  readonly use: readonly string[]
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
      .option(
        '--use <attack>',
        `an attack and its options, such as pgd:epsilon=0.3,steps=100; may be repeated (default: fgsm and pgd). Of ${attackNames.join(', ')}`,
        many,
        [],
      )
      .option('--test <n>', 'the first n test examples', count, 1000)
      .option('--out <file>', 'writes the attacked examples as safetensors, each column under ATTACK.COLUMN')
      .addOption(seedOption('of what is random in an attack'))
      .addOption(jsonOption()),
  ).action((name: string, options: AttackOptions) => session(options, (_, signal) => run(name, options, signal)))

async function run(name: string, options: AttackOptions, signal: AbortSignal): Promise<void> {
  const { weights, use, out, seed } = options
  if (out !== undefined) await checkFile('--out', out)
  const named = (use.length ? use : ['fgsm', 'pgd']).map(parseNamed)
  named.forEach(checkAttack)
  const task = await taskOf(name)
  const model = await trainedModel(task, weights)
  const data = firstOf(task.test, options.test)
  const victim = { task, model, data }
  const clean = share(await rightOn(victim))

  const results: (Named & Attacked)[] = []
  for (const one of named) {
    const shown = await progress(data.size, one.name)
    try {
      const found = await attack(one, victim, { seed, onBatch: done => shown.update(done), signal })
      results.push({ ...one, ...found })
    } catch (error) {
      if (signal.aborted) throw new Interrupted(`stopped during ${one.name}: nothing was written`)
      throw error
    } finally {
      shown.stop()
    }
  }

  if (out !== undefined) await writeSafetensors(out, columnsOf(results))
  const printed = results.map(({ data: _, ...result }) => result)
  const rows = [{ attack: 'none', accuracy: percent(clean), ...blank }, ...printed.map(rowOf)]
  const title = `${name}, ${weights}, first ${data.size} test examples`
  const lines = [title, '', tableOf(rows), ...(out === undefined ? [] : ['', `wrote ${out}`])]
  print(options, { task: name, weights, seed, examples: data.size, clean, attacks: printed }, lines.join('\n'))
}

const blank = { 'median length': '', 'gradients 0': '', 'not finite': '' }

function rowOf({ name, accuracy, distance, gradients }: Named & Attacked) {
  const of = (dead: number): string => percent(dead / (gradients?.gradients ?? 1))
  return {
    attack: name,
    accuracy: percent(accuracy),
    'median length': distance === undefined ? '' : distance.toFixed(4),
    'gradients 0': gradients ? of(gradients.zero) : '',
    'not finite': gradients ? of(gradients.nonFinite) : '',
  }
}

/** The columns of what each attack made; those of a second attack of a name are called NAME-2. */
function columnsOf(results: readonly (Named & Attacked)[]) {
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

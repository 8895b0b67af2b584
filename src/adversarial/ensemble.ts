/**
 * AutoAttack: an ensemble in which each attack gets the examples that those before it did not break. Croce and Hein 2020, "Reliable
 * evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks".
 */

import { type Dataset, dataset, putRows } from '../data/dataset.js'
import { tensorsOf } from '../data/tensors.js'
import { knownOptions } from '../graph/options.js'
import type { Batch } from '../nn/context.js'
import { tensor } from '../tensor/create.js'
import { lessEqual, logicalNot } from '../tensor/elementwise.js'
import { foldIn } from '../tensor/random.js'
import type { Tensor } from '../tensor/tensor.js'
import { leaves } from '../tensor/tree.js'
import { apgd } from './apgd.js'
import { type GradientCounts, reportNames } from './deaths.js'
import { fab } from './fab.js'
import { checkLabels, type Logits } from './logits.js'
import { checkCounts, checkRequired } from './method.js'
import { pick, searchNames } from './options.js'
import { type Found, isRight, type Searched, type SearchOptions, targetOf } from './search.js'
import { square } from './square.js'

/** The attacks of the ensemble, in its order. */
export const ensemble = ['apgd-ce', 'apgd-t', 'fab-t', 'square'] as const
export type EnsembleAttack = (typeof ensemble)[number]

export interface AutoAttackOptions extends SearchOptions {
  /** The radius of the ball. */
  epsilon: number
  /** 'linf' or 'l2'. Default 'linf'. */
  norm?: 'linf' | 'l2'
  key: Tensor
  /** Default all that the number of classes allows, in the standard order. */
  attacks?: readonly EnsembleAttack[]
  /** Steps of each run of APGD and FAB. Default 100. */
  steps?: number
  /** Wrong classes that 'apgd-t' and 'fab-t' aim at, the likeliest first. Default 9, or as many as there are. */
  targets?: number
  /** Queries of 'square'. Default 5000. */
  queries?: number
  /** Examples attacked at once. Default 256. */
  batchSize?: number
  /** Called after each batch with the share of the attack that is done. */
  onProgress?: (name: EnsembleAttack, share: number) => void
  /** Called after each attack, and awaited. */
  onAttack?: (name: EnsembleAttack, accuracy: number) => void | Promise<void>
}

export interface Evaluated {
  /** The data set with each broken example at the point that breaks it. */
  readonly data: Dataset
  /** Which examples withstood everything. */
  readonly robust: readonly boolean[]
  /** The share of examples that are classified right without an attack. */
  readonly clean: number
  /** The share that is still right after each attack. */
  readonly accuracies: readonly { readonly attack: EnsembleAttack; readonly accuracy: number }[]
  /** The gradient counts of its attacks along gradients, over examples that filled up a batch too. */
  readonly report: GradientCounts
  /** What makes these numbers doubtful, in sentences; none is good news. */
  readonly errors: readonly string[]
}

/** A search without gradients that breaks this share of what attacks along gradients did not, tells of masked gradients. */
const blackBoxShare = 0.01

/**
 * The accuracy under an ensemble of attacks.
 *
 * Cost for each example, until it is broken: (steps + 1) · (1 + targets) forward and backward passes of APGD, steps · targets backward
 * and twice as many forward passes of FAB, and `queries` forward passes.
 *
 * @param logits the logits [n, classes] of a batch
 * @throws if an option is out of range or names a column that the data set lacks, a label is no class, or the signal aborts
 * @example const { accuracies } = await autoAttack(logits, model, test, { epsilon: 0.3, key: random.key(0), clipMin: 0, clipMax: 1 })
 */
export async function autoAttack<M>(
  logits: Logits<M>,
  model: M,
  data: Dataset,
  options: AutoAttackOptions,
): Promise<Evaluated> {
  const op = 'autoAttack'
  const {
    epsilon,
    norm = 'linf',
    key,
    steps = 100,
    queries = 5000,
    batchSize = 256,
    onProgress,
    onAttack,
    signal,
  } = knownOptions(op, options, {
    ...searchNames,
    epsilon: true,
    norm: true,
    attacks: true,
    steps: true,
    targets: true,
    queries: true,
    batchSize: true,
    onProgress: true,
    onAttack: true,
  })
  checkCounts(op, { steps, queries, batchSize, targets: options.targets ?? 1 })
  checkRequired(op, { epsilon })
  if (norm !== 'linf' && norm !== 'l2') throw new Error(`${op}: unknown norm '${norm}'; one of linf, l2`)
  if (!key) throw new Error(`${op}: its random starts need a random key: { key: random.key(0) }`)
  if (data.size === 0) throw new Error(`${op}: the data set has no rows`)
  const columns = data.rows(Array.from({ length: data.size }, (_, i) => i))
  const robust: boolean[] = new Array(data.size).fill(true)
  const report = { gradients: 0, zero: 0, nonFinite: 0, floorHit: 0 }

  /** A last batch is filled up to a power of two, so that few sizes need a plan. */
  const filled = (size: number): number => Math.min(batchSize, 2 ** Math.ceil(Math.log2(size)))
  /** Runs an attack on what is still right, and takes what it breaks. */
  const sweep = async (
    attack: (batch: Batch, part: number) => Promise<Found & Partial<Searched>>,
    onShare?: (share: number) => void,
  ): Promise<void> => {
    const left = robust.flatMap((isRobust, i) => (isRobust ? [i] : []))
    for (let first = 0; first < left.length; first += batchSize) {
      signal?.throwIfAborted()
      const size = Math.min(batchSize, left.length - first)
      const batch = tensorsOf(data.rows(Array.from({ length: filled(size) }, (_, i) => left[first + (i % size)])))
      const { adversarial, broken, report: found } = await attack(batch, first)
      const isBroken = await broken.data()
      const fallen = left.slice(first, first + size).map((row, i) => (isBroken[i] ? row : undefined))
      for (const [name, moved] of Object.entries(adversarial))
        if (moved !== batch[name]) putRows(columns[name], await moved.data(), fallen)
      for (const row of fallen) if (row !== undefined) robust[row] = false
      if (found) for (const name of reportNames) report[name] += await found[name].item()
      for (const t of leaves([batch, adversarial, broken, found ?? []])) t.dispose()
      onShare?.((first + size) / left.length)
    }
  }
  const right = (): number => robust.filter(r => r).length / data.size

  let classes = 0
  await sweep(async batch => {
    const victim = targetOf(op, logits, batch, options)
    const z = victim.logits(model, victim.features)
    checkLabels(op, data, options.label ?? 'label', z)
    classes = z.shape[1]
    return { adversarial: {}, broken: logicalNot(isRight(z, victim.labels)) }
  })
  const clean = right()

  const targets = Math.min(options.targets ?? 9, classes - 1)
  const run = async (name: EnsembleAttack): Promise<void> => {
    const common = { ...pick(options, searchNames), epsilon, norm, steps }
    const onShare = (share: number): void => onProgress?.(name, share)
    switch (name) {
      case 'apgd-ce':
        return sweep(
          (batch, part) => apgd(logits, model, batch, { ...common, loss: 'ce', key: foldIn(key, number(part)) }),
          onShare,
        )
      case 'apgd-t': {
        let rest = Array.from({ length: targets }, (_, i) => i + 1)
        while (rest.length > 0) {
          // As one batch once they fill no more than that; until then, what one target breaks the next are spared.
          const target = filled(robust.filter(r => r).length) * rest.length <= batchSize ? rest : rest.slice(0, 1)
          const before = targets - rest.length
          await sweep(
            (batch, part) => {
              const own = foldIn(key, number(part))
              return apgd(logits, model, batch, { ...common, loss: 'targeted-dlr', target, key: own })
            },
            share => onShare((before + share * target.length) / targets),
          )
          rest = rest.slice(target.length)
        }
        return
      }
      case 'fab-t':
        for (let target = 1; target <= targets; target++)
          await sweep(
            async batch => {
              const found = await fab(logits, model, batch, { ...common, targets: [target] })
              return { ...found, broken: lessEqual(found.distance, epsilon) }
            },
            share => onShare((target - 1 + share) / targets),
          )
        return
      case 'square':
        return sweep(
          (batch, part) => square(logits, model, batch, { ...common, steps: queries, key: foldIn(key, number(part)) }),
          onShare,
        )
    }
  }
  const attacks = options.attacks ?? ensemble.filter(name => name !== 'apgd-t' || classes >= 4)
  for (const name of attacks) {
    if (!ensemble.includes(name)) throw new Error(`${op}: '${name}' is unknown; one of ${ensemble.join(', ')}`)
    if (name === 'apgd-t' && classes < 4) throw new Error(`${op}: '${name}' needs 4 classes, not ${classes}`)
  }
  const accuracies: { attack: EnsembleAttack; accuracy: number }[] = []
  for (const name of attacks) {
    await run(name)
    accuracies.push({ attack: name, accuracy: right() })
    await onAttack?.(name, right())
  }
  return { data: dataset(columns), robust, clean, accuracies, report, errors: doubts(clean, accuracies) }
}

/** A number that is no constant of a plan: all batches have one. */
const number = (value: number): Tensor => tensor(value, { dtype: 'int32' })

function doubts(clean: number, accuracies: Evaluated['accuracies']): string[] {
  const errors: string[] = []
  accuracies.forEach(({ attack, accuracy }, i) => {
    const before = i === 0 ? clean : accuracies[i - 1].accuracy
    if (attack === 'square' && i > 0 && before > 0 && before - accuracy > blackBoxShare * before)
      errors.push(
        `the black box beat the white box: square broke ${(100 * (1 - accuracy / before)).toFixed(1)}% of the examples that no attack along gradients did; gradients are masked, and this model is weaker than these attacks can say`,
      )
  })
  return errors
}

/** Attacks on whole data sets: one step is compiled once and replayed for every step of every batch. */

import { batches, type Dataset, dataset, putRows } from '../data/dataset.js'
import { tensorsOf } from '../data/tensors.js'
import { knownOptions } from '../graph/options.js'
import type { Loss } from '../nn/context.js'
import { compile } from '../tensor/compile.js'
import { tensor } from '../tensor/create.js'
import { foldIn } from '../tensor/random.js'
import { realize } from '../tensor/realize.js'
import { leaves } from '../tensor/tree.js'
import { attackParts, type PgdOptions } from './attacks.js'
import { areDead, type GradientCounts, reportNames, warnOfDeaths } from './deaths.js'
import { featureNames, pick } from './options.js'

export interface AttackDatasetOptions<M = unknown> {
  /**
   * The loss that examples are attacked with once more whose gradients were all exactly 0, such as one by marginLoss or dlrLoss.
   * Default none: they stay as they are.
   */
  fallback?: Loss<M>
  /** Examples attacked at once. Default 256. */
  batchSize?: number
  /** Called after each batch with the number of examples done, and awaited. */
  onBatch?: (done: number) => void | Promise<void>
  /** Ends the attack after the batch in hand, with the examples done so far. */
  signal?: AbortSignal
}

/**
 * The data set with its features perturbed by PGD; FGSM is `{ steps: 1 }`. Every batch has random starts of its own.
 *
 * Where more than 1% of the gradients are 0 or not finite it warns once, and names the operation at which they died.
 *
 * Cost: steps forward and backward passes of restarts · size examples; the plan is made once (twice, where batchSize does
 * not divide the size), and memory is that of one step.
 *
 * @param loss the mean loss, or the losses of the examples [n], which restarts need
 * @throws as `pgd` does
 * @example const attacked = await attackDataset(loss, model, test, { epsilon: 0.2, steps: 40, clipMin: 0, clipMax: 1 })
 */
export async function attackDataset<M>(
  loss: Loss<M>,
  model: M,
  data: Dataset,
  options: PgdOptions<M>,
  more: AttackDatasetOptions<M> = {},
): Promise<{ data: Dataset; report: GradientCounts }> {
  const attack = attackParts('attackDataset', loss, options)
  const names = { fallback: true, batchSize: true, onBatch: true, signal: true } as const
  const { fallback, batchSize = 256, onBatch, signal } = knownOptions('attackDataset', more, names)
  // A step gives up the state before it, so that memory does not wait for the garbage collector.
  const step = compile(attack.step, { donate: [1] })
  const finish = compile(attack.finish, { donate: [1] })
  const report = { gradients: 0, zero: 0, nonFinite: 0, floorHit: 0 }
  const columns = data.rows(Array.from({ length: data.size }, (_, i) => i))
  await realize(model)
  const dead: number[] = []
  let done = 0
  for (const rows of batches(data, { batchSize })) {
    const batch = tensorsOf(rows)
    // The number of the batch goes in as a tensor: as a constant it would ask for a plan of its own.
    const key = options.key && foldIn(options.key, tensor(done, { dtype: 'int32' }))
    let state = attack.start(batch, key)
    await realize(state)
    for (let i = 0; i < attack.steps; i++) state = await step(model, state)
    const attacked = await finish(model, state)
    const size = rows[Object.keys(rows)[0]].shape[0]
    const places = Array.from({ length: size }, (_, i) => done + i)
    for (const [name, moved] of Object.entries(attacked.adversarial)) putRows(columns[name], await moved.data(), places)
    for (const name of reportNames) report[name] += await attacked.report[name].item()
    for (const [i, isDead] of (await attacked.dead.data()).entries()) if (isDead) dead.push(done + i)
    for (const t of leaves([batch, attacked])) t.dispose()
    done += size
    await onBatch?.(done)
    if (signal?.aborted) break
  }
  await warnOfDeadRows('attackDataset', loss, model, data, options, report, batchSize)
  if (fallback && dead.length > 0 && !signal?.aborted) {
    const once = { batchSize, signal }
    const { data: again } = await attackDataset(fallback, model, dataset(data.rows(dead)), options, once)
    for (const [name, { data: values }] of Object.entries(again.columns))
      putRows(columns[name], values, dead.slice(0, again.size))
  }
  return { data: dataset(columns).slice(0, done), report }
}

/** Where too many gradients of a data set died, says so by its first batch. */
export async function warnOfDeadRows<M>(
  op: string,
  loss: Loss<M>,
  model: M,
  data: Dataset,
  options: PgdOptions<M>,
  counts: GradientCounts,
  batchSize: number,
): Promise<void> {
  if (!areDead(counts)) return
  const batch = tensorsOf(data.slice(0, Math.min(batchSize, data.size)).columns)
  await warnOfDeaths(op, loss, model, batch, pick(options, { ...featureNames, context: true }), counts)
  for (const t of leaves(batch)) t.dispose()
}

/** Attacks by name on the data of a task, counted as commands report them. */

import { attackParts } from '../adversarial/attacks.js'
import { attackDataset } from '../adversarial/dataset.js'
import { type GradientCounts, reportNames } from '../adversarial/deaths.js'
import * as adversarial from '../adversarial/index.js'
import { type Found, isRight, type Searched } from '../adversarial/search.js'
import type { Norm } from '../adversarial/steps.js'
import { batches, type Dataset, dataset, putRows } from '../data/dataset.js'
import { tensorsOf } from '../data/tensors.js'
import { isFloat } from '../graph/dtype.js'
import { type Batch, evaluation, type Loss } from '../nn/context.js'
import { compile } from '../tensor/compile.js'
import { tensor } from '../tensor/create.js'
import * as random from '../tensor/random.js'
import { realize } from '../tensor/realize.js'
import type { Tensor } from '../tensor/tensor.js'
import { leaves } from '../tensor/tree.js'
import { assumed, type Named, type Options } from './named.js'
import { firstOf, type Task, type Threat } from './task.js'

const batchSize = 250

export interface Attacked {
  /** The radius; none for attacks that look for the smallest perturbation. */
  readonly epsilon?: number
  /** Of the radius and the lengths. */
  readonly norm: Norm
  readonly accuracy: number
  /** How the gradients fared, for attacks that follow them over features. */
  readonly gradients?: GradientCounts
  /** The median of the lengths of what broke an example, in the norm of the attack. */
  readonly distance?: number
  /** The attacked examples; none where looked-up vectors are attacked. */
  readonly data?: Dataset
}

/** What is attacked. */
interface Victim {
  readonly task: Task
  readonly model: unknown
  readonly data: Dataset
}

interface Surroundings {
  readonly seed: number
  readonly onBatch: (done: number) => void
  readonly signal: AbortSignal
}

const range = ['clipMin', 'clipMax', 'features'] as const
const threat = ['epsilon', 'norm', ...range, 'on', 'scope'] as const

/** What makes the relatives of PGD of it. */
const relatives: Readonly<Record<string, (options: Options) => object>> = {
  fgsm: ({ epsilon }) => ({ steps: 1, stepSize: epsilon }),
  pgd: () => ({ steps: 40, randomStart: true }),
  bim: ({ epsilon, steps = 10 }) => ({ steps, stepSize: Number(epsilon) / Number(steps) }),
  mifgsm: ({ epsilon, steps = 10 }) => ({ steps, stepSize: Number(epsilon) / Number(steps), decay: 1 }),
}
const amongVectors = ['fgsm', 'pgd', 'bim']

type Search = (logits: Task['logits'], model: unknown, batch: Batch, options: never) => Promise<Found | Searched>

/** Attacks that read logits, and what of the task's attacker they take: without a norm they go by l2, without epsilon as far as it takes. */
const searches: Readonly<Record<string, { readonly run: Search; readonly threat: readonly (keyof Threat)[] }>> = {
  apgd: { run: adversarial.apgd, threat: ['epsilon', 'norm', ...range] },
  fab: { run: adversarial.fab, threat: ['norm', ...range] },
  deepFool: { run: adversarial.deepFool, threat: range },
  carliniWagner: { run: adversarial.carliniWagner, threat: range },
  square: { run: adversarial.square, threat: ['epsilon', 'norm', ...range] },
}

export const attackNames = [...Object.keys(relatives), ...Object.keys(searches)]

/** The options of an attack, those that its own leave open from the task. */
function settingsOf({ name, options }: Omit<Named, 'text'>, task: Task) {
  const isSearch = Object.hasOwn(searches, name)
  const taken: readonly (keyof Threat)[] = isSearch ? searches[name].threat : threat
  const given: Options = { ...assumed(task, taken, options), ...options }
  return { isSearch, taken, given, isAmongVectors: 'on' in given || task.threat.on !== undefined }
}

/**
 * Prepares an attack on the first example, so that what it does not like is known before the one before it has run.
 * @throws if the attack does not like its options, or is not for what is attacked here
 */
export async function checkAttack({ text, ...one }: Named, victim: Victim, seed: number): Promise<void> {
  const { task, model, data } = victim
  const { name } = one
  const { isSearch, given, isAmongVectors } = settingsOf(one, task)
  const batch = tensorsOf(firstOf(data, 1).columns)
  const key = random.key(seed)
  try {
    if (isAmongVectors) vectorMetric(name, given, task)(model, batch, { training: false, key })
    else if (isSearch) {
      // A search has looked at its options when it looks at its signal, before the first step.
      const stopped = AbortSignal.abort()
      const isStopped = (error: unknown): void => {
        if (error !== stopped.reason) throw error
      }
      const settings = { key, ...given, signal: stopped }
      await searches[name].run(task.logits, model, batch, settings as never).catch(isStopped)
    } else {
      const { start, step, finish } = attackParts(name, lossOf(task), pgdOptions(name, given, seed) as never)
      finish(model, step(model, start(batch, key)))
    }
  } catch (cause) {
    throw new Error(`--use ${text}: ${cause instanceof Error ? cause.message : cause}`, { cause })
  } finally {
    for (const t of leaves(batch)) t.dispose()
  }
}

/** Attacks a model, with options that `checkAttack` has seen. */
export async function attack(one: Omit<Named, 'text'>, victim: Victim, around: Surroundings): Promise<Attacked> {
  const { task, data } = victim
  const { name } = one
  const { isSearch, taken, given, isAmongVectors } = settingsOf(one, task)
  const norm = taken.includes('norm') ? ((given.norm ?? 'linf') as Norm) : 'l2'
  const ball = { norm, ...(taken.includes('epsilon') && { epsilon: Number(given.epsilon) }) }
  if (isAmongVectors) return { ...ball, accuracy: await accuracyAmongVectors(name, given, victim, around) }
  const { data: moved, gradients } = await (isSearch ? searchAll : followAll)(name, given, victim, around)
  const [before, after] = [
    await rightOn(victim, around.signal),
    await rightOn({ ...victim, data: moved }, around.signal),
  ]
  const lengths = after.flatMap((isRight, i) => (before[i] && !isRight ? [lengthOf(data, moved, i, norm)] : []))
  lengths.sort((a, b) => a - b)
  return {
    ...ball,
    accuracy: share(after),
    gradients,
    ...(lengths.length > 0 && { distance: lengths[Math.floor(lengths.length / 2)] }),
    data: moved,
  }
}

export const share = (right: readonly boolean[]): number => right.filter(Boolean).length / right.length

/** Visits a data set batch by batch, with a random key and the number of the first example for each. */
async function eachBatch(
  data: Dataset,
  { seed, onBatch, signal }: Partial<Surroundings>,
  visit: (batch: Batch, key: Tensor, first: number) => Promise<void>,
): Promise<void> {
  let done = 0
  for (const rows of batches(data, { batchSize })) {
    signal?.throwIfAborted()
    const batch = tensorsOf(rows)
    await visit(batch, random.foldIn(random.key(seed ?? 0), tensor(done, { dtype: 'int32' })), done)
    for (const t of leaves(batch)) t.dispose()
    done += Math.min(batchSize, data.size - done)
    onBatch?.(done)
  }
  signal?.throwIfAborted()
}

/** Which examples are classified right. */
export async function rightOn({ task, model, data }: Victim, signal: AbortSignal): Promise<boolean[]> {
  await realize(model)
  const judge = compile((m: unknown, batch: Batch) => isRight(task.logits(m, batch, evaluation), batch.label))
  const right: boolean[] = []
  await eachBatch(data, { signal }, async batch => {
    for (const one of await (await judge(model, batch)).data()) right.push(Boolean(one))
  })
  return right
}

interface Moved {
  readonly data: Dataset
  readonly gradients?: GradientCounts
}

const pgdOptions = (name: string, given: Options, seed: number) => ({
  ...relatives[name](given),
  key: random.key(seed),
  ...given,
})
const lossOf = ({ losses, loss }: Task): Loss<unknown> => losses ?? loss

/** PGD and its relatives, by one compiled step. */
async function followAll(
  name: string,
  given: Options,
  { task, model, data }: Victim,
  around: Surroundings,
): Promise<Moved> {
  const { seed, onBatch, signal } = around
  const options = pgdOptions(name, given, seed)
  const hooks = { batchSize, onBatch, signal }
  const { data: moved, report } = await attackDataset(lossOf(task), model, data, options as never, hooks)
  signal.throwIfAborted()
  return { data: moved, gradients: report }
}

/** An attack that reads logits, batch by batch. */
async function searchAll(
  name: string,
  given: Options,
  { task, model, data }: Victim,
  around: Surroundings,
): Promise<Moved> {
  const columns = data.rows(Array.from({ length: data.size }, (_, i) => i))
  const counts = { gradients: 0, zero: 0, nonFinite: 0, floorHit: 0 }
  await eachBatch(data, around, async (batch, key, first) => {
    const found = await searches[name].run(task.logits, model, batch, { key, signal: around.signal, ...given } as never)
    const places = Array.from({ length: batch.label.shape[0] }, (_, i) => first + i)
    for (const [column, moved] of Object.entries(found.adversarial))
      putRows(columns[column], await moved.data(), places)
    if ('report' in found) for (const one of reportNames) counts[one] += await found.report[one].item()
    for (const t of leaves(found)) t.dispose()
  })
  return { data: dataset(columns), ...(counts.gradients > 0 && { gradients: counts }) }
}

/** Measures the accuracy when the vectors that an embedding looks up are attacked. @throws if the attack is not for them */
function vectorMetric(name: string, given: Options, { logits, loss, threat }: Task): Loss<unknown> {
  if (!amongVectors.includes(name))
    throw new Error(
      `${name}: perturbs features, and what is attacked here are the vectors that '${given.on ?? threat.on}' looks up: use ${amongVectors.join(', ')}`,
    )
  return adversarial.robustAccuracy(loss, { logits, ...relatives[name](given), ...given } as never)
}

/** The accuracy when the vectors that an embedding looks up are attacked. */
async function accuracyAmongVectors(
  name: string,
  given: Options,
  { task, model, data }: Victim,
  around: Surroundings,
): Promise<number> {
  await realize(model)
  const metric = vectorMetric(name, given, task)
  const measure = compile((m: unknown, batch: Batch, key: Tensor) => metric(m, batch, { training: false, key }))
  let right = 0
  await eachBatch(data, around, async (batch, key) => {
    right += (await (await measure(model, batch, key)).item()) * batch.label.shape[0]
  })
  return right / data.size
}

/** How far a row of the float columns was moved. */
function lengthOf(from: Dataset, to: Dataset, row: number, norm: Norm): number {
  let [squares, sum, largest] = [0, 0, 0]
  for (const [name, { data, dtype }] of Object.entries(from.columns)) {
    if (!isFloat(dtype)) continue
    const width = data.length / from.size
    for (let i = row * width; i < (row + 1) * width; i++) {
      const change = Math.abs(Number(to.columns[name].data[i]) - Number(data[i]))
      squares += change * change
      sum += change
      largest = Math.max(largest, change)
    }
  }
  return norm === 'l2' ? Math.sqrt(squares) : norm === 'l1' ? sum : largest
}

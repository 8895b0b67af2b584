/**
 * What attacks say of models: accuracy against the radius, how attacks carry over from model to model, and whether the loss does
 * what its derivatives promise. Data sets are attacked whole.
 */

import { grad, hvp } from '../autodiff/transforms.js'
import { vmap } from '../autodiff/vmap.js'
import { batches, type Dataset } from '../data/dataset.js'
import { tensorsOf } from '../data/tensors.js'
import { computeType, promote } from '../graph/dtype.js'
import { knownOptions, type Names } from '../graph/options.js'
import { formatShape } from '../graph/shape.js'
import { type Batch, type Context, evaluation, type Loss } from '../nn/context.js'
import { compile } from '../tensor/compile.js'
import { tensor } from '../tensor/create.js'
import { astype, mul, sub } from '../tensor/elementwise.js'
import { stack } from '../tensor/movement.js'
import { foldIn } from '../tensor/random.js'
import { realize } from '../tensor/realize.js'
import { sum } from '../tensor/reduction.js'
import { full, type Tensor } from '../tensor/tensor.js'
import { leaves } from '../tensor/tree.js'
import { type AttackState, attackParts, type PgdOptions } from './attacks.js'
import { attackDataset, warnOfDeadRows } from './dataset.js'
import type { GradientCounts } from './deaths.js'
import { column, examples, type FeatureOptions, type Features, mapFeatures, perturbable } from './features.js'
import { attackContext } from './gradient.js'
import { sideBySide } from './lanes.js'
import { checkLabels, type Logits, logitsOf } from './logits.js'
import { featureNames } from './options.js'
import { isRight } from './search.js'
import { exampleDot } from './steps.js'

export interface AccuracyOptions {
  /** The column of the classes, int32 [n]. Default 'label'. */
  label?: string
  /** Default 256. */
  batchSize?: number
  /** Ends the evaluation after the batch in hand, which then rejects: part of it would say nothing. */
  signal?: AbortSignal
}

const accuracyNames: Names<AccuracyOptions> = { label: true, batchSize: true, signal: true }

/**
 * The share of a data set that is classified right, the model in evaluation mode; a row of logits with a NaN is wrong.
 *
 * Cost: a forward pass.
 *
 * @param logits the logits [n, classes] of a batch
 * @throws if the data set is empty, lacks the column of labels or has one that is no class, or the signal aborts
 */
export async function accuracyOn<M>(
  logits: Logits<M>,
  model: M,
  data: Dataset,
  options: AccuracyOptions = {},
): Promise<number> {
  const { label = 'label', batchSize = 256, signal } = knownOptions('accuracyOn', options, accuracyNames)
  if (data.size === 0) throw new Error('accuracyOn: the data set has no rows')
  await realize(model)
  const hits = compile((m: M, batch: Batch) => {
    const z = logitsOf('accuracyOn', logits, m, batch, evaluation)
    checkLabels('accuracyOn', data, label, z)
    return sum(astype(isRight(z, astype(column('accuracyOn', batch, label), 'int32')), 'int32'))
  })
  let right = 0
  for (const rows of batches(data, { batchSize })) {
    signal?.throwIfAborted()
    const batch = tensorsOf(rows)
    right += await (await hits(model, batch)).item()
    for (const t of leaves(batch)) t.dispose()
  }
  return right / data.size
}

type Tally = { -readonly [name in keyof GradientCounts | 'right']: number }

export interface CurvePoint {
  readonly epsilon: number
  readonly accuracy: number
  readonly report: GradientCounts
}

/**
 * The accuracy under PGD for each of some radii, which run as one batch. It must fall to 0 where the ball is large enough to hold
 * another class: a curve that levels out above tells of masked gradients.
 *
 * Cost: steps forward and backward passes of restarts · radii · size examples, and a forward pass of radii · size (twice that, with
 * restarts); `batchSize` counts examples times radii.
 *
 * @param loss what the attack raises: the mean loss, or the losses of the examples [n]
 * @param options of `accuracyOn` and `pgd`; the column of labels is no feature, and stepSize is by default 2.5 · epsilon / steps for each radius
 * @throws as both do
 */
export async function accuracyCurve<M>(
  logits: Logits<M>,
  loss: Loss<M>,
  model: M,
  data: Dataset,
  epsilons: readonly number[],
  options: Omit<PgdOptions<M>, 'epsilon'> & AccuracyOptions = {},
): Promise<CurvePoint[]> {
  const op = 'accuracyCurve'
  const { label = 'label', batchSize = 256, signal, labelKeys = [label], ...rest } = options
  const attack = { ...rest, labelKeys }
  if (data.size === 0) throw new Error(`${op}: the data set has no rows`)
  if (epsilons.length === 0) return []
  const attacks = epsilons.map(epsilon => attackParts(op, loss, { ...attack, epsilon }))
  const [{ steps, step, finish }] = attacks
  const judge = (m: M, state: AttackState): Record<keyof Tally, Tensor> => {
    const { adversarial, report } = finish(m, state)
    const z = logitsOf(op, logits, m, adversarial, evaluation)
    checkLabels(op, data, label, z)
    return { ...report, right: sum(astype(isRight(z, astype(column(op, adversarial, label), 'int32')), 'int32')) }
  }
  // The steps of one radius, batched over all of them.
  const next = compile(vmap(step, { inAxes: [null, 0, 0] }), { donate: [1] })
  const judged = compile(vmap(judge, { inAxes: [null, 0] }), { donate: [1] })
  const tallies = epsilons.map((): Tally => ({ right: 0, gradients: 0, zero: 0, nonFinite: 0, floorHit: 0 }))
  await realize(model)
  let done = 0
  for (const rows of batches(data, { batchSize: Math.max(1, Math.floor(batchSize / epsilons.length)) })) {
    signal?.throwIfAborted()
    const batch = tensorsOf(rows)
    const key = options.key && foldIn(options.key, tensor(done, { dtype: 'int32' }))
    let state = sideBySide(attacks.map(attack => attack.start(batch, key)))
    const dtype = computeType(
      Object.values(state.current)
        .map(x => x.dtype)
        .reduce(promote),
    )
    const reach = sideBySide(
      attacks.map(attack => ({
        stepSize: full([], attack.reach.stepSize, dtype),
        epsilon: full([], attack.reach.epsilon, dtype),
      })),
    )
    await realize([state, reach])
    for (let i = 0; i < steps; i++) state = await next(model, state, reach)
    const found = await judged(model, state)
    for (const name of Object.keys(tallies[0]) as (keyof Tally)[])
      for (const [i, count] of (await found[name].data()).entries()) tallies[i][name] += count
    done += examples(op, batch)
    for (const t of leaves([batch, reach, found])) t.dispose()
  }
  const curve = tallies.map(({ right, ...report }, i) => ({
    epsilon: epsilons[i],
    accuracy: right / data.size,
    report,
  }))
  for (const { epsilon, report } of curve)
    await warnOfDeadRows(op, loss, model, data, { ...attack, epsilon }, report, batchSize)
  return curve
}

/**
 * accuracies[i][j]: of model j on the examples that were made from model i. The diagonal is white box; a column in which something
 * is smaller than its diagonal is a model whose own gradients mislead.
 *
 * Cost: for each model that of `attackDataset`, and a forward pass of every model.
 *
 * @param options of `pgd` and `accuracyOn`; the column of labels is no feature
 * @throws as both do
 */
export async function transferMatrix<M>(
  logits: Logits<M>,
  loss: Loss<M>,
  models: readonly M[],
  data: Dataset,
  options: PgdOptions<M> & AccuracyOptions,
): Promise<number[][]> {
  const { label = 'label', batchSize, signal, labelKeys = [label], ...rest } = options
  const attack = { ...rest, labelKeys }
  const accuracies: number[][] = []
  for (const source of models) {
    const { data: attacked } = await attackDataset(loss, source, data, attack, { batchSize, signal })
    // It ends with a part.
    signal?.throwIfAborted()
    const row: number[] = []
    for (const target of models) row.push(await accuracyOn(logits, target, attacked, { label, batchSize, signal }))
    accuracies.push(row)
  }
  return accuracies
}

export interface Linearity {
  /** ℓ_i(x + δ) - ℓ_i(x). */
  readonly actual: readonly number[]
  /** δᵀg_i: for the step of an attack of its norm, ε times the dual norm of g. */
  readonly linear: readonly number[]
  /** ½δᵀH_iδ. */
  readonly quadratic: readonly number[]
  /** The share of examples whose loss rises by more than `factor` times what both terms promise. */
  readonly masked: number
}

export interface LinearityOptions extends FeatureOptions {
  /** How much more than promised is too much. Default 4. */
  factor?: number
  /** A rise that counts. Default 0.1. */
  least?: number
  context?: Context
}

/**
 * How linear the loss is along a perturbation: ℓ(x + δ) - ℓ(x) beside δᵀg and ½δᵀHδ, its Taylor polynomial of order 2. Gradients that are masked promise little where the loss rises much: attacks that follow
 * them find nothing, and others do.
 *
 * Cost: two forward passes, and the three backward passes of a Hessian-vector product.
 *
 * @param losses the losses of the examples [n]
 * @param perturbed the batch with its features moved, by whatever attack
 */
export async function linearity<M>(
  losses: Loss<M>,
  model: M,
  batch: Batch,
  perturbed: Batch,
  given: LinearityOptions = {},
): Promise<Linearity> {
  const op = 'linearity'
  const names = { ...featureNames, factor: true, least: true, context: true } as const
  const { factor = 4, least = 0.1, context = evaluation, ...options } = knownOptions(op, given, names)
  const ctx = attackContext(context, context.training)
  const features = perturbable(op, batch, options)
  const missing = Object.keys(features).find(name => !(name in perturbed))
  if (missing !== undefined) throw new Error(`${op}: the perturbed batch has no column '${missing}'`)
  const delta = mapFeatures(features, (x, name) => sub(perturbed[name], x))
  const n = examples(op, batch)
  const at = (x: Features) => {
    const found = losses(model, { ...batch, ...x }, ctx)
    if (found.ndim === 1 && found.shape[0] === n) return found
    throw new Error(`${op}: losses must be those of ${n} examples, not of shape ${formatShape(found.shape)}`)
  }
  const total = (x: Features) => sum(at(x))
  const found = stack([
    sub(at(mapFeatures(features, (_, name) => perturbed[name])), at(features)),
    exampleDot(delta, grad(total)(features)),
    mul(exampleDot(delta, hvp(total, features, delta)), 0.5),
  ])
  const values = Array.from(await found.data())
  const [actual, linear, quadratic] = [0, 1, 2].map(i => values.slice(i * n, (i + 1) * n))
  const isMasked = (rise: number, i: number): boolean =>
    rise > least && rise > factor * Math.abs(linear[i] + quadratic[i])
  return { actual, linear, quadratic, masked: actual.filter(isMasked).length / n }
}

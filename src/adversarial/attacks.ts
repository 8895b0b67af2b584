/**
 * Attacks that follow the gradient, as expressions: FGSM (Goodfellow et al. 2015), FGM, and projected gradient descent
 * (Madry et al. 2018, "Towards deep learning models resistant to adversarial attacks"). Whole data sets are dataset.ts's.
 */

import { knownOptions, type Names } from '../graph/options.js'
import { type Batch, type Context, evaluation, type Loss } from '../nn/context.js'
import {
  abs,
  add,
  div,
  equal,
  isfinite,
  isnan,
  logicalAnd,
  mul,
  neg,
  stopGradient,
  where,
} from '../tensor/elementwise.js'
import { broadcastTo, reshape } from '../tensor/movement.js'
import { all, argmax } from '../tensor/reduction.js'
import { full, type Tensor } from '../tensor/tensor.js'
import { type EmbeddingPgdOptions, embeddingPgd, type PerturbedLoss } from './embedding.js'
import { alike, applyMask, examples, type FeatureOptions, type Features, mapFeatures, perturbable } from './features.js'
import {
  addReports,
  attackContext,
  emptyReport,
  type GradientReport,
  gradientReport,
  inputGradient,
  isZeroGradient,
} from './gradient.js'
import { ofRuns } from './lanes.js'
import { checkCounts, checkRequired, checkSizes } from './method.js'
import { featureNames, rangeNames } from './options.js'
import { beside, checkRule, clipFeatures, exampleSum, type Norm, type Reach, step, uniformInBall } from './steps.js'

export interface FgsmOptions extends FeatureOptions {
  /** The radius of the perturbation in the norm, in the units of the features. */
  epsilon: number
  /** 'linf' (FGSM), 'l2' or 'l1' (FGM). Default 'linf'. */
  norm?: Norm
  /** The labels in the batch are targets: lower their loss. Default false. */
  targeted?: boolean
  /** The smallest value a feature may take. Default none. */
  clipMin?: number
  /** The largest value a feature may take. Default none. */
  clipMax?: number
  /** How the model runs. Default evaluation; state never changes. */
  context?: Context
}

export interface PgdOptions<M = unknown> extends FgsmOptions {
  /** Gradient steps. Default 40. */
  steps?: number
  /** How far each step goes. Default 2.5 · epsilon / steps. */
  stepSize?: number
  /** Climb the running sum of gradients, each over its L1 norm, of which a step keeps this share: MI-FGSM. Default 0. */
  decay?: number
  /** Start at a uniformly random point of the ball. Default false. */
  randomStart?: boolean
  /** The random key of the starts, uint32 [2]. */
  key?: Tensor
  /** Random starts for each example, run as one batch, of which the worst is kept; needs losses per example. Default 1. */
  restarts?: number
  /** Which examples are broken, bool [n]: they stop where they are, and count as worst among restarts. Default none. */
  broken?: (model: M, batch: Batch, ctx: Context) => Tensor
}

const fgsmNames: Names<FgsmOptions> = {
  ...featureNames,
  ...rangeNames,
  epsilon: true,
  norm: true,
  targeted: true,
  context: true,
}
const pgdNames: Names<PgdOptions> = {
  ...fgsmNames,
  steps: true,
  stepSize: true,
  decay: true,
  randomStart: true,
  key: true,
  restarts: true,
  broken: true,
}

export interface Attacked {
  /** The batch with its features perturbed. */
  readonly adversarial: Batch
  readonly report: GradientReport
  /** Whose gradients were all exactly 0, bool [n]: the attack could not move these examples. */
  readonly dead: Tensor
}

/** An attack under way: `batch` holds the originals, restart by restart, and `current` where its features have got to. */
export interface AttackState {
  readonly batch: Batch
  readonly current: Features
  /** The running sum of gradients, where steps keep one. */
  readonly momentum?: Features
  readonly report: GradientReport
  /** Whose gradients were exactly 0 so far, bool, restart by restart. */
  readonly dead: Tensor
}

/** The three parts of an attack: what is unrolled into one expression here is one compiled step elsewhere. */
export interface Attack<M> {
  readonly steps: number
  readonly reach: { readonly stepSize: number; readonly epsilon: number }
  start(batch: Batch, key?: Tensor): AttackState
  /** Another reach than the attack's own may be given. */
  step(model: M, state: AttackState, reach?: Reach): AttackState
  finish(model: M, state: AttackState): Attacked
}

/** PGD's options, checked, as its three parts. */
export function attackParts<M>(op: string, loss: Loss<M>, options: PgdOptions<M>): Attack<M> {
  const {
    epsilon,
    steps = 40,
    restarts = 1,
    norm = 'linf',
    targeted = false,
    randomStart = false,
    broken,
    decay,
  } = knownOptions(op, options, pgdNames)
  checkCounts(op, { steps, restarts })
  const stepSize = options.stepSize ?? (2.5 * epsilon) / steps
  const reach = { epsilon, stepSize: targeted ? -stepSize : stepSize }
  const rule = { ...options, norm, ...reach }
  checkRequired(op, { epsilon })
  checkSizes(op, { decay, stepSize: options.stepSize })
  checkRule(op, rule)
  if (restarts > 1 && !randomStart)
    throw new Error(`${op}: ${restarts} restarts from one point are all the same; set randomStart`)
  const ctx = attackContext(options.context ?? evaluation, options.context?.training ?? false)
  const originals = (batch: Batch): Features => perturbable(op, batch, options)

  return {
    steps,
    reach,
    start(batch, key) {
      const tiled = mapFeatures(batch, x => repeat(x, restarts))
      const original = originals(tiled)
      // In the order of what `step` returns: one plan serves both.
      const begun = (current: Features): AttackState => ({
        batch: tiled,
        current,
        report: emptyReport(),
        dead: full([examples(op, tiled)], true, 'bool'),
      })
      if (!randomStart) return begun(original)
      if (!key) throw new Error(`${op}: randomStart needs a random key: { key: random.key(0) }`)
      const delta = uniformInBall(key, original, epsilon, norm)
      const moved = mapFeatures(original, (x, name) => add(x, applyMask(delta[name], name, options.featureMask)))
      return begun(alike(clipFeatures(moved, rule), original))
    },
    step(model, { batch, current, momentum, report, dead }, other = reach) {
      const { gradient } = inputGradient(op, loss, model, batch, current, ctx)
      const climbed = decay ? accumulated(momentum, gradient, decay) : undefined
      const moved = step(originals(batch), current, climbed ?? gradient, { ...rule, ...other })
      const stopped = broken?.(model, { ...batch, ...current }, ctx)
      const next = stopped ? mapFeatures(moved, (x, name) => where(beside(stopped, x), current[name], x)) : moved
      return {
        batch,
        current: next,
        ...(climbed && { momentum: climbed }),
        report: addReports(report, gradientReport(gradient, examples(op, batch), stopped)),
        dead: logicalAnd(dead, isZeroGradient(gradient)),
      }
    },
    finish(model, { batch, current, report, dead }) {
      const adversarial = { ...batch, ...current }
      if (restarts === 1) return { adversarial, report, dead }
      const losses = loss(model, adversarial, ctx)
      if (losses.ndim !== 1)
        throw new Error(
          `${op}: restarts compare the losses of single examples; give a loss that returns [n], not a mean`,
        )
      const gain = targeted ? neg(losses) : losses
      // NaN would win or lose at random: it counts as broken.
      const comparable = where(isnan(gain), Number.POSITIVE_INFINITY, gain)
      const score = broken ? where(broken(model, adversarial, ctx), Number.POSITIVE_INFINITY, comparable) : comparable
      const n = losses.size / restarts
      const worst = argmax(stopGradient(reshape(score, [restarts, n])), { axis: 0 })
      const stayed = all(reshape(dead, [restarts, n]), { axis: 0 })
      const kept = mapFeatures(adversarial, x => ofRuns(reshape(x, [restarts, n, ...x.shape.slice(1)]), worst))
      return { adversarial: kept, report, dead: stayed }
    },
  }
}

/** decay · momentum + g / ‖g‖₁, elements that are not finite as 0. */
function accumulated(momentum: Features | undefined, gradient: Features, decay: number): Features {
  const finite = mapFeatures(gradient, g => where(isfinite(g), g, 0))
  const length = exampleSum(finite, abs)
  const isZero = equal(length, 0)
  return mapFeatures(finite, (g, name) => {
    const unit = div(g, beside(where(isZero, 1, length), g))
    return momentum ? add(mul(momentum[name], decay), unit) : unit
  })
}

/** x [n, ...] restarts times over: [restarts · n, ...]. */
const repeat = (x: Tensor, restarts: number): Tensor =>
  restarts === 1 ? x : reshape(broadcastTo(x, [restarts, ...x.shape]), [restarts * x.shape[0], ...x.shape.slice(1)])

/**
 * x moved by epsilon in the steepest direction of the loss, clipped: x + ε sign(g) for linf, x + ε g / ‖g‖₂ for l2, ε on
 * the largest |g| for l1; minus where targeted. g is the gradient of the sum of the examples' losses. Goodfellow, Shlens and Szegedy
 * 2015, "Explaining and harnessing adversarial examples", section 4; for l2 Miyato et al. 2017.
 *
 * Cost: one forward and one backward pass.
 *
 * @param loss the mean loss, or the losses of the examples [n]
 * @returns the perturbed batch and the gradient report, as expressions: they work inside a loss and inside `compile`
 * @throws if an option is out of range or unknown, or names a column that the batch lacks
 * @example const { adversarial } = fgsm(loss, model, batch, { epsilon: 0.2, clipMin: 0, clipMax: 1 })
 */
export const fgsm = <M>(loss: Loss<M>, model: M, batch: Batch, options: FgsmOptions): Attacked => {
  const { epsilon } = knownOptions('fgsm', options, fgsmNames)
  return unrolled(attackParts('fgsm', loss, { ...options, steps: 1, stepSize: epsilon }), model, batch)
}

/**
 * `steps` steps of `stepSize` in the steepest direction of the loss, each followed by the projection on the ball of
 * radius epsilon around x and the clip: x_{k+1} = clip(x + Π(x_k + α·v(g) - x)). Madry et al. 2018, section 2.1. Of several restarts, the one that raises (targeted: lowers) its loss most is kept
 * for each example.
 *
 * Cost: `steps` forward and backward passes of restarts · n examples, all in one graph; one more forward pass for
 * restarts. For many steps over many batches, `attackDataset` replays one compiled step instead.
 *
 * @param loss the mean loss, or the losses of the examples [n], which restarts need
 * @returns the perturbed batch and the gradient report over all steps and restarts, as expressions
 * @throws if an option is out of range or names a column that the batch lacks, or a random start has no key
 * @example const { adversarial } = pgd(loss, model, batch, { epsilon: 0.2, steps: 7, randomStart: true, key: ctx.key })
 */
export function pgd<M>(loss: Loss<M>, model: M, batch: Batch, options: PgdOptions<M>): Attacked
/**
 * PGD on parameters: L + L(E + δ_K), δ_{k+1} = Π(δ_k + α·g/‖g‖₂) on the ball of radius ε around the parameter, or around the
 * vectors looked up, by `scope`. As `fgm` in everything else. Madry et al. 2018, section 2.1.
 *
 * Cost: steps + 1 forward and backward passes.
 *
 * @returns a function from loss to loss; what it returns tells `skipped` apart
 * @example trainer.use(pgd({ on: 'embedding', epsilon: 1, stepSize: 0.3, steps: 3 }))
 */
export function pgd(options: EmbeddingPgdOptions): <M>(loss: Loss<M>) => PerturbedLoss<M>
export function pgd<M>(
  ...given: [Loss<M>, M, Batch, PgdOptions<M>] | [EmbeddingPgdOptions]
): Attacked | ((loss: Loss<M>) => PerturbedLoss<M>) {
  if (given.length === 1) return embeddingPgd(given[0])
  const [loss, model, batch, options] = given
  return unrolled(attackParts('pgd', loss, options), model, batch, options.key)
}

/**
 * The basic iterative method: `pgd` with 10 steps of epsilon / steps by default, x_{k+1} = clip(x_k + α·sign(g)), from x itself
 * unless `randomStart`. Kurakin, Goodfellow and Bengio 2017, "Adversarial examples in the physical world", section 2.2.
 *
 * Cost: steps forward and backward passes.
 *
 * @throws as `pgd` does
 */
export const bim = <M>(loss: Loss<M>, model: M, batch: Batch, options: PgdOptions<M>): Attacked => {
  const { epsilon, steps = 10, stepSize = epsilon / steps } = knownOptions('bim', options, pgdNames)
  return unrolled(attackParts('bim', loss, { ...options, steps, stepSize }), model, batch, options.key)
}

/**
 * The momentum iterative method: each step follows the running sum m_{k+1} = decay·m_k + g/‖g‖₁, by default with decay 1 and 10
 * steps of epsilon / steps, from x itself unless `randomStart`. Dong et al. 2018, "Boosting adversarial attacks with momentum",
 * algorithm 1.
 *
 * Cost: steps forward and backward passes.
 *
 * @throws as `pgd` does
 */
export const mifgsm = <M>(loss: Loss<M>, model: M, batch: Batch, options: PgdOptions<M>): Attacked => {
  const { epsilon, steps = 10, stepSize = epsilon / steps, decay = 1 } = knownOptions('mifgsm', options, pgdNames)
  return unrolled(attackParts('mifgsm', loss, { ...options, steps, stepSize, decay }), model, batch, options.key)
}

function unrolled<M>(attack: Attack<M>, model: M, batch: Batch, key?: Tensor): Attacked {
  let state = attack.start(batch, key)
  for (let i = 0; i < attack.steps; i++) state = attack.step(model, state)
  return attack.finish(model, state)
}

/**
 * Adversarial training on parameters, above all on embeddings, where inputs are integers: FGM (Miyato et al. 2017, "Adversarial
 * training methods for semi-supervised text classification"), PGD on the same ball (Madry et al. 2018) and FreeLB (Zhu et al.
 * 2020, "FreeLB: Enhanced adversarial training for natural language understanding").
 */

import { knownOptions, type Names } from '../graph/options.js'
import type { Batch, Context, Loss } from '../nn/context.js'
import { add, div } from '../tensor/elementwise.js'
import type { Tensor } from '../tensor/tensor.js'
import { meanGradient } from './gradient.js'
import {
  ascend,
  checkCounts,
  checkSizes,
  furtherPass,
  keyOf,
  lossAt,
  moveStatistics,
  undirected,
  uniformStart,
} from './method.js'
import { leafNames } from './options.js'
import { checkChosen, type LeafOptions, type Point, placeOf } from './places.js'
import { checkNorm, type Norm } from './steps.js'

export interface EmbeddingOptions extends LeafOptions {
  /** The norm of the perturbation, of each unit of the scope. Default 'l2'. */
  norm?: Norm
  /**
   * 'accumulate': the clean loss plus the loss at the perturbation, so that a step's gradient is the sum of both; 'replace':
   * the loss at the perturbation alone. Default 'accumulate'.
   */
  mode?: 'accumulate' | 'replace'
  /** Differentiate through the perturbation too. Default false. */
  throughAttack?: boolean
}

export interface FgmOptions extends EmbeddingOptions {
  /** The length of the perturbation. Default 1. */
  epsilon?: number
}

export interface EmbeddingPgdOptions extends EmbeddingOptions {
  /** The radius of the ball. Default 1. */
  epsilon?: number
  /** How far each step goes. Default 0.3. */
  stepSize?: number
  /** Default 3. */
  steps?: number
}

const fgmNames: Names<FgmOptions> = { ...leafNames, norm: true, mode: true, throughAttack: true, epsilon: true }

/** A loss that perturbs, and how often it could not. */
export interface PerturbedLoss<M> extends Loss<M> {
  /** How many units of the scope were left alone because their first gradient is 0 or not finite: a metric. */
  readonly skipped: Loss<M>
  readonly base: Loss<M>
}

/**
 * L + L(E + r) with r = ε·G/‖G‖₂, G = ∂L/∂E the dense gradient of a whole parameter (repeated ids summed) or, by `scope`, of
 * the vectors looked up. The gradient is that of the pass itself, in its mode and with its dropout; r is cut from the
 * gradient unless `throughAttack`. Where G is 0 or not finite, nothing is added. Several parameters have a norm each.
 *
 * Miyato, Dai and Goodfellow 2017, arXiv:1605.07725, section 3.
 *
 * Cost: two forward and two backward passes.
 *
 * @returns a function from loss to loss; what it returns tells `skipped` apart
 * @throws if an option is out of range or unknown, and at the call of the loss, if `on` matches no parameter or options exclude each other
 * @example trainer.use(fgm({ on: 'embedding', epsilon: 0.5 }))
 */
export function fgm(given: FgmOptions) {
  const { epsilon = 1, ...options } = knownOptions('fgm', given, fgmNames)
  return perturbing('fgm', { ...options, stepSize: epsilon, steps: 1 })
}

/** `pgd` with one argument; its docstring is there. */
export function embeddingPgd(given: EmbeddingPgdOptions) {
  const {
    epsilon = 1,
    stepSize = 0.3,
    steps = 3,
    ...options
  } = knownOptions('pgd', given, {
    ...fgmNames,
    stepSize: true,
    steps: true,
  })
  return perturbing('pgd', { ...options, epsilon, stepSize, steps })
}

function perturbing(
  op: string,
  options: EmbeddingOptions & { readonly epsilon?: number; readonly stepSize: number; readonly steps: number },
) {
  const { norm = 'l2', mode = 'accumulate', epsilon, stepSize, steps } = options
  checkChosen(op, options.on)
  checkNorm(op, norm)
  checkSizes(op, steps === 1 && epsilon === undefined ? { epsilon: stepSize } : { epsilon, stepSize })
  checkCounts(op, { steps })
  if (mode !== 'accumulate' && mode !== 'replace')
    throw new Error(`${op}: unknown mode '${mode}'; 'accumulate' or 'replace'`)
  return <M>(loss: Loss<M>): PerturbedLoss<M> => {
    const perturbed = (model: M, batch: Batch, ctx: Context): Tensor => {
      const further = furtherPass(ctx)
      const place = placeOf(op, loss, { model, batch }, further, options)
      const delta = ascend(op, at => lossAt(loss, at, further), place, place.origin, { ...options, norm })
      return lossAt(loss, place.at(delta), further)
    }
    const total: Loss<M> = (model, batch, ctx) => {
      const added = perturbed(model, batch, ctx)
      if (mode === 'accumulate') return add(loss(model, batch, ctx), added)
      moveStatistics(loss, model, batch, ctx)
      return added
    }
    const skipped: Loss<M> = (model, batch, ctx) => {
      const further = furtherPass(ctx)
      const place = placeOf(op, loss, { model, batch }, further, options)
      return undirected(
        place,
        meanGradient(op, d => lossAt(loss, place.at(d), further), place.origin, place.examples).gradient,
      )
    }
    return Object.assign(total, { skipped, base: loss })
  }
}

export interface FreeLbOptions extends LeafOptions {
  /** Default 3. */
  steps?: number
  /** How far each step goes, in the norm, for each unit. Default 0.1. */
  stepSize?: number
  /** The radius of the ball around the vectors. Default none. */
  epsilon?: number
  /** The radius of the ball that the first perturbation is drawn from; 0 starts at the vectors themselves. Default 0. */
  start?: number
  /** Default 'l2'. */
  norm?: Norm
}

/** Distinguishes the random start from what else a pass draws from its key. */
const startStream = 0x66726565

/**
 * (1/K) Σ_t L(X + δ_t), t = 0 .. K-1: the gradients of all K steps of an attack, each divided by K, train the model. δ_0 is
 * drawn from a ball of radius `start`, and δ_{t+1} = Π(δ_t + α·g_t/‖g_t‖). By default X are the vectors that each example looks
 * up. Algorithm 1 of the paper.
 *
 * Cost: K forward and backward passes; the gradient that moves δ comes from the same pass as the model's.
 *
 * @throws if an option is out of range or unknown, and at the call of the loss, if `on` matches no parameter, options exclude
 * each other or a random start has no key
 * @example trainer.use(freeLB({ on: 'embedding', steps: 3, stepSize: 0.1, start: 0.02 }))
 */
export function freeLB(options: FreeLbOptions): <M>(loss: Loss<M>) => Loss<M> {
  const op = 'freeLB'
  const {
    steps = 3,
    stepSize = 0.1,
    epsilon,
    start = 0,
    norm = 'l2',
    scope = 'example',
  } = knownOptions(op, options, {
    ...leafNames,
    steps: true,
    stepSize: true,
    epsilon: true,
    start: true,
    norm: true,
  })
  checkChosen(op, options.on)
  checkCounts(op, { steps })
  checkNorm(op, norm)
  checkSizes(op, { stepSize, start, epsilon })
  return <M>(loss: Loss<M>): Loss<M> =>
    (model, batch, ctx) => {
      const further = furtherPass(ctx)
      const place = placeOf(op, loss, { model, batch }, further, { ...options, scope })
      let delta = start === 0 ? place.origin : uniformStart(place, keyOf(op, ctx, startStream), start, norm)
      let total = lossAt(loss, place.at(delta), ctx)
      for (let i = 1; i < steps; i++) {
        // Divided like the sum, so that its backward pass is the one that training makes.
        const objective = (at: Point<M>): Tensor => div(lossAt(loss, at, further), steps)
        delta = ascend(op, objective, place, delta, { norm, stepSize, epsilon, steps: 1 })
        total = add(total, lossAt(loss, place.at(delta), further))
      }
      return div(total, steps)
    }
}

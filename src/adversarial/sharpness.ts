/**
 * Perturbed weights: sharpness-aware training (SAM, AWP), and how sharp a minimum is (the Hessian's largest eigenvalue and
 * trace) by exact Hessian-vector products.
 */

import { grad, hvp } from '../autodiff/transforms.js'
import { computeType } from '../graph/dtype.js'
import { knownOptions, type Names } from '../graph/options.js'
import { type Batch, type Context, evaluation, type Loss } from '../nn/context.js'
import { isParameter } from '../nn/parameters.js'
import { compile } from '../tensor/compile.js'
import { onesLike } from '../tensor/create.js'
import { add, astype, div, equal, mul, square, stopGradient, sub, where } from '../tensor/elementwise.js'
import { bernoulli, foldIn, normal, key as randomKey } from '../tensor/random.js'
import { realize } from '../tensor/realize.js'
import { mean, sum } from '../tensor/reduction.js'
import { full, type Tensor } from '../tensor/tensor.js'
import { mapTree, namedLeaves } from '../tensor/tree.js'
import { type Features, mapFeatures } from './features.js'
import { checkCounts, checkSizes, furtherPass, type Method, moveStatistics } from './method.js'
import { type Chosen, chosenLeaves } from './places.js'
import { dot, safeRoot } from './steps.js'

/** The trained parameters of a model by name, in float32 at least. */
export const parametersOf = (model: unknown): Features =>
  Object.fromEntries(
    namedLeaves(model)
      .filter(({ name, tensor }) => isParameter(tensor, name))
      .map(({ name, tensor }) => [name, astype(tensor, computeType(tensor.dtype))]),
  )

/** The model with other parameters. */
export const withParameters = <M>(model: M, parameters: Features): M =>
  mapTree(model, (leaf, name) => (name in parameters ? astype(parameters[name], leaf.dtype) : leaf))

/** The model with something added to some leaves. */
const shifted = <M>(model: M, by: Features): M =>
  mapTree(model, (leaf, name) => (name in by ? add(leaf, astype(by[name], leaf.dtype)) : leaf))

const lengthOf = (x: Features): Tensor => safeRoot(dot(x, x))

/** x / y, and 0 where y is 0. */
const safeRatio = (x: Tensor, y: Tensor): Tensor => where(equal(y, 0), 0, div(x, where(equal(y, 0), 1, y)))

/** The gradient of the mean loss in the parameters. */
const slopes = <M>(loss: Loss<M>, model: M, batch: Batch, ctx: Context): Features =>
  grad((p: Features) => mean(loss(withParameters(model, p), batch, ctx)))(parametersOf(model))

/**
 * L(θ + ρ·g/‖g‖₂), g = ∂L/∂θ over all parameters together, the perturbation cut. Foret et al. 2021, "Sharpness-aware minimization
 * for efficiently improving generalization", equation 2. Running statistics are those of the pass at θ.
 *
 * Cost: two forward and backward passes.
 *
 * @throws if rho is negative or not finite
 * @example trainer.use(sam({ rho: 0.05 }))
 */
export function sam(options: { rho?: number } = {}): Method {
  const { rho = 0.05 } = knownOptions('sam', options, { rho: true })
  checkSizes('sam', { rho })
  return <M>(loss: Loss<M>): Loss<M> =>
    (model, batch, ctx) => {
      const further = furtherPass(ctx)
      const g = slopes(loss, model, batch, further)
      const length = lengthOf(g)
      const scale = mul(safeRatio(onesLike(length), length), rho)
      moveStatistics(loss, model, batch, ctx)
      return loss(
        shifted(
          model,
          mapFeatures(g, x => stopGradient(mul(x, astype(scale, x.dtype)))),
        ),
        batch,
        further,
      )
    }
}

export interface AwpOptions {
  /** The length of a layer's perturbation relative to that of its weights. Default 0.005. */
  gamma?: number
  /** The parameters to perturb. Default those of two dimensions or more, as in the paper. */
  on?: Chosen
}

/**
 * L(θ + v), v_l = γ·‖θ_l‖·g_l/‖g_l‖ for each parameter l by itself, cut. Wu, Xia and Wang 2020, "Adversarial weight perturbation helps
 * robust generalization", equation 8. Wrapped around a loss under attack, as in `awp()(trades({...})(loss))`, the attack is made
 * again at θ + v, where the paper keeps its examples.
 *
 * Cost: twice that of the loss.
 *
 * @throws if gamma is out of range, and at the call of the loss, if `on` matches no parameter
 */
export function awp(options: AwpOptions = {}): Method {
  const { gamma = 0.005, on = (_: string, leaf: Tensor) => leaf.ndim > 1 } = knownOptions('awp', options, {
    gamma: true,
    on: true,
  })
  checkSizes('awp', { gamma })
  return <M>(loss: Loss<M>): Loss<M> =>
    (model, batch, ctx) => {
      const further = furtherPass(ctx)
      const chosen = new Set(chosenLeaves('awp', model, on).map(l => l.name))
      const g = slopes(loss, model, batch, further)
      const weights = parametersOf(model)
      const length = (x: Tensor): Tensor => safeRoot(sum(square(x)))
      const moves = Object.entries(g)
        .filter(([name]) => chosen.has(name))
        .map(
          ([name, x]) => [name, stopGradient(mul(x, mul(safeRatio(length(weights[name]), length(x)), gamma)))] as const,
        )
      moveStatistics(loss, model, batch, ctx)
      return loss(shifted(model, Object.fromEntries(moves)), batch, further)
    }
}

export interface SharpnessOptions {
  /** Default 20. */
  iterations?: number
  /** uint32 [2]; random.key(0) by default. */
  key?: Tensor
}

const sharpnessNames: Names<SharpnessOptions> = { iterations: true, key: true }

/** v -> H·v for the Hessian of the mean loss in the trained parameters, as one compiled step. */
function hessianProduct<M>(loss: Loss<M>): (model: M, batch: Batch, v: Features) => Promise<Features> {
  return compile((model: M, batch: Batch, v: Features) =>
    hvp((p: Features) => mean(loss(withParameters(model, p), batch, evaluation)), parametersOf(model), v),
  )
}

/**
 * The eigenvalue of largest magnitude of the Hessian of the mean loss in all trained parameters, by power iteration from a
 * random start, the model in evaluation mode: v ← Hv / ‖Hv‖₂, λ = vᵀHv.
 *
 * Cost: iterations Hessian-vector products (a forward and three backward passes each).
 *
 * @returns the Rayleigh quotient, and ‖Hv - λv‖₂ for the unit vector v it was found with: how far from an eigenvalue it is
 */
export async function topEigenvalue<M>(
  loss: Loss<M>,
  model: M,
  batch: Batch,
  options: SharpnessOptions = {},
): Promise<{ eigenvalue: number; residual: number }> {
  const { iterations = 20, key = randomKey(0) } = knownOptions('topEigenvalue', options, sharpnessNames)
  checkCounts('topEigenvalue', { iterations })
  const product = hessianProduct(loss)
  let i = 0
  let v = mapFeatures(parametersOf(model), x => normal(foldIn(key, i++), x.shape, x.dtype))
  let [eigenvalue, residual] = [0, 0]
  for (let k = 0; k < iterations; k++) {
    const length = lengthOf(v)
    v = mapFeatures(v, x => safeRatio(x, length))
    await realize(v)
    const hv = await product(model, batch, v)
    const quotient = dot(v, hv)
    const error = lengthOf(mapFeatures(hv, (x, name) => sub(x, mul(v[name], quotient))))
    ;[eigenvalue, residual] = await Promise.all([quotient.item(), error.item()])
    v = hv
  }
  return { eigenvalue, residual }
}

/**
 * The trace of the same Hessian: the mean of vᵀHv over random signs v, which is unbiased. Hutchinson 1990, "A stochastic estimator
 * of the trace of the influence matrix for Laplacian smoothing splines".
 *
 * Cost: iterations Hessian-vector products.
 *
 * @returns the mean and its standard error
 */
export async function hessianTrace<M>(
  loss: Loss<M>,
  model: M,
  batch: Batch,
  options: SharpnessOptions = {},
): Promise<{ trace: number; standardError: number }> {
  const { iterations = 20, key = randomKey(0) } = knownOptions('hessianTrace', options, sharpnessNames)
  checkCounts('hessianTrace', { iterations })
  const product = hessianProduct(loss)
  const found: number[] = []
  for (let k = 0; k < iterations; k++) {
    let i = 0
    const v = mapFeatures(parametersOf(model), x => {
      const signs = bernoulli(foldIn(foldIn(key, k), i++), x.shape)
      return where(signs, full(x.shape, 1, x.dtype), full(x.shape, -1, x.dtype))
    })
    await realize(v)
    const hv = await product(model, batch, v)
    const quotient = dot(v, hv)
    found.push(await quotient.item())
  }
  const trace = found.reduce((a, b) => a + b, 0) / iterations
  const variance = found.reduce((a, b) => a + (b - trace) ** 2, 0) / Math.max(1, iterations - 1)
  return { trace, standardError: iterations > 1 ? Math.sqrt(variance / iterations) : Number.POSITIVE_INFINITY }
}

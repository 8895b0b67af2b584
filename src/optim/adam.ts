/** Adam, and AdamW with its decoupled weight decay. */

import { knownOptions, type Names } from '../graph/options.js'
import { add, div, expm1, mul, neg, reciprocal, rsqrt, square, sub } from '../tensor/elementwise.js'
import { safeSqrt } from '../tensor/shared.js'
import type { Tensor } from '../tensor/tensor.js'
import { checkShare, type Optimizer, optimizer } from './optimizer.js'
import { checkRate, type Schedule } from './schedules.js'

export interface AdamOptions {
  readonly learningRate?: number | Schedule
  /** The share that the running mean of the gradient keeps. */
  readonly beta1?: number
  /** The share that the running mean of its square keeps. */
  readonly beta2?: number
  readonly epsilon?: number
}
const adamNames: Names<AdamOptions> = { learningRate: true, beta1: true, beta2: true, epsilon: true }
const adamWNames: Names<AdamOptions & { weightDecay?: number }> = { ...adamNames, weightDecay: true }

/** Adam. Kingma and Ba 2015, arXiv:1412.6980, algorithm 1. */
export function adam(options: AdamOptions = {}): Optimizer {
  if (Object.hasOwn(Object(options), 'weightDecay')) throw new Error('adam: has no weightDecay; adamW has')
  return decoupled('adam', { ...knownOptions('adam', options, adamNames), weightDecay: 0 })
}

/** Adam that also shrinks parameters by learningRate·weightDecay. Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2. */
export const adamW = (options: AdamOptions & { readonly weightDecay?: number } = {}): Optimizer =>
  decoupled('adamW', { weightDecay: 0.01, ...knownOptions('adamW', options, adamWNames) })

function decoupled(
  name: string,
  {
    learningRate = 0.001,
    beta1 = 0.9,
    beta2 = 0.999,
    epsilon = 1e-8,
    weightDecay,
  }: AdamOptions & { readonly weightDecay: number },
): Optimizer {
  checkShare(`${name}: beta1`, beta1)
  checkShare(`${name}: beta2`, beta2)
  checkRate(`${name}: epsilon`, epsilon)
  checkRate(`${name}: weightDecay`, weightDecay)
  const average = (old: Tensor, now: Tensor, beta: number): Tensor => add(mul(old, beta), mul(now, 1 - beta))
  return optimizer(name, ['mean', 'square'], learningRate, ({ t, rate }) => {
    // Of the algorithm's means without bias, m / (1 - β1ᵗ) and √(v / (1 - β2ᵗ)), as factors: each element needs one division.
    const [ofMean, ofRoot] = [reciprocal(corrected(beta1, t)), rsqrt(corrected(beta2, t))]
    return ({ param, grad, moments }) => {
      const m = average(moments.mean, grad, beta1)
      const v = average(moments.square, square(grad), beta2)
      const direction = mul(div(m, add(mul(safeSqrt(v), ofRoot), epsilon)), ofMean)
      const step = weightDecay ? add(direction, mul(param, weightDecay)) : direction
      return { param: sub(param, mul(step, rate)), moments: { mean: m, square: v } }
    }
  })
}

/** The bias correction 1 - βᵗ, as -expm1(t ln β): exact for β close to 1. */
const corrected = (beta: number, t: Tensor): Tensor => neg(expm1(mul(t, Math.log(beta))))

/** Stochastic gradient descent. */

import { knownOptions, type Names } from '../graph/options.js'
import { add, mul, sub } from '../tensor/elementwise.js'
import { checkShare, type Optimizer, optimizer } from './optimizer.js'
import { checkRate, type Schedule } from './schedules.js'

export interface SgdOptions {
  readonly learningRate: number | Schedule
  /** The share of the velocity that a step keeps. */
  readonly momentum?: number
  /** Step along the velocity after the next one. Sutskever et al., ICML 2013. */
  readonly nesterov?: boolean
  /** Adds this times the parameter to its gradient (L2 regularisation). */
  readonly weightDecay?: number
}
const sgdNames: Names<SgdOptions> = { learningRate: true, momentum: true, nesterov: true, weightDecay: true }

/**
 * g ← gradient + weightDecay·p, v ← momentum·v + g, p ← p - learningRate·(v, or g + momentum·v with Nesterov).
 *
 * @throws if a rate is negative or not finite, momentum is outside [0, 1), or nesterov has no momentum.
 */
export function sgd(options: SgdOptions): Optimizer {
  const { learningRate, momentum = 0, nesterov = false, weightDecay = 0 } = knownOptions('sgd', options, sgdNames)
  checkShare('sgd: momentum', momentum)
  checkRate('sgd: weightDecay', weightDecay)
  if (nesterov && momentum === 0) throw new Error('sgd: nesterov needs a momentum above 0')
  return optimizer('sgd', momentum ? ['velocity'] : [], learningRate, ({ rate }) => ({ param, grad, moments }) => {
    const g = weightDecay ? add(grad, mul(param, weightDecay)) : grad
    if (!momentum) return { param: sub(param, mul(g, rate)), moments }
    const velocity = add(mul(moments.velocity, momentum), g)
    const direction = nesterov ? add(g, mul(velocity, momentum)) : velocity
    return { param: sub(param, mul(direction, rate)), moments: { velocity } }
  })
}

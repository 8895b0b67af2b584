/** Learning rates that change from step to step, as expressions of the step number: nothing is compiled again for them. */

import { knownOptions } from '../graph/options.js'
import { add, clip, cos, div, floor, less, minimum, mul, pow, where } from '../tensor/elementwise.js'
import { full, type Tensor } from '../tensor/tensor.js'

/** The learning rate of a step, counted from 0; both are float32 scalars. */
export type Schedule = (step: Tensor) => Tensor

export function checkRate(name: string, rate: number): void {
  if (!(Number.isFinite(rate) && rate >= 0)) throw new Error(`${name}: a rate is a finite number >= 0, not ${rate}`)
}
function checkSteps(name: string, steps: number, atLeast = 1): void {
  if (!Number.isInteger(steps) || steps < atLeast)
    throw new Error(`${name}: steps are counted by an integer >= ${atLeast}, not ${steps}`)
}

export function constant(rate: number): Schedule {
  checkRate('constant', rate)
  return () => full([], rate)
}

/** Rises in a line over the first steps, (step + 1) / steps of the rate or schedule given, and then follows it. */
export function linearWarmup(rate: number | Schedule, steps: number): Schedule {
  checkSteps('linearWarmup', steps)
  const after = typeof rate === 'number' ? constant(rate) : rate
  return step => mul(minimum(div(add(step, 1), steps), 1), after(step))
}

/**
 * From the rate down to `final` over `steps` along half a cosine, after `warmup` steps of linear rise (counted in `steps`);
 * `final` from then on. Loshchilov and Hutter 2017, arXiv:1608.03983, eq. 5.
 */
export function cosine(
  rate: number,
  steps: number,
  options: { readonly warmup?: number; readonly final?: number } = {},
): Schedule {
  const { warmup = 0, final = 0 } = knownOptions('cosine', options, { warmup: true, final: true })
  checkRate('cosine', rate)
  checkRate('cosine', final)
  checkSteps('cosine', steps)
  checkSteps('cosine', warmup, 0)
  if (warmup >= steps) throw new Error(`cosine: a warmup of ${warmup} leaves none of the ${steps} steps`)
  return step => {
    const progress = clip(div(add(step, -warmup), steps - warmup), 0, 1)
    const decayed = add(mul(add(cos(mul(progress, Math.PI)), 1), (rate - final) / 2), final)
    return warmup ? where(less(step, warmup), mul(add(step, 1), rate / warmup), decayed) : decayed
  }
}

/** The rate times `factor` for every `every` steps completed. */
export function stepDecay(rate: number, every: number, factor: number): Schedule {
  checkRate('stepDecay', rate)
  checkRate('stepDecay', factor)
  checkSteps('stepDecay', every)
  return step => mul(pow(factor, floor(div(step, every))), rate)
}

/** rate · factor^(step / every). */
export function exponential(rate: number, factor: number, every = 1): Schedule {
  checkRate('exponential', rate)
  checkRate('exponential', factor)
  checkSteps('exponential', every)
  return step => mul(pow(factor, div(step, every)), rate)
}

/** Functions of networks that are no layer of their own: softmax and its kin, stopGradient. */

import { div, exp, isfinite, sub, where } from './elementwise.js'
import { logsumexp, max, sum } from './reduction.js'
import { build, type Tensor } from './tensor.js'

/** The value of x, through which no gradient flows. */
export const stopGradient = (x: Tensor): Tensor => build('stopGradient', [x], {})

/** exp(x) / Σ exp(x) along an axis, without overflow. */
export function softmax(x: Tensor, { axis = -1 }: { axis?: number } = {}): Tensor {
  const top = max(x, { axis, keepdims: true })
  const e = exp(sub(x, stopGradient(where(isfinite(top), top, 0))))
  return div(e, sum(e, { axis, keepdims: true }))
}

/** log(softmax(x)), precise where the softmax is close to 0. */
export const logSoftmax = (x: Tensor, { axis = -1 }: { axis?: number } = {}): Tensor =>
  sub(x, logsumexp(x, { axis, keepdims: true }))

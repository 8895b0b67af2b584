/** Functions of networks that are no layer of their own: softmax and its kin, stopGradient. */

import { normalizeAxis } from '../graph/shape.js'
import { div, exp, isfinite, sub, where } from './elementwise.js'
import { logsumexp, max, sum } from './reduction.js'
import { build, demandOptions, demandTensors, type Tensor } from './tensor.js'

/** The value of x, through which no gradient flows. */
export const stopGradient = (x: Tensor): Tensor => build('stopGradient', [x], {})

/** exp(x) / Σ exp(x) along an axis, without overflow. */
export function softmax(x: Tensor, options: { axis?: number } = {}): Tensor {
  const { axis = -1 } = demandOptions('softmax', options)
  demandTensors('softmax', x)
  normalizeAxis('softmax', axis, x.ndim)
  const top = max(x, { axis, keepdims: true })
  const e = exp(sub(x, stopGradient(where(isfinite(top), top, 0))))
  return div(e, sum(e, { axis, keepdims: true }))
}

/** log(softmax(x)), precise where the softmax is close to 0. */
export function logSoftmax(x: Tensor, options: { axis?: number } = {}): Tensor {
  const { axis = -1 } = demandOptions('logSoftmax', options)
  demandTensors('logSoftmax', x)
  normalizeAxis('logSoftmax', axis, x.ndim)
  return sub(x, logsumexp(x, { axis, keepdims: true }))
}

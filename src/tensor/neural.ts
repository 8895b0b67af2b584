/** Functions of networks that have no weights of their own: softmax and its kin, attention, dropout, resizing of images. */

import { isFloat, promote } from '../graph/dtype.js'
import { formatShape, normalizeAxis } from '../graph/shape.js'
import { matmul } from './contraction.js'
import { iota } from './create.js'
import {
  add,
  astype,
  div,
  equal,
  exp,
  floorDivide,
  isfinite,
  lessEqual,
  maximum,
  minimum,
  mul,
  remainder,
  rsqrt,
  square,
  sub,
  where,
} from './elementwise.js'
import { take } from './indexing.js'
import { matrixTranspose, reshape } from './movement.js'
import { bernoulli } from './random.js'
import { logsumexp, max, mean, sum } from './reduction.js'
import { align } from './shared.js'
import { build, demandOptions, demandTensors, describe, type Tensor } from './tensor.js'

/** The value of x, through which no gradient flows. */
export const stopGradient = (x: Tensor): Tensor => build('stopGradient', [x], {})

/** exp(x) up to a factor that keeps it from overflowing, and its sum along an axis. */
function exponentials(x: Tensor, axis: number): { readonly e: Tensor; readonly total: Tensor } {
  const top = max(x, { axis, keepdims: true })
  const e = exp(sub(x, stopGradient(where(isfinite(top), top, 0))))
  return { e, total: sum(e, { axis, keepdims: true }) }
}

/** exp(x) / Σ exp(x) along an axis, without overflow. NaN where x is inf, and where all of it is -inf. */
export function softmax(x: Tensor, options: { axis?: number } = {}): Tensor {
  const { axis = -1 } = demandOptions('softmax', options)
  demandTensors('softmax', x)
  const d = normalizeAxis('softmax', axis, x.ndim)
  if (x.shape[d] === 0) return x
  const { e, total } = exponentials(x, d)
  return div(e, total)
}

/** log(softmax(x)), precise where the softmax is close to 0. */
export function logSoftmax(x: Tensor, options: { axis?: number } = {}): Tensor {
  const { axis = -1 } = demandOptions('logSoftmax', options)
  demandTensors('logSoftmax', x)
  normalizeAxis('logSoftmax', axis, x.ndim)
  return sub(x, logsumexp(x, { axis, keepdims: true }))
}

/**
 * Sets each element to 0 with probability `rate` and divides the others by 1 - rate. Srivastava et al., JMLR 2014.
 *
 * @throws if the rate is outside [0, 1].
 */
export function dropout(x: Tensor, key: Tensor, rate: number): Tensor {
  demandTensors('dropout', x)
  if (!(rate >= 0 && rate <= 1)) throw new Error(`dropout: the rate must lie in [0, 1], not ${rate}`)
  return where(bernoulli(key, x.shape, 1 - rate), div(x, 1 - rate), 0)
}

export interface AttentionOptions {
  /** bool, true where a query attends to a source; or floats added to the scores. Broadcasts with [..., time, source]. */
  readonly mask?: Tensor
  /** Query i attends to the sources 0 to i alone. */
  readonly causal?: boolean
  /** The factor of the scores; 1 / √dim by default. */
  readonly scale?: number
  /** Drops attention weights at random. */
  readonly dropout?: { readonly key: Tensor; readonly rate: number }
}

/**
 * softmax(q·kᵀ / √dim)·v. A query that attends to no source gives zeros, with zero gradients. Vaswani et al. 2017,
 * arXiv:1706.03762, eq. 1.
 *
 * @param q queries [..., time, dim]
 * @param k keys [..., source, dim]
 * @param v values [..., source, width]
 * @returns [..., time, width]
 * @throws if shapes do not fit, or the mask is neither bool nor float.
 */
export function scaledDotProductAttention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions = {}): Tensor {
  const op = 'scaledDotProductAttention'
  demandTensors(op, q, k, v)
  const [dim, source] = [q.shape[q.ndim - 1], k.shape[k.ndim - 2]]
  const { mask, causal = false, scale = 1 / Math.sqrt(dim), dropout: drop } = demandOptions(op, options)
  if (Math.min(q.ndim, k.ndim, v.ndim) < 2 || k.shape[k.ndim - 1] !== dim || v.shape[v.ndim - 2] !== source)
    throw new Error(
      `${op}: needs q [..., time, dim], k [..., source, dim] and v [..., source, width], got ` +
        [q, k, v].map(t => formatShape(t.shape)).join(', '),
    )
  let scores = matmul(mul(q, scale), matrixTranspose(k))
  const attend = (allowed: Tensor): Tensor => where(allowed, scores, Number.NEGATIVE_INFINITY)
  if (mask) {
    demandTensors(op, mask)
    if (mask.dtype !== 'bool' && !isFloat(mask.dtype))
      throw new Error(`${op}: the mask must be bool or float, not ${mask.dtype}; cast it`)
    scores = mask.dtype === 'bool' ? attend(mask) : add(scores, mask)
  }
  if (causal) {
    const pairs = scores.shape.slice(-2)
    scores = attend(lessEqual(iota(pairs, 1), iota(pairs, 0)))
  }
  const { e, total } = exponentials(scores, scores.ndim - 1)
  const weights = div(e, where(equal(total, 0), 1, total))
  return matmul(drop ? dropout(weights, drop.key, drop.rate) : weights, v)
}

/**
 * The cosine of the angle between x and y along an axis. A vector no longer than epsilon has no direction: its similarity
 * to any other is 0, with zero gradients.
 */
export function cosineSimilarity(x: Tensor, y: Tensor, options: { axis?: number; epsilon?: number } = {}): Tensor {
  const { axis = -1, epsilon = 1e-8 } = demandOptions('cosineSimilarity', options)
  demandTensors('cosineSimilarity', x, y)
  const unit = (z: Tensor): Tensor => {
    const length2 = sum(square(z), { axis, keepdims: true })
    const none = lessEqual(length2, epsilon ** 2)
    return where(none, 0, mul(z, rsqrt(where(none, 1, length2))))
  }
  const [a, b] = align('cosineSimilarity', [x, y])
  normalizeAxis('cosineSimilarity', axis, a.ndim)
  return sum(mul(unit(a), unit(b)), { axis })
}

function demandImages(op: string, x: Tensor): void {
  demandTensors(op, x)
  if (x.ndim !== 4) throw new Error(`${op}: needs images [n,h,w,c], got ${formatShape(x.shape)}`)
}

/** The mean of each channel: [n, h, w, c] -> [n, c]. */
export function globalAvgPool2d(x: Tensor): Tensor {
  demandImages('globalAvgPool2d', x)
  return mean(x, { axis: [1, 2] })
}

/** The largest value of each channel, its gradient shared equally among ties: [n, h, w, c] -> [n, c]. */
export function globalMaxPool2d(x: Tensor): Tensor {
  demandImages('globalMaxPool2d', x)
  return max(x, { axis: [1, 2] })
}

export interface ResizeOptions {
  /** 'bilinear' (the default) mixes the nearest two pixels of each axis; 'nearest' takes the nearest. */
  readonly method?: 'nearest' | 'bilinear'
  /** Whether the centres of the corner pixels stay where they are, instead of the image's edges. Bilinear only. */
  readonly alignCorners?: boolean
}

/**
 * Images of another size, without smoothing: [n, h, w, c] -> [n, height, width, c]. Pixels are squares with their centres
 * at half-integers, as in torch and TensorFlow 2 ('nearest' is what torch calls nearest-exact).
 *
 * @throws if x is no batch of images, a size is no positive integer, or corners are to align for 'nearest'.
 */
export function resize(x: Tensor, size: readonly [number, number], options: ResizeOptions = {}): Tensor {
  demandImages('resize', x)
  const { method = 'bilinear', alignCorners = false } = demandOptions('resize', options)
  if (method !== 'nearest' && method !== 'bilinear')
    throw new Error(`resize: the method must be 'nearest' or 'bilinear', not '${String(method)}'`)
  if (alignCorners && method === 'nearest') throw new Error(`resize: alignCorners is for 'bilinear' alone`)
  if (!Array.isArray(size) || size.length !== 2 || !size.every(n => Number.isInteger(n) && n >= 1))
    throw new Error(
      `resize: the size must be two positive integers [height, width], not ${Array.isArray(size) ? formatShape(size) : describe(size)}`,
    )
  return size.reduce((y, n, d) => resample(y, d + 1, n, method, alignCorners), x)
}

/** Axis d resized: output i lies at input a / b, counted in integers so that no rounding moves it to a neighbour. */
function resample(
  x: Tensor,
  axis: number,
  size: number,
  method: 'nearest' | 'bilinear',
  alignCorners: boolean,
): Tensor {
  const n = x.shape[axis]
  if (n === size) return x
  const i = iota([size])
  const b = alignCorners ? Math.max(1, size - 1) : 2 * size
  const edge = mul(add(mul(i, 2), 1), n)
  if (method === 'nearest') return take(x, floorDivide(edge, b), { axis })
  const a = alignCorners ? mul(i, n - 1) : maximum(sub(edge, size), 0)
  const low = floorDivide(a, b)
  const part = div(astype(remainder(a, b), promote(x.dtype, 'float32')), b)
  const weight = reshape(part, [size, ...x.shape.slice(axis + 1).map(() => 1)])
  const [below, above] = [low, minimum(add(low, 1), n - 1)].map(at => take(x, at, { axis }))
  return add(mul(below, sub(1, weight)), mul(above, weight))
}

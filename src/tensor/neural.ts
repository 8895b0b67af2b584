/** Functions of networks that have no weights of their own: softmax and its kin, attention, dropout, resizing of images. */

import { floatType, isFloat } from '../graph/dtype.js'
import { knownOptions, type Names } from '../graph/options.js'
import { broadcastShapes, formatShape, normalizeAxis, sameShape } from '../graph/shape.js'
import { matmul } from './contraction.js'
import { iota, tensor } from './create.js'
import {
  add,
  div,
  equal,
  exp,
  lessEqual,
  maximum,
  mul,
  reciprocal,
  rsqrt,
  square,
  stopGradient,
  sub,
  where,
} from './elementwise.js'
import { take } from './indexing.js'
import { matrixTranspose } from './movement.js'
import { resizeNames } from './options.js'
import { bernoulli } from './random.js'
import { logsumexp, max, sum } from './reduction.js'
import { align, demandImages, inFloat32 } from './shared.js'
import { demandTensors, describe, type Tensor } from './tensor.js'

/** exp(x) up to a factor that keeps it from overflowing, and its sum along an axis. */
function exponentials(x: Tensor, axis: number): { readonly e: Tensor; readonly total: Tensor } {
  const over = { axis, keepdims: true }
  // Nothing has no largest element, but a sum.
  const top = x.shape[axis] === 0 ? sum(x, over) : max(x, over)
  // The lowest number, where all is -inf: there too an exponent is at most 0.
  const lowest = x.dtype === 'float64' ? -Number.MAX_VALUE : -(2 - 2 ** -23) * 2 ** 127
  const e = exp(sub(x, stopGradient(maximum(top, lowest))))
  return { e, total: sum(e, over) }
}

const axisName = { axis: true } as const

/** exp(x) / Σ exp(x) along an axis, without overflow. NaN throughout where an element is inf, or all are -inf. */
export function softmax(x: Tensor, options: { axis?: number } = {}): Tensor {
  const { axis = -1 } = knownOptions('softmax', options, axisName)
  demandTensors('softmax', x)
  const d = normalizeAxis('softmax', axis, x.ndim)
  return inFloat32([x], x => {
    const { e, total } = exponentials(x, d)
    return mul(e, reciprocal(total))
  })
}

/** log(softmax(x)), precise where the softmax is close to 0. */
export function logSoftmax(x: Tensor, options: { axis?: number } = {}): Tensor {
  const { axis = -1 } = knownOptions('logSoftmax', options, axisName)
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
const attentionNames: Names<AttentionOptions> = { mask: true, causal: true, scale: true, dropout: true }

/**
 * softmax(q·kᵀ / √dim)·v. A query that attends to no source gives zeros, with zero gradients. Vaswani et al. 2017,
 * arXiv:1706.03762, eq. 1.
 *
 * @param q queries [..., time, dim]
 * @param k keys [..., source, dim]
 * @param v values [..., source, width]
 * @returns [..., time, width]
 * @throws if shapes do not fit, the mask's to [..., time, source] too, or the mask is neither bool nor float.
 */
export function scaledDotProductAttention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions = {}): Tensor {
  const op = 'scaledDotProductAttention'
  demandTensors(op, q, k, v)
  const [dim, source] = [q.shape[q.ndim - 1], k.shape[k.ndim - 2]]
  const { mask, causal = false, scale = 1 / Math.sqrt(dim), dropout: drop } = knownOptions(op, options, attentionNames)
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
    const shape = broadcastShapes(`${op}: mask and scores`, mask.shape, scores.shape)
    if (!sameShape(shape.slice(-2), scores.shape.slice(-2)))
      throw new Error(
        `${op}: the mask ${formatShape(mask.shape)} does not fit the scores ${formatShape(scores.shape)}, [..., time, source]`,
      )
    scores = mask.dtype === 'bool' ? attend(mask) : add(scores, mask)
  }
  if (causal) {
    const pairs = scores.shape.slice(-2)
    scores = attend(lessEqual(iota(pairs, 1), iota(pairs, 0)))
  }
  const weights = inFloat32([scores], scores => {
    const { e, total } = exponentials(scores, scores.ndim - 1)
    return div(e, where(equal(total, 0), 1, total))
  })
  return matmul(drop ? dropout(weights, drop.key, drop.rate) : weights, v)
}

const similarityNames = { axis: true, epsilon: true } as const

/**
 * The cosine of the angle between x and y along an axis. A vector no longer than epsilon has no direction: its similarity
 * to any other is 0, with zero gradients.
 */
export function cosineSimilarity(x: Tensor, y: Tensor, options: { axis?: number; epsilon?: number } = {}): Tensor {
  const { axis = -1, epsilon = 1e-8 } = knownOptions('cosineSimilarity', options, similarityNames)
  demandTensors('cosineSimilarity', x, y)
  const unit = (z: Tensor): Tensor => {
    const length2 = sum(square(z), { axis, keepdims: true })
    const none = lessEqual(length2, epsilon ** 2)
    return where(none, 0, mul(z, rsqrt(where(none, 1, length2))))
  }
  const [a, b] = align('cosineSimilarity', [x, y])
  normalizeAxis('cosineSimilarity', axis, a.ndim)
  return inFloat32([a, b], (a, b) => sum(mul(unit(a), unit(b)), { axis }))
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
 * @throws if x is no batch of images with pixels, a size is no positive integer, or corners are to align for 'nearest'.
 */
export function resize(x: Tensor, size: readonly [number, number], options: ResizeOptions = {}): Tensor {
  demandImages('resize', x)
  if (x.shape[1] === 0 || x.shape[2] === 0) throw new Error(`resize: images ${formatShape(x.shape)} have no pixels`)
  const { method = 'bilinear', alignCorners = false } = knownOptions('resize', options, resizeNames)
  if (method !== 'nearest' && method !== 'bilinear')
    throw new Error(`resize: the method must be 'nearest' or 'bilinear', not '${String(method)}'`)
  if (alignCorners && method === 'nearest') throw new Error(`resize: alignCorners is for 'bilinear' alone`)
  if (!Array.isArray(size) || size.length !== 2 || !size.every(n => Number.isInteger(n) && n >= 1))
    throw new Error(
      `resize: the size must be two positive integers [height, width], not ${Array.isArray(size) ? formatShape(size) : describe(size)}`,
    )
  return size.reduce((y, n, d) => resample(y, d + 1, n, method, alignCorners), x)
}

/** An axis resized: output i lies at input a / b, counted in integers so that no rounding moves it to a neighbour. */
function resample(
  x: Tensor,
  axis: number,
  size: number,
  method: 'nearest' | 'bilinear',
  alignCorners: boolean,
): Tensor {
  const n = x.shape[axis]
  if (n === size) return x
  const pick = (at: number[]): Tensor => take(x, tensor(at, { dtype: 'int32' }), { axis })
  const b = alignCorners ? Math.max(1, size - 1) : 2 * size
  const edge = Array.from({ length: size }, (_, i) => (2 * i + 1) * n)
  if (method === 'nearest') return pick(edge.map(a => Math.floor(a / b)))
  const a = edge.map((e, i) => (alignCorners ? i * (n - 1) : Math.max(e - size, 0)))
  const low = a.map(a => Math.floor(a / b))
  const weight = tensor(
    a.map(a => (a % b) / b),
    { dtype: floatType(x.dtype), shape: [size, ...x.shape.slice(axis + 1).map(() => 1)] },
  )
  const high = low.map(i => Math.min(i + 1, n - 1))
  return add(mul(pick(low), sub(1, weight)), mul(pick(high), weight))
}

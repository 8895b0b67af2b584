/**
 * Random numbers from explicit keys. A key is a uint32 tensor [2]; every function is a pure expression of its key and
 * the position in the result, by the block cipher Threefry-2x32-20 (Salmon et al., "Parallel random numbers: as easy as
 * 1, 2, 3", SC 2011). Only exact operations are used, so a key gives the same bits on every device.
 */

import { type DType, isFloat } from '../graph/dtype.js'
import { bitsOfHalf, halfOfBits, roundToHalf } from '../graph/half.js'
import { knownOptions, type Names } from '../graph/options.js'
import { type Shape, sizeOf } from '../graph/shape.js'
import { iota, tensor } from './create.js'
import { add, astype, bitcast, bitwiseRightShift, less, minimum, mul, neg, remainder } from './elementwise.js'
import { take } from './indexing.js'
import { broadcastTo, concat, reshape } from './movement.js'
import { argsort } from './order.js'
import { normalQuantile } from './quantile.js'
import { at } from './slicing.js'
import { build, checkDType, checkShape, demandTensors, describe, full, Tensor } from './tensor.js'

/** A key from a seed: an integer from 0 to 2^53 - 1. */
export function key(seed: number): Tensor {
  if (!Number.isSafeInteger(seed) || seed < 0)
    throw new Error(`random.key: the seed must be an integer from 0 to 2^53 - 1, not ${seed}`)
  return tensor(new Uint32Array([Math.floor(seed / 2 ** 32), seed >>> 0]))
}

function checkKey(k: Tensor, shape: Shape = []): void {
  checkShape('random', shape)
  if (!(k instanceof Tensor) || k.dtype !== 'uint32' || k.ndim !== 1 || k.shape[0] !== 2) {
    throw new Error('random: expects a key, a uint32 tensor [2] made by random.key(seed) or random.split(key)')
  }
}

/** One word of the cipher's output for each position of a shape. */
function cipher(k: Tensor, shape: Shape, word: 0 | 1): Tensor {
  const part = (i: number): Tensor => broadcastTo(at(k, [i, i + 1]), [sizeOf(shape)])
  const counter = astype(iota([sizeOf(shape)]), 'uint32')
  return reshape(build('threefry', [part(0), part(1), full(counter.shape, 0, 'uint32'), counter], { word }), shape)
}

/** n new keys [n, 2], independent of each other and of the key they come from; take one with `.at(i)`. */
export function split(k: Tensor, n = 2): Tensor {
  checkKey(k, [n])
  const words = ([0, 1] as const).map(word => reshape(cipher(k, [n], word), [n, 1]))
  return concat(words, 1)
}

/** The key for step (or example, or layer) number `data`: a number, or an int32 or uint32 tensor of rank 0. */
export function foldIn(k: Tensor, data: number | Tensor): Tensor {
  checkKey(k)
  const given =
    data instanceof Tensor
      ? data.size === 1 && !isFloat(data.dtype)
      : Number.isInteger(data) && data >= 0 && data < 2 ** 32
  if (!given)
    throw new Error(
      `random.foldIn: expected an integer from 0 to 2^32 - 1 or an int32 tensor [], got ${describe(data)}`,
    )
  const counter = reshape(astype(data instanceof Tensor ? data : full([], data, 'uint32'), 'uint32'), [1])
  const one = full([1], 1, 'uint32')
  const words = ([0, 1] as const).map(word => build('threefry', [at(k, [0, 1]), at(k, [1, 2]), one, counter], { word }))
  return concat(words, 0)
}

/** Uniform 32-bit words. */
export function bits(k: Tensor, shape: Shape): Tensor {
  checkKey(k, shape)
  return cipher(k, shape, 0)
}

export interface UniformOptions {
  low?: number
  high?: number
  dtype?: DType
}
const uniformNames: Names<UniformOptions> = { low: true, high: true, dtype: true }

/** The options, which may be the dtype alone, as `normal` takes it. */
const rangeOf = (op: string, options: DType | UniformOptions): UniformOptions =>
  typeof options === 'string' ? { dtype: options } : knownOptions(op, options, uniformNames)

/**
 * Uniform floats in [low, high): multiples of 2^-24 (float32) or 2^-53 (float64) before scaling; those of float16 are
 * float32's, rounded.
 *
 * @param options the dtype, or the range and the dtype.
 */
export function uniform(k: Tensor, shape: Shape, options: DType | UniformOptions = {}): Tensor {
  const { low = 0, high = 1, dtype = 'float32' } = rangeOf('random.uniform', options)
  checkKey(k, shape)
  checkDType('random.uniform', dtype, true)
  if (!(low <= high) || !Number.isFinite(high - low))
    throw new Error(`random.uniform: needs finite low <= high, got ${low} and ${high}`)
  if (dtype === 'float16') {
    const rounded = astype(uniform(k, shape, { low, high }), dtype)
    return low < high ? minimum(rounded, below(high, dtype)) : rounded
  }
  const upper = bits(k, shape)
  if (dtype === 'float32') return scale(mul(astype(bitwiseRightShift(upper, 8), 'float32'), 2 ** -24), low, high)
  const high26 = astype(bitwiseRightShift(upper, 6), 'float64')
  const low27 = astype(bitwiseRightShift(cipher(k, shape, 1), 5), 'float64')
  return scale(mul(add(mul(high26, 2 ** 27), low27), 2 ** -53), low, high)
}

/** In float64 and rounded once, so that a device that fuses the multiply-add gives the same bits. */
function scale(u: Tensor, low: number, high: number): Tensor {
  if (low === 0 && high === 1) return u
  const scaled = astype(add(mul(astype(u, 'float64'), high - low), low), u.dtype)
  return low < high ? minimum(scaled, below(high, u.dtype)) : scaled
}

/** The largest value of the dtype under x, which rounding must not reach. */
function below(x: number, dtype: DType): number {
  if (dtype === 'float16') {
    const half = roundToHalf(x)
    if (half < x) return half
    return half === 0 ? -(2 ** -24) : halfOfBits(bitsOfHalf(half) + (half > 0 ? -1 : 1))
  }
  const narrow = dtype === 'float32'
  const value = narrow ? new Float32Array([x]) : new Float64Array([x])
  if (value[0] < x) return value[0]
  if (value[0] === 0) return narrow ? -(2 ** -149) : -(2 ** -1074)
  // Neighbours differ by one in their bits, which count away from zero.
  const step = x > 0 ? -1 : 1
  if (narrow) new Int32Array(value.buffer)[0] += step
  else new BigInt64Array(value.buffer)[0] += BigInt(step)
  return value[0]
}

/** true with probability p. */
export function bernoulli(k: Tensor, shape: Shape, p = 0.5): Tensor {
  if (!(p >= 0 && p <= 1)) throw new Error(`random.bernoulli: the probability must lie in [0, 1], not ${p}`)
  return less(uniform(k, shape), p)
}

/** Integers in [low, high) as int32: a 32-bit word modulo the range, so no value is favoured by more than range / 2^32. */
export function randint(k: Tensor, shape: Shape, low: number, high: number): Tensor {
  if (
    !Number.isInteger(low) ||
    !Number.isInteger(high) ||
    low >= high ||
    high - low > 2 ** 32 ||
    low < -(2 ** 31) ||
    high > 2 ** 31
  ) {
    throw new Error(`random.randint: needs integers -2^31 <= low < high <= 2^31, got ${low} and ${high}`)
  }
  checkKey(k, shape)
  const range = high - low
  if (range === 2 ** 32) return bitcast(bits(k, shape), 'int32')
  const wide = remainder(bits(k, shape), full([], range, 'uint32'))
  return add(bitcast(wide, 'int32'), low)
}

/** 0 .. n - 1 in random order. */
export function permutation(k: Tensor, n: number): Tensor {
  checkKey(k, [n])
  return argsort(bits(k, [n]))
}

/** The rows of x in random order. */
export function shuffle(k: Tensor, x: Tensor): Tensor {
  demandTensors('random.shuffle', x)
  if (x.ndim === 0) throw new Error('random.shuffle: needs a tensor of rank 1 or more')
  return take(x, permutation(k, x.shape[0]))
}

/** Uniform float64 in the open interval (0, 1). */
const openUniform = (k: Tensor, shape: Shape): Tensor =>
  add(mul(uniform(k, shape, { dtype: 'float64' }), 1 - 2 ** -52), 2 ** -54)

/** Standard normal values, by the inverse distribution function in float64. */
export function normal(k: Tensor, shape: Shape, dtype: DType = 'float32'): Tensor {
  checkKey(k, shape)
  checkDType('random.normal', dtype, true)
  return astype(normalQuantile(openUniform(k, shape)), dtype)
}

/** Standard normal values restricted to [low, high]; the options are a range and a dtype, or a dtype. */
export function truncatedNormal(k: Tensor, shape: Shape, options: DType | UniformOptions = {}): Tensor {
  const { low = -2, high = 2, dtype = 'float32' } = rangeOf('random.truncatedNormal', options)
  if (!(low < high)) throw new Error(`random.truncatedNormal: needs low < high, got ${low} and ${high}`)
  checkKey(k, shape)
  checkDType('random.truncatedNormal', dtype, true)
  // Far out on the right the distribution function is 1 in float64; on the left it keeps its digits.
  if (low > 0) return neg(truncatedNormal(k, shape, { low: -high, high: -low, dtype }))
  const [from, to] = [normalCdf(low), normalCdf(high)]
  return astype(normalQuantile(add(mul(openUniform(k, shape), to - from), from)), dtype)
}

/** Φ(x) = ½ erfc(-x/√2) by the series of erf, or by its continued fraction in the tails. */
function normalCdf(x: number): number {
  if (Math.abs(x) > 3) {
    let fraction = 0
    for (let n = 200; n >= 1; n--) fraction = n / (Math.abs(x) + fraction)
    const tail = Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI) / (Math.abs(x) + fraction)
    return x > 0 ? 1 - tail : tail
  }
  let term = x
  let total = x
  for (let n = 1; n < 200; n++) {
    term *= (x * x) / (2 * n + 1)
    total += term
  }
  return 0.5 + (total * Math.exp((-x * x) / 2)) / Math.sqrt(2 * Math.PI)
}

/**
 * checkGrads: derivatives against central differences, to any order. As in HIPS autograd, order n checks the first
 * derivative and then checks the function that computes it to order n - 1, so differences of differences never occur.
 */

import { jvp, vjp } from '../autodiff/transforms.js'
import { isFloat } from '../graph/dtype.js'
import { knownOptions, type Names } from '../graph/options.js'
import { compile } from '../tensor/compile.js'
import { oneHot, tensor } from '../tensor/create.js'
import { abs, add, astype, div, equal, mul, sub, where } from '../tensor/elementwise.js'
import { reshape, stack } from '../tensor/movement.js'
import { foldIn, key, normal } from '../tensor/random.js'
import { realize } from '../tensor/realize.js'
import { sum } from '../tensor/reduction.js'
import { full, type Tensor } from '../tensor/tensor.js'
import { leaves, mapTree, type NamedLeaf, namedLeaves } from '../tensor/tree.js'
import { largest, positionOf } from './compare.js'

export type Mode = 'reverse' | 'forward'

export interface CheckGradsOptions {
  /** Derivatives of orders 1 to `order` are checked; 2 by default. */
  order?: number
  /** 'reverse' checks vjp, 'forward' checks jvp; at each order both, by default. */
  modes?: readonly Mode[]
  /**
   * The error allowed, relative to the terms of the derivative: those of <gradient, direction> in reverse mode, of
   * <cotangent, tangent> in forward mode, or to `step` where they are smaller. What rounding and the length of the step may
   * do to the difference is allowed besides. By default 1e-6, with float32 3e-3.
   */
  tolerance?: number
  /**
   * Half the distance between the two points of a difference, for values of about 1 and above; 6e-6 by default, with
   * float32 5e-3: the cube root of epsilon. An argument whose largest value is smaller is moved in proportion, but no less
   * than one of √step; zeros are moved by all of it.
   */
  step?: number
  /** Of the random directions and cotangents. */
  seed?: number
}
const gradsNames: Names<CheckGradsOptions> = { order: true, modes: true, tolerance: true, step: true, seed: true }

/** What `checkGrads` found: the worst element of the first derivative that is wrong. */
export class GradientError extends Error {
  override readonly name = 'GradientError'
  /** The path of the tensor among the arguments, such as `0.layers.1.w`. */
  readonly argument: string
  /** The element's position; undefined where only a derivative along a random direction is off. */
  readonly index: readonly number[] | undefined
  /** Of derivatives 1 to `order`, in these modes, the last is wrong. */
  readonly modes: readonly Mode[]
  readonly order: number
  /** By central differences. */
  readonly expected: number
  readonly got: number
  /** What of |got - expected| neither rounding nor the step explains, relative as `tolerance` is, and more than it. */
  readonly error: number
  readonly tolerance: number

  constructor(found: Compared & Pick<GradientError, 'argument' | 'modes' | 'tolerance'>) {
    const { argument, index, modes, expected, got, tolerance } = found
    const error = errorOf(found)
    const where = index ? (index.length ? `[${index}]` : '') : ' along a random direction'
    super(
      `checkGrads: argument ${argument}${where}, order ${modes.length} (${modes.join(', then ')}): expected ${short(expected)} by central differences, got ${short(got)}, error ${error.toExponential(1)} (allowed ${tolerance})`,
    )
    this.argument = argument
    this.index = index
    this.modes = modes
    this.order = modes.length
    this.expected = expected
    this.got = got
    this.error = error
    this.tolerance = tolerance
  }
}

/** A derivative both ways: of one element, or along a direction. */
interface Compared {
  readonly index?: readonly number[]
  readonly expected: number
  readonly got: number
  /** What the error is relative to. */
  readonly scale: number
  /** How far rounding and the step may have moved `expected`. */
  readonly slack: number
}

/** The digits that a difference may have right. */
const short = (x: number): number => Number(x.toPrecision(10))

/** NaN and infinities are infinitely wrong. */
const errorOf = ({ got, expected, scale, slack }: Compared): number => {
  const off = Math.abs(got - expected)
  if (!Number.isFinite(off)) return Number.POSITIVE_INFINITY
  return Math.max(0, off - slack) / scale
}

const defaults = {
  float64: { tolerance: 1e-6, step: 6e-6, epsilon: 2 ** -52 },
  float32: { tolerance: 3e-3, step: 5e-3, epsilon: 2 ** -23 },
} as const
/** How many epsilons of the terms of <w, f> its value may be off. */
const roundings = 8
/** Of the step: where a difference looks wrong, how much it varies between these shows how far to trust it. */
const fractions = [1, 0.9, 0.8, 0.7, 0.6, 0.5]
/** How many elements are looked at to find the worst one. */
const closeLooks = 256

type Flat = (xs: Tensor[]) => Tensor[]

/**
 * Checks the derivatives of f at the arguments, up to the given order, in random directions. Where f has kinks the
 * arguments must be away from them; what f returns besides float tensors is left alone.
 *
 * @param args tensors or trees of tensors; other values are passed on to f as they are. Differences of float32 carry
 * about three digits: prefer float64.
 * @throws GradientError if a derivative is wrong, naming the argument, its worst element, order and modes; another error if a
 * difference is not finite.
 * @example await checkGrads(x => tanh(x).sum(), [tensor([0.5, -1], { dtype: 'float64' })], { order: 3 })
 */
export async function checkGrads<A extends unknown[], R>(
  f: (...args: A) => R,
  args: A,
  options: CheckGradsOptions = {},
): Promise<void> {
  knownOptions('checkGrads', options, gradsNames)
  if (!Array.isArray(args)) throw new Error('checkGrads: args must be a list of arguments: write [x] for one tensor')
  const floats = namedLeaves(args).filter(l => isFloat(l.tensor.dtype))
  if (floats.length === 0) throw new Error('checkGrads: the arguments have no float tensor to differentiate')
  const xs = floats.map(l => l.tensor)
  const flat: Flat = xs => flatCall(f, args, xs)
  const results = flat(xs)
  const half = floats.find(l => l.tensor.dtype === 'float16')
  if (half || results.some(t => t.dtype === 'float16'))
    throw new Error(
      `checkGrads: ${half ? `argument ${half.name}` : 'the result'} is float16, too coarse for differences; check the function in float64`,
    )
  const coarse = [...xs, ...results].some(t => t.dtype !== 'float64') ? 'float32' : 'float64'
  const { order = 2, modes = ['reverse', 'forward'], seed = 0 } = options
  const { tolerance = defaults[coarse].tolerance, step = defaults[coarse].step } = options
  if (!Number.isInteger(order) || order < 1) throw new Error(`checkGrads: order must be an integer >= 1, not ${order}`)
  if (!(step > 0) || !(tolerance > 0))
    throw new Error(`checkGrads: step and tolerance must be positive, not ${step} and ${tolerance}`)
  const unknown = modes.find(mode => mode !== 'reverse' && mode !== 'forward')
  if (unknown !== undefined) throw new Error(`checkGrads: unknown mode '${unknown}'; one or both of reverse, forward`)

  const steps = await Promise.all(floats.map(leaf => stepFor(leaf, step)))
  let draws = 0
  const randomLike = async (ts: readonly Tensor[]): Promise<Tensor[]> => {
    const made = ts.map(t => normal(foldIn(key(seed), draws++), t.shape, t.dtype))
    await realize(made)
    return made
  }

  const check = async (f: Flat, left: number, trail: readonly Mode[]): Promise<void> => {
    const ys = f(xs)
    if (ys.length === 0) throw new Error('checkGrads: the function returned no float tensor')
    const w = await randomLike(ys)
    const v = await randomLike(xs)
    const value = compile((at: Tensor[]) => inner(w, f(at)))
    /** The difference of <w, f> when x_i moves along a direction, and that direction as rounding has left it. */
    const difference = async (i: number, direction: Tensor, fraction = 1): Promise<Difference> => {
      const step = steps[i] * fraction
      const h = mul(direction, step)
      const ends = [add(xs[i], h), sub(xs[i], h)]
      await realize(ends)
      const [above, below] = await Promise.all(ends.map(async x => (await value(xs.with(i, x))).data()))
      const expected = (above[0] - below[0]) / (2 * step)
      if (!Number.isFinite(expected))
        throw new Error(
          `checkGrads: argument ${floats[i].name}: the difference over a step of ${short(step)} is ${expected}; move the argument away from the edge of the domain, or set step`,
        )
      const slack = (roundings * defaults[coarse].epsilon * Math.max(above[1], below[1])) / step
      return { expected, slack, along: div(sub(ends[0], ends[1]), 2 * step) }
    }
    const differences = await Promise.all(xs.map((_, i) => difference(i, v[i])))
    const directions = differences.map(d => d.along)
    const derivatives = derivativesOf(f, w, v)
    for (const mode of modes) {
      const along = compile(derivatives[mode].along)
      /** Compares along a direction, and where that looks wrong, with several steps. */
      const compare = async (i: number, direction: Tensor, { expected, slack, along: moved }: Difference) => {
        const [got, terms] = await (await along(xs, directions.with(i, moved)))[i].data()
        // Below `step`, the cube root of epsilon, a derivative may be nothing but what rounding has left of larger ones.
        const once = { expected, got, scale: Math.max(Math.abs(expected), terms, step), slack }
        if (errorOf(once) <= tolerance) return once
        const all = await Promise.all(fractions.map(async part => (await difference(i, direction, part)).expected))
        return { ...once, slack: slack + 2 * (Math.max(...all) - Math.min(...all)) }
      }
      for (const [i, { name, tensor: x }] of floats.entries()) {
        let worst: Compared = await compare(i, v[i], differences[i])
        if (errorOf(worst) <= tolerance) continue
        let most = tolerance
        for (let k = 0; k < x.size; k += Math.ceil(x.size / closeLooks)) {
          const unit = reshape(oneHot(tensor(k, { dtype: 'int32' }), x.size, x.dtype), x.shape)
          const element = await compare(i, unit, await difference(i, unit))
          if (errorOf(element) <= most) continue
          most = errorOf(element)
          worst = { ...element, index: positionOf(k, x.shape) }
        }
        throw new GradientError({ argument: name, modes: [...trail, mode], tolerance, ...worst })
      }
      if (left > 1) await check(derivatives[mode].next, left - 1, [...trail, mode])
    }
  }
  await check(flat, order, [])
}

/**
 * The step for a tensor. Measured on sin, log, powers and 1/x: it must shrink with small values, but not grow with
 * large ones.
 */
async function stepFor({ name, tensor }: NamedLeaf, step: number): Promise<number> {
  const size = largest(await tensor.data())
  if (step < size * (tensor.dtype === 'float64' ? 2 ** -48 : 2 ** -19))
    throw new Error(`checkGrads: argument ${name} holds ${size}, beside which a step of ${step} is lost; set step`)
  return step * (size === 0 ? 1 : Math.min(1, Math.max(Math.sqrt(step), size)))
}

type Difference = Pick<Compared, 'expected' | 'slack'> & { readonly along: Tensor }

interface Derivative {
  /** <w, ∂f/∂xᵢ dᵢ> for each i, as `inner` gives it. */
  readonly along: (xs: Tensor[], d: Tensor[]) => Tensor[]
  /** The derivative as a function, to be checked in its turn. */
  readonly next: Flat
}
/** The derivative of f with the cotangent w, or along v. */
const derivativesOf = (f: Flat, w: Tensor[], v: Tensor[]): { readonly [M in Mode]: Derivative } => ({
  reverse: {
    along: (xs, d) => vjp(f, xs)[1](w)[0].map((g, i) => inner([g], [d[i]])),
    next: xs => vjp(f, xs)[1](w)[0],
  },
  forward: {
    along: (xs, d) =>
      xs.map((_, i) => {
        const only = d.map((t, k) => (k === i ? t : full(t.shape, 0, t.dtype)))
        return inner(w, jvp(f, [xs], [only])[1])
      }),
    next: xs => jvp(f, [xs], [v])[1],
  },
})

/** f with its float leaves as a list, and the float leaves of its result. */
function flatCall<A extends unknown[]>(f: (...args: A) => unknown, args: A, xs: readonly Tensor[]): Tensor[] {
  let next = 0
  const bound = mapTree(args, t => (isFloat(t.dtype) ? xs[next++] : t))
  return leaves(f(...bound)).filter(t => isFloat(t.dtype))
}

/**
 * [Σ <aᵢ, bᵢ>, Σ <|aᵢ|, |bᵢ|>], in float64 so that only the operands' own rounding remains; what meets a 0 in b does not
 * count, be it NaN.
 */
const inner = (as: readonly Tensor[], bs: readonly Tensor[]): Tensor => {
  const products = as.map((a, i) => where(equal(bs[i], 0), 0, mul(astype(a, 'float64'), astype(bs[i], 'float64'))))
  return stack([products, products.map(abs)].map(list => list.map(p => sum(p)).reduce((x, y) => add(x, y))))
}

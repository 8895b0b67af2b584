/**
 * checkGrads: derivatives against central differences, to any order. As in HIPS autograd, order n checks the first
 * derivative and then checks the function that computes it to order n - 1, so differences of differences never occur.
 */

import { jvp, vjp } from '../autodiff/transforms.js'
import { isFloat } from '../graph/dtype.js'
import { compile } from '../tensor/compile.js'
import { add, mul } from '../tensor/elementwise.js'
import { foldIn, key, normal } from '../tensor/random.js'
import { realize } from '../tensor/realize.js'
import { sum } from '../tensor/reduction.js'
import { full, type Tensor } from '../tensor/tensor.js'
import { leaves, mapTree, namedLeaves } from '../tensor/tree.js'

type Mode = 'reverse' | 'forward'

export interface CheckGradsOptions {
  /** Derivatives of orders 1 to `order` are checked; 2 by default. */
  order?: number
  /** 'reverse' checks vjp, 'forward' checks jvp; at each order both, by default. */
  modes?: readonly Mode[]
  /** The error allowed, relative to the derivative or to 1 where it is smaller; 1e-6 by default. */
  tolerance?: number
  /** Half the distance between the two points of a difference; 6e-6 (the cube root of the float64 epsilon) by default. */
  step?: number
  /** Of the random directions and cotangents. */
  seed?: number
}

type Flat = (xs: Tensor[]) => Tensor[]

/**
 * Checks the derivatives of f at the arguments, up to the given order, in random directions. Where f has kinks the
 * arguments must be away from them; what f returns besides float tensors is left alone.
 *
 * @param args tensors or trees of tensors in float64; other values are passed on to f as they are.
 * @throws if a derivative is wrong, naming argument, order and modes; or if an argument is float32, for differences of
 * float32 say nothing.
 * @example await checkGrads(x => tanh(x).sum(), [tensor([0.5, -1], { dtype: 'float64' })], { order: 3 })
 */
export async function checkGrads<A extends unknown[], R>(
  f: (...args: A) => R,
  args: A,
  { order = 2, modes = ['reverse', 'forward'], tolerance = 1e-6, step = 6e-6, seed = 0 }: CheckGradsOptions = {},
): Promise<void> {
  if (!Number.isInteger(order) || order < 1) throw new Error(`checkGrads: order must be an integer >= 1, not ${order}`)
  if (!(step > 0) || !(tolerance > 0))
    throw new Error(`checkGrads: step and tolerance must be positive, not ${step} and ${tolerance}`)
  const names = floatArguments(args)
  let draws = 0
  const randomLike = async (ts: readonly Tensor[]): Promise<Tensor[]> => {
    const made = ts.map(t => normal(foldIn(key(seed), draws++), t.shape, t.dtype))
    await realize(made)
    return made
  }

  const check = async (f: Flat, xs: Tensor[], left: number, trail: readonly Mode[]): Promise<void> => {
    const ys = f(xs)
    if (ys.length === 0) throw new Error('checkGrads: the function returned no float tensor')
    const w = await randomLike(ys)
    const v = await randomLike(xs)
    const values = compile((at: Tensor[]) => inner(w, f(at)))
    const expected = await Promise.all(
      xs.map(async (_, i) => {
        const [above, below] = [step, -step].map(h => xs.map((x, k) => (k === i ? add(x, mul(v[i], h)) : x)))
        await realize(above, below)
        return ((await (await values(above)).item()) - (await (await values(below)).item())) / (2 * step)
      }),
    )
    const derivatives: { readonly [M in Mode]: { readonly along: () => Tensor[]; readonly next: Flat } } = {
      reverse: {
        along: () => vjp(f, xs)[1](w)[0].map((g, i) => inner([g], [v[i]])),
        next: at => vjp(f, at)[1](w)[0],
      },
      forward: {
        along: () =>
          xs.map((_, i) => {
            const only = v.map((t, k) => (k === i ? t : full(t.shape, 0, t.dtype)))
            return inner(w, jvp(f, [xs], [only])[1])
          }),
        next: at => jvp(f, [at], [v])[1],
      },
    }
    for (const mode of modes) {
      const got = derivatives[mode].along()
      await realize(got)
      for (const [i, name] of names.entries()) {
        const value = await got[i].item()
        const error = Math.abs(value - expected[i]) / Math.max(1, Math.abs(expected[i]))
        if (error <= tolerance) continue
        throw new Error(
          `checkGrads: ${name}, order ${trail.length + 1} (${[...trail, mode].join(', then ')}): expected ${expected[i]} by central differences, got ${value}; the error ${error.toExponential(1)} is above ${tolerance}`,
        )
      }
      if (left > 1) await check(derivatives[mode].next, xs, left - 1, [...trail, mode])
    }
  }

  const floats = leaves(args).filter(t => isFloat(t.dtype))
  await check(xs => flatCall(f, args, xs), floats, order, [])
}

/** The names of the leaves to differentiate, which must be float64. */
function floatArguments(args: readonly unknown[]): string[] {
  const floats = namedLeaves(args).filter(l => isFloat(l.tensor.dtype))
  if (floats.length === 0) throw new Error('checkGrads: the arguments have no float64 tensor to differentiate')
  return floats.map(({ name, tensor }) => {
    if (tensor.dtype !== 'float64') {
      throw new Error(
        `checkGrads: argument ${name} is ${tensor.dtype}; differences need float64: tensor(..., { dtype: 'float64' })`,
      )
    }
    return `argument ${name}`
  })
}

/** f with its float leaves as a list, and the float leaves of its result. */
function flatCall<A extends unknown[]>(f: (...args: A) => unknown, args: A, xs: readonly Tensor[]): Tensor[] {
  let next = 0
  const bound = mapTree(args, t => (isFloat(t.dtype) ? xs[next++] : t))
  return leaves(f(...bound)).filter(t => isFloat(t.dtype))
}

/** Σ <aᵢ, bᵢ>. */
const inner = (as: readonly Tensor[], bs: readonly Tensor[]): Tensor =>
  as.map((a, i) => sum(mul(a, bs[i]))).reduce((x, y) => add(x, y))

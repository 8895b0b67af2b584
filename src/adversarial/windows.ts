/**
 * Where Square changes an image, and what it puts there in L2: windows of two opposite bumps, to which the length of the perturbation
 * in another window moves. Andriushchenko et al. 2020, "Square attack: a query-efficient black-box adversarial attack via random
 * search", section 3.3 and algorithm 3.
 */

import { iota, tensor } from '../tensor/create.js'
import {
  add,
  astype,
  div,
  equal,
  floor,
  less,
  lessEqual,
  logicalAnd,
  logicalOr,
  mul,
  sqrt,
  square,
  sub,
  where,
} from '../tensor/elementwise.js'
import { take } from '../tensor/indexing.js'
import { matrixTranspose, pad, reshape } from '../tensor/movement.js'
import { bernoulli, foldIn, uniform } from '../tensor/random.js'
import { sum } from '../tensor/reduction.js'
import { full, type Tensor } from '../tensor/tensor.js'
import { type Features, mapFeatures } from './features.js'
import { exampleSum } from './steps.js'

/** A feature as images: rows, columns and channels of an example; what is no image is a line, a column of one channel. */
export interface Frame {
  readonly rows: number
  readonly columns: number
  readonly channels: number
}

export function frameOf([, ...shape]: readonly number[]): Frame {
  if (shape.length === 3) return { rows: shape[0], columns: shape[1], channels: shape[2] }
  return { rows: shape.reduce((a, b) => a * b, 1), columns: 1, channels: 1 }
}

/** The longest side of a square in a frame, or of a stretch of a line. */
const longest = ({ rows, columns }: Frame): number => (columns === 1 ? rows : Math.min(rows, columns))

/** The side of a square, or the length of a stretch, that is a share of a frame. */
export function sideOf(frame: Frame, share: number): number {
  const { rows, columns } = frame
  const side = columns === 1 ? share * rows : Math.sqrt(share * rows * columns)
  return Math.max(1, Math.min(Math.round(side), longest(frame)))
}

/** The same in L2: odd, and 3 at least where the frame has room. */
export function oddSideOf(frame: Frame, share: number): number {
  const side = Math.max(3, sideOf(frame, share))
  const most = longest(frame)
  return Math.min(side + 1 - (side % 2), most - 1 + (most % 2))
}

/** A square in each example's frame. */
export interface Window {
  /** Int32 [n, 1, 1, 1]. */
  readonly top: Tensor
  readonly left: Tensor
  /** The elements in it: bool [n, rows, columns, 1]. */
  readonly inside: Tensor
}

/** A window anywhere in the frame, for each of n examples. */
export function drawWindow(keys: readonly [Tensor, Tensor], n: number, { rows, columns }: Frame, side: Tensor): Window {
  const width = columns === 1 ? full([], 1, 'int32') : side
  const corner = (key: Tensor, size: number, length: Tensor): Tensor =>
    reshape(astype(floor(mul(uniform(key, [n]), astype(add(size + 1, mul(length, -1)), 'float32'))), 'int32'), [
      n,
      1,
      1,
      1,
    ])
  const [top, left] = [corner(keys[0], rows, side), corner(keys[1], columns, width)]
  const within = (axis: number, first: Tensor, length: Tensor): Tensor => {
    const place = iota([n, rows, columns, 1], axis)
    return logicalAnd(lessEqual(first, place), less(place, add(first, length)))
  }
  return { top, left, inside: logicalAnd(within(1, top, side), within(2, left, width)) }
}

const normalized = (values: readonly number[]): number[] => {
  const length = Math.hypot(...values)
  return values.map(v => (length === 0 ? 0 : v / length))
}

/** Squares around the centre, each an element wider than the one inside it, of heights 1, 1/4, 1/9, ...: row by row, of length 1. */
function bump(rows: number, columns: number): number[] {
  const [row, column] = [rows >> 1, columns >> 1]
  const last = Math.max(row, column)
  const height = (from: number): number => (from > last ? 0 : 1 / (from + 1) ** 2 + height(from + 1))
  return normalized(
    Array.from({ length: rows * columns }, (_, i) =>
      height(Math.max(Math.abs(Math.floor(i / columns) - row), Math.abs((i % columns) - column))),
    ),
  )
}

/** η: a bump over the upper half and its opposite over the lower, row by row and of length 1. Equation 2. */
export const twoBumps = (rows: number, columns: number): number[] => {
  const upper = rows >> 1
  return normalized([...bump(upper, columns), ...bump(rows - upper, columns).map(v => -v)])
}

/** The random choices of a step for one feature. */
export interface Draws {
  /** Where the perturbation goes. */
  readonly to: Window
  /** Where it comes from. */
  readonly from: Window
  /** ±1 [n, 1, 1, channels]. */
  readonly sign: Tensor
  /** η in `to` [n, rows, columns, 1], 0 elsewhere. */
  readonly bumps: Tensor
}

/** ±1, in the dtype of another. */
export const signs = (key: Tensor, shape: readonly number[], like: Tensor): Tensor =>
  where(bernoulli(key, shape), full([], 1, like.dtype), full([], -1, like.dtype))

/** Draws windows of the sides of each step: a function of a key, the step [], and a feature [n, rows, columns, channels]. */
export function windowsOf(frame: Frame, sides: readonly number[]): (key: Tensor, k: Tensor, like: Tensor) => Draws {
  const known = [...new Set(sides)]
  const height = Math.max(...known)
  const isLine = frame.columns === 1
  const width = isLine ? 1 : height
  const table = known.flatMap(side => {
    const values = twoBumps(side, isLine ? 1 : side)
    return Array.from({ length: height * width }, (_, at) => {
      const [i, j] = [Math.floor(at / width), at % width]
      return i < side && j < (isLine ? 1 : side) ? values[i * (isLine ? 1 : side) + j] : 0
    })
  })
  const [sideOfStep, placeOfStep] = [sides, sides.map(s => known.indexOf(s))].map(v => tensor(Int32Array.from(v)))
  return (key, k, like) => {
    const [n, rows, columns, channels] = like.shape
    const part = (i: number): Tensor => foldIn(key, i)
    const side = take(sideOfStep, k)
    const to = drawWindow([part(0), part(1)], n, frame, side)
    const from = drawWindow([part(3), part(4)], n, frame, side)
    const [i, j] = [sub(iota([n, rows, columns, 1], 1), to.top), sub(iota([n, rows, columns, 1], 2), to.left)]
    const [upright, turned] = [add(mul(i, width), j), add(mul(j, width), i)]
    const own = isLine ? upright : where(bernoulli(part(5), [n, 1, 1, 1]), turned, upright)
    const place = add(own, mul(take(placeOfStep, k), height * width))
    const eta = take(tensor(table, { dtype: like.dtype }), where(to.inside, place, 0))
    return { to, from, sign: signs(part(2), [n, 1, 1, channels], like), bumps: where(to.inside, eta, 0) }
  }
}

const perChannel = (x: Tensor): Tensor => sum(x, { axis: [1, 2], keepdims: true })

/**
 * Algorithm 3: with W₁ the window `to`, W₂ `from` and c all channels of an example, in each of them
 *
 * ν_W₁ ← √(‖ν_{W₁∪W₂}‖² + (ε² - ‖ν‖²) / c) · u / ‖u‖, u = ±η + ν_W₁ / ‖ν_W₁‖ or ±η where that is 0,
 * and ν_W₂ ← 0 elsewhere.
 *
 * @param delta ν, all [n, rows, columns, channels]
 * @param masked what may be changed of a perturbation
 */
export function moveMass(
  delta: Features,
  draws: Readonly<Record<string, Draws>>,
  epsilon: number,
  masked: (x: Tensor, name: string) => Tensor,
): Features {
  const channels = Object.values(delta).reduce((c, { shape }) => c + shape[3], 0)
  const left = sub(epsilon * epsilon, exampleSum(delta, square))
  // What rounding leaves would be a window with a direction.
  const unused = div(where(less(left, 1e-6 * epsilon * epsilon), 0, left), channels)
  return mapFeatures(delta, (v, name) => {
    const { to, from, sign, bumps } = draws[name]
    const lengthIn = (inside: Tensor): Tensor => perChannel(where(inside, square(v), 0))
    const unit = (x: Tensor, squared: Tensor): Tensor => div(x, sqrt(where(equal(squared, 0), 1, squared)))
    const old = where(to.inside, unit(v, lengthIn(to.inside)), 0)
    const [fresh, both] = [mul(sign, bumps), add(mul(sign, bumps), old)].map(x => masked(x, name))
    // The same bumps with the other sign leave nothing but what rounding does.
    const next = where(less(perChannel(square(both)), 1e-6), fresh, both)
    const available = sqrt(add(lengthIn(logicalOr(to.inside, from.inside)), reshape(unused, [v.shape[0], 1, 1, 1])))
    const filled = mul(unit(next, perChannel(square(next))), available)
    return where(to.inside, filled, where(from.inside, 0, v))
  })
}

/** The first perturbation of a feature [n, rows, columns, channels]: tiles of a fifth of its side, each with bumps of a random sign. */
export function tiles(key: Tensor, frame: Frame, like: Tensor): Tensor {
  const [n, rows, columns, channels] = like.shape
  const side = Math.max(1, Math.floor(longest(frame) / 5))
  const isLine = columns === 1
  const width = isLine ? 1 : side
  const [down, across] = [Math.floor(rows / side), Math.floor(columns / width)]
  const eta = reshape(tensor(twoBumps(side, width), { dtype: like.dtype }), [side, width])
  const placed = (x: Tensor): Tensor => reshape(x, [1, 1, side, 1, width, 1])
  const isTurned = bernoulli(foldIn(key, 1), [n, down, 1, across, 1, 1])
  const chosen = isLine ? placed(eta) : where(isTurned, placed(matrixTranspose(eta)), placed(eta))
  const tiled = mul(chosen, signs(foldIn(key, 0), [n, down, 1, across, 1, channels], like))
  const [high, wide] = [down * side, across * width]
  const [above, before] = [(rows - high) >> 1, (columns - wide) >> 1]
  return pad(reshape(tiled, [n, high, wide, channels]), [
    [0, 0],
    [above, rows - high - above],
    [before, columns - wide - before],
    [0, 0],
  ])
}

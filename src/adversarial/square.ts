/**
 * Square: a random search that asks for logits alone. What it breaks and an attack along gradients does not, tells of masked
 * gradients. Andriushchenko et al. 2020, "Square attack: a query-efficient black-box adversarial attack via random search",
 * algorithms 1 and 2.
 */

import type { Batch } from '../nn/context.js'
import { marginLoss } from '../nn/losses.js'
import { iota, tensor } from '../tensor/create.js'
import { add, astype, floor, less, lessEqual, logicalAnd, logicalOr, mul, where } from '../tensor/elementwise.js'
import { take } from '../tensor/indexing.js'
import { broadcastTo, reshape } from '../tensor/movement.js'
import { bernoulli, foldIn, uniform } from '../tensor/random.js'
import { full, type Tensor } from '../tensor/tensor.js'
import { applyMask, type Features, mapFeatures } from './features.js'
import type { Logits } from './logits.js'
import { checkCounts, checkRequired, checkSizes } from './method.js'
import { knownOptions, searchNames } from './options.js'
import { type Found, type Kept, type SearchOptions, search, targetOf } from './search.js'
import { beside, checkRule, clipFeatures } from './steps.js'

export interface SquareOptions extends SearchOptions {
  /** The radius of the linf ball. */
  epsilon: number
  key: Tensor
  /** Queries for each example. Default 5000. */
  steps?: number
  /** The share of the elements that the first squares change. Default 0.8. */
  share?: number
}

interface State {
  readonly kept: Kept
  readonly current: Features
  /** The margin of the label [n], at most 0 once an example is broken. */
  readonly margin: Tensor
  readonly k: Tensor
}

/** By how much squares have shrunk after so many of 10,000 steps: half their share each time. */
const halvings = [10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000]

/** The share of the elements that step k of `steps` changes. */
export const shareAt = (k: number, steps: number, first: number): number =>
  first / 2 ** halvings.filter(h => (k / steps) * 10_000 > h).length

/**
 * A random search in the linf ball of radius epsilon: from vertical stripes on, each step sets a square of an image to ±epsilon in
 * each channel, and keeps it where the margin of the label falls. Features that are no images [n, height, width, channels] are
 * lines, of which a step sets a stretch.
 *
 * Cost: steps + 2 forward passes; fewer once all examples are broken.
 *
 * @returns the batch with each example at the first point that is misclassified, or else where its margin was the least
 * @throws if an option is out of range or names a column that the batch lacks
 * @example const { broken } = await square(logits, model, batch, { epsilon: 0.3, key: random.key(0), clipMin: 0, clipMax: 1 })
 */
export async function square<M>(logits: Logits<M>, model: M, batch: Batch, options: SquareOptions): Promise<Found> {
  const op = 'square'
  const {
    epsilon,
    key,
    steps = 5000,
    share = 0.8,
  } = knownOptions(op, options, {
    ...searchNames,
    epsilon: true,
    steps: true,
    share: true,
  })
  checkRequired(op, { epsilon })
  checkSizes(op, { share })
  checkCounts(op, { steps })
  if (!key) throw new Error(`${op}: a random search needs a random key: { key: random.key(0) }`)
  const rule = { ...options, norm: 'linf' as const, stepSize: 0 }
  checkRule(op, rule)
  const victim = targetOf(op, logits, batch, options)
  const { n, features: original, labels } = victim
  const names = Object.keys(original)
  const frames = names.map(name => frameOf(original[name].shape))
  const sides = frames.map(frame =>
    tensor(Int32Array.from({ length: steps }, (_, k) => sideOf(frame, shareAt(k, steps, share)))),
  )

  const signs = (k: Tensor, shape: readonly number[], x: Tensor): Tensor =>
    where(bernoulli(k, shape), full([], epsilon, x.dtype), full([], -epsilon, x.dtype))
  /** A feature moved by δ, in the valid range. */
  const moved = (name: string, delta: Tensor): Tensor => {
    const there = { [name]: add(original[name], applyMask(delta, name, options.featureMask)) }
    return astype(clipFeatures(there, rule)[name], original[name].dtype)
  }
  const marginAt = (z: Tensor): Tensor => mul(astype(marginLoss(z, labels, { reduction: 'none' }), 'float32'), -1)

  const start = (model: M): State => {
    const current = mapFeatures(original, (x, name) => {
      const i = names.indexOf(name)
      const { columns, channels } = frames[i]
      const striped = signs(foldIn(foldIn(key, 0), i), [n, 1, columns, channels], x)
      return moved(name, reshape(broadcastTo(striped, [n, frames[i].rows, columns, channels]), x.shape))
    })
    const z = victim.logits(model, current)
    return { kept: victim.keep(victim.none(model), current, z), current, margin: marginAt(z), k: full([], 0, 'int32') }
  }

  const step = (model: M, { kept, current, margin, k }: State): State => {
    const drawn = foldIn(foldIn(key, 1), k)
    const tried = mapFeatures(current, (x, name) => {
      const i = names.indexOf(name)
      const { rows, columns, channels } = frames[i]
      const side = take(sides[i], k)
      const own = foldIn(drawn, i)
      const corner = (size: number, part: number, length: Tensor): Tensor =>
        reshape(
          astype(
            floor(mul(uniform(foldIn(own, part), [n]), astype(add(size + 1, mul(length, -1)), 'float32'))),
            'int32',
          ),
          [n, 1, 1, 1],
        )
      const [height, width] = columns === 1 ? [side, full([], 1, 'int32')] : [side, side]
      const [top, left] = [corner(rows, 0, height), corner(columns, 1, width)]
      const within = (axis: number, first: Tensor, length: Tensor): Tensor => {
        const place = iota([n, rows, columns, channels], axis)
        return logicalAnd(lessEqual(first, place), less(place, add(first, length)))
      }
      const isInside = reshape(logicalAnd(within(1, top, height), within(2, left, width)), x.shape)
      const colour = broadcastTo(signs(foldIn(own, 2), [n, 1, 1, channels], x), [n, rows, columns, channels])
      return where(isInside, moved(name, reshape(colour, x.shape)), x)
    })
    const z = victim.logits(model, tried)
    const found = marginAt(z)
    const isBetter = logicalOr(less(found, margin), lessEqual(found, 0))
    return {
      kept: victim.keep(kept, tried, z),
      current: mapFeatures(current, (x, name) => where(beside(isBetter, x), tried[name], x)),
      margin: where(isBetter, found, margin),
      k: add(k, 1),
    }
  }

  const { kept, current } = await search(victim, model, steps, start, step)
  const features = mapFeatures(current, (x, name) => where(beside(kept.broken, x), kept.features[name], x))
  return { adversarial: { ...batch, ...features }, broken: kept.broken }
}

/** A feature as images: rows, columns and channels of an example. */
interface Frame {
  readonly rows: number
  readonly columns: number
  readonly channels: number
}

function frameOf([, ...shape]: readonly number[]): Frame {
  if (shape.length === 3) return { rows: shape[0], columns: shape[1], channels: shape[2] }
  return { rows: shape.reduce((a, b) => a * b, 1), columns: 1, channels: 1 }
}

/** The side of a square, or the length of a stretch, that is a share of a frame. */
function sideOf({ rows, columns }: Frame, share: number): number {
  const side = columns === 1 ? share * rows : Math.sqrt(share * rows * columns)
  return Math.max(1, Math.min(Math.round(side), rows, columns === 1 ? rows : columns))
}

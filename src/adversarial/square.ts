/**
 * Square: a random search that asks for logits alone. What it breaks and an attack along gradients does not, tells of masked
 * gradients. Andriushchenko et al. 2020, "Square attack: a query-efficient black-box adversarial attack via random search",
 * algorithms 1 and 2; 3 is in windows.ts.
 */

import { knownOptions } from '../graph/options.js'
import type { Batch } from '../nn/context.js'
import { marginLoss } from '../nn/losses.js'
import { tensor } from '../tensor/create.js'
import { add, astype, less, lessEqual, logicalOr, mul, sub, where } from '../tensor/elementwise.js'
import { take } from '../tensor/indexing.js'
import { broadcastTo, reshape } from '../tensor/movement.js'
import { foldIn } from '../tensor/random.js'
import { full, type Tensor } from '../tensor/tensor.js'
import { applyMask, type Features, mapFeatures } from './features.js'
import { widened } from './gradient.js'
import type { Logits } from './logits.js'
import { checkCounts, checkRequired, checkSizes, plus } from './method.js'
import { searchNames } from './options.js'
import { type Found, type Kept, type SearchOptions, search, targetOf } from './search.js'
import { beside, checkRule, project, steepest, storedFeatures } from './steps.js'
import { drawWindow, type Frame, frameOf, moveMass, oddSideOf, sideOf, signs, tiles, windowsOf } from './windows.js'

export interface SquareOptions extends SearchOptions {
  /** The radius of the ball. */
  epsilon: number
  /** 'linf' or 'l2'. Default 'linf'. */
  norm?: 'linf' | 'l2'
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
 * A random search in the ball of radius epsilon, which keeps what lets the margin of the label fall.
 *
 * - linf: from vertical stripes on, each step sets a square of an image to ±epsilon in each channel
 * - l2: from a grid of bumps on, each step moves the length of the perturbation in one square to another, where it makes two
 *   opposite bumps of it, so that ‖δ‖₂ is epsilon but for the valid range
 *
 * Features that are no images [n, height, width, channels] are lines, of which a step takes stretches.
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
    norm = 'linf',
    key,
    steps = 5000,
    share = 0.8,
  } = knownOptions(op, options, {
    ...searchNames,
    epsilon: true,
    norm: true,
    steps: true,
    share: true,
  })
  checkRequired(op, { epsilon })
  checkSizes(op, { share })
  checkCounts(op, { steps })
  if (!key) throw new Error(`${op}: a random search needs a random key: { key: random.key(0) }`)
  if (norm !== 'linf' && norm !== 'l2') throw new Error(`${op}: unknown norm '${norm}'; one of linf, l2`)
  const rule = { ...options, norm, stepSize: 0 }
  checkRule(op, rule)
  const victim = targetOf(op, logits, batch, options)
  const { features: original, labels } = victim
  const masked = (x: Tensor, name: string): Tensor => applyMask(x, name, options.featureMask)
  const valid = (x: Features): Features => storedFeatures(x, original, rule)
  const shares = Array.from({ length: steps }, (_, k) => shareAt(k, steps, share))
  const { first, next } = (norm === 'linf' ? squares : bumps)({ original, epsilon, shares, masked, valid })
  const marginAt = (z: Tensor): Tensor => mul(astype(marginLoss(z, labels, { reduction: 'none' }), 'float32'), -1)

  const start = (model: M): State => {
    const current = first(foldIn(key, 0))
    const z = victim.logits(model, current)
    return { kept: victim.keep(victim.none(model), current, z), current, margin: marginAt(z), k: full([], 0, 'int32') }
  }

  const step = (model: M, { kept, current, margin, k }: State): State => {
    const tried = next(foldIn(foldIn(key, 1), k), current, k)
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

interface Proposals {
  /** The point to start from. */
  first(key: Tensor): Features
  /** What step k tries next. */
  next(key: Tensor, current: Features, k: Tensor): Features
}

interface Ball {
  readonly original: Features
  readonly epsilon: number
  /** The share of the elements that each step changes. */
  readonly shares: readonly number[]
  masked(x: Tensor, name: string): Tensor
  /** In the valid range, and the dtypes of the original. */
  valid(x: Features): Features
}

/** Algorithm 2. */
function squares({ original, epsilon, shares, masked, valid }: Ball): Proposals {
  const names = Object.keys(original)
  const frames = mapValues(original, x => frameOf(x.shape))
  const sides = mapValues(frames, frame => tensor(Int32Array.from(shares, share => sideOf(frame, share))))
  /** Every element moved by ±epsilon. */
  const moved = (signs: Features): Features =>
    valid(mapFeatures(original, (x, name) => add(x, masked(mul(reshape(signs[name], x.shape), epsilon), name))))
  const whole = (x: Tensor, { rows, columns, channels }: Frame): Tensor =>
    broadcastTo(x, [x.shape[0], rows, columns, channels])
  return {
    first: key =>
      moved(
        mapFeatures(original, (x, name) => {
          const { columns, channels } = frames[name]
          const drawn = signs(foldIn(key, names.indexOf(name)), [x.shape[0], 1, columns, channels], x)
          return whole(drawn, frames[name])
        }),
      ),
    next: (key, current, k) => {
      const own = (name: string, part: number): Tensor => foldIn(foldIn(key, names.indexOf(name)), part)
      const tried = moved(
        mapFeatures(original, (x, name) =>
          whole(signs(own(name, 2), [x.shape[0], 1, 1, frames[name].channels], x), frames[name]),
        ),
      )
      return mapFeatures(current, (x, name) => {
        const side = take(sides[name], k)
        const { inside } = drawWindow([own(name, 0), own(name, 1)], x.shape[0], frames[name], side)
        return where(reshape(whole(inside, frames[name]), x.shape), tried[name], x)
      })
    },
  }
}

/** Algorithm 3. */
function bumps({ original, epsilon, shares, masked, valid }: Ball): Proposals {
  const names = Object.keys(original)
  const origin = widened(original)
  const frames = mapValues(original, x => frameOf(x.shape))
  const images = (x: Features): Features =>
    mapFeatures(x, (v, name) => {
      const { rows, columns, channels } = frames[name]
      return reshape(v, [v.shape[0], rows, columns, channels])
    })
  const features = (x: Features): Features => mapFeatures(x, (v, name) => reshape(v, original[name].shape))
  const maskedImage = (v: Tensor, name: string): Tensor =>
    reshape(masked(reshape(v, original[name].shape), name), v.shape)
  const moved = (delta: Features): Features => valid(plus(origin, project(features(delta), epsilon, 'l2')))
  const draw = mapValues(frames, frame =>
    windowsOf(
      frame,
      shares.map(share => oddSideOf(frame, share)),
    ),
  )
  return {
    first: key => {
      const tiled = mapFeatures(images(origin), (x, name) =>
        maskedImage(tiles(foldIn(key, names.indexOf(name)), frames[name], x), name),
      )
      return moved(mapFeatures(steepest(tiled, 'l2'), d => mul(d, epsilon)))
    },
    next: (key, current, k) => {
      const delta = images(mapFeatures(widened(current), (x, name) => sub(x, origin[name])))
      const draws = mapValues(delta, (v, name) => draw[name](foldIn(key, names.indexOf(name)), k, v))
      return moved(moveMass(delta, draws, epsilon, maskedImage))
    },
  }
}

const mapValues = <T, U>(record: Readonly<Record<string, T>>, f: (value: T, name: string) => U): Record<string, U> =>
  Object.fromEntries(Object.entries(record).map(([name, value]) => [name, f(value, name)]))

/**
 * Adversarial examples as files and screens hold them. Rounded to 8 bits an example is another one, and is judged again: an
 * attack that lives between two levels is none.
 */

import { type Dataset, dataset } from '../data/dataset.js'
import { tensorsOf } from '../data/tensors.js'
import { type DType, type HostArray, toDType } from '../graph/dtype.js'
import { knownOptions } from '../graph/options.js'
import { formatShape, sameShape } from '../graph/shape.js'
import { type FeatureOptions, perturbable } from './features.js'
import { featureNames, rangeNames } from './options.js'

export interface QuantizationOptions extends FeatureOptions {
  /** How many values there are, evenly spaced from clipMin to clipMax. Default 256: 8 bits. */
  levels?: number
  /** The lowest level. Default 0. */
  clipMin?: number
  /** The highest level. Default 1. */
  clipMax?: number
}

/** Half the distance between two values just below 1: as much as storing one may move it. */
const roundings: Readonly<Partial<Record<DType, number>>> = { float16: 2 ** -12, float32: 2 ** -25, float64: 2 ** -54 }

/**
 * Attacked examples with their features at whole levels, from which `accuracyOn` tells what is left of the attack:
 * q = clip(round(u(x)) + trunc(u(x') - u(x)), 0, levels - 1), where u(v) = (levels - 1)·(v - clipMin)/(clipMax - clipMin). Whole
 * levels are counted from the original and never rounded up: where the original is at levels, as images of 8 bits are, no
 * element of the perturbation grows, so that any ball which held it holds it still. Steps that are whole but for the rounding of
 * the dtype count as whole.
 *
 * Cost: no pass; it runs on the host.
 *
 * @param original the data set that was attacked
 * @param attacked its examples in the same order, as from `attackDataset` or `autoAttack`
 * @throws if an option is out of range, or the data sets differ in their columns or sizes
 * @example await accuracyOn(logits, model, quantized(test, attacked.data))
 */
export function quantized(original: Dataset, attacked: Dataset, options: QuantizationOptions = {}): Dataset {
  const op = 'quantized'
  const {
    levels = 256,
    clipMin = 0,
    clipMax = 1,
    ...rest
  } = knownOptions(op, options, { ...featureNames, ...rangeNames, levels: true })
  if (!Number.isInteger(levels) || levels < 2) throw new Error(`${op}: levels must be an integer >= 2, not ${levels}`)
  if (!Number.isFinite(clipMin) || !Number.isFinite(clipMax) || !(clipMin < clipMax))
    throw new Error(`${op}: needs the range of the levels, clipMin below clipMax, not ${clipMin} and ${clipMax}`)
  if (original.size === 0) throw new Error(`${op}: the data set has no rows`)
  const features = Object.keys(perturbable(op, tensorsOf(original.rows([0])), rest))
  const top = levels - 1
  const range = clipMax - clipMin
  const atLevels = (name: string, from: HostArray, to: HostArray | undefined): HostArray => {
    if (!to || !sameShape(from.shape, to.shape))
      throw new Error(
        `${op}: '${name}' is ${formatShape(from.shape)}, but ${to ? formatShape(to.shape) : 'not there'} in the attacked data set`,
      )
    const u = (v: number): number => (top * (v - clipMin)) / range
    // Both values are rounded, and so was the radius.
    const moved = 4 * (roundings[from.dtype] ?? 0) * Math.max(Math.abs(clipMin), Math.abs(clipMax))
    const slack = Math.min(0.5, (top * moved) / range)
    const data = to.data.map((v, i) => {
      const steps = u(v) - u(from.data[i])
      const whole = Math.sign(steps) * Math.floor(Math.abs(steps) + slack)
      const level = Math.min(top, Math.max(0, Math.round(u(from.data[i])) + whole))
      return toDType(clipMin + (level / top) * range, to.dtype)
    })
    return { ...to, data }
  }
  const columns = features.map(name => [name, atLevels(name, original.columns[name], attacked.columns[name])] as const)
  return dataset({ ...attacked.columns, ...Object.fromEntries(columns) })
}

/** The names of options that attacks and methods share. */

import type { Names } from '../graph/options.js'
import type { BallOptions } from './ball.js'
import type { FeatureOptions } from './features.js'
import type { LeafOptions, PlaceOptions } from './places.js'
import type { SearchOptions } from './search.js'

export const featureNames: Names<FeatureOptions> = {
  labelKeys: true,
  sampleWeightKey: true,
  features: true,
  featureMask: true,
}
export const rangeNames = { clipMin: true, clipMax: true } as const
export const leafNames: Names<LeafOptions> = { on: true, scope: true, paddingMask: true }
export const placeNames: Names<PlaceOptions> = { ...leafNames, ...featureNames, ...rangeNames }
export const ballNames: Names<BallOptions> = {
  ...placeNames,
  epsilon: true,
  norm: true,
  steps: true,
  stepSize: true,
}
export const searchNames: Names<SearchOptions> = {
  ...featureNames,
  ...rangeNames,
  label: true,
  key: true,
  context: true,
  signal: true,
}

/** Those of the options that have one of the names. */
export const pick = <O extends object, K extends keyof O>(options: O, names: Readonly<Record<K, true>>): Pick<O, K> =>
  Object.fromEntries(Object.entries(options).filter(([name]) => Object.hasOwn(names, name))) as Pick<O, K>

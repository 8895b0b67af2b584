/** The names that options go by: one that is misspelt, or that another method takes, would else be ignored in silence. */

import { demandOptions } from '../tensor/tensor.js'
import type { FeatureOptions } from './features.js'
import type { LeafOptions, PlaceOptions } from './places.js'
import type { SearchOptions } from './search.js'
import type { BallOptions } from './training.js'

/** Each option by its name: none missing, none too many. */
export type Names<O> = { readonly [K in keyof Required<O>]: true }

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

/** Options, given back. @throws unless they are an object of known names. */
export function knownOptions<O extends object>(op: string, options: O, names: Names<NoInfer<O>>): O {
  const unknown = Object.keys(demandOptions(op, options)).find(name => !Object.hasOwn(names, name))
  if (unknown === undefined) return options
  throw new Error(`${op}: has no option '${unknown}'; it takes ${Object.keys(names).join(', ')}`)
}

/** Those of the options that have one of the names. */
export const pick = <O extends object, K extends keyof O>(options: O, names: Readonly<Record<K, true>>): Pick<O, K> =>
  Object.fromEntries(Object.entries(options).filter(([name]) => Object.hasOwn(names, name))) as Pick<O, K>

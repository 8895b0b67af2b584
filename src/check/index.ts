/** Checks for those who write functions, rules or devices of their own, and generators of cases for them. */

import '../tensor/methods.js'

export {
  type Arbitraries,
  arbitraries,
  type IndicesOptions,
  type ShapeOptions,
  type TensorsOptions,
} from './arbitraries.js'
export { type CheckDevicesOptions, checkDevices } from './devices.js'
export { type CheckGradsOptions, checkGrads, GradientError, type Mode } from './grads.js'
export type { Program, ProgramOptions } from './programs.js'

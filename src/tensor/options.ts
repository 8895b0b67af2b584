/** The names of options that operations and the layers made of them share. */

import type { Names } from '../graph/options.js'
import type {
  Conv1dOptions,
  ConvOptions,
  ConvTranspose1dOptions,
  ConvTransposeOptions,
  Pool1dOptions,
  PoolOptions,
} from './convolution.js'
import type { ResizeOptions } from './neural.js'

export const depthwiseNames: Names<Omit<ConvOptions, 'groups'>> = {
  stride: true,
  padding: true,
  dilation: true,
  inputDilation: true,
}
export const convNames: Names<ConvOptions> & Names<Conv1dOptions> = { ...depthwiseNames, groups: true }
export const convTransposeNames: Names<ConvTransposeOptions> & Names<ConvTranspose1dOptions> = {
  stride: true,
  padding: true,
  outputPadding: true,
  dilation: true,
  groups: true,
}
export const poolNames: Names<PoolOptions> & Names<Pool1dOptions> = { stride: true, padding: true }
export const resizeNames: Names<ResizeOptions> = { method: true, alignCorners: true }

/** Convolutions and pooling of channels-last images and sequences. */

import { promote } from '../graph/dtype.js'
import type { Attrs } from '../graph/node.js'
import { knownOptions } from '../graph/options.js'
import { formatShape, type Shape } from '../graph/shape.js'
import { astype } from './elementwise.js'
import { expandDims, permuteDims, reshape, squeeze, windows } from './movement.js'
import { convNames, convTransposeNames, depthwiseNames, poolNames } from './options.js'
import { max, mean } from './reduction.js'
import { demandImages, padSpatial, perAxis, transposedConv } from './shared.js'
import { build, demandTensors, describe, type Tensor } from './tensor.js'

type Pair = number | readonly [number, number]
/** An option for both spatial axes. */
function pair(op: string, name: string, value: Pair, least = 1): [number, number] {
  const [vertical, horizontal] = perAxis(op, name, value, 2, least)
  return [vertical, horizontal]
}

export type Padding = 'valid' | 'same' | number | readonly [readonly [number, number], readonly [number, number]]
export type Padding1d = 'valid' | 'same' | number | readonly [number, number]

export interface ConvOptions {
  /** Step between output positions, for both axes or [vertical, horizontal]. */
  stride?: Pair
  /**
   * 'valid' (none), 'same' (output = input / stride, rounded up), a width, or [[top, bottom], [left, right]]; negative
   * crops.
   */
  padding?: Padding
  /** Step between kernel elements in the input. */
  dilation?: Pair
  /** Step between input elements, zeros in between: a transposed convolution. */
  inputDilation?: Pair
  /** Channels are convolved in this many separate groups. */
  groups?: number
}

export interface Conv1dOptions {
  stride?: number
  /** 'valid' (none), 'same' (output = input / stride, rounded up), a width, or [before, after]; negative crops. */
  padding?: Padding1d
  dilation?: number
  inputDilation?: number
  groups?: number
}

/**
 * The convolution (cross-correlation, as all libraries have it) of channels-last images.
 *
 * @param x images [n, height, width, groups * c]
 * @param w kernel [kernelHeight, kernelWidth, c, outputs]
 * @returns [n, outHeight, outWidth, outputs]
 */
export const conv2d = (x: Tensor, w: Tensor, options: ConvOptions = {}): Tensor =>
  convolve('conv2d', x, w, knownOptions('conv2d', options, convNames))

/** `conv2d` of sequences [n, length, groups * c] with a kernel [kernelLength, c, outputs]. */
export function conv1d(x: Tensor, w: Tensor, options: Conv1dOptions = {}): Tensor {
  demandRanks('conv1d', x, w, 3, 'sequences [n,l,c] and a kernel [k,c,o]')
  const image = asImage(knownOptions('conv1d', options, convNames))
  return squeeze(convolve('conv1d', expandDims(x, 1), expandDims(w, 0), image), 1)
}

/**
 * Each channel of [n, h, w, c] convolved by itself with a kernel [kernelHeight, kernelWidth, c, multiplier]; the results
 * of channel i are the channels from i * multiplier.
 */
export function depthwiseConv2d(x: Tensor, w: Tensor, options: Omit<ConvOptions, 'groups'> = {}): Tensor {
  demandRanks('depthwiseConv2d', x, w, 4, 'images [n,h,w,c] and a kernel [kh,kw,c,multiplier]')
  const [kh, kw, c, multiplier] = w.shape
  if (x.shape[3] !== c)
    throw new Error(
      `depthwiseConv2d: the channels of ${formatShape(x.shape)} and the kernel ${formatShape(w.shape)} differ`,
    )
  const kernel = reshape(w, [kh, kw, Math.min(c, 1), c * multiplier])
  return convolve('depthwiseConv2d', x, kernel, {
    ...knownOptions('depthwiseConv2d', options, depthwiseNames),
    groups: Math.max(c, 1),
  })
}

function convolve(op: string, x: Tensor, w: Tensor, options: ConvOptions): Tensor {
  demandRanks(op, x, w, 4, 'images [n,h,w,c] and a kernel [kh,kw,c,o]')
  const attrs = convAttrs(op, options)
  const interior = pair(op, 'inputDilation', options.inputDilation ?? 1).map(n => n - 1)
  const extent = [0, 1].map(d => x.shape[1 + d] + Math.max(0, x.shape[1 + d] - 1) * interior[d])
  const widths = paddingWidths(op, options.padding ?? 'valid', extent, windowOf(w, attrs), attrs.strides)
  const [images, kernel] = alike(x, w)
  return build('conv', [padSpatial(images, widths, interior), kernel], attrs)
}

function demandRanks(op: string, x: Tensor, w: Tensor, rank: number, needs: string): void {
  demandTensors(op, x, w)
  if (x.ndim !== rank || w.ndim !== rank)
    throw new Error(`${op}: needs ${needs}, got ${formatShape(x.shape)} and ${formatShape(w.shape)}`)
}

const alike = (x: Tensor, w: Tensor): Tensor[] => [x, w].map(t => astype(t, promote(x.dtype, w.dtype)))

function convAttrs(op: string, options: ConvOptions): Attrs['conv'] {
  const { stride = 1, dilation = 1, groups = 1 } = options
  return {
    strides: pair(op, 'stride', stride),
    dilation: pair(op, 'dilation', dilation),
    groups: perAxis(op, 'groups', groups, 1)[0],
  }
}

/** The extent of a kernel in the image. */
const windowOf = (w: Tensor, { dilation }: Attrs['conv']): number[] =>
  [0, 1].map(d => (w.shape[d] - 1) * dilation[d] + 1)

/** Options for the same on images of one row. */
function asImage(options: Conv1dOptions & ConvTranspose1dOptions): ConvOptions & ConvTransposeOptions {
  const { stride = 1, padding = 'valid', dilation = 1, inputDilation = 1, outputPadding = 0, groups } = options
  const widths: Padding1d = typeof padding === 'number' ? [padding, padding] : padding
  return {
    stride: [1, stride],
    padding: typeof widths === 'string' ? widths : [[0, 0], widths],
    dilation: [1, dilation],
    inputDilation: [1, inputDilation],
    outputPadding: [0, outputPadding],
    groups,
  }
}

export interface ConvTransposeOptions {
  /** Step between input positions in the output. */
  stride?: Pair
  /** What the convolution pads and this one cuts off; 'same' makes the output input * stride. */
  padding?: Padding
  /** Rows and columns more at the end, which the convolution does not reach. */
  outputPadding?: Pair
  dilation?: Pair
  groups?: number
}
export interface ConvTranspose1dOptions {
  stride?: number
  padding?: Padding1d
  outputPadding?: number
  dilation?: number
  groups?: number
}

/**
 * The adjoint of `conv2d`: what a convolution of the same kernel and options sends back to its images. The output is
 * (input - 1) * stride + dilation * (kernel - 1) + 1 + outputPadding less the padding. With groups = c it is the adjoint of
 * the depthwise convolution.
 *
 * @param x images [n, height, width, c]
 * @param w kernel [kernelHeight, kernelWidth, outputs / groups, c], as the convolution from outputs to c has it
 * @returns [n, outHeight, outWidth, outputs]
 */
export const convTranspose2d = (x: Tensor, w: Tensor, options: ConvTransposeOptions = {}): Tensor =>
  convolveTransposed('convTranspose2d', x, w, knownOptions('convTranspose2d', options, convTransposeNames))

/** `convTranspose2d` of sequences [n, length, c] with a kernel [kernelLength, outputs / groups, c]. */
export function convTranspose1d(x: Tensor, w: Tensor, options: ConvTranspose1dOptions = {}): Tensor {
  demandRanks('convTranspose1d', x, w, 3, 'sequences [n,l,c] and a kernel [k,o,c]')
  const image = asImage(knownOptions('convTranspose1d', options, convTransposeNames))
  return squeeze(convolveTransposed('convTranspose1d', expandDims(x, 1), expandDims(w, 0), image), 1)
}

function convolveTransposed(op: string, x: Tensor, w: Tensor, options: ConvTransposeOptions): Tensor {
  demandRanks(op, x, w, 4, 'images [n,h,w,c] and a kernel [kh,kw,o,c]')
  const { padding = 'valid', outputPadding = 0 } = options
  const attrs = convAttrs(op, options)
  if (x.shape[3] !== w.shape[3] || x.shape[3] % attrs.groups) {
    throw new Error(
      `${op}: the channels of ${formatShape(x.shape)} and the kernel ${formatShape(w.shape)} differ or do not split into ${attrs.groups} groups`,
    )
  }
  const window = windowOf(w, attrs)
  const spread = attrs.strides.map((stride, d) => stride * x.shape[1 + d])
  const widths = paddingWidths(op, padding, spread, window, attrs.strides)
  const extra = pair(op, 'outputPadding', outputPadding, 0)
  const extent = widths.map(([before, after], d) =>
    padding === 'same' ? spread[d] + extra[d] : spread[d] - attrs.strides[d] + window[d] + extra[d] - before - after,
  )
  if (extent.some(n => n < 1))
    throw new Error(`${op}: padding ${JSON.stringify(widths)} leaves an output of ${formatShape(extent)}`)
  const [images, kernel] = alike(x, w)
  return transposedConv(
    images,
    kernel,
    attrs,
    extent,
    widths.map(([before]) => before),
  )
}

/** [before, after] per spatial axis. */
function paddingWidths(
  op: string,
  padding: Padding,
  extent: Shape,
  window: Shape,
  strides: readonly number[],
): [number, number][] {
  const widths = [0, 1].map((d): [number, number] => {
    if (padding === 'valid') return [0, 0]
    if (typeof padding === 'number') return [padding, padding]
    if (padding !== 'same') return [padding[d]?.[0], padding[d]?.[1]]
    const total = Math.max(0, (Math.ceil(extent[d] / strides[d]) - 1) * strides[d] + window[d] - extent[d])
    return [Math.floor(total / 2), Math.ceil(total / 2)]
  })
  if (!widths.flat().every(Number.isInteger) || widths.some(([a, b], d) => a + b + extent[d] < 0)) {
    throw new Error(
      `${op}: padding must be 'valid', 'same', an integer or [[top, bottom], [left, right]] that leaves some of the image, not ${Array.isArray(padding) ? JSON.stringify(padding) : describe(padding)}`,
    )
  }
  return widths
}

export interface PoolOptions {
  /** Defaults to the window: windows side by side. */
  stride?: Pair
  padding?: Padding
}
export interface Pool1dOptions {
  stride?: number
  padding?: Padding1d
}

/** Windows of [n, h, w, c] as [n, oh, ow, kh * kw, c]. */
function poolWindows(op: string, x: Tensor, window: Pair, options: PoolOptions, fill: number): Tensor {
  demandImages(op, x)
  const [kh, kw] = pair(op, 'the window', window)
  const stride = pair(op, 'stride', options.stride ?? window)
  const widths = paddingWidths(op, options.padding ?? 'valid', [x.shape[1], x.shape[2]], [kh, kw], stride)
  if (widths.some(([before, after], d) => Math.max(before, after) >= [kh, kw][d]))
    throw new Error(`${op}: padding ${JSON.stringify(widths)} would make windows ${kh}x${kw} of padding alone`)
  const padded = padSpatial(x, widths, [0, 0], fill)
  if (padded.shape[1] < kh || padded.shape[2] < kw)
    throw new Error(`${op}: the window ${kh}x${kw} is larger than the image, shape ${formatShape(x.shape)}`)
  const view = windows(padded, [kh, kw], { axis: [1, 2], stride })
  return reshape(permuteDims(view, [0, 1, 2, 4, 5, 3]), [...view.shape.slice(0, 3), kh * kw, view.shape[3]])
}

type Pool = (op: string, x: Tensor, window: Pair, options: PoolOptions) => Tensor
const maxPool: Pool = (op, x, window, options) => max(poolWindows(op, x, window, options, -Infinity), { axis: 3 })
const avgPool: Pool = (op, x, window, options) => mean(poolWindows(op, x, window, options, 0), { axis: 3 })
const onSequence = (op: string, pool: Pool, x: Tensor, window: number, options: Pool1dOptions): Tensor => {
  demandTensors(op, x)
  if (x.ndim !== 3) throw new Error(`${op}: needs sequences [n,l,c], got ${formatShape(x.shape)}`)
  const { stride = window, padding } = knownOptions(op, options, poolNames)
  return squeeze(pool(op, expandDims(x, 1), [1, window], asImage({ stride, padding })), 1)
}

/** The largest element of each window of [n, h, w, c]; a gradient is shared equally among ties. */
export const maxPool2d = (x: Tensor, window: Pair, options: PoolOptions = {}): Tensor =>
  maxPool('maxPool2d', x, window, knownOptions('maxPool2d', options, poolNames))
/** The largest element of each window of [n, l, c]. */
export const maxPool1d = (x: Tensor, window: number, options: Pool1dOptions = {}): Tensor =>
  onSequence('maxPool1d', maxPool, x, window, options)

/** The mean of each window of [n, h, w, c]; padding counts as zeros. */
export const avgPool2d = (x: Tensor, window: Pair, options: PoolOptions = {}): Tensor =>
  avgPool('avgPool2d', x, window, knownOptions('avgPool2d', options, poolNames))
/** The mean of each window of [n, l, c]; padding counts as zeros. */
export const avgPool1d = (x: Tensor, window: number, options: Pool1dOptions = {}): Tensor =>
  onSequence('avgPool1d', avgPool, x, window, options)

/** The mean of each channel: [n, h, w, c] -> [n, c]. */
export function globalAvgPool2d(x: Tensor): Tensor {
  demandImages('globalAvgPool2d', x)
  return mean(x, { axis: [1, 2] })
}

/** The largest value of each channel, its gradient shared equally among ties: [n, h, w, c] -> [n, c]. */
export function globalMaxPool2d(x: Tensor): Tensor {
  demandImages('globalMaxPool2d', x)
  return max(x, { axis: [1, 2] })
}

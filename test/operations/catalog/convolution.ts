/** Convolutions and pooling. */

import * as sp from 'saddlepoint'
import type { Rng } from '../../oracle/property.js'
import { type Catalog, chosen, distinct, type Make, normal, smooth, type Tensor } from '../cases.js'

const widths = [
  [2, 0],
  [-1, 3],
] as const
const paddings = [
  'same',
  1,
  widths,
  [
    [0, 1],
    [1, -1],
  ],
] as const
const lengths = ['same', 1, [1, -1], 'valid'] as const
/** Strides and dilations up to 3, and groups of up to two channels in and out. */
function someOptions(r: Rng) {
  const groups = r.int(1, 2)
  const [inputs, outputs] = [groups * r.int(1, 2), groups * r.int(1, 2)]
  const [stride, dilation] = [
    [r.int(1, 3), r.int(1, 2)],
    [r.int(1, 2), r.int(1, 2)],
  ] as const
  return { groups, inputs, outputs, stride, dilation }
}
const kernel = (r: Rng): number[] => r.shape(2)
const convolved =
  (f: (x: Tensor, w: Tensor) => Tensor): ((x: Tensor, w: Tensor) => Tensor) =>
  (x, w) =>
    sp.sin(f(x, w))

const pool2d =
  (f: typeof sp.maxPool2d): Make =>
  r => {
    const window = [r.int(1, 3), r.int(1, 3)] as const
    const stride = r.pick([undefined, 1, 2, [2, 1] as const])
    const padding = r.pick(['valid', 'same'] as const)
    return { f: x => sp.sin(f(x, window, { stride, padding })), args: [distinct(r, [r.int(1, 2), 5, 4, r.int(1, 2)])] }
  }
const pool1d =
  (f: typeof sp.maxPool1d): Make =>
  r => {
    const [window, stride] = [r.int(2, 3), r.pick([undefined, 1, 2])]
    const padding = r.pick(['valid', 'same', 1, [1, 0]] as const)
    return { f: x => sp.sin(f(x, window, { stride, padding })), args: [distinct(r, [r.int(1, 2), 5, r.int(1, 2)])] }
  }

export const convolution: Catalog = {
  conv2d: smooth(r => {
    const { inputs, outputs, ...options } = someOptions(r)
    const [inputDilation, padding] = [[r.int(1, 2), r.int(1, 3)] as const, r.pick(paddings)]
    const x = normal(r, [r.int(1, 2), r.int(4, 5), r.int(5, 6), inputs])
    const w = normal(r, [...kernel(r), inputs / options.groups, outputs])
    return { f: convolved((x, w) => sp.conv2d(x, w, { ...options, inputDilation, padding })), args: [x, w] }
  }),
  conv1d: smooth(r => {
    const { inputs, outputs, groups, stride, dilation } = someOptions(r)
    const options = { groups, stride: stride[0], dilation: dilation[0], padding: r.pick(lengths) }
    const args = [normal(r, [r.int(1, 2), 6, inputs]), normal(r, [r.int(1, 3), inputs / groups, outputs])]
    return { f: convolved((x, w) => sp.conv1d(x, w, options)), args }
  }),
  depthwiseConv2d: smooth(r => {
    const { inputs, stride, dilation } = someOptions(r)
    const options = { stride, dilation, padding: r.pick(paddings) }
    const args = [normal(r, [r.int(1, 2), 5, 5, inputs]), normal(r, [...kernel(r), inputs, r.int(1, 2)])]
    return { f: convolved((x, w) => sp.depthwiseConv2d(x, w, options)), args }
  }),
  convTranspose2d: smooth(r => {
    const { inputs, outputs, ...options } = someOptions(r)
    const [padding, outputPadding] = [
      r.pick([
        'valid',
        'same',
        [
          [1, 0],
          [0, -1],
        ],
      ] as const),
      [r.int(0, 1), r.int(0, 2)] as const,
    ]
    const x = normal(r, [r.int(1, 2), r.int(2, 3), r.int(2, 3), inputs])
    const w = normal(r, [...kernel(r), outputs / options.groups, inputs])
    return { f: convolved((x, w) => sp.convTranspose2d(x, w, { ...options, padding, outputPadding })), args: [x, w] }
  }),
  convTranspose1d: smooth(r => {
    const { inputs, outputs, groups, stride, dilation } = someOptions(r)
    const [padding, outputPadding] = [r.pick(['valid', 'same', 1, [1, 0]] as const), r.int(0, 1)]
    const options = { groups, stride: stride[0], dilation: dilation[0], padding, outputPadding }
    const args = [normal(r, [r.int(1, 2), 4, inputs]), normal(r, [r.int(1, 3), outputs / groups, inputs])]
    return { f: convolved((x, w) => sp.convTranspose1d(x, w, options)), args }
  }),
  maxPool2d: smooth(pool2d(sp.maxPool2d)),
  avgPool2d: smooth(pool2d(sp.avgPool2d)),
  maxPool1d: smooth(pool1d(sp.maxPool1d)),
  avgPool1d: smooth(pool1d(sp.avgPool1d)),
  globalAvgPool2d: smooth(chosen(sp.globalAvgPool2d, { rank: [4, 4] })),
  globalMaxPool2d: smooth(chosen(sp.globalMaxPool2d, { rank: [4, 4], fill: distinct })),
}

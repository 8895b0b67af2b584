/** Operations that move elements. */

import * as sp from 'saddlepoint'
import type { Rng } from '../../oracle/property.js'
import { type Catalog, chosen, type Make, normal, oneAxis, smooth, someAxes, type Tensor } from '../cases.js'

/** Tensors that differ in size along one axis at most. */
const joined =
  (f: (xs: Tensor[], axis: number) => Tensor, most: number): Make =>
  r => {
    const shape = r.shape(r.int(1, 3))
    const axis = r.int(0, shape.length - 1)
    const args = Array.from({ length: r.int(1, 3) }, () => normal(r, most ? shape.with(axis, r.int(1, most)) : shape))
    const given = r.pick([axis, axis - shape.length])
    return { f: (...xs) => sp.sin(f(xs, given)), args }
  }
/** An operation that gives several tensors. */
const parted =
  (f: (x: Tensor, axis: number, r: Rng) => readonly Tensor[]): Make =>
  r => {
    const x = normal(r, r.shape(r.int(1, 3), 1, 4))
    const axis = r.int(0, x.ndim - 1)
    const again = r.replay()
    return { f: y => f(y, axis, again()).map(sp.sin), args: [x] }
  }
const widthsOf = (x: Tensor, most: (size: number) => number, r: Rng): [number, number][] =>
  x.shape.map(n => [r.int(0, most(n)), r.int(0, most(n))])
const matrices = { rank: [2, 3] } as const
const times = (x: Tensor, r: Rng): number[] => r.shape(r.int(0, x.ndim + 1), 1, 2)

export const movement: Catalog = {
  reshape: smooth(
    chosen(x => sp.reshape(sp.mul(sp.reshape(x, [-1]), sp.flatten(x)), [1, x.size])),
    chosen(x => sp.mul(sp.reshape(x, [...x.shape].reverse()), sp.reshape(sp.square(x), [...x.shape].reverse()))),
  ),
  flatten: smooth(chosen(sp.flatten, { rank: [0, 3] })),
  permuteDims: smooth(chosen((x, r) => sp.permuteDims(x, r.order(x.ndim)), { rank: [0, 3] })),
  matrixTranspose: smooth(
    chosen(x => sp.mul(sp.matrixTranspose(x), sp.reshape(x, sp.matrixTranspose(x).shape)), matrices),
  ),
  moveaxis: smooth(chosen((x, r) => sp.moveaxis(x, oneAxis(x, r), oneAxis(x, r)))),
  expandDims: smooth(chosen((x, r) => sp.expandDims(x, r.int(-x.ndim - 1, x.ndim)))),
  squeeze: smooth(
    chosen((x, r) => sp.squeeze(sp.expandDims(x, r.int(0, x.ndim)))),
    chosen((x, r) => sp.squeeze(sp.reshape(x, [1, ...x.shape, 1]), r.pick([0, -1, [0, -1]]))),
  ),
  broadcastTo: smooth(
    chosen((x, r) => sp.broadcastTo(sp.expandDims(x, 1), [r.int(1, 2), x.shape[0], 3, ...x.shape.slice(1)])),
  ),
  flip: smooth(chosen((x, r) => sp.mul(sp.flip(x, r.pick([undefined, oneAxis(x, r), someAxes(x, r)])), x))),
  pad: smooth(
    chosen((x, r) =>
      sp.pad(
        x,
        widthsOf(x, () => 2, r),
        r.pick([0, 1.5]),
      ),
    ),
    chosen((x, r) =>
      sp.pad(
        x,
        widthsOf(x, n => n - 1, r),
        { mode: 'reflect' },
      ),
    ),
    chosen((x, r) =>
      sp.pad(
        x,
        widthsOf(x, () => 2, r),
        { mode: 'edge' },
      ),
    ),
  ),
  concat: smooth(joined(sp.concat, 3)),
  stack: smooth(joined(sp.stack, 0)),
  split: smooth(
    parted((x, axis) => sp.split(x, x.shape[axis], axis)),
    parted((x, axis, r) => sp.split(x, [r.int(0, x.shape[axis])], axis - x.ndim)),
  ),
  unstack: smooth(parted((x, axis) => sp.unstack(x, axis))),
  tile: smooth(chosen((x, r) => sp.tile(x, times(x, r)))),
  repeat: smooth(chosen((x, r) => sp.repeat(x, r.int(1, 3), { axis: r.pick([null, oneAxis(x, r)]) }))),
  roll: smooth(
    chosen((x, r) => sp.mul(sp.roll(x, r.int(-5, 5), { axis: r.pick([null, oneAxis(x, r)]) }), x)),
    chosen((x, r) => sp.mul(sp.roll(x, [r.int(-5, 5), 1], { axis: [0, -1] }), x)),
  ),
  diagonal: smooth(
    chosen((x, r) => sp.diagonal(x, { offset: r.int(1 - x.shape[x.ndim - 2], x.shape[x.ndim - 1] - 1) }), matrices),
    chosen((x, r) => sp.diagonal(x, { axis1: r.pick([1, -1]), axis2: 0 }), matrices),
  ),
  windows: smooth(
    chosen((x, r) =>
      sp.windows(
        x,
        x.shape.map(n => r.int(1, n)),
        { stride: r.int(1, 2) },
      ),
    ),
    chosen((x, r) => {
      const axis = oneAxis(x, r)
      const window = r.int(1, (x.shape.at(axis)! + 1) >> 1)
      return sp.windows(x, window, { axis, stride: r.pick([1, 2, window]), dilation: r.int(1, 2) })
    }),
  ),
  tril: smooth(chosen((x, r) => sp.tril(x, r.int(-2, 2)), matrices)),
  triu: smooth(chosen((x, r) => sp.triu(x, r.int(-2, 2)), matrices)),
}

/** Tensors made of no tensor, or of its shape or its integers alone. */

import * as sp from 'saddlepoint'
import type { Rng } from '../../oracle/property.js'
import { type Catalog, chosen, flat, integers, integral, type Make, type Tensor } from '../cases.js'

const made = (f: (r: Rng) => Tensor): Make => {
  return r => {
    const again = r.replay()
    return { f: () => f(again()), args: [] }
  }
}
const shapes = 'takes only the shape'
const nothing = 'made of no tensor'
const dtype = (r: Rng): sp.DType => r.pick(['float32', 'float64', 'int32'])

export const create: Catalog = {
  tensor: flat(
    nothing,
    made(r =>
      sp.tensor(
        [
          [r.normal(), 2],
          [r.normal(), r.int(0, 3)],
        ],
        { dtype: dtype(r) },
      ),
    ),
  ),
  full: flat(
    nothing,
    made(r => sp.full(r.shape(2), r.int(0, 5), dtype(r))),
  ),
  zeros: flat(
    nothing,
    made(r => sp.zeros(r.shape(2), dtype(r))),
  ),
  ones: flat(
    nothing,
    made(r => sp.ones(r.shape(2), dtype(r))),
  ),
  zerosLike: flat(shapes, chosen(sp.zerosLike, { curved: false })),
  onesLike: flat(shapes, chosen(sp.onesLike, { curved: false })),
  iota: flat(
    nothing,
    made(r => sp.iota(r.shape(2), r.int(-2, 1))),
  ),
  arange: flat(
    nothing,
    made(r => sp.arange(r.int(0, 5))),
    made(r => sp.arange(r.int(-3, 0), r.int(1, 4), r.pick([1, 2, 0.25]), 'float64')),
  ),
  linspace: flat(
    nothing,
    made(r => sp.linspace(r.normal(), r.normal(), r.int(0, 7), r.pick(['float32', 'float64']))),
  ),
  eye: flat(
    nothing,
    made(r => sp.eye(r.int(0, 3), r.int(0, 3), dtype(r))),
  ),
  oneHot: flat(integral, r => ({
    f: classes => sp.oneHot(classes, 3),
    args: [integers(-1, 3)(r, r.shape(r.int(0, 2)))],
  })),
}

/** Sorting. */

import * as sp from 'saddlepoint'
import {
  booleans,
  type Catalog,
  chosen,
  distinct,
  type Fill,
  filled,
  flat,
  integers,
  integral,
  oneAxis,
  smooth,
} from '../cases.js'

const ties: Fill = (r, shape) => filled(shape, () => r.pick([0, 1, -1, 2, Number.NaN, Infinity, -Infinity]))
/** Each element times its place, so that the order matters to what is added up. */
const placed = (x: sp.Tensor): sp.Tensor => sp.mul(x, sp.add(sp.astype(sp.iota(x.shape, -1), x.dtype), 0.5))

export const order: Catalog = {
  argsort: flat(
    integral,
    ...[ties, integers(-2, 2), booleans].map(fill =>
      chosen((x, r) => sp.argsort(x, { axis: oneAxis(x, r), descending: r.int(0, 1) === 1 }), { fill, curved: false }),
    ),
  ),
  sort: smooth(
    chosen((x, r) => placed(sp.sort(x, { axis: oneAxis(x, r), descending: r.int(0, 1) === 1 })), { fill: distinct }),
  ),
  topk: smooth(
    chosen(
      (x, r) => {
        const axis = oneAxis(x, r)
        const k = r.int(0, x.shape.at(axis) ?? 0)
        return placed(sp.topk(x, k, { axis, largest: r.int(0, 1) === 1 }).values)
      },
      { fill: distinct },
    ),
  ),
}

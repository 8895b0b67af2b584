/** Element-wise operations. */

import * as sp from 'saddlepoint'
import { between, binary, broken, type Catalog, flat, jumps, smooth, unary } from '../cases.js'

export const elementwise: Catalog = {
  add: smooth(binary((a, b) => sp.sin(sp.add(a, b)))),
  mul: smooth(
    binary(sp.mul),
    unary(x => sp.mul(sp.mul(x, x), x)),
  ),
  log: smooth(unary(sp.log, between(0.5, 3))),
  floor: flat(jumps, unary(sp.floor, broken)),
}

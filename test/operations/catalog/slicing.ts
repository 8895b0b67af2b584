/** Elements by position. */

import * as sp from 'saddlepoint'
import type { Rng } from '../../oracle/property.js'
import { type Catalog, chosen, type Make, normal, smooth, type Tensor } from '../cases.js'

/** An entry for each axis, or for some of them around '...'. */
function someIndex(x: Tensor, r: Rng): sp.Index[] {
  const entries = x.shape.map((n): sp.Index => {
    const range = [r.int(0, n - 1), null, r.int(1, 3)]
    return r.pick([r.int(-n, n - 1), range, [null, range[0], -1], [null, null, -(range[2] ?? 1)], []])
  })
  return r.pick([entries, [...entries.slice(0, 1), null, '...'], ['...', ...entries.slice(1)]])
}
/** A tensor and a value of the indexed shape, or one that broadcasts to it. */
const updated =
  (f: typeof sp.setAt): Make =>
  r => {
    const x = normal(r, r.shape(r.int(0, 3), 1, 4))
    const index = someIndex(x, r)
    const { shape } = sp.at(x, ...index)
    const value = normal(r, r.pick([shape, shape.map(() => 1), []]))
    return { f: (x, value) => sp.sin(f(x, index, value)), args: [x, value] }
  }

export const slicing: Catalog = {
  at: smooth(
    chosen((x, r) => sp.at(x, ...someIndex(x, r))),
    chosen((x, r) => sp.at(x, r.int(-x.shape[0], x.shape[0] - 1), null, '...')),
  ),
  slice: smooth(chosen((x, r) => sp.slice(x, ...someIndex(x, r)))),
  setAt: smooth(
    updated(sp.setAt),
    chosen((x, r) => sp.setAt(x, someIndex(x, r), 0.5)),
  ),
  addAt: smooth(
    updated(sp.addAt),
    chosen((x, r) => sp.addAt(x, someIndex(x, r), 0.5)),
  ),
}

/** Functions of networks without weights. */

import * as sp from 'saddlepoint'
import type { Rng } from '../../oracle/property.js'
import { booleans, type Case, type Catalog, chosen, normal, oneAxis, smooth, type Tensor } from '../cases.js'

/** Queries, keys that all batches share, and values. */
const attention = (r: Rng, time: number, source: number): Tensor[] => {
  const [batch, dim] = [r.shape(r.int(0, 1), 1, 2), r.int(1, 2)]
  return [normal(r, [...batch, time, dim]), normal(r, [source, dim]), normal(r, [...batch, source, 2])]
}

const images = { rank: [4, 4] } as const

export const neural: Catalog = {
  softmax: smooth(chosen((x, r) => sp.softmax(x, { axis: oneAxis(x, r) }), { curved: false })),
  logSoftmax: smooth(chosen((x, r) => sp.logSoftmax(x, { axis: oneAxis(x, r) }), { curved: false })),
  dropout: smooth(chosen((x, r) => sp.dropout(x, sp.random.key(r.int(0, 99)), r.pick([0, 0.3, 0.5])))),
  scaledDotProductAttention: smooth(
    r => {
      const [time, source, scale] = [r.int(1, 3), r.int(1, 3), r.pick([undefined, 0.5])]
      const mask = booleans(r, [time, source])
      const f: Case['f'] = (q, k, v) => sp.scaledDotProductAttention(q, k, v, { mask, scale })
      return { f, args: attention(r, time, source) }
    },
    r => {
      const [time, source, key] = [r.int(1, 3), r.int(2, 3), sp.random.key(r.int(0, 99))]
      const options = { causal: true, dropout: { key, rate: 0.3 } }
      const f: Case['f'] = (q, k, v, mask) => sp.scaledDotProductAttention(q, k, v, { mask, ...options })
      return { f, args: [...attention(r, time, source), normal(r, [time, source])] }
    },
  ),
  cosineSimilarity: smooth(r => {
    const shape = r.shape(r.int(1, 3), 2, 3)
    const options = { axis: r.int(-shape.length, shape.length - 1), epsilon: r.pick([undefined, 1e-3]) }
    const args = [normal(r, shape), normal(r, r.int(0, 1) ? shape : shape.with(options.axis, 1))]
    return { f: (x, y) => sp.cosineSimilarity(x, y, options), args }
  }),
  resize: smooth(
    chosen((x, r) => sp.resize(x, [r.int(1, 5), r.int(1, 5)]), images),
    chosen((x, r) => sp.resize(x, [r.int(1, 5), r.int(1, 5)], { method: 'nearest' }), images),
    chosen((x, r) => sp.resize(x, [r.int(1, 5), r.int(1, 5)], { alignCorners: true }), images),
  ),
}

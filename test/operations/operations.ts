/** The public operations, by the files they stand in: what the catalog, the suites and the reference must cover. */

import * as sp from 'saddlepoint'
import * as nn from 'saddlepoint/nn'
import * as losses from '../../src/nn/losses.js'
import * as contraction from '../../src/tensor/contraction.js'
import * as convolution from '../../src/tensor/convolution.js'
import * as create from '../../src/tensor/create.js'
import * as elementwise from '../../src/tensor/elementwise.js'
import * as indexing from '../../src/tensor/indexing.js'
import * as movement from '../../src/tensor/movement.js'
import * as neural from '../../src/tensor/neural.js'
import * as order from '../../src/tensor/order.js'
import * as reduction from '../../src/tensor/reduction.js'
import * as slicing from '../../src/tensor/slicing.js'

const modules: readonly [string, string, object][] = [
  ['Element-wise', 'tensor/elementwise', elementwise],
  ['Reductions', 'tensor/reduction', reduction],
  ['Order', 'tensor/order', order],
  ['Movement', 'tensor/movement', movement],
  ['Slicing', 'tensor/slicing', slicing],
  ['Indexing', 'tensor/indexing', indexing],
  ['Contraction', 'tensor/contraction', contraction],
  ['Convolution and pooling', 'tensor/convolution', convolution],
  ['Neural', 'tensor/neural', neural],
  ['Losses, from saddlepoint/nn', 'nn/losses', losses],
  ['Creation', 'tensor/create', { ...create, full: sp.full }],
]
const exported = new Set<unknown>([...Object.values(sp), ...Object.values(nn)])

export const operations = modules.map(([title, file, module]) => ({
  title,
  file,
  /** Functions that the package exports under these names. */
  names: Object.entries(module).flatMap(([name, f]) => (typeof f === 'function' && exported.has(f) ? [name] : [])),
}))

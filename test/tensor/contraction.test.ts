/** Products over shared axes: values that numpy finds, and the work that einsum makes of its notation. */

import * as sp from 'saddlepoint'
import { expect, test } from 'vitest'
import { wave } from '../nn/wave.js'
import { testValues } from './rows.js'

const { NaN: nan, POSITIVE_INFINITY: inf } = Number
const m = (...shape: number[]): sp.Tensor => sp.reshape(sp.arange(shape.reduce((n, s) => n * s, 1)), shape)

testValues([
  ['trace', () => sp.trace(m(3, 4)), [], [15]],
  ['trace beside the diagonal', () => sp.trace(m(3, 4), { offset: -1 }), [], [13]],
  ['trace of a batch', () => sp.trace(m(2, 3, 2)), [2], [3, 15]],
  [
    'einsum: a matrix product',
    () => sp.einsum('ij,jk->ik', wave(1, 2, 3), wave(0.7, 3, 4)),
    [2, 4],
    [
      0.225496983171, 0.129419701739, -0.0275256876588, -0.17152531605, -0.155869065427, -0.0935878870712,
      0.0127091369256, 0.11302885524,
    ],
  ],
  [
    'einsum: the output left out',
    () => sp.einsum('ij,jk', wave(1, 2, 3), wave(0.7, 3, 4)),
    [2, 4],
    [
      0.225496983171, 0.129419701739, -0.0275256876588, -0.17152531605, -0.155869065427, -0.0935878870712,
      0.0127091369256, 0.11302885524,
    ],
  ],
  ['einsum: the output left out, in alphabetical order', () => sp.einsum('ba', m(2, 3)), [3, 2], [0, 3, 1, 4, 2, 5]],
  ['einsum: the transpose', () => sp.einsum('ij->ji', m(2, 3)), [3, 2], [0, 3, 1, 4, 2, 5]],
  ['einsum: the trace', () => sp.einsum('ii', m(3, 3)), [], [12]],
  ['einsum: the diagonal', () => sp.einsum('ii->i', m(3, 3)), [3], [0, 4, 8]],
  ['einsum: a diagonal among other axes', () => sp.einsum('iji->ji', m(2, 3, 2)), [3, 2], [0, 7, 2, 9, 4, 11]],
  ['einsum: the diagonal of three axes', () => sp.einsum('iii->i', m(2, 2, 2)), [2], [0, 7]],
  ['einsum: the sum', () => sp.einsum('ij->', m(2, 3)), [], [15]],
  ['einsum: sums of rows', () => sp.einsum('ij->i', m(2, 3)), [2], [3, 12]],
  ['einsum: element by element', () => sp.einsum('ij,ij->ij', m(2, 3), m(2, 3)), [2, 3], [0, 1, 4, 9, 16, 25]],
  ['einsum: an inner product', () => sp.einsum('i,i', m(3), m(3)), [], [5]],
  ['einsum: an outer product', () => sp.einsum('i,j', m(2), m(3)), [2, 3], [0, 0, 0, 0, 1, 2]],
  [
    'einsum: a batch',
    () => sp.einsum('bij,bjk->bki', wave(1, 2, 2, 3), wave(0.7, 2, 3, 2)),
    [2, 2, 2],
    [
      1.2775020157, -1.21728369869, 1.0108344377, -0.823487304898, -0.221580833559, -0.0125630868289, 0.587457395554,
      -0.772112416784,
    ],
  ],
  [
    'einsum: three operands',
    () => sp.einsum('ij,jk,k->i', wave(1, 2, 3), wave(0.7, 3, 4), m(4)),
    [2],
    [-0.440207621729, 0.270916952501],
  ],
  [
    'einsum: an index that all share',
    () => sp.einsum('i,ij,ik->ijk', m(2), wave(1, 2, 3), m(2, 2)),
    [2, 3, 2],
    [
      0, 0, 0, 0, 0, 0, -1.51360499062, -2.27040748592, -1.91784854933, -2.87677282399, -0.558830996398,
      -0.838246494597,
    ],
  ],
  [
    'einsum: axes of a batch that broadcast',
    () => sp.einsum('...ij,...jk', wave(0.4, 2, 2, 3), wave(0.7, 3, 4)),
    [2, 2, 4],
    [
      0.0149049113204, 0.370859200222, 0.552392612424, 0.474127147631, 0.336333879162, 0.636278187632, 0.636970922337,
      0.338086279322, 0.228841467095, 0.0902614703635, -0.0907699062541, -0.229110777641, -0.170488918867,
      -0.570864300198, -0.702753281146, -0.504126413147,
    ],
  ],
  ['einsum: a batch of size 1', () => sp.einsum('...i,...i->...', m(1, 3), m(2, 3)), [2], [5, 14]],
  [
    'einsum: batches of different rank',
    () => sp.einsum('...,...', m(2, 1, 2), m(3, 1)),
    [2, 3, 2],
    [0, 0, 0, 1, 0, 2, 0, 0, 2, 3, 4, 6],
  ],
  ['einsum: the batch last', () => sp.einsum('...i->i...', m(2, 3)), [3, 2], [0, 3, 1, 4, 2, 5]],
  ['einsum: the batch summed over', () => sp.einsum('...i->i', m(2, 3)), [3], [3, 5, 7]],
  ['einsum: scalars', () => sp.einsum(',', sp.tensor(2), sp.tensor(3)), [], [6]],
  ['einsum: an empty index', () => sp.einsum('ij,jk->ik', sp.zeros([2, 0]), sp.zeros([0, 2])), [2, 2], [0, 0, 0, 0]],
  ['einsum: integers', () => sp.einsum('i,i', sp.arange(4), sp.arange(4)), [], [14]],
  ['matmul over an empty axis', () => sp.matmul(sp.zeros([2, 0]), sp.zeros([0, 3])), [2, 3], [0, 0, 0, 0, 0, 0]],
  [
    'matmul over an empty axis, one matrix for a batch',
    () => sp.matmul(sp.zeros([2, 1, 0]), sp.zeros([0, 2])),
    [2, 1, 2],
    [0, 0, 0, 0],
  ],
  [
    'matmul over an empty axis, in a batch',
    () => sp.matmul(sp.zeros([2, 1, 0]), sp.zeros([2, 0, 2])),
    [2, 1, 2],
    [0, 0, 0, 0],
  ],
  ['matmul of no batch', () => sp.matmul(sp.zeros([0, 2, 3]), sp.ones([3, 4])), [0, 2, 4], []],
  [
    'matmul with infinities',
    () =>
      sp.matmul(
        sp.tensor([
          [inf, 1],
          [0, 2],
        ]),
        sp.tensor([
          [1, -1],
          [1, 1],
        ]),
      ),
    [2, 2],
    [inf, -inf, 2, 2],
  ],
  ['tensordot over no axes', () => sp.tensordot(m(2), m(3), 0), [2, 3], [0, 0, 0, 0, 1, 2]],
  [
    'tensordot over pairs',
    () =>
      sp.tensordot(wave(0.4, 2, 2, 3), wave(1, 2, 3), [
        [2, 0],
        [1, 0],
      ]),
    [2],
    [1.03760723224, 3.5268635399],
  ],
  ['tensordot over empty axes', () => sp.tensordot(sp.zeros([2, 0]), sp.zeros([0, 3]), 1), [2, 3], [0, 0, 0, 0, 0, 0]],
  ['outer with an infinity', () => sp.outer(sp.tensor([inf, 1]), sp.tensor([0, 2])), [2, 2], [nan, inf, 0, 2]],
])

test('einsum multiplies by one matrix product a pair, and element by element without a sum', async () => {
  for (const [spec, count] of [
    ['ij,jk->ik', 1],
    ['ij,jk,kl->il', 2],
    ['ij,ij->ij', 0],
  ] as const) {
    const operands = spec.split('->')[0].split(',')
    const { graph } = await sp.inspect(sp.einsum(spec, ...operands.map((_, i) => wave(i + 1, 2, 2))))
    expect(graph.match(/matmul/g) ?? [], spec).toHaveLength(count)
  }
})

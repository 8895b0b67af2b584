/** The operation library against the array API's semantics: indexing, broadcasting, dtypes, reductions, awkward values. */

import * as sp from 'saddlepoint'
import { describe, expect, test } from 'vitest'
import { expectClose } from '../oracle/close.js'

type Tensor = sp.Tensor
const f64 = (values: sp.NestedArray): Tensor => sp.tensor(values, { dtype: 'float64' })
const int = (values: sp.NestedArray): Tensor => sp.tensor(values, { dtype: 'int32' })
const uint = (values: sp.NestedArray): Tensor => sp.tensor(values, { dtype: 'uint32' })
const { NaN: nan, POSITIVE_INFINITY: inf } = Number

/** Expression -> values (and dtype where the third entry names one). */
type Row = readonly [string, () => Tensor, sp.NestedArray, sp.DType?]
function table(name: string, rows: readonly Row[]): void {
  describe(name, () => {
    for (const [label, make, expected, dtype] of rows) {
      test(label, async () => {
        const t = make()
        expect(await t.array()).toEqual(expected)
        if (dtype) expect(t.dtype).toBe(dtype)
      })
    }
  })
}

const m = (): Tensor => sp.reshape(sp.arange(12), [3, 4])

table('creation', [
  [
    'numbers',
    () =>
      sp.tensor([
        [1, 2],
        [3, 4],
      ]),
    [
      [1, 2],
      [3, 4],
    ],
    'float32',
  ],
  ['a scalar', () => sp.tensor(5), 5, 'float32'],
  ['booleans', () => sp.tensor([true, false]), [true, false], 'bool'],
  ['booleans and numbers', () => sp.tensor([true, 2]), [1, 2], 'float32'],
  [
    'a typed array with a shape',
    () => sp.tensor(new Int32Array([1, 2, 3, 4]), { shape: [2, 2] }),
    [
      [1, 2],
      [3, 4],
    ],
    'int32',
  ],
  ['bytes are truth values', () => sp.tensor(new Uint8Array([0, 1, 5])), [false, true, true], 'bool'],
  [
    'a host array',
    () => sp.tensor({ data: new Float64Array([1, 2]), shape: [2, 1], dtype: 'float64' }),
    [[1], [2]],
    'float64',
  ],
  ['converted', () => sp.tensor([1.7, -1.7, 300], { dtype: 'int32' }), [1, -1, 300], 'int32'],
  ['empty', () => sp.tensor([]), []],
  ['empty rows', () => sp.tensor([[], []]), [[], []]],
  ['zeros', () => sp.zeros([2, 0]), [[], []], 'float32'],
  ['ones', () => sp.ones([2], 'int32'), [1, 1], 'int32'],
  ['full', () => sp.full([2], 7, 'float64'), [7, 7], 'float64'],
  ['zerosLike', () => sp.zerosLike(int([1, 2])), [0, 0], 'int32'],
  ['onesLike', () => sp.onesLike(f64([[1]])), [[1]], 'float64'],
  ['arange', () => sp.arange(4), [0, 1, 2, 3], 'int32'],
  ['arange from, to', () => sp.arange(2, 5), [2, 3, 4], 'int32'],
  ['arange with a step', () => sp.arange(0, 7, 3), [0, 3, 6], 'int32'],
  ['arange downwards', () => sp.arange(3, 0, -1), [3, 2, 1], 'int32'],
  ['arange fractional', () => sp.arange(0, 1, 0.25), [0, 0.25, 0.5, 0.75], 'float32'],
  ['arange of nothing', () => sp.arange(3, 3), []],
  ['linspace', () => sp.linspace(0, 1, 5), [0, 0.25, 0.5, 0.75, 1], 'float32'],
  ['linspace ends exactly where it says', () => sp.at(sp.linspace(-1.3, 2.9, 7, 'float64'), -1), 2.9],
  ['linspace of one', () => sp.linspace(3, 9, 1), [3]],
  ['linspace ends where it says', () => sp.at(sp.linspace(0, 0.7, 8, 'float64'), -1), 0.7],
  [
    'eye',
    () => sp.eye(2, 3),
    [
      [1, 0, 0],
      [0, 1, 0],
    ],
    'float32',
  ],
  [
    'oneHot',
    () => sp.oneHot(int([2, 0, 5, -1]), 3),
    [
      [0, 0, 1],
      [1, 0, 0],
      [0, 0, 0],
      [0, 0, 0],
    ],
    'float32',
  ],
  [
    'iota',
    () => sp.iota([2, 2], 1),
    [
      [0, 1],
      [0, 1],
    ],
    'int32',
  ],
  [
    'iota along a negative axis',
    () => sp.iota([2, 2], -2),
    [
      [0, 0],
      [1, 1],
    ],
    'int32',
  ],
])

table('slicing', [
  ['an integer drops the axis', () => m().at(1), [4, 5, 6, 7]],
  ['a negative one counts from the end', () => m().at(-1, -1), 11],
  [
    'a range',
    () => m().at([1, 3], [0, 2]),
    [
      [4, 5],
      [8, 9],
    ],
  ],
  [
    'open ends',
    () => m().at([], [2]),
    [
      [2, 3],
      [6, 7],
      [10, 11],
    ],
  ],
  ['null as an end', () => m().at(0, [null, -1]), [0, 1, 2]],
  ['a step', () => m().at(0, [null, null, 2]), [0, 2]],
  ['a negative step', () => m().at(0, [null, null, -1]), [3, 2, 1, 0]],
  ['a negative step with ends', () => m().at(0, [2, 0, -1]), [2, 1]],
  ['a negative step of 2', () => m().at(0, [null, null, -2]), [3, 1]],
  ['ends beyond the size are cut', () => m().at(0, [-99, 99]), [0, 1, 2, 3]],
  ['nothing', () => m().at(0, [3, 1]), []],
  ['a negative step that takes nothing', () => m().at(0, [0, 3, -1]), []],
  ['a new axis', () => m().at(0, null).at(0, [0, 2]), [0, 1]],
  ['an ellipsis', () => m().at('...', 1), [1, 5, 9]],
  [
    'all together',
    () => m().at(null, '...', [null, null, -3]),
    [
      [
        [3, 0],
        [7, 4],
        [11, 8],
      ],
    ],
  ],
  ['slice is at', () => sp.slice(m(), 0, [1, 2]), [1]],
])

table('movement', [
  [
    'reshape with -1',
    () => m().reshape([2, -1]),
    [
      [0, 1, 2, 3, 4, 5],
      [6, 7, 8, 9, 10, 11],
    ],
  ],
  ['flatten', () => sp.tensor([[1], [2]]).flatten(), [1, 2]],
  ['permuteDims', () => m().permuteDims([1, 0]).at(1), [1, 5, 9]],
  ['permuteDims with negative axes', () => m().permuteDims([-1, 0]).at(1), [1, 5, 9]],
  ['matrixTranspose', () => m().matrixTranspose().at(0), [0, 4, 8]],
  ['moveaxis', () => m().reshape([3, 2, 2]).moveaxis(0, -1).at(0, 0), [0, 4, 8]],
  ['expandDims', () => sp.tensor([1, 2]).expandDims(-1), [[1], [2]]],
  ['squeeze', () => sp.tensor([[[1], [2]]]).squeeze(), [1, 2]],
  ['squeeze one axis', () => sp.tensor([[[1], [2]]]).squeeze(-1), [[1, 2]]],
  [
    'broadcastTo',
    () => sp.tensor([[1], [2]]).broadcastTo([2, 2, 2]),
    [
      [
        [1, 1],
        [2, 2],
      ],
      [
        [1, 1],
        [2, 2],
      ],
    ],
  ],
  [
    'flip',
    () => m().at([0, 2], [0, 2]).flip(),
    [
      [5, 4],
      [1, 0],
    ],
  ],
  [
    'flip one axis',
    () => m().at([0, 2], [0, 2]).flip(-1),
    [
      [1, 0],
      [5, 4],
    ],
  ],
  ['pad', () => sp.tensor([1, 2]).pad([[1, 2]]), [0, 1, 2, 0, 0]],
  ['pad with a value', () => sp.tensor([1]).pad([[1, 1]], -inf), [-inf, 1, -inf]],
  ['pad keeps infinities', () => sp.tensor([inf]).pad([[1, 0]]), [0, inf]],
  [
    'concat',
    () => sp.concat([m().at([0, 1]), m().at([2])]),
    [
      [0, 1, 2, 3],
      [8, 9, 10, 11],
    ],
  ],
  [
    'concat along the last axis',
    () =>
      sp.concat(
        [
          int([[1], [2]]),
          int([
            [3, 4],
            [5, 6],
          ]),
        ],
        -1,
      ),
    [
      [1, 3, 4],
      [2, 5, 6],
    ],
  ],
  ['concat with infinities and NaN', () => sp.concat([sp.tensor([inf, nan]), sp.tensor([1])]), [inf, nan, 1]],
  ['concat with an empty one', () => sp.concat([sp.zeros([0, 2]), sp.ones([1, 2])]), [[1, 1]]],
  ['concat of booleans', () => sp.concat([sp.tensor([true]), sp.tensor([false])]), [true, false], 'bool'],
  [
    'stack',
    () => sp.stack([sp.tensor([1, 2]), sp.tensor([3, 4])]),
    [
      [1, 2],
      [3, 4],
    ],
  ],
  [
    'stack along the last axis',
    () => sp.stack([sp.tensor([1, 2]), sp.tensor([3, 4])], -1),
    [
      [1, 3],
      [2, 4],
    ],
  ],
  ['stack of scalars', () => sp.stack([sp.tensor(1), sp.tensor(2)]), [1, 2]],
  [
    'split',
    () => m().split(2, 1)[1],
    [
      [2, 3],
      [6, 7],
      [10, 11],
    ],
  ],
  ['split at positions', () => sp.arange(5).split([1, 3])[1], [1, 2]],
  [
    'tril',
    () => sp.ones([3, 3]).tril(),
    [
      [1, 0, 0],
      [1, 1, 0],
      [1, 1, 1],
    ],
  ],
  [
    'tril above',
    () => sp.ones([2, 3]).tril(1),
    [
      [1, 1, 0],
      [1, 1, 1],
    ],
  ],
  [
    'triu',
    () => sp.ones([3, 3]).triu(),
    [
      [1, 1, 1],
      [0, 1, 1],
      [0, 0, 1],
    ],
  ],
  [
    'triu of a batch with NaN below',
    () =>
      sp
        .tensor([
          [
            [1, 2],
            [nan, 3],
          ],
        ])
        .triu(),
    [
      [
        [1, 2],
        [0, 3],
      ],
    ],
  ],
])

table('dtypes', [
  ['a number follows the tensor', () => int([1]).add(2), [3], 'int32'],
  ['a fractional number makes floats', () => int([1]).add(0.5), [1.5], 'float32'],
  ['float64 stays', () => f64([1]).mul(2), [2], 'float64'],
  ['int32 and float32', () => int([1]).add(sp.tensor([0.5])), [1.5], 'float32'],
  ['bool and int32', () => sp.tensor([true]).add(int([1])), [2], 'int32'],
  ['int32 and uint32', () => int([1]).add(uint([2])), [3], 'uint32'],
  ['float32 and float64', () => sp.tensor([1]).add(f64([1])), [2], 'float64'],
  ['division of integers', () => int([1]).div(2), [0.5], 'float32'],
  ['comparison', () => int([1, 3]).less(2), [true, false], 'bool'],
  ['two numbers', () => sp.add(1, 2), 3, 'float32'],
  ['sum of booleans', () => sp.tensor([true, true]).sum(), 2, 'int32'],
  ['mean of integers', () => int([1, 2]).mean(), 1.5, 'float32'],
  ['astype truncates', () => sp.tensor([1.9, -1.9]).astype('int32'), [1, -1], 'int32'],
  [
    'astype gives no -0',
    () => sp.div(1, sp.tensor([-0.5, -0]).astype('int32').astype('float32')),
    [Infinity, Infinity],
  ],
  [
    'nor does an integer remainder',
    () =>
      sp.div(
        1,
        sp
          .tensor(Int32Array.of(-4, 4))
          .remainder(sp.tensor(Int32Array.of(2, -2)))
          .astype('float32'),
      ),
    [Infinity, Infinity],
  ],
  ['astype keeps within the range', () => f64([1e10, -1e10, nan]).astype('int32'), [2 ** 31 - 1, -(2 ** 31), 0]],
  ['astype of a constant too', () => sp.full([1], 1e10, 'float64').astype('int32'), [2 ** 31 - 1]],
  ['astype to uint32', () => f64([3e9, -1]).astype('uint32'), [3e9, 0]],
  ['astype of a negative constant to uint32', () => sp.full([1], -1, 'float64').astype('uint32'), [0]],
  ['int32 to uint32 wraps', () => int([-1]).astype('uint32'), [2 ** 32 - 1]],
  ['astype to bool', () => sp.tensor([0, -0, 0.1, nan]).astype('bool'), [false, false, true, true], 'bool'],
  ['float32 rounds', () => f64([0.1]).astype('float32').astype('float64'), [Math.fround(0.1)]],
  ['bitcast', () => sp.bitcast(sp.tensor([1]), 'int32'), [0x3f800000], 'int32'],
])

table('integers', [
  ['wrap', () => int([2 ** 31 - 1]).add(1), [-(2 ** 31)]],
  ['wrap in products', () => int([123456789]).mul(int([987654321])), [Math.imul(123456789, 987654321)]],
  ['uint32 wraps', () => uint([0]).sub(uint([1])), [2 ** 32 - 1]],
  ['uint32 products', () => uint([4000000000]).mul(uint([3])), [3410065408]],
  ['floorDivide rounds down', () => int([7, -7, 7, -7]).floorDivide(int([2, 2, -2, -2])), [3, -4, -4, 3], 'int32'],
  ['floorDivide by 0', () => int([7]).floorDivide(0), [0]],
  ['floorDivide of floats', () => f64([7, -7]).floorDivide(2), [3, -4]],
  ['remainder has the sign of the divisor', () => int([7, -7, 7, -7]).remainder(int([3, 3, -3, -3])), [1, 2, -2, -1]],
  ['remainder of floats', () => f64([5.5, -5.5, 5.5, -5.5]).remainder(f64([2, 2, -2, -2])), [1.5, 0.5, -0.5, -1.5]],
  ['remainder by 0', () => int([7]).remainder(0), [0]],
  ['left shift', () => int([1, -1]).bitwiseLeftShift(3), [8, -8]],
  ['right shift keeps the sign', () => int([-8]).bitwiseRightShift(1), [-4]],
  ['right shift of uint32 fills zeros', () => uint([2 ** 31]).bitwiseRightShift(31), [1]],
  ['and, or, xor', () => sp.stack([int(12).bitwiseAnd(10), int(12).bitwiseOr(10), int(12).bitwiseXor(10)]), [8, 14, 6]],
  ['not', () => int([0, 5]).bitwiseInvert(), [-1, -6]],
  ['not of booleans', () => sp.logicalNot(sp.tensor([true, false])), [false, true]],
  ['logic', () => sp.tensor([true, true, false]).logicalXor(sp.tensor([true, false, false])), [false, true, false]],
  ['abs and sign', () => sp.stack([int(-3).abs(), int(-3).sign()]), [3, -1]],
  ['rounding leaves integers alone', () => int([3]).floor(), [3], 'int32'],
])

table('reductions', [
  ['sum', () => m().sum(), 66],
  ['sum along an axis', () => m().sum({ axis: 0 }), [12, 15, 18, 21]],
  ['negative axes', () => m().sum({ axis: [-1] }), [6, 22, 38]],
  ['keepdims', () => m().sum({ axis: 1, keepdims: true }), [[6], [22], [38]]],
  ['keepdims of all', () => m().max({ keepdims: true }), [[11]]],
  [
    'two axes',
    () =>
      m()
        .reshape([3, 2, 2])
        .sum({ axis: [0, 2] }),
    [27, 39],
  ],
  ['no axes', () => int([1, 2]).sum({ axis: [] }), [1, 2]],
  ['sum of nothing', () => sp.zeros([0]).sum(), 0],
  ['sum along an empty axis', () => sp.zeros([2, 0]).sum({ axis: 1 }), [0, 0]],
  ['sum beside an empty axis', () => sp.zeros([0, 3]).sum({ axis: 1, keepdims: true }), []],
  ['sum of infinite nothing', () => sp.full([0], inf).sum(), 0],
  ['mean of nothing', () => sp.zeros([0]).mean(), nan],
  ['min of int32', () => int([-(2 ** 31), 5]).min(), -(2 ** 31), 'int32'],
  ['min of uint32', () => uint([0, 5]).min(), 0, 'uint32'],
  ['max of uint32', () => uint([2 ** 32 - 1, 5]).max(), 2 ** 32 - 1, 'uint32'],
  ['max with NaN', () => f64([1, nan, 3]).max(), nan],
  ['min with NaN', () => f64([1, nan, 3]).min(), nan],
  ['max of -inf', () => f64([-inf, -inf]).max(), -inf],
  ['argmax takes the first of ties', () => int([1, 3, 3, 2]).argmax(), 1, 'int32'],
  [
    'argmin takes the first of ties',
    () =>
      f64([
        [2, 1],
        [1, 1],
      ]).argmin({ axis: 1 }),
    [1, 0],
  ],
  ['argmin of uint32', () => uint([3, 0, 5]).argmin(), 1],
  ['argmax with keepdims', () => m().argmax({ axis: -1, keepdims: true }), [[3], [3], [3]]],
  ['argmax of all, keepdims', () => m().argmax({ keepdims: true }), [[11]]],
  ['argmax finds NaN', () => f64([1, nan, 3, nan]).argmax(), 1],
  [
    'any',
    () =>
      sp
        .tensor([
          [0, 0],
          [0, 2],
        ])
        .any({ axis: 1 }),
    [false, true],
    'bool',
  ],
  [
    'all',
    () =>
      sp
        .tensor([
          [1, 0],
          [3, 2],
        ])
        .all({ axis: 1 }),
    [false, true],
    'bool',
  ],
  ['any of nothing', () => sp.zeros([0]).any(), false],
  ['all of nothing', () => sp.zeros([0]).all(), true],
  ['any of NaN', () => sp.tensor([nan]).any(), true],
  ['variance', () => f64([1, 2, 3, 4]).variance(), 1.25],
  ['variance of a sample', () => f64([1, 2, 3, 4]).variance({ correction: 1 }), 5 / 3],
  ['std', () => f64([2, 2, 4, 4]).std(), 1],
  ['norms', () => sp.stack([f64([3, -4]).vectorNorm(), f64([3, -4]).vectorNorm({ ord: 1 })]), [5, 7]],
  ['logsumexp of -inf', () => f64([-inf, -inf]).logsumexp(), -inf],
])

table('indexing', [
  [
    'take',
    () => m().take(int([2, 0])),
    [
      [8, 9, 10, 11],
      [0, 1, 2, 3],
    ],
  ],
  ['take along another axis', () => m().take(int([1]), { axis: -1 }), [[1], [5], [9]]],
  [
    'take with indices of rank 2',
    () =>
      int([5, 6, 7]).take(
        int([
          [0, 2],
          [1, 1],
        ]),
      ),
    [
      [5, 7],
      [6, 6],
    ],
  ],
  ['take of rank 0', () => int([5, 6]).take(int(1)), 6],
  ['take out of range gives NaN', () => f64([1, 2]).take(int([-1, 2, 1])), [nan, nan, 2]],
  ['take out of range gives 0 for integers', () => int([1, 2]).take(int([-1, 2, 1])), [0, 0, 2]],
  ['take at computed indices', () => f64([1, 2, 3]).take(f64([0, 0.7]).exp().astype('int32')), [2, 3]],
  [
    'take at indices that are a matrix product',
    () => f64([10, 20, 30, 40]).take(sp.matmul(f64([[0], [1], [2], [3]]), f64([[0, 1]])).astype('int32')),
    [
      [10, 10],
      [10, 20],
      [10, 30],
      [10, 40],
    ],
  ],
  [
    'take at indices that are a sum',
    () =>
      f64([10, 20, 30, 40, 50, 60]).take(
        int([
          [0, 1],
          [1, 1],
          [0, 3],
          [2, 3],
        ]).sum({ axis: 1 }),
      ),
    [20, 30, 40, 60],
  ],
  ['take at looked-up indices', () => f64([1, 2, 3]).take(int([2, 0, 1]).take(int([0, 2, 5]))), [3, 2, 1]],
  ['take from nothing', () => sp.zeros([0]).take(int([0])), [nan]],
  ['take nothing', () => f64([1]).take(int([])), []],
  ['takeAlongAxis', () => m().takeAlongAxis(int([[3], [0], [1]])), [[3], [4], [9]]],
  ['takeAlongAxis 0', () => m().takeAlongAxis(int([[2, 1, 0, 0]]), { axis: 0 }), [[8, 5, 2, 3]]],
  ['scatterAdd', () => sp.scatterAdd(int([1, 1, 3, -1]), f64([1, 2, 4, 8]), 3), [0, 3, 0]],
  [
    'scatterAdd of rows',
    () => sp.scatterAdd(int([[0], [1]]), f64([[[1, 2]], [[3, 4]]]), 2),
    [
      [1, 2],
      [3, 4],
    ],
  ],
  [
    'scatterAdd of nothing',
    () => sp.scatterAdd(int([]), sp.zeros([0, 2]), 2),
    [
      [0, 0],
      [0, 0],
    ],
  ],
  ['sort', () => f64([3, 1, 2]).sort(), [1, 2, 3]],
  ['sort puts NaN last', () => f64([nan, 3, -inf, inf]).sort(), [-inf, 3, inf, nan]],
  ['sort descending', () => f64([1, 3, nan, 2]).sort({ descending: true }), [3, 2, 1, nan]],
  ['sort uint32 descending', () => uint([0, 5, 3]).sort({ descending: true }), [5, 3, 0]],
  [
    'sort int32 descending',
    () => int([-(2 ** 31), 5, 2 ** 31 - 1]).sort({ descending: true }),
    [2 ** 31 - 1, 5, -(2 ** 31)],
  ],
  [
    'sort along axis 0',
    () =>
      int([
        [3, 1],
        [2, 5],
      ]).sort({ axis: 0 }),
    [
      [2, 1],
      [3, 5],
    ],
  ],
  ['argsort is stable', () => int([1, 0, 1, 0]).argsort(), [1, 3, 0, 2], 'int32'],
  ['argsort descending is stable', () => int([1, 0, 1, 0]).argsort({ descending: true }), [0, 2, 1, 3]],
  ['argsort takes -0 and 0 for equal', () => f64([0, -0, 0]).argsort(), [0, 1, 2]],
  ['where', () => sp.where(sp.tensor([true, false]), 1, int([5, 6])), [1, 6], 'int32'],
  [
    'where broadcasts',
    () => sp.where(sp.tensor([[true], [false]]), int([1, 2]), 0),
    [
      [1, 2],
      [0, 0],
    ],
  ],
])

table('special values', [
  [
    'isnan, isinf, isfinite',
    () => sp.stack([sp.isnan, sp.isinf, sp.isfinite].map(f => f(f64([nan, -inf, 1])))),
    [
      [true, false, false],
      [false, true, false],
      [false, false, true],
    ],
  ],
  ['of integers', () => sp.stack([sp.isnan, sp.isinf, sp.isfinite].map(f => f(int([1])))), [[false], [false], [true]]],
  ['clip', () => f64([-2, 0.5, 3, nan]).clip(-1, 1), [-1, 0.5, 1, nan]],
  ['clip on one side', () => f64([-2, 3]).clip(null, 1), [-2, 1]],
  [
    'clip by tensors',
    () => f64([[-2, 3]]).clip(f64([0, 0]), f64([[1], [2]])),
    [
      [0, 1],
      [0, 2],
    ],
  ],
  ['clip of integers', () => int([-5, 5]).clip(-1, 1), [-1, 1], 'int32'],
  ['round halves to even', () => f64([0.5, 1.5, 2.5, -0.5, -1.5, 2.4]).round(), [0, 2, 2, -0, -2, 2]],
  [
    'floor, ceil, trunc',
    () => sp.stack([sp.floor, sp.ceil, sp.trunc].map(f => f(f64([-1.5, 1.5])))),
    [
      [-2, 1],
      [-1, 2],
      [-1, 1],
    ],
  ],
  ['sign', () => f64([-2, 0, 3]).sign(), [-1, 0, 1]],
  ['maximum with NaN', () => sp.maximum(f64([nan, 1]), f64([1, nan])), [nan, nan]],
  ['division by 0', () => f64([1, -1, 0]).div(0), [inf, -inf, nan]],
  ['pow', () => sp.pow(f64([2, 0, 0, 4]), f64([-1, 0, 2, 0.5])), [0.5, 1, 0, 2]],
  ['pow of a negative base', () => sp.pow(f64([-2, -2]), f64([3, 0.5])), [-8, nan]],
  ['sqrt of a negative', () => f64([-1]).sqrt(), [nan]],
  ['log of 0 and below', () => f64([0, -1]).log(), [-inf, nan]],
  ['relu', () => f64([-1, 0, 2]).relu(), [0, 0, 2]],
  [
    'comparison with NaN',
    () => sp.stack([sp.equal, sp.notEqual, sp.less, sp.greaterEqual].map(f => f(f64([nan]), nan))),
    [[false], [true], [false], [false]],
  ],
  ['-0 equals 0', () => sp.equal(f64([-0]), 0), [true]],
])

describe('precision', () => {
  const rows: readonly [string, (x: Tensor) => Tensor, readonly number[], readonly number[]][] = [
    ['sigmoid in the tails', sp.sigmoid, [-800, -40, 0, 40, 800], [0, Math.exp(-40), 0.5, 1, 1]],
    ['softplus in the tails', sp.softplus, [-800, -40, 0, 40, 800], [0, Math.exp(-40), Math.LN2, 40, 800]],
    ['logSigmoid in the tails', sp.logSigmoid, [-800, -40, 40], [-800, -40, -Math.exp(-40)]],
    ['silu', sp.silu, [-800, 0, 800], [0, 0, 800]],
    ['expm1', sp.expm1, [1e-12, 1], [Math.expm1(1e-12), Math.E - 1]],
    ['log1p', sp.log1p, [1e-12, -1], [Math.log1p(1e-12), -inf]],
    ['log2 and log10 through log', x => sp.add(sp.log2(x), sp.log10(x)), [100], [Math.log2(100) + 2]],
    ['sinh near 0', sp.sinh, [1e-9, 1], [Math.sinh(1e-9), Math.sinh(1)]],
    ['cosh', sp.cosh, [0, 1], [1, Math.cosh(1)]],
    ['tan', sp.tan, [0.5], [Math.tan(0.5)]],
    ['erf', sp.erf, [0, 0.5, 2, -3, 40], [0, 0.5204998778130465, 0.9953222650189527, -0.9999779095030014, 1]],
    ['gelu', sp.gelu, [0, 1, -1], [0, 0.8413447460685429, -0.15865525393145707]],
    ['elu', sp.elu, [-1, 1], [Math.expm1(-1), 1]],
    ['rsqrt', sp.rsqrt, [4], [0.5]],
  ]
  for (const [name, f, x, expected] of rows) {
    test(name, async () => {
      const got = await f(f64([...x])).data()
      expected.forEach((e, i) => {
        const error = Object.is(got[i], e) || got[i] === e ? 0 : Math.abs(got[i] - e) / Math.max(Math.abs(e), 1e-300)
        expect(error, `${name}(${x[i]}) = ${got[i]}, expected ${e}`).toBeLessThan(1e-14)
      })
    })
  }
  test('softmax of logits of 1e4', async () => {
    await expectClose(sp.softmax(f64([1e4, 1e4, -1e4])), [0.5, 0.5, 0])
    await expectClose(sp.logSoftmax(f64([1e4, 0])), [0, -1e4])
    await expectClose(
      sp
        .softmax(
          f64([
            [1, 2],
            [3, 3],
          ]),
          { axis: 0 },
        )
        .sum({ axis: 0 }),
      [1, 1],
    )
    await expectClose(sp.softmax(f64([-inf, 0])), [0, 1])
    await expectClose(sp.logsumexp(f64([1e4, 1e4])), 1e4 + Math.LN2)
  })
})

describe('running sums', () => {
  // Up to one block, whole blocks, one element more, and blocks of blocks.
  test.each([1, 15, 16, 17, 32, 100, 256, 257, 1000, 5000])('of %d elements along any axis', async n => {
    const [outer, inner] = [3, 2]
    const values = Int32Array.from({ length: outer * n * inner }, (_, i) => ((i * 7919) % 1013) - 500)
    const sums = values.slice()
    for (let o = 0; o < outer; o++)
      for (let i = inner; i < n * inner; i++) sums[o * n * inner + i] += sums[o * n * inner + i - inner]
    const x = sp.tensor(values, { shape: [outer, n, inner] })
    expect(await sp.cumulativeSum(x, { axis: 1 }).data()).toEqual(sums)
    for (const axis of [0, 2]) {
      const moved = sp.moveaxis(sp.cumulativeSum(sp.moveaxis(x, 1, axis), { axis, includeInitial: true }), axis, 1)
      expect(await moved.at([], [1, n + 1]).data()).toEqual(sums)
      expect(await moved.at([], 0).abs().max().item()).toBe(0)
    }
  })
})

describe('contractions', () => {
  test('matmul of vectors, matrices and batches', async () => {
    const a = f64([
      [1, 2],
      [3, 4],
    ])
    await expectClose(a.matmul(f64([1, 10])), [21, 43])
    await expectClose(f64([1, 10]).matmul(a), [31, 42])
    await expectClose(f64([1, 2]).matmul(f64([3, 4])), 11)
    await expectClose(a.reshape([2, 1, 2]).matmul(a), [[[7, 10]], [[15, 22]]])
    await expectClose(a.matmul(a.reshape([2, 2, 1])), [
      [[5], [11]],
      [[11], [25]],
    ])
    expect(int([[1, 2]]).matmul(int([[3], [4]])).dtype).toBe('int32')
  })
  test('matmul over nothing is 0', async () => {
    await expectClose(sp.matmul(sp.zeros([2, 0]), sp.zeros([0, 3])), [
      [0, 0, 0],
      [0, 0, 0],
    ])
    await expectClose(sp.matmul(sp.zeros([2, 2, 0]), sp.zeros([0, 1])), [
      [[0], [0]],
      [[0], [0]],
    ])
    expect(sp.matmul(sp.zeros([0, 2]), sp.zeros([2, 3])).shape).toEqual([0, 3])
  })
  test('tensordot, dot and outer', async () => {
    const a = sp.reshape(sp.astype(sp.arange(6), 'float64'), [2, 3])
    await expectClose(
      sp.tensordot(a, a, [
        [0, 1],
        [0, 1],
      ]),
      55,
    )
    await expectClose(sp.tensordot(a, a, [[1], [-1]]), [
      [5, 14],
      [14, 50],
    ])
    await expectClose(sp.dot(f64([1, 2]), f64([3, 4])), 11)
    await expectClose(sp.outer(f64([1, 2]), f64([3, 4])), [
      [3, 4],
      [6, 8],
    ])
  })
  test('conv2d: shapes of stride, padding, dilation and groups', async () => {
    const x = sp.ones([1, 5, 6, 2])
    const shape = (options: sp.ConvOptions, c = 2): readonly number[] =>
      sp.conv2d(x, sp.ones([3, 2, c, 4]), options).shape
    expect(shape({})).toEqual([1, 3, 5, 4])
    expect(shape({ padding: 'same' })).toEqual([1, 5, 6, 4])
    expect(shape({ padding: 'same', stride: 2 })).toEqual([1, 3, 3, 4])
    expect(shape({ padding: 1 })).toEqual([1, 5, 7, 4])
    expect(
      shape({
        padding: [
          [-1, 0],
          [2, 0],
        ],
      }),
    ).toEqual([1, 2, 7, 4])
    expect(shape({ dilation: [2, 3] })).toEqual([1, 1, 3, 4])
    expect(shape({ inputDilation: 2 })).toEqual([1, 7, 10, 4])
    expect(shape({ groups: 2 }, 1)).toEqual([1, 3, 5, 4])
  })
  test('conv2d: a cross-correlation by hand', async () => {
    const x = f64([
      [1, 2, 3],
      [4, 5, 6],
      [7, 8, 9],
    ]).reshape([1, 3, 3, 1])
    const w = f64([
      [1, 0],
      [0, -1],
    ]).reshape([2, 2, 1, 1])
    await expectClose(sp.conv2d(x, w).reshape([2, 2]), [
      [-4, -4],
      [-4, -4],
    ])
  })
  test('pooling: windows side by side, overlapping, padded', async () => {
    const x = f64([
      [1, 2, 3, 4],
      [5, 6, 7, 8],
      [9, 10, 11, 12],
    ]).reshape([1, 3, 4, 1])
    const flat = (t: Tensor): Tensor => t.reshape([t.shape[1], t.shape[2]])
    await expectClose(flat(sp.maxPool2d(x, 2)), [[6, 8]])
    await expectClose(flat(sp.maxPool2d(x, 2, { stride: 1 })), [
      [6, 7, 8],
      [10, 11, 12],
    ])
    await expectClose(flat(sp.maxPool2d(x.neg(), 2, { padding: 'same' })), [
      [-1, -3],
      [-9, -11],
    ])
    await expectClose(flat(sp.avgPool2d(x, [3, 2])), [[5.5, 7.5]])
    await expectClose(flat(sp.avgPool2d(x, 2, { padding: 'same' })), [
      [3.5, 5.5],
      [4.75, 5.75],
    ])
  })
})

test('methods are the functions', async () => {
  const x = f64([
    [1, 2],
    [3, 4],
  ])
  expect(
    await x
      .mul(x)
      .sum({ axis: [0] })
      .array(),
  ).toEqual([10, 20])
  expect(await x.matmul(x).tanh().max().item()).toBeCloseTo(1)
  expect(String(x)).toContain('float64[2,2]')
})

/** Bad input to every public function: each call fails, and its message names the operation and what was wrong. */

import * as sp from 'saddlepoint'
import { random } from 'saddlepoint'
import { describe, expect, test } from 'vitest'

type Call = (...args: unknown[]) => unknown
/** A function as a program without types sees it. */
const untyped = (f: unknown): Call => f as Call

const x23 = sp.ones([2, 3])
const x45 = sp.ones([4, 5])
const v3 = sp.ones([3])
const int3 = sp.tensor([0, 1, 2], { dtype: 'int32' })
const bool3 = sp.tensor([true, false, true])
const image = sp.ones([1, 5, 5, 2])
const x233 = sp.ones([2, 3, 3])
const key = random.key(1)
const { NaN: nan } = Number

/** [arguments, what the message contains, ...] */
type Bad = readonly [readonly unknown[], ...(string | RegExp)[]]
/** What fails for every function of one tensor. */
const noTensor = (name: string): Bad[] => [
  [['text'], name, 'tensor', 'string'],
  [[null], name, 'null'],
  [[[1, 2]], name, 'array', 'tensor('],
  [[undefined], name, 'undefined'],
]
const unary = (...names: (keyof typeof sp)[]): Record<string, Bad[]> =>
  Object.fromEntries(names.map(name => [name, noTensor(name)]))
/** Functions made of others name the first of those that minds. */
const composed = (...names: (keyof typeof sp)[]): Record<string, Bad[]> =>
  Object.fromEntries(names.map(name => [name, noTensor('expected a tensor')]))
const floatUnary = (...names: (keyof typeof sp)[]): Record<string, Bad[]> =>
  Object.fromEntries(names.map(name => [name, [...noTensor(name), [[int3], name, 'float', 'int32', 'cast']]]))
const binary = (...names: (keyof typeof sp)[]): Record<string, Bad[]> =>
  Object.fromEntries(
    names.map(name => [
      name,
      [
        [[x23, sp.ones([2, 4])], name, '[2,3]', '[2,4]', '3 vs 4'],
        [[x23, 'text'], name, 'string'],
        [[x23, [1, 2, 3]], name, 'array', 'tensor('],
        [[x23], name, 'undefined'],
      ],
    ]),
  )
const reduction = (...names: (keyof typeof sp)[]): Record<string, Bad[]> =>
  Object.fromEntries(
    names.map(name => [
      name,
      [
        ...noTensor(name),
        [[x23, { axis: 2 }], name, 'axis 2', 'rank 2'],
        [[x23, { axis: nan }], name, 'NaN'],
        [[x23, { axis: [0, -2] }], name, 'repeat'],
      ],
    ]),
  )

const table: Record<string, Bad[]> = {
  tensor: [
    [[[[1, 2], [3]]], 'tensor', 'ragged', 'axis 1'],
    [[[1, [2]]], 'tensor', 'array of 1'],
    [[[1, 'two']], 'tensor', 'string two'],
    [[null], 'tensor', 'null'],
    [[undefined], 'tensor', 'undefined'],
    [['5'], 'tensor', 'string 5'],
    [[{}], 'tensor', 'object'],
    [[[x23]], 'tensor', '[2,3]', 'stack'],
    [[x23], 'tensor', 'already'],
    [[new BigInt64Array(2)], 'tensor', 'BigInt64Array'],
    [[new Float32Array(6), { shape: [2, 2] }], 'tensor', '[2,2]', '4', '6'],
    [[new Float32Array(6), { shape: [nan, 2] }], 'tensor', 'shape', 'integers'],
    [[[1], { dtype: 'float8' }], 'tensor', 'float8', 'float16'],
    [[[1], { dtype: 'toString' }], 'tensor', 'toString'],
  ],
  zeros: [
    [[[-1]], 'integers', '[-1]'],
    [[5], 'integers', 'number 5'],
    [[[2], 'half'], 'half', 'float32'],
  ],
  ones: [
    [[[1.5]], '1.5'],
    [[[2], 'half'], 'half'],
  ],
  full: [
    [[[nan], 1], 'full', 'integers'],
    [[[2], 'x'], 'full', 'string'],
    [[[2], 1, 'half'], 'full', 'half'],
  ],
  zerosLike: noTensor('zerosLike'),
  onesLike: noTensor('onesLike'),
  arange: [
    [[0, 10, 0], 'arange', 'step'],
    [[nan], 'arange', 'NaN'],
    [[Infinity], 'arange', 'Infinity'],
    [['5'], 'arange', '5'],
  ],
  linspace: [
    [[0, 1, 2.5], 'linspace', '2.5'],
    [[0, 1, -1], 'linspace', '-1'],
    [[0, nan, 3], 'linspace', 'NaN'],
  ],
  eye: [
    [[-1], 'eye', '-1'],
    [[2, 1.5], 'eye', '1.5'],
  ],
  iota: [
    [[[2, 2], 2], 'iota', 'axis 2'],
    [[[nan]], 'iota', 'integers'],
  ],
  oneHot: [
    [[int3, -1], 'oneHot', '-1'],
    [[int3, 2.5], 'oneHot', '2.5'],
    [[[1, 2], 3], 'oneHot', 'array'],
  ],

  ...unary('neg', 'abs', 'sign', 'floor', 'ceil', 'round', 'trunc', 'clip', 'isfinite'),
  ...composed(
    'square',
    'relu',
    'leakyRelu',
    'isnan',
    'isinf',
    'logicalNot',
    'bitwiseInvert',
    'reciprocal',
    'gelu',
    'flatten',
    'acos',
    'asinh',
    'acosh',
  ),
  ...composed('rsqrt', 'log2', 'log10', 'tan', 'sinh', 'cosh', 'elu', 'sigmoid', 'softplus', 'logSigmoid', 'silu'),
  ...floatUnary('sqrt', 'exp', 'expm1', 'log', 'log1p', 'sin', 'cos', 'tanh', 'atan', 'erf'),
  ...binary('add', 'sub', 'mul', 'div', 'pow', 'maximum', 'minimum', 'remainder', 'floorDivide'),
  ...binary('atan2', 'hypot', 'logaddexp'),
  ...composed('asin', 'atanh'),
  ...binary('less', 'lessEqual', 'equal', 'greater', 'greaterEqual'),
  ...binary('logicalAnd', 'logicalOr', 'logicalXor', 'bitwiseAnd', 'bitwiseOr', 'bitwiseXor', 'bitwiseLeftShift'),
  notEqual: [[[x23, 'text'], 'equal', 'string']],
  bitwiseRightShift: [[[x23, 1], 'float32', 'cast']],
  astype: [
    [[v3, 'float8'], 'astype', 'float8', 'float16'],
    [['a', 'int32'], 'astype', 'string'],
  ],
  bitcast: [
    [[v3, 'float64'], 'bitcast', '32 bits'],
    [[bool3, 'int32'], 'bitcast', 'bool'],
  ],
  where: [
    [[sp.ones([2], 'bool'), x23, 0], 'where', '[2]', '[2,3]'],
    [[true, x23, 0], 'where', 'tensor', 'boolean'],
    [[bool3, v3, 'b'], 'where', 'string'],
  ],

  ...reduction('sum', 'prod', 'max', 'min', 'mean', 'var', 'variance', 'std', 'any', 'all', 'logsumexp'),
  vectorNorm: [
    ...reduction('vectorNorm').vectorNorm,
    [[x23, { ord: 0 }], 'vectorNorm', 'ord', '0'],
    [[x23, { ord: nan }], 'vectorNorm', 'ord', 'NaN'],
  ],
  cumulativeSum: [
    ...noTensor('cumulativeSum'),
    [[x23], 'cumulativeSum', '[2,3]', 'axis'],
    [[x23, { axis: 2 }], 'cumulativeSum', 'axis 2'],
    [[v3, { dtype: 'half' }], 'half', 'float32'],
  ],
  argmax: [
    [[x23, { axis: 2 }], 'argmax', 'axis 2'],
    [[sp.zeros([0])], 'argmax', 'empty'],
    [['a'], 'argmax', 'string'],
  ],
  argmin: [
    [[x23, { axis: -3 }], 'axis -3'],
    [[sp.zeros([0])], 'argmin', 'empty'],
  ],
  softmax: [
    [[x23, { axis: 5 }], 'softmax', 'axis 5'],
    [[int3], 'int32'],
    [[1], 'softmax', 'number'],
  ],
  logSoftmax: [
    [[x23, { axis: 5 }], 'logSoftmax', 'axis 5'],
    [[int3], 'int32', 'cast'],
  ],
  stopGradient: noTensor('stopGradient'),
  dropout: [
    ...noTensor('dropout'),
    [[v3, key, 1.5], 'dropout', '[0, 1]', '1.5'],
    [[v3, key], 'dropout', 'undefined'],
    [[v3, 5, 0.5], 'key'],
  ],
  scaledDotProductAttention: [
    ...noTensor('scaledDotProductAttention'),
    [[x23, x23, x45], 'scaledDotProductAttention', '[2,3], [2,3], [4,5]'],
    [[x23, x45, x45], 'scaledDotProductAttention', '[2,3], [4,5], [4,5]'],
    [[v3, x23, x23], 'scaledDotProductAttention', '[3]', '[..., time, dim]'],
    [[x23, x23, x23, { mask: sp.ones([2, 2], 'int32') }], 'scaledDotProductAttention', 'mask', 'int32'],
    [[x23, x23, x23, { mask: [[true]] }], 'scaledDotProductAttention', 'array'],
    [[x23, x23, x23, { mask: sp.ones([5], 'bool') }], 'scaledDotProductAttention: mask and scores', '[5]', '[2,2]'],
    [[sp.ones([1, 3]), x23, x23, { mask: sp.ones([4, 2]) }], 'scaledDotProductAttention', 'mask [4,2]', 'scores [1,2]'],
    [[x23, x23, x23, bool3], 'scaledDotProductAttention', 'options'],
    [[x23, x23, x23, { dropout: { key, rate: 2 } }], 'dropout', '2'],
  ],
  cosineSimilarity: [
    ...noTensor('cosineSimilarity'),
    [[x23, x45], 'cosineSimilarity', '[2,3]', '[4,5]'],
    [[x23, x23, { axis: 2 }], 'cosineSimilarity', 'axis 2'],
    [[x23, x23, 1], 'cosineSimilarity', 'options'],
    [[int3, int3], 'int32', 'cast'],
  ],
  globalAvgPool2d: [[[x23], 'globalAvgPool2d', '[2,3]', '[n,h,w,c]'], ...noTensor('globalAvgPool2d')],
  globalMaxPool2d: [[[x23], 'globalMaxPool2d', '[2,3]', '[n,h,w,c]'], ...noTensor('globalMaxPool2d')],
  resize: [
    ...noTensor('resize'),
    [[x23, [2, 2]], 'resize', '[2,3]', '[n,h,w,c]'],
    [[image, 5], 'resize', 'number 5', '[height, width]'],
    [[image, [2, 2.5]], 'resize', '[2,2.5]'],
    [[image, [2, 0]], 'resize', '[2,0]'],
    [[sp.zeros([1, 0, 2, 1]), [3, 3]], 'resize', '[1,0,2,1]', 'no pixels'],
    [[sp.zeros([1, 2, 0, 1]), [3, 3]], 'resize', '[1,2,0,1]', 'no pixels'],
    [[image, [2, 2], { method: 'cubic' }], 'resize', 'cubic', 'bilinear'],
    [[image, [2, 2], { method: 'nearest', alignCorners: true }], 'resize', 'alignCorners', 'bilinear'],
    [[image, [2, 2], 'nearest'], 'resize', 'options'],
  ],

  reshape: [
    [[x23, [4, 2]], 'reshape', '[2,3]', '6', '8'],
    [[x23, [-1, 4]], 'reshape', '[-1,4]'],
    [[x23, [-1, -1]], 'reshape', '[-1,-1]'],
    [[x23, [-2, -3]], 'reshape', 'integers'],
    [[x23, [nan]], 'reshape', 'integers'],
    [[x23, 6], 'reshape', '6'],
  ],
  permuteDims: [
    [[x23, [0, 0]], 'permuteDims', '[0,0]'],
    [[x23, [0]], 'permuteDims', '[0]'],
    [[x23, [0, 2]], 'permuteDims', 'axis 2'],
    [[x23], 'permuteDims', 'undefined'],
  ],
  matrixTranspose: [[[v3], 'matrixTranspose', 'rank 2', '[3]']],
  moveaxis: [
    [[x23, 0, 2], 'moveaxis', 'axis 2'],
    [[x23, 5, 0], 'moveaxis', 'axis 5'],
  ],
  expandDims: [
    [[x23, 4], 'expandDims', 'axis 4'],
    [[x23], 'expandDims', 'undefined'],
  ],
  squeeze: [
    [[x23, 0], 'squeeze', '[2,3]', 'size 2'],
    [[x23, 2], 'squeeze', 'axis 2'],
  ],
  broadcastTo: [
    [[x23, [3, 2]], 'broadcastTo', '[2,3]', '[3,2]'],
    [[x23, [3]], 'broadcastTo', '[2,3]', '[3]'],
    [[v3, [nan, 3]], 'broadcastTo', 'integers'],
  ],
  at: [
    [[x23, 2], 'at', 'index 2', 'size 2'],
    [[x23, -3], 'at', '-3'],
    [[x23, 0, 0, 0], 'at', 'rank 2'],
    [[x23, [0, 2, 0]], 'at', 'step'],
    [[x23, [0.5]], 'at', '0.5'],
    [[x23, [0, 1, 1, 1]], 'at', '[start, stop, step]'],
    [[x23, '...', '...'], 'at', '...'],
    [[x23, 'all'], 'at', 'all'],
    [[x23, int3], 'at', 'take'],
    [[x23, nan], 'at', 'NaN'],
  ],
  slice: [[[x23, 2], 'at', 'index 2']],
  setAt: [
    [[x23, 0, 1], 'setAt', 'list', 'number 0'],
    [[x23, [2], 1], 'setAt', 'index 2', 'size 2'],
    [[x23, [0, 0, 0], 1], 'setAt', 'rank 2'],
    [[x23, [[0, 1, 0]], 1], 'setAt', 'step'],
    [[x23, [int3], 1], 'setAt', 'scatter'],
    [[x23, [0], x23], 'setAt', '[2,3]', '[3]'],
    [[x23, [0], sp.ones([2])], 'setAt', '[2]', '[3]'],
    [[x23, [0]], 'undefined'],
    [['a', [0], 1], 'setAt', 'string'],
  ],
  addAt: [
    [[x23, [5], 1], 'addAt', 'index 5'],
    [[x23, [0], sp.ones([2])], 'addAt', '[2]', '[3]'],
    [[x23, [0], 'a'], 'string'],
  ],
  flip: [[[x23, 2], 'flip', 'axis 2']],
  pad: [
    [[x23, [[1, 1]]], 'pad', '[2,3]', '2 pairs'],
    [[v3, [[-1, 0]]], 'pad', '>= 0'],
    [[v3, [1]], 'pad', 'pairs'],
    [[v3, 1], 'pad', 'pairs'],
    [[v3, [[0, 1]], { mode: 'wrap' }], 'pad', 'mode', 'wrap'],
    [[v3, [[0, 3]], { mode: 'reflect' }], 'pad', 'axis 0', 'size 3', '0 and 3', 'reflect'],
    [[sp.ones([0]), [[1, 0]], { mode: 'edge' }], 'pad', 'size 0', 'edge'],
    [[sp.ones([0]), [[1, 0]], { mode: 'reflect' }], 'pad', 'size 0', 'reflect'],
    [[v3, [[0, 1]], [1]], 'pad', 'options'],
  ],
  concat: [
    [[[]], 'concat', 'at least one'],
    [[[x23, x45]], 'concat', '[4,5]', '[2,3]'],
    [[[v3, int3]], 'concat', 'int32', 'float32'],
    [[[v3, v3], 1], 'concat', 'axis 1'],
    [[v3, v3], 'concat', 'list'],
    [[[v3, 1]], 'concat', 'number'],
  ],
  stack: [
    [[[]], 'stack', 'at least one'],
    [[[x23, x45]], 'stack', '[4,5]'],
    [[x23], 'stack', 'list'],
  ],
  split: [
    [[x23, 2, 1], 'split', 'size 3', '2 equal'],
    [[x23, 0], 'split', '0 equal'],
    [[x23, [nan], 1], 'split', 'NaN'],
    [[x23, [2, 1], 1], 'split', 'ascend'],
  ],
  unstack: [
    [[x23, 2], 'unstack', 'axis 2'],
    [[sp.tensor(1)], 'unstack', 'rank 0'],
  ],
  tile: [
    [[x23, 2], 'tile', 'number 2'],
    [[x23, [-1]], 'tile', '-1'],
  ],
  repeat: [
    [[x23, -1], 'repeat', '-1'],
    [[x23, [1, 2]], 'repeat', 'array of 2'],
    [[x23, 2, 1], 'repeat', 'options', '1'],
    [[x23, 2, { axis: 2 }], 'repeat', 'axis 2'],
  ],
  roll: [
    [[x23, 1, 0], 'roll', 'options', '0'],
    [[x23, 1.5], 'roll', 'shift', '1.5'],
    [[x23, [1, 2]], 'roll', 'shift', 'list of 1', '[1,2]'],
    [[x23, 1, { axis: 2 }], 'roll', 'axis 2'],
  ],
  diagonal: [
    [[v3], 'diagonal', 'rank 1'],
    [[x23, { axis1: 1, axis2: -1 }], 'diagonal', '1 and -1', '[2,3]', 'same'],
    [[x23, { offset: 0.5 }], 'diagonal', 'offset', '0.5'],
    [[x23, 1], 'diagonal', 'options'],
  ],
  windows: [
    [[v3, 4], 'windows', '4 elements', 'axis 0', '[3]'],
    [[v3, 2, { dilation: 3 }], 'windows', '2 elements', '3 apart'],
    [[sp.ones([0]), 1], 'windows', 'larger', '[0]'],
    [[v3, 0], 'windows', 'size', '0'],
    [[x23, [1, 1, 1]], 'windows', 'list of 2', '[1,1,1]'],
    [[x23, 1, { axis: [0, -2] }], 'windows', 'repeat'],
    [[x23, 1, { stride: 0 }], 'windows', 'stride', '0'],
    [[x23, 1, { axis: 2 }], 'windows', 'axis 2'],
    [[x23, 1, 1], 'windows', 'options'],
  ],
  tril: [[[v3], 'tril', 'rank 2', '[3]']],
  triu: [[[v3], 'triu', 'rank 2', '[3]']],

  take: [
    [[x23, [0]], 'take', 'int32 tensor'],
    [[x23, v3], 'take', 'float32', 'cast'],
    [[x23, int3, { axis: 2 }], 'take', 'axis 2'],
    [[sp.tensor(1), int3], 'take', 'rank 0'],
  ],
  takeAlongAxis: [
    [[x23, int3], 'takeAlongAxis', '[3]', '[2,3]'],
    [[v3, v3], 'takeAlongAxis', 'float32'],
    [[v3, [0]], 'takeAlongAxis', 'array'],
  ],
  scatterAdd: [
    [[int3, sp.ones([2]), 3], 'scatterAdd', '[3]', '[2]'],
    [[int3, v3, -1], 'scatterAdd', '-1'],
    [[v3, v3, 3], 'scatterAdd', 'float32'],
    [[int3, bool3, 3], 'scatterAdd', 'bool'],
    [[[0], v3, 3], 'scatterAdd', 'array'],
  ],
  segmentSum: [
    [[v3, sp.tensor([0, 1], { dtype: 'int32' }), 3], 'segmentSum', '[2]', '[3]'],
    [[v3, int3, 1.5], 'segmentSum', '1.5'],
    [[v3, v3, 3], 'segmentSum', 'float32'],
  ],
  scatter: [
    [[x23, int3, sp.ones([2, 3])], 'scatter', '[2,3]', '[3,3]'],
    [[x23, v3, 1], 'scatter', 'float32', 'cast'],
    [[x23, int3, 1, 'add'], 'scatter', 'options', 'add'],
    [[x23, int3, 1, { mode: 'max' }], 'scatter', 'mode', 'max'],
    [[sp.tensor(1), int3, 1], 'scatter', 'rank 1'],
    [[x23, int3, 'a'], 'scatter', 'string'],
    [[[1], int3, 1], 'scatter', 'array'],
  ],
  topk: [
    ...noTensor('topk'),
    [[x23, 4], 'topk', '[2,3]', '3', '4'],
    [[x23, 1.5], 'topk', '1.5'],
    [[x23, 1, { axis: 2 }], 'topk', 'axis 2'],
  ],
  argsort: [
    [[x23, { axis: 2 }], 'argsort', 'axis 2'],
    [[sp.tensor(1)], 'argsort', 'rank 0'],
  ],
  sort: [
    [[x23, { axis: 2 }], 'sort', 'axis 2'],
    [['a'], 'sort', 'string'],
  ],

  matmul: [
    [[x23, x45], 'matmul: inner dimensions differ: [2,3] x [4,5] (3 vs 4)'],
    [[sp.tensor(1), x23], 'matmul', 'rank 1'],
    [[sp.ones([2, 2, 3]), sp.ones([3, 3, 3])], 'matmul', '2 vs 3'],
    [[bool3, bool3], 'matmul', 'bool'],
    [[x23, [[1]]], 'matmul', 'array'],
    [[x23, 2], 'matmul', 'number'],
  ],
  tensordot: [
    [[x23, x45], 'tensordot', '[2,3]', '[4,5]'],
    [[x23, x23, [[0], [5]]], 'tensordot', 'axis 5'],
    [[x23, x23, 3], 'tensordot', '3'],
    [[x23, x23, -1], 'tensordot', '-1'],
    [
      [
        x23,
        x23,
        [
          [0, 0],
          [0, 0],
        ],
      ],
      'tensordot',
      '[0,0]',
    ],
  ],
  dot: [[[v3, sp.ones([2])], 'dot', '[3]', '[2]']],
  outer: [[[v3, 1], 'outer', 'number']],
  trace: [
    [[v3], 'trace', 'rank 2', '[3]'],
    [[x23, { offset: nan }], 'offset', 'NaN'],
    [[x23, 1], 'trace', 'options'],
  ],
  einsum: [
    [[x23, 'ij->ji'], 'einsum', 'text', '[2,3]'],
    [['ij->ji', 1], 'einsum', 'number'],
    [['ij,jk', x23], 'einsum', '2 operands', '1 tensors'],
    [['ij->ji', v3], 'einsum', "'ij'", 'operand 0', '[3]'],
    [['i...jk', x23], 'einsum', 'operand 0', '[2,3]'],
    [['ij,jk->ik', x23, x45], 'einsum', "'j'", '3 and 4'],
    [['ii', x23], 'einsum', "'i'", '2 and 3'],
    [['...,...', v3, sp.ones([2])], 'einsum', '3 and 2'],
    [['ij->ik', x23], 'einsum', "'k'", 'no operand'],
    [['ij->ii', x23], 'einsum', "'i'", 'repeats'],
    [['i-j', x23], 'einsum', 'i-j', 'form'],
    [['ij->j->i', x23], 'einsum', 'form'],
    [['......', x23], 'einsum', 'form'],
  ],
  conv2d: [
    [[v3, image], 'conv2d', '[3]'],
    [[image, sp.ones([3, 3, 1, 4])], 'conv', 'channels', '2 vs 1'],
    [[image, sp.ones([7, 7, 2, 4])], 'conv', 'larger'],
    [[image, sp.ones([3, 3, 1, 3]), { groups: 2 }], 'conv', '3 output channels', '2 groups'],
    [[image, sp.ones([3, 3, 2, 4]), { stride: 0 }], 'conv2d', 'stride', '0'],
    [[image, sp.ones([3, 3, 2, 4]), { dilation: 1.5 }], 'conv2d', 'dilation', '1.5'],
    [[image, sp.ones([3, 3, 2, 4]), { inputDilation: 0 }], 'conv2d', 'inputDilation', '0'],
    [[image, sp.ones([3, 3, 2, 4]), { groups: 0 }], 'conv2d', 'groups', '0'],
    [[image, sp.ones([3, 3, 2, 4]), { padding: 'full' }], 'conv2d', 'padding', 'full'],
    [[image, sp.ones([3, 3, 2, 4]), { padding: nan }], 'conv2d', 'padding', 'NaN'],
    [
      [
        image,
        sp.ones([3, 3, 2, 4]),
        {
          padding: [
            [-9, 0],
            [0, 0],
          ],
        },
      ],
      'conv2d',
      'padding',
      '-9',
    ],
    [[sp.ones([1, 5, 5, 2], 'int32'), sp.ones([3, 3, 2, 4], 'int32')], 'conv', 'int32', 'float'],
  ],
  conv1d: [
    [[image, image], 'conv1d', '[1,5,5,2]', '[k,c,o]'],
    [[x233, sp.ones([2, 2, 1])], 'conv', '3 vs 2'],
    [[x233, sp.ones([2, 3, 1]), { stride: [1, 2] }], 'conv1d', 'stride'],
    [[x233, sp.ones([2, 3, 1]), { padding: 'full' }], 'conv1d', 'padding', 'full'],
    [[x233, sp.ones([2, 3, 1]), 2], 'conv1d', 'options'],
  ],
  depthwiseConv2d: [
    [[image, sp.ones([2, 2, 1, 2])], 'depthwiseConv2d', '[1,5,5,2]', '[2,2,1,2]', 'channels'],
    [[v3, image], 'depthwiseConv2d', '[3]'],
    [[image, sp.ones([2, 2, 2, 1]), { dilation: 0 }], 'depthwiseConv2d', 'dilation', '0'],
    [[image, sp.ones([2, 2, 2, 1]), 2], 'depthwiseConv2d', 'options'],
  ],
  convTranspose2d: [
    [[image, sp.ones([2, 2, 1, 3])], 'convTranspose2d', '[1,5,5,2]', '[2,2,1,3]', 'channels'],
    [[image, sp.ones([2, 2, 1, 2]), { groups: 3 }], 'convTranspose2d', '3 groups'],
    [[image, sp.ones([2, 2, 1, 2]), { outputPadding: -1 }], 'convTranspose2d', 'outputPadding', '-1'],
    [[image, sp.ones([2, 2, 1, 2]), { padding: 3 }], 'convTranspose2d', 'padding', '[0,0]'],
    [[v3, image], 'convTranspose2d', '[3]'],
    [[image, sp.ones([2, 2, 1, 2]), 2], 'convTranspose2d', 'options'],
  ],
  convTranspose1d: [
    [[image, image], 'convTranspose1d', '[1,5,5,2]'],
    [[x233, sp.ones([2, 1, 2])], 'convTranspose1d', 'channels'],
    [[x233, sp.ones([2, 1, 3]), { outputPadding: 0.5 }], 'convTranspose1d', 'outputPadding', '0.5'],
  ],
  maxPool1d: [
    [[v3, 2], 'maxPool1d', '[3]', '[n,l,c]'],
    [[x233, 4], 'maxPool1d', '1x4'],
    [[x233, [1, 2]], 'maxPool1d', 'window'],
    [[x233, 2, { padding: 2 }], 'maxPool1d', 'padding alone'],
  ],
  avgPool1d: [
    [[image, 2], 'avgPool1d', '[1,5,5,2]'],
    [[x233, nan], 'avgPool1d', 'NaN'],
    [[x233, 2, 1], 'avgPool1d', 'options'],
  ],
  maxPool2d: [
    [[v3, 2], 'maxPool2d', '[3]'],
    [[image, 6], 'maxPool2d', '6x6', '[1,5,5,2]'],
    [[image, 0], 'maxPool2d', 'window', '0'],
    [[image, 2, { stride: 0 }], 'maxPool2d', 'stride', '0'],
    [[image, 2, { padding: 'full' }], 'maxPool2d', 'padding', 'full'],
  ],
  avgPool2d: [
    [[v3, 2], 'avgPool2d', '[3]'],
    [[image, nan], 'avgPool2d', 'window', 'NaN'],
  ],

  grad: [[['f'], 'grad', 'function', 'string']],
  valueAndGrad: [[[undefined], 'valueAndGrad', 'function', 'undefined']],
  vjp: [
    [[v3, v3], 'vjp', 'function'],
    [[(y: sp.Tensor) => y, 1], 'vjp', 'no float tensors'],
  ],
  jvp: [
    [[(y: sp.Tensor) => y, [v3], [x23]], 'jvp', 'tangent', '[2,3]', '[3]'],
    [[(y: sp.Tensor) => y, [v3], []], 'jvp', '0 tangents', '1'],
    [[(y: sp.Tensor) => y, v3, v3], 'jvp', 'list'],
  ],
  linearize: [[[(y: sp.Tensor) => y, 'a'], 'no float tensors']],
  hvp: [[[(y: sp.Tensor) => sp.sum(y), v3, x23], 'hvp', '[2,3]', '[3]']],
  jacobian: [[[1], 'jacobian', 'function']],
  hessian: [[[1], 'hessian', 'function']],
  vmap: [[[v3], 'vmap', 'function', 'tensor']],
  perExampleGrad: [[[v3], 'perExampleGrad', 'function', 'tensor']],
  customVjp: [[[(y: sp.Tensor) => y], 'customVjp', 'pull', 'undefined']],
  checkpoint: [[[1], 'checkpoint', 'function']],
  compile: [[[1], 'compile', 'function']],
  zipTrees: [[[(a: sp.Tensor) => a, [v3], [v3, v3]], 'zipTrees', '1 and 2']],
  replaceLeaves: [[[[v3, v3], [v3]], 'replaceLeaves', '2', '1']],
}

const randomTable: Record<string, Bad[]> = {
  key: [
    [[-1], 'random.key', '-1'],
    [[1.5], 'random.key', '1.5'],
    [['a'], 'random.key', 'a'],
  ],
  split: [
    [[1], 'key'],
    [[key, -1], 'random', '-1'],
  ],
  foldIn: [
    [[1, 1], 'key'],
    [[key, 1.5], 'foldIn', '1.5'],
    [[key, nan], 'foldIn', 'NaN'],
    [[key, int3], 'foldIn', '[3]'],
  ],
  bits: [
    [[v3, [2]], 'key'],
    [[key, [-1]], 'random', '-1'],
    [[key, 5], 'random', '5'],
  ],
  uniform: [
    [[5, [2]], 'random', 'key'],
    [[key, [2], { dtype: 'int32' }], 'random.uniform', 'int32', 'float32'],
    [[key, [2], { low: 2, high: 1 }], 'random.uniform', '2 and 1'],
    [[key, [2], { high: nan }], 'random.uniform', 'NaN'],
  ],
  bernoulli: [
    [[key, [2], 1.5], 'random.bernoulli', '1.5'],
    [[key, [2], nan], 'random.bernoulli', 'NaN'],
  ],
  randint: [
    [[key, [2], 3, 3], 'random.randint', '3 and 3'],
    [[key, [2], 0, 1.5], 'random.randint', '1.5'],
    [[key, [2], 0, 2 ** 33], 'random.randint', '2^31'],
  ],
  permutation: [
    [[key, -1], 'random', '-1'],
    [[key, 2.5], 'random', '2.5'],
  ],
  shuffle: [[[key, sp.tensor(1)], 'shuffle', 'rank']],
  normal: [
    [[key, [nan]], 'random', 'integers'],
    [[key, [2], 'int32'], 'random.normal', 'int32'],
  ],
  truncatedNormal: [
    [[key, [2], { low: 1, high: 1 }], 'random.truncatedNormal', '1 and 1'],
    [[key, [2], { dtype: 'int32' }], 'random.truncatedNormal', 'int32'],
  ],
}

/** Functions that take anything, or are checked where they are used. */
const anything = new Set(
  'Tensor leaves mapTree namedLeaves getDevice setDevice realize inspect profile printProfile chromeTrace'.split(' '),
)

function messageOf(call: () => unknown): string {
  try {
    call()
  } catch (error) {
    return error instanceof TypeError || error instanceof RangeError ? `bare ${error}` : String(error)
  }
  return 'no error'
}

for (const [namespace, rows, functions] of [
  ['', table, sp],
  ['random.', randomTable, random],
] as const) {
  const named = Object.entries(functions).filter(([, f]) => typeof f === 'function')
  test(`${namespace || 'the library'}: each public function has a row`, () => {
    const missing = named.map(([name]) => name).filter(name => !(name in rows) && !anything.has(name))
    expect(missing).toEqual([])
  })
  for (const [name, f] of named) {
    if (!rows[name]) continue
    test(`${namespace}${name}`, () => {
      for (const [args, ...fragments] of rows[name]) {
        const message = messageOf(() => untyped(f)(...args))
        for (const fragment of fragments) expect.soft(message).toContain(fragment)
      }
    })
  }
}

describe('functions made by functions', () => {
  const rows: readonly [string, () => unknown, ...string[]][] = [
    ['grad of a vector', () => sp.grad((y: sp.Tensor) => y)(v3), 'grad', 'float32[3]', 'reduce'],
    ['grad of an integer', () => sp.grad((y: sp.Tensor) => sp.sum(sp.argsort(y)))(v3), 'grad', 'int32[]'],
    ['grad of nothing', () => sp.grad(untyped(() => undefined))(v3), 'grad', 'undefined'],
    ['grad of a promise', () => sp.grad(untyped(async () => v3))(v3), 'grad', 'promise'],
    ['grad of a number argument', () => sp.grad((y: number) => sp.mul(v3, y).sum())(2), 'grad', 'no float tensors'],
    ['grad of an integer argument', () => sp.grad((y: sp.Tensor) => sp.sum(y))(int3), 'grad', 'no float tensors'],
    ['argnums', () => sp.grad((y: sp.Tensor) => sp.sum(y), { argnums: 1 })(v3), 'grad', 'argnums 1'],
    ['argnums NaN', () => sp.grad((y: sp.Tensor) => sp.sum(y), { argnums: nan })(v3), 'grad', 'argnums NaN'],
    ['aux without a pair', () => sp.grad((y: sp.Tensor) => sp.sum(y), { hasAux: true })(v3), 'grad', 'pair'],
    ['a pair without aux', () => sp.grad(untyped((y: sp.Tensor) => [sp.sum(y), 1]))(v3), 'grad', 'array', 'hasAux'],
    ['cotangent of another shape', () => sp.vjp((y: sp.Tensor) => y, v3)[1](x23), 'vjp', '[2,3]', '[3]'],
    ['hessian of a vector function', () => sp.hessian((y: sp.Tensor) => y)(v3), 'float32[3]'],
    ['jacobian of integers', () => sp.jacobian((y: sp.Tensor) => y)(int3), 'no float tensors'],
    ['jacobian of a tree', () => untyped(sp.jacobian((y: sp.Tensor) => y))([v3]), 'jacobian', 'one tensor'],
    [
      'too few cotangents',
      () =>
        sp.grad((y: sp.Tensor) =>
          sp.sum(
            sp.customVjp(
              (z: sp.Tensor) => z,
              () => [],
            )(y),
          ),
        )(v3),
      'customVjp',
      '0 cotangents for 1',
    ],
    [
      'a cotangent of the wrong shape',
      () =>
        sp.grad((y: sp.Tensor) =>
          sp.sum(
            sp.customVjp(
              (z: sp.Tensor) => z,
              () => [x23],
            )(y),
          ),
        )(v3),
      'customVjp',
      '[2,3]',
      '[3]',
    ],
    ['assign another shape', () => sp.tensor([1]).assign(v3), 'assign', '[3]', '[1]'],
    ['assign another dtype', () => sp.tensor([1]).assign(sp.tensor([1], { dtype: 'int32' })), 'assign', 'int32'],
    ['assign no tensor', () => untyped((y: sp.Tensor) => sp.tensor([1]).assign(y))(1), 'assign', 'number'],
  ]
  for (const [name, call, ...fragments] of rows) {
    test(name, () => {
      const message = messageOf(call)
      for (const fragment of fragments) expect.soft(message).toContain(fragment)
    })
  }
})

describe('errors that come later', () => {
  const withoutClock = async (): Promise<unknown> => {
    const before = await sp.getDevice()
    await sp.setDevice(Object.create(await sp.setDevice('reference'), { startTiming: { value: undefined } }))
    try {
      return await sp.profile(() => 1)
    } finally {
      await sp.setDevice(before)
    }
  }
  const rows: readonly [string, () => Promise<unknown>, ...string[]][] = [
    ['item of many', () => x23.item(), 'item', '[2,3]'],
    ['an unknown device', async () => untyped(sp.setDevice)('gpu'), 'setDevice', 'gpu', 'wasm'],
    ['profile of no function', async () => sp.profile(untyped(v3)), 'profile', 'function', 'object'],
    ['profile on a device without a clock', withoutClock, 'profile', 'reference', 'timestamp-query'],
    ['no threads', async () => sp.setDevice('reference', { threads: 0 }), 'setDevice', 'threads', '0'],
    ['compile of an async function', async () => sp.compile(untyped(async () => v3))(v3), 'compile', 'promise'],
  ]
  for (const [name, call, ...fragments] of rows) {
    test(name, async () => {
      const message = await call().then(() => 'no error', String)
      for (const fragment of fragments) expect.soft(message).toContain(fragment)
    })
  }
})

test('a number where options belong is an error, not ignored', () => {
  const x = sp.tensor([
    [1, 2],
    [3, 4],
  ])
  const take = [
    sp.sum,
    sp.max,
    sp.min,
    sp.mean,
    sp.variance,
    sp.std,
    sp.vectorNorm,
    sp.prod,
    sp.logsumexp,
    sp.any,
    sp.all,
    sp.cumulativeSum,
  ]
  const along = [sp.argmax, sp.argmin, sp.softmax, sp.logSoftmax, sp.sort, sp.argsort]
  for (const operation of [...take, ...along]) {
    const call = operation as (x: sp.Tensor, options: unknown) => unknown
    for (const options of [0, [0], x, null]) expect(() => call(x, options)).toThrow(/expects its options as an object/)
  }
})

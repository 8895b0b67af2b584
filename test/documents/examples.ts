/**
 * A use of each operation for the reference: code, and the shapes of the tensors in it. Those named i... are int32, those
 * named c... bool, all others float.
 */

export type Example = readonly [code: string, shapes: Readonly<Record<string, readonly number[]>>]

const unary = (...names: string[]): Record<string, Example> =>
  Object.fromEntries(names.map(name => [name, [`${name}(x)`, { x: [2, 3] }]]))
const binary = (...names: string[]): Record<string, Example> =>
  Object.fromEntries(names.map(name => [name, [`${name}(a, b)`, { a: [2, 3], b: [3] }]]))
const reduction = (...names: string[]): Record<string, Example> =>
  Object.fromEntries(names.map(name => [name, [`${name}(x, { axis: 1 })`, { x: [2, 3] }]]))
const classifier = (...names: string[]): Record<string, Example> =>
  Object.fromEntries(names.map(name => [name, [`${name}(z, ilabels)`, { z: [4, 5], ilabels: [4] }]]))

export const examples: Readonly<Record<string, Example>> = {
  ...unary('neg', 'abs', 'sign', 'sqrt', 'exp', 'expm1', 'log', 'log1p', 'log2', 'log10', 'square', 'reciprocal'),
  ...unary('rsqrt', 'sin', 'cos', 'tan', 'asin', 'acos', 'atan', 'sinh', 'cosh', 'tanh', 'asinh', 'acosh', 'atanh'),
  ...unary('erf', 'floor', 'ceil', 'round', 'trunc', 'isnan', 'isfinite', 'isinf', 'logicalNot', 'bitwiseInvert'),
  ...unary('relu', 'leakyRelu', 'elu', 'sigmoid', 'logSigmoid', 'softplus', 'silu', 'gelu'),
  ...binary('add', 'sub', 'mul', 'div', 'floorDivide', 'remainder', 'pow', 'maximum', 'minimum', 'atan2', 'hypot'),
  ...binary('logaddexp', 'less', 'lessEqual', 'greater', 'greaterEqual', 'equal', 'notEqual'),
  ...binary('bitwiseAnd', 'bitwiseOr', 'bitwiseXor', 'bitwiseLeftShift', 'bitwiseRightShift'),
  ...binary('logicalAnd', 'logicalOr', 'logicalXor'),
  astype: ["astype(x, 'float32')", { x: [2, 3] }],
  bitcast: ["bitcast(astype(x, 'float32'), 'int32')", { x: [2, 3] }],
  where: ['where(c, a, b)', { c: [2, 3], a: [2, 3], b: [3] }],
  clip: ['clip(x, -1, 1)', { x: [2, 3] }],

  ...reduction('sum', 'prod', 'mean', 'max', 'min', 'variance', 'std', 'any', 'all', 'logsumexp', 'vectorNorm'),
  ...reduction('argmax', 'argmin', 'cumulativeSum'),
  // As a name of its own it is JavaScript's keyword.
  var: ['x.var({ axis: 1 })', { x: [2, 3] }],
  ...reduction('sort', 'argsort'),
  topk: ['topk(x, 2)', { x: [2, 5] }],

  reshape: ['reshape(x, [3, -1])', { x: [2, 6] }],
  flatten: ['flatten(x)', { x: [2, 3] }],
  permuteDims: ['permuteDims(x, [2, 0, 1])', { x: [2, 3, 4] }],
  matrixTranspose: ['matrixTranspose(x)', { x: [2, 3] }],
  moveaxis: ['moveaxis(x, 0, -1)', { x: [2, 3, 4] }],
  expandDims: ['expandDims(x, 1)', { x: [2, 3] }],
  squeeze: ['squeeze(x, 1)', { x: [2, 1, 3] }],
  broadcastTo: ['broadcastTo(x, [2, 3])', { x: [3] }],
  concat: ['concat([a, b], 1)', { a: [2, 3], b: [2, 1] }],
  stack: ['stack([a, b])', { a: [3], b: [3] }],
  unstack: ['unstack(x)', { x: [2, 3] }],
  split: ['split(x, 2)', { x: [4, 3] }],
  tile: ['tile(x, [2, 1])', { x: [2, 3] }],
  repeat: ['repeat(x, 2, { axis: 1 })', { x: [2, 3] }],
  flip: ['flip(x, 0)', { x: [2, 3] }],
  roll: ['roll(x, 1, { axis: 1 })', { x: [2, 3] }],
  pad: ["pad(x, [[1, 1], [0, 2]], { mode: 'edge' })", { x: [2, 3] }],
  tril: ['tril(x)', { x: [3, 3] }],
  triu: ['triu(x)', { x: [3, 3] }],
  diagonal: ['diagonal(x)', { x: [3, 3] }],
  windows: ['windows(x, 3, { axis: 0 })', { x: [8] }],
  at: ["at(x, 0, [1, null], '...')", { x: [2, 3, 4] }],
  slice: ['slice(x, [], [null, null, 2])', { x: [2, 5] }],
  setAt: ['setAt(x, [0], v)', { x: [2, 3], v: [3] }],
  addAt: ['addAt(x, [0], v)', { x: [2, 3], v: [3] }],

  take: ['take(x, i)', { x: [10, 3], i: [2, 4] }],
  takeAlongAxis: ['takeAlongAxis(x, i)', { x: [2, 5], i: [2, 3] }],
  scatterAdd: ['scatterAdd(i, u, 10)', { i: [4], u: [4, 3] }],
  scatter: ["scatter(x, i, u, { mode: 'set' })", { x: [10, 3], i: [4], u: [4, 3] }],
  segmentSum: ['segmentSum(x, i, 3)', { x: [6, 2], i: [6] }],

  matmul: ['matmul(a, b)', { a: [2, 3], b: [3, 4] }],
  dot: ['dot(a, b)', { a: [3], b: [3] }],
  tensordot: ['tensordot(a, b, 1)', { a: [2, 3], b: [3, 4] }],
  outer: ['outer(a, b)', { a: [2], b: [3] }],
  einsum: ["einsum('bij,bjk->bik', a, b)", { a: [5, 2, 3], b: [5, 3, 4] }],
  trace: ['trace(x)', { x: [3, 3] }],
  conv1d: ['conv1d(x, w)', { x: [2, 9, 3], w: [3, 3, 4] }],
  conv2d: ["conv2d(x, w, { padding: 'same' })", { x: [2, 8, 8, 3], w: [3, 3, 3, 4] }],
  depthwiseConv2d: ['depthwiseConv2d(x, w)', { x: [2, 8, 8, 3], w: [3, 3, 3, 2] }],
  convTranspose1d: ['convTranspose1d(x, w, { stride: 2 })', { x: [2, 4, 3], w: [3, 5, 3] }],
  convTranspose2d: ['convTranspose2d(x, w, { stride: 2 })', { x: [2, 4, 4, 3], w: [3, 3, 5, 3] }],
  maxPool1d: ['maxPool1d(x, 2)', { x: [2, 8, 3] }],
  avgPool1d: ['avgPool1d(x, 2)', { x: [2, 8, 3] }],
  maxPool2d: ['maxPool2d(x, 2)', { x: [2, 8, 8, 3] }],
  avgPool2d: ['avgPool2d(x, 2)', { x: [2, 8, 8, 3] }],
  globalAvgPool2d: ['globalAvgPool2d(x)', { x: [2, 8, 8, 3] }],
  globalMaxPool2d: ['globalMaxPool2d(x)', { x: [2, 8, 8, 3] }],

  softmax: ['softmax(x)', { x: [2, 5] }],
  logSoftmax: ['logSoftmax(x)', { x: [2, 5] }],
  stopGradient: ['stopGradient(x)', { x: [2, 3] }],
  dropout: ['dropout(x, random.key(0), 0.5)', { x: [2, 3] }],
  resize: ["resize(x, [8, 8], { method: 'bilinear' })", { x: [2, 4, 4, 3] }],
  scaledDotProductAttention: [
    'scaledDotProductAttention(q, k, v, { causal: true })',
    { q: [2, 6, 8], k: [2, 6, 8], v: [2, 6, 8] },
  ],

  ...classifier('crossEntropy', 'accuracy', 'marginLoss', 'dlrLoss', 'multiclassHinge'),
  clippedCrossEntropyOfProbabilities: ['clippedCrossEntropyOfProbabilities(p, ilabels)', { p: [4, 5], ilabels: [4] }],
  binaryCrossEntropy: ['binaryCrossEntropy(z, t)', { z: [4], t: [4] }],
  klDivergence: ['klDivergence(z, t)', { z: [4, 5], t: [4, 5] }],
  mse: ['mse(x, t)', { x: [4], t: [4] }],
  mae: ['mae(x, t)', { x: [4], t: [4] }],
  huber: ['huber(x, t)', { x: [4], t: [4] }],
  hinge: ['hinge(z, t)', { z: [4], t: [4] }],
  cosineSimilarity: ['cosineSimilarity(a, b)', { a: [4, 5], b: [4, 5] }],
  cosineLoss: ['cosineLoss(a, b)', { a: [4, 5], b: [4, 5] }],

  tensor: ['tensor([[1, 2], [3, 4]])', {}],
  full: ['full([2, 3], 7)', {}],
  zeros: ['zeros([2, 3])', {}],
  ones: ['ones([2, 3])', {}],
  zerosLike: ['zerosLike(x)', { x: [2, 3] }],
  onesLike: ['onesLike(x)', { x: [2, 3] }],
  iota: ['iota([2, 3], 1)', {}],
  arange: ['arange(0, 10, 2)', {}],
  linspace: ['linspace(0, 1, 5)', {}],
  eye: ['eye(3)', {}],
  oneHot: ['oneHot(i, 5)', { i: [4] }],
}

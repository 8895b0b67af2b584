/**
 * Programs for sizes that reach the fast paths of devices: whole tiles and ragged edges of matrix products, several chunks
 * and threads, vector loops with remainders, guarded loads, fused epilogues. Small shapes are covered by random programs.
 */

import * as sp from 'saddlepoint'

const { grad, matmul, random, conv2d, tensor } = sp
export type Make = (seed: number, shape: readonly number[]) => sp.Tensor
export type Programs = { readonly [name: string]: (u: Make) => sp.Tensor }

/** Numbers from -1 to 1 that come from the host, so that kernels read them: random ones would be computed where they are read. */
export const uniform =
  (dtype: sp.DType): Make =>
  (seed, shape) => {
    const size = shape.reduce((n, s) => n * s, 1)
    const values = Float64Array.from(
      { length: size },
      (_, i) => (((i + 1) * 7919 * (2 * seed + 1)) % 10007) / 5003.5 - 1,
    )
    return tensor({ data: dtype === 'float64' ? values : Float32Array.from(values), shape, dtype })
  }

const ids = (n: number, rows: number): sp.Tensor => tensor(Int32Array.from({ length: n }, (_, i) => (i * 7919) % rows))

/** Results are compared relative to the largest magnitude in the result. */
export const floating: Programs = {
  'element-wise, one loop': u =>
    u(1, [1003])
      .mul(2)
      .add(u(2, [1003]))
      .relu(),
  'element-wise, many chunks': u =>
    u(1, [300, 401])
      .mul(u(2, [401]))
      .sub(u(3, [300, 1])),
  'special functions': u =>
    u(1, [977])
      .exp()
      .add(u(2, [977]).tanh())
      .mul(u(3, [977]).sin())
      .add(u(4, [977]).abs().add(0.1).log()),
  transpose: u => u(1, [130, 67]).matrixTranspose().add(1),
  'a matrix and its transpose': u => {
    const x = u(1, [129, 129])
    return sp.where(x.less(x.matrixTranspose()), x, x.matrixTranspose().mul(2))
  },
  'channels first': u => u(1, [3, 20, 20, 70]).permuteDims([0, 3, 1, 2]).mul(2),
  'channels last': u =>
    u(1, [3, 70, 20, 20])
      .permuteDims([0, 2, 3, 1])
      .mul(u(2, [70])),
  'first axis last': u => u(1, [64, 5, 6, 40]).permuteDims([3, 2, 1, 0]).softmax(),
  'permuted axes': u => u(1, [5, 6, 7, 8]).permuteDims([3, 1, 0, 2]).mul(2),
  'strided and reversed': u => u(1, [90, 111]).at([1, null, 2], [null, null, -3]).add(1),
  'padding on the vector axis': u =>
    u(1, [33, 50])
      .pad([
        [1, 2],
        [3, 40],
      ])
      .mul(u(2, [36, 93])),
  'interior padding': u => grad((x: sp.Tensor) => x.at([null, null, 3], [2, null, 2]).square().sum())(u(1, [40, 61])),
  concat: u => sp.concat([u(1, [30, 41]), u(2, [30, 5]), u(3, [30, 77])], 1),
  'sum of all': u => u(1, [300, 333]).square().sum(),
  'sum of columns': u => u(1, [700, 45]).square().sum({ axis: 0 }),
  'sum of rows': u => u(1, [70, 455]).square().sum({ axis: 1 }),
  'sum of a middle axis': u => u(1, [9, 50, 37]).sum({ axis: 1 }),
  'sum of outer axes': u => u(1, [9, 50, 37]).sum({ axis: [0, 2] }),
  'max of rows and columns': u =>
    u(1, [70, 45])
      .max({ axis: 1 })
      .sum()
      .add(u(2, [70, 45]).max({ axis: 0 })),
  'gradient of max': u => grad((x: sp.Tensor) => x.max({ axis: 1 }).square().sum())(u(1, [50, 23])),
  softmax: u => u(1, [60, 37]).mul(5).softmax(),
  variance: u => u(1, [60, 37]).variance({ axis: 0 }),
  'matmul, whole tiles': u => matmul(u(1, [64, 96]), u(2, [96, 128])),
  'matmul, ragged': u => matmul(u(1, [61, 97]), u(2, [97, 43])),
  'matmul, three vectors wide': u => matmul(u(1, [33, 50]), u(2, [50, 36])),
  'matmul, long inner axis': u => matmul(u(1, [37, 2000]), u(2, [2000, 21])),
  'matmul, transposed': u => matmul(u(1, [97, 61]).matrixTranspose(), u(2, [43, 97]).matrixTranspose()),
  'matmul, batched': u => matmul(u(1, [6, 33, 17]), u(2, [6, 17, 19])),
  'matmul, broadcast': u => matmul(u(1, [5, 1, 33, 17]), u(2, [3, 17, 8])),
  'matmul of expressions, with epilogue': u =>
    matmul(u(1, [70, 100]).mul(2).relu(), u(2, [100, 30]).square())
      .add(u(3, [30]))
      .relu(),
  'matmul with two results': u => {
    const z = matmul(u(1, [40, 50]), u(2, [50, 24])).add(u(3, [24]))
    return sp.concat([z.relu(), z.exp()], 0)
  },
  'matrix times vector': u => matmul(u(1, [300, 200]), u(2, [200])),
  'vector times matrix': u => matmul(u(1, [200]), u(2, [200, 300])),
  conv: u =>
    conv2d(u(1, [4, 14, 15, 3]), u(2, [3, 3, 3, 16]))
      .add(u(3, [16]))
      .relu(),
  'conv, strided, same padding': u => conv2d(u(1, [2, 17, 19, 5]), u(2, [5, 3, 5, 9]), { stride: 2, padding: 'same' }),
  'conv, dilated, asymmetric': u =>
    conv2d(u(1, [2, 19, 18, 4]), u(2, [3, 3, 4, 8]), {
      dilation: 2,
      padding: [
        [1, 2],
        [0, -1],
      ],
    }),
  'conv, grouped': u => conv2d(u(1, [2, 9, 9, 8]), u(2, [3, 3, 4, 16]), { groups: 2 }),
  'conv, depthwise': u => conv2d(u(1, [2, 9, 9, 8]), u(2, [3, 3, 1, 8]), { groups: 8 }),
  'conv, gradient of the kernel': u =>
    grad((w: sp.Tensor) =>
      conv2d(u(1, [4, 13, 13, 6]), w)
        .square()
        .sum(),
    )(u(2, [3, 3, 6, 16])),
  'conv, gradient of the images': u =>
    grad((x: sp.Tensor) =>
      conv2d(x, u(2, [3, 3, 6, 16]), { stride: 2, padding: 1 })
        .square()
        .sum(),
    )(u(1, [4, 13, 13, 6])),
  'conv to one channel': u => conv2d(u(1, [4, 13, 13, 16]), u(2, [3, 3, 16, 1]), { padding: 2 }),
  'max pooling': u => sp.maxPool2d(u(1, [4, 13, 13, 20]), 2),
  'max pooling, overlapping': u => sp.maxPool2d(u(1, [4, 13, 13, 20]), 3, { stride: 2, padding: 1 }),
  'gradient of max pooling': u => grad((x: sp.Tensor) => sp.maxPool2d(x, 2).square().sum())(u(1, [4, 13, 13, 20])),
  'second derivative through pooling': u =>
    grad((x: sp.Tensor) =>
      grad((y: sp.Tensor) => sp.maxPool2d(y, 2).pow(4).sum())(x)
        .square()
        .sum(),
    )(u(1, [2, 9, 9, 12])),
  'average pooling': u => sp.avgPool2d(u(1, [4, 13, 13, 20]), 3, { stride: 1, padding: 1 }),
  embedding: u => sp.take(u(1, [100, 33]), ids(64, 100)),
  'embedding of an expression': u =>
    sp.take(
      u(1, [100, 33])
        .mul(2)
        .add(u(2, [100, 33])),
      ids(64, 100),
    ),
  'gradient of an embedding': u => grad((e: sp.Tensor) => sp.take(e, ids(640, 100)).square().sum())(u(1, [100, 33])),
  'gather along an axis': u => sp.takeAlongAxis(u(1, [50, 20]), u(2, [50, 20]).argsort({ axis: 0 }), { axis: 0 }),
  sort: u => u(1, [20, 100]).sort({ descending: true }),
  'input-gradient penalty of a network': u => {
    const x = u(1, [16, 30])
    const y = u(4, [16, 5])
    const f = (w: sp.Tensor, v: sp.Tensor): sp.Tensor => {
      const loss = (x: sp.Tensor): sp.Tensor => matmul(matmul(x, w).tanh(), v).sub(y).square().sum()
      return loss(x).add(grad(loss)(x).square().sum())
    }
    return sp.concat([
      grad(f)(u(2, [30, 24]), u(3, [24, 5])).flatten(),
      grad(f, { argnums: 1 })(u(2, [30, 24]), u(3, [24, 5])).flatten(),
    ])
  },
}

/** Results are equal to the bit. */
export const exact: Programs = {
  'uniform bits': () => random.bits(random.key(3), [1001]),
  uniform: u => u(5, [1001]),
  normal: u => random.normal(random.key(6), [3001], u(1, []).dtype),
  'truncated normal': u => random.truncatedNormal(random.key(6), [1001], { dtype: u(1, []).dtype }),
  bernoulli: () => random.bernoulli(random.key(7), [777], 0.3),
  randint: () => random.randint(random.key(7), [777], -50, 51),
  permutation: () => random.permutation(random.key(7), 777),
  split: () => random.split(random.key(8), 33),
  'integer division': () =>
    random.randint(random.key(2), [999], -50, 50).floorDivide(random.randint(random.key(3), [999], -3, 4)),
  'integer remainder': () =>
    random.randint(random.key(2), [999], -50, 50).remainder(random.randint(random.key(3), [999], -3, 4)),
  'integer products wrap': () =>
    random
      .randint(random.key(2), [999], -(2 ** 31), 2 ** 31)
      .mul(random.randint(random.key(3), [999], -(2 ** 31), 2 ** 31)),
  'uint32 comparison': () => random.bits(random.key(2), [999]).less(random.bits(random.key(3), [999])),
  shifts: () =>
    random
      .randint(random.key(2), [999], -(2 ** 31), 2 ** 31)
      .bitwiseRightShift(random.randint(random.key(3), [999], 0, 32)),
  'float to integer': u =>
    u(1, [999])
      .mul(2 ** 33)
      .astype('int32')
      .add(u(2, [999]).mul(100).astype('uint32').astype('int32')),
  'bool logic': u =>
    u(1, [999])
      .less(0)
      .logicalXor(u(2, [999]).lessEqual(0.3))
      .logicalAnd(u(3, [999]).equal(0).logicalNot()),
  rounding: u =>
    sp.concat([
      u(1, [333]).mul(8).round(),
      u(1, [333]).mul(8).floor(),
      u(1, [333]).mul(8).ceil(),
      u(1, [333]).mul(8).trunc(),
    ]),
  argmax: u => u(1, [50, 33]).argmax({ axis: 1 }),
  'integer sums': () => random.randint(random.key(1), [70, 33], -1000, 1000).sum({ axis: 0 }),
}

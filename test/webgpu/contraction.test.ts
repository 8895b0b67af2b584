/** Matrix products and convolutions on the webgpu device: every tile on ragged sizes, layouts, prologues, epilogues, splits. */

import * as sp from 'saddlepoint'
import { describe, expect, test } from 'vitest'
import { sizeOf } from '../../src/graph/shape.js'
import { type Product, planOf, tiles } from '../../src/runtime/backends/webgpu/contraction.js'
import { expectClose, expectEqual, type Make, onGpu, type Programs } from './against-reference.js'
import { openGpu } from './gpu.js'
import { isExact } from './product.js'

const { conv2d, grad, matmul } = sp
type Tensor = sp.Tensor

const programs: Programs = {
  '1x1x1': u => matmul(u(1, 1, 1), u(2, 1, 1)),
  '4x4x4': u => matmul(u(1, 4, 4), u(2, 4, 4)),
  '5x6x7': u => matmul(u(1, 5, 6), u(2, 6, 7)),
  'whole tiles': u => matmul(u(1, 64, 96), u(2, 96, 128)),
  '61x97x43': u => matmul(u(1, 61, 97), u(2, 97, 43)),
  '257x300x129': u => matmul(u(1, 257, 300), u(2, 300, 129)),
  tall: u => matmul(u(1, 1000, 35), u(2, 35, 10)),
  wide: u => matmul(u(1, 10, 35), u(2, 35, 1000)),
  'long inner loop': u => matmul(u(1, 37, 5000), u(2, 5000, 21)),
  'long inner loop, a prime number': u => matmul(u(1, 37, 5003), u(2, 5003, 21)),
  'left transposed': u => matmul(u(1, 97, 61).matrixTranspose(), u(2, 97, 43)),
  'both transposed': u => matmul(u(1, 97, 61).matrixTranspose(), u(2, 43, 97).matrixTranspose()),
  batched: u => matmul(u(1, 6, 33, 17), u(2, 6, 17, 19)),
  'batched, many small': u => matmul(u(1, 100, 5, 6), u(2, 100, 6, 7)),
  'batched, broadcast': u => matmul(u(1, 5, 1, 33, 17), u(2, 3, 17, 8)),
  'heads of attention': u => {
    const heads = (seed: number): Tensor => u(seed, 2, 30, 3, 16).permuteDims([0, 2, 1, 3])
    return matmul(matmul(heads(1), heads(2).matrixTranspose()).softmax(), heads(3)).permuteDims([0, 2, 1, 3])
  },
  'factors that are expressions, ragged': u => matmul(u(1, 70, 101).exp(), u(2, 101, 30).exp()),
  'factors that are expressions, split': u => matmul(u(1, 20, 3001).exp(), u(2, 3001, 30).exp()),
  'factors with a value for each row and column': u =>
    matmul(u(1, 70, 50).mul(u(3, 70, 1).exp()), u(2, 50, 30).mul(u(4, 30).tanh())),
  'a factor that is better stored': u => {
    const mask = sp.random.uniform(sp.random.key(3), [70, 50]).less(0.5)
    return matmul(sp.where(mask, u(1, 70, 50), 0), u(2, 50, 30).mul(u(3, 30)))
  },
  'factors that are better stored, batched, split': u => {
    const drop = (seed: number, x: Tensor): Tensor =>
      sp.where(sp.random.uniform(sp.random.key(seed), x.shape).less(0.5), x, 0)
    return matmul(drop(1, u(1, 3, 20, 1500)), drop(2, u(2, 3, 1500, 25))).add(u(3, 25))
  },
  'a factor by fours that the epilogue reads too': u => {
    const x = u(1, 36, 44)
    return matmul(x, u(2, 44, 44))
      .tanh()
      .add(x)
  },
  'a factor with its own transpose': u => matmul(u(1, 36, 44), u(1, 36, 44).matrixTranspose()),
  'a factor of rows that are looked up': u => {
    const rows = sp.random.randint(sp.random.key(3), [40], 0, 50)
    return matmul(u(1, 50, 24).take(rows), u(2, 24, 20))
  },
  'a factor of bools': u => matmul(u(1, 36, 44).greater(0).astype('float32'), u(2, 44, 20)),
  'a factor that is moved by one': u => matmul(u(1, 37, 45).slice([1, 37], [1, 45]), u(2, 44, 20)),
  'a factor that is moved by four': u => matmul(u(1, 40, 48).slice([4, 40], [4, 48]), u(2, 44, 20)),
  'a factor and itself, moved by one': u => {
    const x = u(1, 36, 48)
    return matmul(x.slice([], [0, 44]).mul(x.slice([], [1, 45])), u(2, 44, 20))
  },
  'a factor that ends within four': u => {
    const scale = sp.pad(u(3, 48).slice([0, 42]), [[0, 2]])
    return matmul(u(1, 36, 44).mul(scale), u(2, 44, 20))
  },
  'a factor of equal numbers': u => matmul(u(1, 70, 50), sp.full([50, 30], 0.3)),
  'with an epilogue': u =>
    matmul(u(1, 70, 50), u(2, 50, 30))
      .add(u(3, 30))
      .mul(u(4, 70, 1))
      .relu(),
  'with an epilogue, split': u =>
    matmul(u(1, 20, 3000), u(2, 3000, 30))
      .add(u(3, 30))
      .relu(),
  'with an epilogue, transposed': u =>
    matmul(u(1, 70, 50), u(2, 50, 30))
      .matrixTranspose()
      .add(u(3, 30, 70)),
  'with two results': u => {
    const z = matmul(u(1, 40, 50), u(2, 50, 24)).add(u(3, 24))
    return sp.concat([z.relu(), z.tanh()], 0)
  },
  conv: u =>
    conv2d(u(1, 4, 14, 15, 3), u(2, 3, 3, 3, 16))
      .add(u(3, 16))
      .relu(),
  'conv, padded, channels by fours': u => conv2d(u(1, 2, 9, 10, 8), u(2, 3, 3, 8, 12), { padding: 1 }),
  'conv, strided, same padding': u => conv2d(u(1, 2, 17, 19, 5), u(2, 5, 3, 5, 9), { stride: 2, padding: 'same' }),
  'conv, dilated, asymmetric': u =>
    conv2d(u(1, 2, 19, 18, 4), u(2, 3, 3, 4, 8), {
      dilation: 2,
      padding: [
        [1, 2],
        [0, -1],
      ],
    }),
  'conv, grouped': u => conv2d(u(1, 2, 9, 9, 8), u(2, 3, 3, 4, 16), { groups: 2 }),
  'conv to one channel': u => conv2d(u(1, 4, 13, 13, 16), u(2, 3, 3, 16, 1), { padding: 2 }),
  'conv, 1x1': u => conv2d(u(1, 3, 8, 9, 20), u(2, 1, 1, 20, 30)).mul(u(3, 3, 8, 9, 30)),
  'conv, gradient of the kernel': u =>
    grad((w: Tensor) =>
      conv2d(u(1, 4, 13, 13, 6), w)
        .square()
        .sum(),
    )(u(2, 3, 3, 6, 16)),
  'conv, gradient of the kernel, split': u =>
    grad((w: Tensor) =>
      conv2d(u(1, 16, 27, 27, 4), w, { padding: 1 })
        .square()
        .sum(),
    )(u(2, 3, 3, 4, 8)),
  'conv, gradient of the images': u =>
    grad((x: Tensor) =>
      conv2d(x, u(2, 3, 3, 6, 16), { stride: 2, padding: 1 })
        .square()
        .sum(),
    )(u(1, 4, 13, 13, 6)),
  'conv, gradient of the images, grouped': u =>
    grad((x: Tensor) =>
      conv2d(x, u(2, 3, 3, 4, 16), { groups: 2 })
        .square()
        .sum(),
    )(u(1, 2, 9, 9, 8)),
  'conv, second derivative of a loss': u => {
    const x = u(1, 3, 11, 10, 4)
    const loss = (x: Tensor, w: Tensor): Tensor => conv2d(x, w, { stride: 2, padding: 1 }).tanh().square().sum()
    const penalty = (w: Tensor): Tensor =>
      grad((y: Tensor) => loss(y, w))(x)
        .square()
        .sum()
    return grad(penalty)(u(2, 3, 3, 4, 8))
  },
  'input-gradient penalty of a network': u => {
    const [x, y] = [u(1, 16, 30), u(4, 16, 5)]
    const f = (w: Tensor, v: Tensor): Tensor => {
      const loss = (x: Tensor): Tensor => matmul(matmul(x, w).tanh(), v).sub(y).square().sum()
      return loss(x).add(grad(loss)(x).square().sum())
    }
    return grad(f)(u(2, 30, 24), u(3, 24, 5))
  },
}

describe('float32', () => {
  test.each(Object.entries(programs))('%s', (_, program) => expectClose(program, 3e-6, 'float32'))
})

describe('float64, by plain loops', () => {
  const names = ['61x97x43', 'with an epilogue', 'conv, strided, same padding', 'conv, gradient of the kernel']
  test.each(names)('%s', name => expectClose(programs[name], 1e-13, 'float64'))
})

test.each([
  ['one by one', 70, 50, 30],
  ['by fours', 72, 52, 32],
])('float16, %s', (_, rows, inner, columns) =>
  expectClose(
    u => matmul(u(1, rows, inner).astype('float16'), u(2, inner, columns).astype('float16')),
    1e-3,
    'float32',
  ),
)

test('integers, by plain loops', () =>
  expectEqual(() => {
    const integers = (seed: number, ...shape: number[]): Tensor =>
      sp.random.randint(sp.random.key(seed), shape, -100_000, 100_000)
    return matmul(integers(1, 7, 50), integers(2, 50, 9))
  }))

describe('every tile', () => {
  const names = Object.keys(tiles) as (keyof typeof tiles)[]
  const shapes: readonly Product[] = [
    { batch: 2, rows: 131, columns: 37, inner: 19 },
    { batch: 1, rows: 35, columns: 260, inner: 48 },
    { batch: 1, rows: 256, columns: 128, inner: 16 },
    { batch: 3, rows: 4, columns: 5, inner: 7 },
    // All in fours, none in whole tiles.
    { batch: 2, rows: 36, columns: 44, inner: 20 },
  ]
  const cases = names.flatMap(tile =>
    shapes.flatMap(shape => [1, 3].flatMap(parts => [false, true].map(t => ({ tile, shape, parts, transposed: t })))),
  )
  test('gives the same product', async () => {
    const gpu = await openGpu()
    try {
      for (const { tile, shape, parts, transposed } of cases) {
        const same = await isExact(gpu, shape, transposed, {
          plan: { tile: tiles[tile], parts },
          factor: (exprs, a) => exprs.operation('fma', 'float32', a, a, a),
          value: x => x * x + x,
        })
        expect({ tile, shape, parts, transposed, same }).toMatchObject({ same: true })
      }
    } finally {
      gpu.close()
    }
  })
})

describe('loads by fours', () => {
  /** How the buffers that a program's last kernel reads are declared. */
  const reads = async (program: (u: Make) => Tensor): Promise<string[]> => {
    await onGpu()
    const { code } = await sp.inspect(program((_, ...shape) => sp.tensor(new Float32Array(sizeOf(shape)), { shape })))
    const kernel = code.slice(code.lastIndexOf('@group(0) @binding(0)'))
    return [...kernel.matchAll(/var<storage, read> \w+: array<(.*)>;/g)].map(m => m[1])
  }
  const fours = 'vec4<f32>'
  test.each<[string, (u: Make) => Tensor, string[]]>([
    ['a product', u => matmul(u(1, 36, 44), u(2, 44, 20)), [fours, fours]],
    ['transposed', u => matmul(u(1, 44, 36).matrixTranspose(), u(2, 20, 44).matrixTranspose()), [fours, fours]],
    ['only one inner size', u => matmul(u(1, 36, 43), u(2, 43, 20)), ['f32', fours]],
    ['sizes that four does not divide', u => matmul(u(1, 37, 43), u(2, 43, 21)), ['f32', 'f32']],
    ['not aligned', u => matmul(u(1, 37, 45).slice([1, 37], [1, 45]), u(2, 44, 20)), ['f32', fours]],
    ['aligned again', u => matmul(u(1, 40, 48).slice([4, 40], [4, 48]), u(2, 44, 20)), [fours, fours]],
    ['a convolution', u => conv2d(u(1, 2, 9, 10, 8), u(2, 3, 3, 8, 12)), [fours, fours]],
    ['of three channels', u => conv2d(u(1, 2, 9, 10, 3), u(2, 3, 3, 3, 12)), ['f32', fours]],
  ])('%s', async (_, program, expected) => expect(await reads(program)).toEqual(expected))
})

describe('plans', () => {
  const plan = (batch: number, rows: number, columns: number, inner: number): unknown => {
    const found = planOf({ batch, rows, columns, inner })
    const tile = Object.entries(tiles).find(([, t]) => t === found?.tile)
    return found && [tile?.[0], found.parts > 1]
  }
  test('large tiles for large products', () => expect(plan(1, 4096, 4096, 4096)).toEqual(['large', false]))
  test('small tiles for small ones', () => expect(plan(1, 40, 40, 40)).toEqual(['small', false]))
  test('tall tiles for few columns', () => expect(plan(1, 200_000, 32, 300)).toEqual(['tall', false]))
  test('wide tiles for few rows', () => expect(plan(1, 32, 200_000, 300)).toEqual(['wide', false]))
  test('few results of long loops are split', () => expect(plan(1, 36, 64, 20_000)).toEqual(['small', true]))
  test('a vector is no matrix', () => expect(plan(1, 1, 1000, 1000)).toBeUndefined())
  test('nor are many tiny ones', () => expect(plan(1000, 5, 6, 7)).toBeUndefined())
  test('every tile fits the memory of a workgroup', () => {
    for (const { rows, columns, inner } of Object.values(tiles))
      expect(2 * 4 * inner * (rows + columns)).toBeLessThanOrEqual(2 ** 14)
  })
})

test('the same product twice gives the same bits', async () => {
  await onGpu()
  const [a, b] = [sp.random.uniform(sp.random.key(1), [40, 3000]), sp.random.uniform(sp.random.key(2), [3000, 40])]
  const [x, y] = [await matmul(a, b).data(), await matmul(a.add(0), b).data()]
  expect([...x]).toEqual([...y])
})

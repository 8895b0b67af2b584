/** Attention, dropout, resizing and cosine similarity: values worked out by other programs, and what options mean. */

import * as sp from 'saddlepoint'
import { describe, expect, test } from 'vitest'
import { wave } from '../nn/wave.js'
import { expectClose } from '../oracle/close.js'

const f64 = (values: sp.NestedArray): sp.Tensor => sp.tensor(values, { dtype: 'float64' })
const flat = (x: sp.Tensor, values: number[], tolerance = 1e-10): Promise<void> =>
  expectClose(x.flatten(), values, tolerance)

// Numbers in this file without a formula beside them were computed with torch.
describe('attention', () => {
  const [q, k, v] = [wave(1, 2, 3, 2), wave(0.7, 2, 4, 2), wave(0.3, 2, 4, 3)]

  test('a softmax of scaled products, and its scale', async () => {
    const y = sp.scaledDotProductAttention(q, k, v)
    expect(y.shape).toEqual([2, 3, 3])
    await flat(
      y,
      [
        0.564402968618, 0.684582875167, 0.743611032337, 0.584568080127, 0.483469062357, 0.339183193139, 0.47320895426,
        0.312718640651, 0.124294102227, -0.763064395224, -0.72065818933, -0.613877733684, -0.444731577737,
        -0.307297268516, -0.142413009506, -0.11615108597, 0.0635923766575, 0.237655321672,
      ],
    )
    await flat(
      q.scaledDotProductAttention(k, v, { scale: 2 }).at(0),
      [
        0.491721302674, 0.695399094645, 0.836958956564, 0.625101173325, 0.452820760697, 0.240091218129, 0.331655424962,
        0.0721752127137, -0.193752196331,
      ],
    )
  })
  test('causal, as a flag and as a mask', async () => {
    const y = sp.scaledDotProductAttention(q, k, v, { causal: true })
    await flat(
      y.at(1),
      [
        -0.687766159184, -0.871575772414, -0.977530117665, -0.857871797467, -0.901492733414, -0.864586008357,
        -0.680518211177, -0.615781179002, -0.496038248057,
      ],
    )
    const mask = sp.tril(sp.ones([3, 4])).astype('bool')
    await expectClose(sp.scaledDotProductAttention(q, k, v, { mask }), y)
    await expectClose(sp.scaledDotProductAttention(q, k, v, { mask: sp.where(mask, 0, -Infinity) }), y)
    // Both hold: the first query would attend to source 0, which the mask hides.
    const late = f64([[false, true, true, true]]).astype('bool')
    const both = sp.scaledDotProductAttention(q, k, v, { mask: late, causal: true })
    await flat(both.at(0, 0), [0, 0, 0])
    await expectClose(both.at(1, 1), v.at(1, 1))
  })
  test('floats are added to the scores', async () => {
    const y = sp.scaledDotProductAttention(q, k, v, { mask: wave(2, 3, 4) })
    await flat(
      y.at(0),
      [
        0.36778461782, 0.536144017783, 0.656611269409, 0.719983246347, 0.564902608207, 0.359360902497, 0.686105372285,
        0.585889398945, 0.433337670524,
      ],
    )
  })
  test('leading axes broadcast; scores of any size', async () => {
    const heads = sp.stack([q, q], 1)
    const y = sp.scaledDotProductAttention(heads, sp.expandDims(k, 1), sp.expandDims(v, 1))
    expect(y.shape).toEqual([2, 2, 3, 3])
    await expectClose(y.at([], 1), sp.scaledDotProductAttention(q, k, v))
    const sharp = sp.scaledDotProductAttention(
      f64([[1e5, 0]]),
      f64([
        [1, 0],
        [0, 1],
      ]),
      f64([[3], [4]]),
    )
    await flat(sharp, [3])
  })
  test('with nothing to attend to', async () => {
    const [empty, none] = [sp.zeros([2, 0, 2], 'float64'), sp.zeros([2, 0, 3], 'float64')]
    const dropout = { key: sp.random.key(3), rate: 0.25 }
    for (const options of [
      {},
      { causal: true },
      { mask: sp.ones([3, 0], 'bool') },
      { mask: wave(1, 3, 0) },
      { dropout },
    ])
      await expectClose(sp.scaledDotProductAttention(q, empty, none, options), sp.zeros([2, 3, 3], 'float64'))
    const slope = sp.grad((x: sp.Tensor) => sp.scaledDotProductAttention(x, empty, none).sum())(q)
    await expectClose(slope, sp.zerosLike(q))
  })
  test('dropout drops attention weights and keeps their mean', async () => {
    const [n, key] = [400, sp.random.key(3)]
    const ones = sp.ones([n, n])
    const y = sp.scaledDotProductAttention(sp.zeros([n, 2]), sp.zeros([n, 2]), ones, { dropout: { key, rate: 0.25 } })
    const rows = Array.from(await y.at([], 0).data())
    expect(rows.reduce((a, b) => a + b) / n).toBeCloseTo(1, 2)
    expect(new Set(rows).size).toBeGreaterThan(10)
  })
})

describe('dropout', () => {
  const [x, key] = [wave(1, 50, 50), sp.random.key(5)]
  test('zeros and scaled values, the same for a key', async () => {
    const y = await x.dropout(key, 0.2).data()
    const before = await x.data()
    const kept = [...y.keys()].filter(i => y[i] !== 0)
    expect(kept.length / y.length).toBeCloseTo(0.8, 1)
    for (const i of kept) expect(y[i]).toBeCloseTo(before[i] / 0.8, 12)
    expect(await x.dropout(key, 0.2).data()).toEqual(y)
  })
  test('the gradient is that of the kept ones', async () => {
    const g = sp.grad((z: sp.Tensor) => z.dropout(key, 0.2).sum())(x)
    await expectClose(g, sp.ones(x.shape, 'float64').dropout(key, 0.2))
  })
})

describe('resize', () => {
  const image = wave(1.7, 1, 3, 4, 1)
  const rows: readonly [string, [number, number], sp.ResizeOptions, number[]][] = [
    [
      'up',
      [4, 5],
      {},
      [
        0.991664810452, 0.118620671717, -0.590677892177, -0.499836272288, 0.494113351139, 0.870928749309,
        -0.111996090311, -0.633382897014, -0.296780748426, 0.722268640962, 0.647832160314, -0.364212369346,
        -0.620078034515, -0.0359776893283, 0.911898471839, 0.396740573131, -0.553956072377, -0.555198258847,
        0.195638551973, 0.999792900143,
      ],
    ],
    [
      'down',
      [2, 3],
      { method: 'bilinear' },
      [0.72503790526, -0.607759894112, 0.346330340923, 0.264978208202, -0.581150169114, 0.759482016114],
    ],
    [
      'with aligned corners',
      [4, 5],
      { alignCorners: true },
      [
        0.991664810452, 0.056260376093, -0.590677892177, -0.570832673961, 0.494113351139, 0.862879678566,
        -0.198102699662, -0.636229897336, -0.356152478296, 0.737478993617, 0.664571599459, -0.424143816902,
        -0.624403352892, -0.119808601751, 0.906038843285, 0.396740573131, -0.621862975627, -0.555198258847,
        0.138198955675, 0.999792900143,
      ],
    ],
    ['to one aligned pixel', [1, 1], { alignCorners: true }, [0.991664810452]],
    [
      'down to the nearest',
      [2, 3],
      { method: 'nearest' },
      [0.991664810452, -0.925814682328, 0.494113351139, 0.396740573131, -0.148999025814, 0.999792900143],
    ],
  ]
  for (const [name, size, options, expected] of rows) {
    test(name, async () => {
      const y = sp.resize(image, size, options)
      expect(y.shape).toEqual([1, ...size, 1])
      await flat(y, expected)
      const single = sp.resize(image.astype('float32'), size, options)
      expect(single.dtype).toBe('float32')
      await flat(single, expected, 1e-6)
    })
  }
  test('integers become floats where they are mixed', async () => {
    const x = sp.arange(2).reshape([1, 1, 2, 1])
    expect(await sp.resize(x, [1, 4]).data()).toEqual(Float32Array.of(0, 0.25, 0.75, 1))
    expect(await sp.resize(x.astype('bool'), [1, 4]).data()).toEqual(Float32Array.of(0, 0.25, 0.75, 1))
  })
  test('positions beyond 2³¹', async () => {
    const x = sp.arange(40_000).reshape([1, 1, 40_000, 1])
    for (const options of [{}, { method: 'nearest' }, { alignCorners: true }] as const) {
      const y = await x.resize([1, 40_001], options).data()
      expect([y[0], y[40_000]]).toEqual([0, 39_999])
      expect(y.every((v, i) => Math.abs(v - i) < 1.01)).toBe(true)
    }
  })
  test('the nearest of 7 from 4 columns, and an image of the same size', async () => {
    const x = sp.arange(4).reshape([1, 1, 4, 1])
    expect(await x.resize([1, 7], { method: 'nearest' }).flatten().array()).toEqual([0, 0, 1, 2, 2, 3, 3])
    expect(x.resize([1, 4])).toBe(x)
  })
})

describe('cosine similarity', () => {
  const [x, y] = [wave(1.9, 3, 4), wave(0.4, 3, 4).softmax()]
  test('along an axis', async () => {
    await flat(sp.cosineSimilarity(x, y), [0.19299182319, -0.13455823574, -0.334655304052])
    await flat(x.cosineSimilarity(y, { axis: 0 }), [-0.285952428205, -0.742237185618, 0.318065824408, 0.437863552776])
  })
  test('with itself 1, with one vector for all rows', async () => {
    await flat(sp.cosineSimilarity(x, x), [1, 1, 1], 1e-15)
    await flat(sp.cosineSimilarity(x, x.at(1)).at(1), [1], 1e-15)
  })
  test('a vector no longer than epsilon is like no other', async () => {
    const tiny = f64([
      [3e-9, 4e-9],
      [3e-8, 4e-8],
    ])
    await flat(sp.cosineSimilarity(tiny, f64([3, 4])), [0, 1])
    await flat(sp.cosineSimilarity(tiny, f64([3, 4]), { epsilon: 0 }), [1, 1])
    await flat(sp.cosineSimilarity(tiny, f64([3, 4]), { epsilon: 1 }), [0, 0])
  })
})

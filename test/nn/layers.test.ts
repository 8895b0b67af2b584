import {
  conv2d,
  depthwiseConv2d,
  grad,
  mul,
  namedLeaves,
  ones,
  random,
  realize,
  relu,
  square,
  sum,
  type Tensor,
  tensor,
  zeros,
} from 'saddlepoint'
import { checkGrads } from 'saddlepoint/check'
import {
  AvgPool2d,
  BatchNorm,
  type Context,
  Conv1d,
  Conv2d,
  ConvTranspose2d,
  countParameters,
  DepthwiseConv2d,
  Dropout,
  Embedding,
  Flatten,
  GlobalAvgPool2d,
  GlobalMaxPool2d,
  initializers,
  isParameter,
  isTrainable,
  LayerNorm,
  Linear,
  MaxPool2d,
  Sequential,
  Upsample,
} from 'saddlepoint/nn'
import { describe, expect, test } from 'vitest'
import { expectClose } from '../oracle/close.js'
import { wave } from './wave.js'

const key = random.key(7)
const numbers = async (t: Tensor): Promise<number[]> => Array.from(await t.data())
const float = 'float64'

test('the tutorial network has named leaves and 93,322 parameters', () => {
  const [a, b, c, d, e] = [0, 1, 2, 3, 4].map(i => random.foldIn(key, i))
  const model = new Sequential([
    new Conv2d(1, 32, 3, { key: a }),
    relu,
    new MaxPool2d(2),
    new Conv2d(32, 64, 3, { key: b }),
    relu,
    new MaxPool2d(2),
    new Conv2d(64, 64, 3, { key: c }),
    relu,
    new Flatten(),
    new Linear(576, 64, { key: d }),
    relu,
    new Linear(64, 10, { key: e }),
  ])
  expect(countParameters(model)).toBe(93_322)
  expect(namedLeaves(model).map(l => l.name)).toContain('layers.11.weight')
  expect(model.apply(zeros([5, 28, 28, 1])).shape).toEqual([5, 10])
})

describe('linear and convolution', () => {
  test('linear is x·W + b, on any leading axes', async () => {
    const layer = new Linear(2, 3, { key, dtype: float })
    layer.bias?.assign(tensor([1, 2, 3], { dtype: float }))
    const w = await numbers(layer.weight)
    expect(await numbers(layer.apply(tensor([[[2, -1]]], { dtype: float })))).toEqual(
      [0, 1, 2].map(j => 2 * w[j] - w[3 + j] + j + 1),
    )
    expect(namedLeaves(new Linear(2, 3, { key, bias: false })).map(l => l.name)).toEqual(['weight'])
  })

  test('convolution with options and groups', async () => {
    const layer = new Conv2d(2, 4, [3, 1], {
      key,
      groups: 2,
      padding: 'same',
      stride: 2,
      initializer: (_, s) => ones(s),
    })
    expect(layer.weight.shape).toEqual([3, 1, 1, 4])
    layer.bias?.assign(tensor([0, 0, 0, 10]))
    const y = layer.apply(ones([1, 3, 3, 2]))
    expect(y.shape).toEqual([1, 2, 2, 4])
    expect((await numbers(y)).slice(0, 4)).toEqual([2, 2, 2, 12])
  })

  test('sequences, channels by themselves, transposed', async () => {
    const x = wave(1, 2, 5, 4)
    const line = new Conv1d(4, 6, 3, { key, dtype: float, groups: 2, stride: 2, padding: 'same' })
    expect(line.weight.shape).toEqual([3, 2, 6])
    const wide = conv2d(x.reshape([2, 1, 5, 4]), line.weight.reshape([1, 3, 2, 6]), {
      groups: 2,
      stride: [1, 2],
      padding: 'same',
    })
    await expectClose(line.apply(x), wide.reshape([2, 3, 6]))

    const images = x.reshape([1, 2, 5, 4])
    const depth = new DepthwiseConv2d(4, 2, { key, dtype: float, multiplier: 3, stride: [1, 2] })
    expect(depth.weight.shape).toEqual([2, 2, 1, 12])
    const kernel = depth.weight.reshape([2, 2, 4, 3])
    await expectClose(depth.apply(images), depthwiseConv2d(images, kernel, { stride: [1, 2] }))

    const up = new ConvTranspose2d(4, 3, [2, 3], { key, dtype: float, stride: 2, bias: false })
    const y = up.apply(images)
    expect([up.weight.shape, y.shape]).toEqual([
      [2, 3, 3, 4],
      [1, 4, 11, 3],
    ])
    // Adjoint to the convolution of the same weight: <up(x), z> = <x, conv(z)>.
    const z = wave(0.3, ...y.shape)
    await expectClose(sum(mul(y, z)), await sum(mul(images, conv2d(z, up.weight, { stride: 2 }))).item())
    for (const [layer, input] of [
      [line, x],
      [depth, images],
      [up, images],
    ] as const) {
      await checkGrads(
        (weight: Tensor, x: Tensor) => Object.assign(Object.create(layer), { weight }).apply(x),
        [layer.weight, input],
        { order: 2 },
      )
    }
  })

  test('wrong sizes are named', () => {
    expect(() => new Conv1d(4, 6, 0, { key })).toThrow('Conv1d: kernel must be a positive integer, not 0')
    expect(() => new Conv1d(4, 6, 3, { key }).apply(ones([2, 5, 3]))).toThrow('Conv1d: was made for 4 on the last axis')
    expect(() => new DepthwiseConv2d(4, 3, { key, multiplier: 0.5 }).apply(ones([1, 5, 5, 4]))).toThrow(
      'DepthwiseConv2d: 4 inputs and 2 outputs do not divide into 4 groups',
    )
    expect(() => new ConvTranspose2d(4, 3, [1, 0], { key })).toThrow('ConvTranspose2d: kernel width must be')
    expect(() => new Linear(0, 3, { key })).toThrow('Linear: inputs must be a positive integer, not 0')
    expect(() => new Linear(2, 3, { key }).apply(ones([4, 3]))).toThrow(
      'Linear: was made for 2 on the last axis, got [4,3]',
    )
    expect(() => new Conv2d(1, 2.5, 3, { key })).toThrow('Conv2d: outputs must be a positive integer, not 2.5')
    expect(() => new Conv2d(3, 4, 3, { key, groups: 2 })).toThrow('3 inputs and 4 outputs do not divide into 2 groups')
    expect(() => new Conv2d(3, 4, 3, { key }).apply(ones([1, 5, 5, 2]))).toThrow('Conv2d: was made for 3')
    // @ts-expect-error no options
    expect(() => new Linear(2, 1)).toThrow(
      'Linear: its first weights need a random key: pass the options { key: random.key(0) }',
    )
    // @ts-expect-error no options
    expect(() => new DepthwiseConv2d(1, 3)).toThrow('DepthwiseConv2d: its first weights need a random key')
    // @ts-expect-error no key
    expect(() => new Conv2d(1, 2, 3, {})).toThrow('Conv2d: its first weights need a random key')
    // @ts-expect-error a number is no key
    expect(() => new Embedding(4, 2, { key: 3 })).toThrow('Embedding: its first weights need a random key')
    expect(() => new MaxPool2d(0)).toThrow('MaxPool2d: window height')
    expect(() => new AvgPool2d([2, 0])).toThrow('AvgPool2d: window width')
    expect(() => new Flatten().apply(tensor(1))).toThrow('Flatten: needs a batch axis')
  })
})

test('pools', async () => {
  const x = tensor([1, 2, 3, 4, 5, 6, 7, 8]).reshape([1, 2, 4, 1])
  expect(await numbers(new MaxPool2d(2).apply(x))).toEqual([6, 8])
  expect(await numbers(new AvgPool2d(2).apply(x))).toEqual([3.5, 5.5])
  expect(await numbers(new MaxPool2d(2, { stride: 1 }).apply(x))).toEqual([6, 7, 8])
  expect(await numbers(new GlobalMaxPool2d().apply(x))).toEqual([8])
  expect(await numbers(new GlobalAvgPool2d().apply(x))).toEqual([4.5])
  const twice = new Upsample(2, { method: 'nearest' }).apply(x)
  expect(twice.shape).toEqual([1, 4, 8, 1])
  expect((await numbers(twice)).slice(0, 16)).toEqual([1, 1, 2, 2, 3, 3, 4, 4, 1, 1, 2, 2, 3, 3, 4, 4])
  expect(() => new Upsample(1.5)).toThrow('Upsample: factor must be a positive integer, not 1.5')
})

describe('embedding', () => {
  test('looks rows up; the padding row is zero and has no gradient', async () => {
    const layer = new Embedding(4, 2, { key, paddingIndex: 1 })
    const ids = tensor([[0, 1, 3, 0]], { dtype: 'int32' })
    const y = layer.apply(ids)
    expect(y.shape).toEqual([1, 4, 2])
    const w = await numbers(layer.weight)
    expect(w.slice(2, 4)).toEqual([0, 0])
    expect(w.every(x => Math.abs(x) <= 0.05)).toBe(true)
    expect(await numbers(y)).toEqual([...w.slice(0, 4), ...w.slice(6), ...w.slice(0, 2)])
    const g = grad((m: Embedding) => m.apply(ids).sum())(layer)
    expect(await numbers(g.weight)).toEqual([2, 2, 0, 0, 0, 0, 1, 1])
    // So it is when an optimiser or an attack has moved the row.
    layer.weight.assign(ones([4, 2]))
    expect(await numbers(layer.apply(ids))).toEqual([1, 1, 0, 0, 1, 1, 1, 1])
    const second = grad((m: Embedding) => grad((n: Embedding) => square(square(n.apply(ids))).sum())(m).weight.sum())
    expect(await numbers(second(layer).weight)).toEqual([24, 24, 0, 0, 0, 0, 12, 12])
  })
  test('wrong sizes are named', () => {
    expect(() => new Embedding(4, 2, { key, paddingIndex: 4 })).toThrow(
      'paddingIndex must be an integer from 0 to 3, not 4',
    )
    expect(() => new Embedding(4, -2, { key })).toThrow('Embedding: dim')
  })
})

describe('normalisation', () => {
  const x = tensor([1, 2, 4, 8, -3, 0, 5, 7, 9, 1, 2, -6], { dtype: float })

  test('layer norm', async () => {
    const layer = new LayerNorm(4, { dtype: float, epsilon: 0.1 })
    layer.weight.assign(tensor([1, 2, 3, 4], { dtype: float }))
    layer.bias.assign(tensor([0, 0, 1, 0], { dtype: float }))
    const y = await numbers(layer.apply(x.reshape([3, 4])))
    const mean = 15 / 4
    const variance = [1, 2, 4, 8].reduce((a, v) => a + (v - mean) ** 2, 0) / 4
    ;[1, 2, 4, 8].forEach((v, j) => {
      expect(y[j]).toBeCloseTo(((v - mean) / Math.sqrt(variance + 0.1)) * (j + 1) + (j === 2 ? 1 : 0), 12)
    })
    expect(new LayerNorm([2, 2]).apply(ones([3, 2, 2])).shape).toEqual([3, 2, 2])
    expect(() => layer.apply(ones([4, 3]))).toThrow('LayerNorm: was made for last axes [4], got [4,3]')
    expect(() => new LayerNorm(4, { epsilon: -1 })).toThrow('epsilon must be a number >= 0, not -1')
  })

  test('batch norm: batch statistics in training and nothing changed; running ones else', async () => {
    const layer = new BatchNorm(2, { dtype: float, momentum: 0.75, epsilon: 0 })
    const images = x.reshape([1, 3, 2, 2])
    const offered = new Map<Tensor, Tensor>()
    const ctx: Context = { training: true, update: (leaf, value) => offered.set(leaf, value) }
    const y = await numbers(layer.apply(images, ctx))
    const channel = [1, 4, -3, 5, 9, 2]
    const mean = 3
    const squares = channel.reduce((a, v) => a + (v - mean) ** 2, 0)
    expect(y[0]).toBeCloseTo((1 - mean) / Math.sqrt(squares / 6), 12)
    expect(y.filter((_, i) => i % 2 === 0).reduce((a, v) => a + v)).toBeCloseTo(0, 12)
    expect(await numbers(layer.state.mean)).toEqual([0, 0])
    const [nextMean, nextVariance] = [layer.state.mean, layer.state.variance].map(leaf => offered.get(leaf))
    expect((await numbers(nextMean!))[0]).toBeCloseTo(0.25 * mean, 12)
    expect((await numbers(nextVariance!))[0]).toBeCloseTo(0.75 + (0.25 * squares) / 5, 12)
    layer.state.mean.assign(nextMean!)
    layer.state.variance.assign(nextVariance!)
    const z = await numbers(layer.apply(images))
    expect(z[0]).toBeCloseTo((1 - 0.75) / Math.sqrt(0.75 + (0.25 * squares) / 5), 12)
    expect(countParameters(layer)).toBe(4)
    expect(
      namedLeaves(layer)
        .filter(l => !isTrainable(l.name))
        .map(l => l.name),
    ).toEqual(['state.mean', 'state.variance'])
  })

  describe('values that are large beside their differences', () => {
    const raw = Array.from({ length: 1000 }, (_, i) => 1e6 + Number(i % 100 >= 49))
    const x = (dtype: 'float32' | 'float64') => tensor(raw, { dtype }).reshape([1000, 1])
    const layers = {
      LayerNorm: (t: Tensor) => new LayerNorm(1000, { dtype: t.dtype }).apply(t.reshape([1, 1000])),
      BatchNorm: (t: Tensor) => new BatchNorm(1, { dtype: t.dtype }).apply(t, { training: true }),
    }
    test.each(['LayerNorm', 'BatchNorm'] as const)(
      '%s is right in float32, with its derivatives to order 2',
      async name => {
        const y = await numbers(layers[name](x('float32')))
        const deviation = Math.sqrt(0.51 * 0.49 + 1e-5)
        expect(y[0]).toBeCloseTo(-0.51 / deviation, 4)
        expect(y[99]).toBeCloseTo(0.49 / deviation, 4)
        const weight = (t: Tensor) =>
          tensor(
            raw.map((_, i) => Math.sin(i)),
            { dtype: t.dtype },
          )
        const f = (t: Tensor) => sum(mul(square(layers[name](t).reshape([1000])), weight(t)))
        const slope = (t: Tensor) => sum(mul(grad(f)(t).reshape([1000]), weight(t)))
        for (const derivative of [grad(f), grad(slope)]) {
          const [single, double] = await Promise.all([
            numbers(derivative(x('float32'))),
            numbers(derivative(x('float64'))),
          ])
          const scale = Math.max(...double.map(Math.abs))
          expect(scale).toBeGreaterThan(0.1)
          single.forEach((v, i) => {
            expect(Math.abs(v - double[i])).toBeLessThan(1e-4 * scale)
          })
        }
      },
    )
  })

  test('wrong arguments are named', () => {
    expect(() => new BatchNorm(2, { momentum: 1 })).toThrow('BatchNorm: momentum must lie in [0, 1), not 1')
    expect(() => new BatchNorm(2).apply(ones([4, 3]))).toThrow('BatchNorm: was made for 2 on the last axis, got [4,3]')
  })
})

test('optimisers move floats outside a state', () => {
  expect(isParameter(ones([1]), 'layers.0.weight')).toBe(true)
  expect(isParameter(ones([1]), 'layers.0.state.mean')).toBe(false)
  expect(isParameter(ones([1]), 'statement')).toBe(true)
  expect(isParameter(ones([1], 'int32'), 'layers.0.weight')).toBe(false)
  expect(countParameters({ a: ones([2, 3]), n: ones([4], 'int32'), state: ones([5]) })).toBe(6)
})

describe('dropout', () => {
  const drop = new Dropout(0.25)
  test('keeps the mean, and is the identity in evaluation', async () => {
    const x = ones([100, 100])
    expect(drop.apply(x)).toBe(x)
    const y = await numbers(drop.apply(x, { training: true, key }))
    expect(new Set(y).size).toBe(2)
    expect(Math.max(...y)).toBeCloseTo(4 / 3)
    expect(y.reduce((a, v) => a + v, 0) / y.length).toBeCloseTo(1, 1)
  })
  test('each layer of a Sequential draws its own mask; the same key the same', async () => {
    const masks: Tensor[] = []
    const keep = (x: Tensor): Tensor => {
      masks.push(x)
      return ones([64])
    }
    const model = new Sequential([drop, keep, drop, keep])
    const ctx: Context = { training: true, key }
    model.apply(ones([64]), ctx)
    model.apply(ones([64]), ctx)
    await realize(masks)
    const [a, b, c, d] = await Promise.all(masks.map(numbers))
    expect(a).not.toEqual(b)
    expect([a, b]).toEqual([c, d])
  })
  test('needs a key, and a rate below 1', () => {
    expect(() => drop.apply(ones([2]), { training: true })).toThrow('Dropout: training needs a random key')
    for (const layer of [drop, new BatchNorm(2)]) {
      const apply = (ctx: object) => () => layer.apply(ones([2, 2]), ctx as Context)
      const { name } = layer.constructor
      expect(apply({ trianing: true })).toThrow(
        `${name}: the context must say whether this is training, { training: true } or false; it has the fields trianing`,
      )
      expect(apply({})).toThrow('it has no fields')
      expect(apply({ training: 'no' })).toThrow('the context must say')
    }
    expect(() => new Dropout(1)).toThrow('Dropout: the rate of dropout must lie in [0, 1), not 1')
  })
})

test('a Sequential refuses what is no layer', () => {
  // @ts-expect-error a number is no layer
  expect(() => new Sequential([relu, 3])).toThrow('Sequential: layer 1 is neither a function nor has a method apply')
})

describe('initialisers', () => {
  const shape = [3, 3, 20, 40]
  const [fanIn, fanOut] = [180, 360]
  const spread = async (init: initializers.Initializer) => {
    const values = await numbers(init(key, shape))
    const variance = values.reduce((a, v) => a + v * v, 0) / values.length
    return { variance, largest: values.reduce((a, v) => Math.max(a, Math.abs(v)), 0) }
  }
  test.each([
    ['glorotUniform', 2 / (fanIn + fanOut)],
    ['heUniform', 2 / fanIn],
    ['lecunUniform', 1 / fanIn],
  ] as const)('%s', async (name, expected) => {
    const { variance, largest } = await spread(initializers[name])
    expect(Math.abs(variance / expected - 1)).toBeLessThan(0.05)
    expect(largest).toBeLessThanOrEqual(Math.sqrt(3 * expected) * 1.000001)
    expect(largest).toBeGreaterThan(Math.sqrt(3 * expected) * 0.99)
  })
  test.each([
    ['glorotNormal', 2 / (fanIn + fanOut)],
    ['heNormal', 2 / fanIn],
    ['lecunNormal', 1 / fanIn],
  ] as const)('%s', async (name, expected) => {
    const { variance, largest } = await spread(initializers[name])
    expect(Math.abs(variance / expected - 1)).toBeLessThan(0.1)
    expect(largest).toBeGreaterThan(Math.sqrt(9 * expected))
  })
  test('plain ones, and fans of small ranks', async () => {
    expect((await spread(initializers.uniform(-1, 2))).largest).toBeGreaterThan(1.9)
    expect((await spread(initializers.normal(2))).variance).toBeCloseTo(4, 0)
    const cut = await spread(initializers.truncatedNormal(2))
    expect(cut.largest).toBeLessThanOrEqual(4)
    expect(Math.abs(Math.sqrt(cut.variance) / (0.8796 * 2) - 1)).toBeLessThan(0.05)
    expect((await spread(initializers.zeros)).largest).toBe(0)
    expect(initializers.fans([])).toEqual({ fanIn: 1, fanOut: 1 })
    expect(initializers.fans([5])).toEqual({ fanIn: 5, fanOut: 5 })
    expect(initializers.fans([5, 7])).toEqual({ fanIn: 5, fanOut: 7 })
    expect(initializers.fans(shape)).toEqual({ fanIn, fanOut })
  })
})

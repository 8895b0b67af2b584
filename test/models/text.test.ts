/** Models of text: against plain loops, and that padding has no influence. */

import { grad, mapTree, namedLeaves, random, realize, square, type Tensor, tensor, where } from 'saddlepoint'
import { checkGrads } from 'saddlepoint/check'
import { dataset } from 'saddlepoint/data'
import {
  Bert,
  EmbeddingBag,
  padIds,
  SentenceEncoder,
  TextClassifier,
  TextCNN,
  type TextModel,
} from 'saddlepoint/models'
import { countParameters, crossEntropy } from 'saddlepoint/nn'
import { adam } from 'saddlepoint/optim'
import { Trainer } from 'saddlepoint/train'
import { beforeAll, describe, expect, test } from 'vitest'
import { expectClose } from '../oracle/close.js'
import { numbers } from './plain.js'

const key = random.key(3)
const f64 = { key, dtype: 'float64' } as const
const sizes = { vocabulary: 12, dim: 4, ...f64 }
const bert = () => new Bert({ ...sizes, layers: 2, heads: 2, hidden: 6, positions: 7 })
const sentences = () => new SentenceEncoder({ ...sizes, width: 6, heads: 2, hidden: 5, paddingIndex: 0 })
const head = { classes: 3, ...f64 }

/** Away from the small first values that the papers have, so that each part has a say. */
const lively = <M>(model: M): M =>
  mapTree(model, (t, name) => {
    const noise = random.normal(
      random.foldIn(key, [...name].reduce((n, c) => n * 31 + c.charCodeAt(0), 0) % 1e6),
      t.shape,
    )
    return name.includes('state') ? t : t.add(noise.mul(0.3).astype(t.dtype))
  })

const models: Readonly<Record<string, () => TextModel>> = {
  EmbeddingBag: () => new EmbeddingBag({ ...sizes, classes: 3 }),
  TextCNN: () => new TextCNN({ ...sizes, classes: 3, widths: [1, 2, 3], filters: 4 }),
  Bert: () => new TextClassifier(bert(), { width: 4, ...head }),
  SentenceEncoder: () => new TextClassifier(sentences(), { width: 6, ...head }),
}
const text = [3, 9, 4, 11]

describe.each(Object.entries(models))('%s', (_, make) => {
  const model = lively(make())
  const loss = (m: TextModel, ids: Tensor): Tensor => square(m.apply(ids)).at(0).sum()
  const ids = padIds([[...text, 0, 0, 0], [5]])
  beforeAll(() => realize(model))
  const leaves = async <M>(tree: M): Promise<number[][]> => {
    await realize(tree)
    return Promise.all(namedLeaves(tree).map(async l => [...(await l.tensor.data())]))
  }

  test('padding changes neither results nor gradients', async () => {
    const alone = padIds([text])
    await expectClose(model.apply(ids).at(0), model.apply(alone).at(0), 1e-12)
    await expectClose(model.apply(ids).at(1), model.apply(padIds([[5]])).at(0), 1e-12)
    const [padded, short] = [grad(loss)(model, ids), grad(loss)(model, alone)]
    const names = namedLeaves(model).map(l => l.name)
    const [a, b] = [await leaves(padded), await leaves(short)]
    a.forEach((values, l) => values.forEach((v, i) => expect(Math.abs(v - b[l][i]), names[l]).toBeLessThan(1e-12)))
  })
  test('what stands where padding is has no influence, and a gradient of exactly 0', async () => {
    const [vectors, mask] = [model.embed(ids), model.mask(ids)]
    const pad = mask.expandDims(-1).logicalNot()
    for (const value of [1e9, Number.NaN, Number.POSITIVE_INFINITY]) {
      const spoilt = where(pad, value, vectors)
      await expectClose(model.applyEmbedded(spoilt, mask), model.apply(ids), 0)
      const slope = grad((v: Tensor) => square(model.applyEmbedded(v, mask)).sum())(spoilt)
      const [data, rows] = [await slope.data(), await mask.data()]
      data.forEach((g, i) =>
        rows[Math.floor(i / 4)] ? expect(Number.isFinite(g)).toBe(true) : expect(g === 0).toBe(true),
      )
      expect(data.slice(0, 16).every(g => g !== 0)).toBe(true)
    }
  })
  test('a mask of numbers, where padding has an id that text has too', async () => {
    const other = padIds([[...text, 9, 9, 9], [5]], { padding: 9 })
    await expectClose(model.apply(other, undefined, model.mask(ids).astype('float32')), model.apply(ids), 1e-12)
  })
  test('a text without words has a finite result and finite gradients', async () => {
    const nothing = padIds([[]])
    expect(nothing.shape).toEqual([1, 1])
    for (const values of await leaves([model.apply(nothing), grad(loss)(model, nothing)]))
      expect(values.every(Number.isFinite)).toBe(true)
  })
  test('derivatives to order 2 in the looked-up vectors', async () => {
    await checkGrads((v: Tensor) => model.applyEmbedded(v, model.mask(ids)), [model.embed(ids)], { order: 2 })
  })
  test('the table of words is a leaf, and has gradients at the rows of the text alone', async () => {
    const found = namedLeaves(model).filter(l => l.name.endsWith('embedding.weight'))
    expect(found.map(l => l.tensor.shape)).toEqual([[12, 4]])
    const rows = await grad(loss)(model, ids).embedding.weight.abs().sum({ axis: 1 }).data()
    expect([...rows].flatMap((g, i) => (g > 0 ? [i] : []))).toEqual([...text].sort((a, b) => a - b))
  })
  test('vectors and masks that do not fit are named', () => {
    const [vectors, mask] = [model.embed(ids), model.mask(ids)]
    expect(() => model.applyEmbedded(vectors.at(0), mask)).toThrow(
      'needs vectors [batch, time, dim] and a mask [batch, time], got [7,4] and [2,7]',
    )
    expect(() => model.applyEmbedded(vectors, mask.at(0))).toThrow('got [2,7,4] and [7]')
  })
})

const rowsOf = async (t: Tensor): Promise<number[][]> => (await t.array()) as number[][]
const affine = (x: readonly number[], w: readonly number[][], b: readonly number[]): number[] =>
  b.map((c, o) => x.reduce((s, v, i) => s + v * w[i][o], c))
const meanOf = (rows: readonly number[][]): number[] =>
  rows[0].map((_, d) => rows.reduce((s, row) => s + row[d], 0) / rows.length)

test('EmbeddingBag is a mean and a linear layer', async () => {
  const model = lively(new EmbeddingBag({ ...sizes, classes: 3 }))
  const table = await rowsOf(model.embedding.weight)
  const mean = meanOf(text.map(id => table[id]))
  const bias = [...((await model.output.bias?.data()) ?? [])]
  await expectClose(model.apply(padIds([text])), [affine(mean, await rowsOf(model.output.weight), bias)], 1e-12)
})

test('TextCNN is the largest response of each filter; windows begin at words', async () => {
  const model = lively(new TextCNN({ ...sizes, classes: 3, widths: [2, 3], filters: 2 }))
  const table = await rowsOf(model.embedding.weight)
  const features: number[] = []
  for (const convolution of model.convolutions) {
    const [w, b] = [(await convolution.weight.array()) as number[][][], (await convolution.bias?.data()) ?? []]
    for (let f = 0; f < 2; f++) {
      const responses = text.map((_, begin) =>
        w.reduce((s, inputs, k) => inputs.reduce((s, o, d) => s + o[f] * (table[text[begin + k]]?.[d] ?? 0), s), b[f]),
      )
      features.push(Math.max(0, ...responses))
    }
  }
  const bias = [...((await model.output.bias?.data()) ?? [])]
  await expectClose(
    model.apply(padIds([[...text, 0]])),
    [affine(features, await rowsOf(model.output.weight), bias)],
    1e-12,
  )
})

test('dropout in training, by the key of the context', async () => {
  for (const make of [
    models.TextCNN,
    () => new TextClassifier(new Bert({ ...sizes, layers: 1, heads: 2, dropout: 0.3 }), { width: 4, ...head }),
  ]) {
    const model = make()
    const ids = padIds([text])
    expect(() => model.apply(ids, { training: true })).toThrow('training needs a random key')
    const run = (seed: number): Promise<ArrayLike<number>> =>
      model.apply(ids, { training: true, key: random.key(seed) }).data()
    expect(await run(1)).toEqual(await run(1))
    expect(await run(1)).not.toEqual(await run(2))
  }
})

test('Bert learns whether a text begins with the word that it ends with', async () => {
  const next = numbers(1)
  const word = (): number => 1 + Math.floor((next() + 1) * 2)
  const texts = Array.from({ length: 64 }, (_, i) => {
    const [first, ...rest] = [word(), word(), word()]
    return { ids: [first, ...rest, i % 2 ? first : (first % 4) + 1], label: i % 2 }
  })
  const data = dataset({
    ids: { dtype: 'int32', shape: [64, 4], data: Int32Array.from(texts.flatMap(t => t.ids)) },
    label: { dtype: 'int32', shape: [64], data: Int32Array.from(texts, t => t.label) },
  })
  const bert = new Bert({ vocabulary: 6, dim: 16, layers: 2, heads: 2, positions: 4, key })
  const trainer = new Trainer({
    model: new TextClassifier(bert, { width: 16, classes: 2, key }),
    loss: (model, { ids, label }, ctx) => crossEntropy(model.apply(ids, ctx), label),
    optimizer: adam({ learningRate: 3e-3 }),
  })
  const history = await trainer.fit(data, { epochs: 100, batchSize: 64, progress: false })
  expect(history.epochs[0].train.loss).toBeGreaterThan(0.5)
  expect(history.epochs[99].train.loss).toBeLessThan(0.1)
})

test('token types of Bert', async () => {
  const model = lively(bert())
  const ids = padIds([text])
  const [vectors, mask] = [model.embed(ids), model.mask(ids)]
  const typed = (values: number[]): Tensor =>
    model.applyEmbedded(vectors, mask, undefined, { tokenTypes: tensor([values], { dtype: 'int32' }) })
  await expectClose(typed([0, 0, 0, 0]), model.apply(ids), 1e-12)
  expect(await typed([0, 0, 1, 1]).data()).not.toEqual(await model.apply(ids).data())
})

test('sizes as published', () => {
  const base = { vocabulary: 21128, dim: 768, layers: 12, heads: 12, key }
  expect(countParameters(new Bert(base))).toBe(102267648)
  expect(countParameters(new SentenceEncoder({ key }))).toBe(6975744)
})

test('wrong arguments are named', () => {
  expect(() => bert().apply(padIds([[1, 2, 3, 4, 5, 6, 7, 8]]))).toThrow(
    'Bert: a text of 8 tokens, but there are 7 positions; cut it',
  )
  // @ts-expect-error no key
  expect(() => new Bert({ vocabulary: 3, dim: 2, layers: 1, heads: 1 })).toThrow(
    'Bert: its first weights need a random',
  )
  expect(() => new Bert({ ...sizes, layers: 0, heads: 1 })).toThrow('TransformerEncoder: layers must be a positive')
  expect(() => new SentenceEncoder({ ...sizes, dim: 3 })).toThrow('SentenceEncoder: dim must be even')
  expect(() => new TextCNN({ ...sizes, classes: 2, widths: [0] })).toThrow('kernel must be a positive integer, not 0')
  expect(() => new Bert({ ...sizes, layers: 1, heads: 1, activation: 'swish' as 'relu' })).toThrow(
    "FeedForward: unknown activation 'swish'; one of gelu, gelu_new, relu",
  )
  const outside = { ...sizes, paddingIndex: 12 }
  const refused = (Model: { readonly name: string }, make: () => unknown): void =>
    expect(make).toThrow(`${Model.name}: paddingIndex must be an integer from 0 to 11, not 12`)
  for (const Model of [TextCNN, EmbeddingBag]) refused(Model, () => new Model({ ...outside, classes: 2 }))
  for (const Model of [Bert, SentenceEncoder]) refused(Model, () => new Model({ ...outside, layers: 1, heads: 1 }))
})

test('padIds cuts and fills up', async () => {
  expect(await padIds([[1, 2, 3], [4]], { padding: 9, limit: 2 }).array()).toEqual([
    [1, 2],
    [4, 9],
  ])
  expect(padIds([]).shape).toEqual([0, 1])
  for (const limit of [0, 1.5, Number.NaN])
    expect(() => padIds([[1]], { limit })).toThrow(`padIds: limit must be an integer >= 1, not ${limit}`)
})

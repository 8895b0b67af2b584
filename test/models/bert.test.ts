/** BERT from a checkpoint that the test writes, against plain loops. */

import { mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { mapTree, random, tensor } from 'saddlepoint'
import { type Safetensors, writeSafetensors } from 'saddlepoint/data'
import { bertOptions, loadBert, loadBertClassifier, padIds } from 'saddlepoint/models'
import { beforeAll, describe, expect, test } from 'vitest'
import { expectClose } from '../oracle/close.js'
import { drawn, erf, layerNorm, linear, numbers, plus, type Vector, type Weights } from './plain.js'

const config = {
  vocab_size: 11,
  hidden_size: 6,
  num_hidden_layers: 2,
  num_attention_heads: 3,
  intermediate_size: 8,
  hidden_act: 'gelu',
  max_position_embeddings: 9,
  type_vocab_size: 2,
  layer_norm_eps: 1e-5,
  pad_token_id: 0,
}
const [dim, inner, heads] = [6, 8, 3]

/** A checkpoint's tensors by their names. */
function checkpoint(): Safetensors['tensors'] {
  const next = numbers(7)
  const found: Safetensors['tensors'] = {}
  const put = (name: string, shape: number[], scale = 0.6, shift = 0) => {
    found[name] = drawn(next, shape, scale, shift)
  }
  const dense = (name: string, inputs: number, outputs: number) => {
    put(`${name}.weight`, [outputs, inputs])
    put(`${name}.bias`, [outputs])
  }
  const norm = (name: string) => {
    put(`${name}.weight`, [dim], 0.3, 1)
    put(`${name}.bias`, [dim])
  }
  put('embeddings.word_embeddings.weight', [11, dim])
  put('embeddings.position_embeddings.weight', [9, dim])
  put('embeddings.token_type_embeddings.weight', [2, dim])
  norm('embeddings.LayerNorm')
  for (const layer of ['encoder.layer.0', 'encoder.layer.1']) {
    for (const part of ['query', 'key', 'value']) dense(`${layer}.attention.self.${part}`, dim, dim)
    dense(`${layer}.attention.output.dense`, dim, dim)
    norm(`${layer}.attention.output.LayerNorm`)
    dense(`${layer}.intermediate.dense`, dim, inner)
    dense(`${layer}.output.dense`, inner, dim)
    norm(`${layer}.output.LayerNorm`)
  }
  dense('pooler.dense', dim, dim)
  return found
}
const tensors = checkpoint()

/** Hidden states and features of one text. */
function plainBert(w: Weights, ids: Vector, kinds: Vector): { hidden: number[][]; pooled: number[] } {
  const row = (name: string, i: number): number[] =>
    Array.from({ length: dim }, (_, d) => w[`embeddings.${name}_embeddings.weight`].data[i * dim + d])
  let x = ids.map((id, t) =>
    layerNorm(
      plus(plus(row('word', id), row('position', t)), row('token_type', kinds[t])),
      w,
      'embeddings.LayerNorm',
      1e-5,
    ),
  )
  for (const layer of ['encoder.layer.0', 'encoder.layer.1']) {
    const [q, k, v] = ['query', 'key', 'value'].map(part => x.map(y => linear(y, w, `${layer}.attention.self.${part}`)))
    const width = dim / heads
    const attended = x.map((_, t) =>
      Array.from({ length: dim }, (_, d) => {
        const first = Math.floor(d / width) * width
        const scores = k.map(key => {
          let score = 0
          for (let i = first; i < first + width; i++) score += q[t][i] * key[i]
          return Math.exp(score / Math.sqrt(width))
        })
        const total = scores.reduce((s, e) => s + e, 0)
        return scores.reduce((s, e, source) => s + (e / total) * v[source][d], 0)
      }),
    )
    x = x.map((y, t) => {
      const z = linear(attended[t], w, `${layer}.attention.output.dense`)
      const middle = layerNorm(plus(y, z), w, `${layer}.attention.output.LayerNorm`, 1e-5)
      const up = linear(middle, w, `${layer}.intermediate.dense`).map(a => (a / 2) * (1 + erf(a / Math.SQRT2)))
      return layerNorm(plus(middle, linear(up, w, `${layer}.output.dense`)), w, `${layer}.output.LayerNorm`, 1e-5)
    })
  }
  return { hidden: x, pooled: linear(x[0], w, 'pooler.dense').map(Math.tanh) }
}

let folder = ''
const write = (found: Safetensors['tensors']): Promise<void> =>
  writeSafetensors(join(folder, 'model.safetensors'), found)
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'saddlepoint-bert-'))
  await writeFile(join(folder, 'config.json'), JSON.stringify(config))
  await writeFile(join(folder, 'vocab.txt'), '[PAD]\na\nb\n')
  await write(tensors)
})

/** Weights as the model holds them, float32. */
const rounded: Weights = Object.fromEntries(
  Object.entries(tensors).map(([name, { shape, data }]) => [name, { shape, data: Float32Array.from(data) }]),
)
const texts = [
  { ids: [2, 7, 7, 10, 1], kinds: [0, 0, 1, 1, 0] },
  { ids: [5, 3], kinds: [1, 0] },
]
const ids = padIds(texts.map(t => t.ids))
const tokenTypes = tensor(
  texts.map(({ kinds }) => [...kinds, 0, 0, 0].slice(0, 5)),
  { dtype: 'int32' },
)
const expected = texts.map(({ ids, kinds }) => plainBert(rounded, ids, kinds))

test('hidden states and features of a padded batch', async () => {
  const { model, vocabulary } = await loadBert(folder)
  expect(vocabulary).toEqual(['[PAD]', 'a', 'b'])
  const exact = mapTree(model, t => t.astype('float64'))
  for (const [m, tolerance] of [
    [exact, 1e-9],
    [model, 1e-5],
  ] as const) {
    const [vectors, mask] = [m.embed(ids), m.mask(ids)]
    const hidden = m.hidden(vectors, mask, undefined, { tokenTypes })
    await expectClose(hidden.at(0), expected[0].hidden, tolerance)
    await expectClose(hidden.at(1, [0, 2]), expected[1].hidden, tolerance)
    const pooled = m.applyEmbedded(vectors, mask, undefined, { tokenTypes })
    await expectClose(
      pooled,
      expected.map(e => e.pooled),
      tolerance,
    )
  }
})

describe('other checkpoints', () => {
  const renamed = (name: (old: string) => string): Safetensors['tensors'] =>
    Object.fromEntries(Object.entries(tensors).map(([old, array]) => [name(old), array]))

  test('with a prefix, old names and heads of their own', async () => {
    const old = renamed(name => `bert.${name.replace('Norm.weight', 'Norm.gamma').replace('Norm.bias', 'Norm.beta')}`)
    const head = numbers(3)
    await write({ ...old, 'cls.predictions.bias': drawn(head, [11]), 'bert.embeddings.position_ids': drawn(head, [9]) })
    const { model } = await loadBert(folder)
    const pooled = model.applyEmbedded(model.embed(ids), model.mask(ids), undefined, { tokenTypes })
    await expectClose(
      pooled,
      expected.map(e => e.pooled),
      1e-5,
    )
  })
  test('a classifier, with its head or a new one', async () => {
    const next = numbers(4)
    const head = { 'classifier.weight': drawn(next, [3, dim]), 'classifier.bias': drawn(next, [3]) }
    const options = { classes: 3, key: random.key(1) }
    await write({ ...tensors, ...head })
    const { model } = await loadBertClassifier(folder, options)
    const alone = plainBert(rounded, texts[0].ids, [0, 0, 0, 0, 0])
    await expectClose(model.apply(padIds([texts[0].ids])), [linear(alone.pooled, head, 'classifier')], 1e-5)
    await expect(loadBertClassifier(folder, { ...options, classes: 2 })).rejects.toThrow(
      'classifier.weight is float64[3,6], laid out [6,3], but weight is float32[6,2]',
    )
    await write(tensors)
    const fresh = (await loadBertClassifier(folder, { ...options, classes: 2 })).model
    expect(fresh.apply(ids).shape).toEqual([2, 2])
  })
  test('what is missing is named', async () => {
    const { 'pooler.dense.bias': _, ...rest } = tensors
    await write({ ...rest, extra: drawn(numbers(1), [1]) })
    await expect(loadBert(folder)).rejects.toThrow(
      'loadWeights: missing: pooler.dense.bias (for pooler.bias); unexpected: extra; nothing was loaded',
    )
    await expect(loadBert('nowhere')).rejects.toThrow('loadBert: cannot read nowhere/config.json: ENOENT')
  })
})

test('configurations that are of no use', () => {
  expect(bertOptions(config)).toMatchObject({ dim: 6, layers: 2, heads: 3, activation: 'gelu', dropout: 0.1 })
  expect(() => bertOptions({ ...config, hidden_size: '6' })).toThrow("'hidden_size' must be a number, not 6")
  expect(() => bertOptions({ ...config, hidden_act: 'swish' })).toThrow(
    "'hidden_act' is swish: known are gelu, gelu_new",
  )
  expect(() => bertOptions({ ...config, position_embedding_type: 'relative_key' })).toThrow('not absolute')
})

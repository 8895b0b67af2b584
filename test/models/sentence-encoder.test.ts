/** The pretrained sentence encoder: its vectors are those of the package's own code, and it can be attacked and trained. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { add, grad, leaves, mul, random, realize, type Tensor, tensor, valueAndGrad } from 'saddlepoint'
import { loadSentenceEncoder, padIds, sentenceLimit, TextClassifier } from 'saddlepoint/models'
import { crossEntropy, isParameter } from 'saddlepoint/nn'
import { expect, test } from 'vitest'
import { expectClose } from '../oracle/close.js'

const { model, tokenizer } = await loadSentenceEncoder()
const idsOf = (texts: readonly string[]): Tensor =>
  padIds(
    texts.map(text => tokenizer.encode(text)),
    { padding: model.paddingIndex, limit: sentenceLimit },
  )

/** Made with the package's own code: first components of sentences. */
const known: readonly (readonly [string, readonly number[]])[] = [
  ['I enjoyed this movie a lot.', [-0.0383333042, -0.0272265971, -0.052726876, -0.0582122393]],
  ['The film was terrible.', [-0.013733062, -0.0534621775, -0.0336192884, -0.0532412753]],
  ['hello', [0.0416782685, -0.0223625861, -0.047607515, -0.0492787808]],
]

test('the first components of known sentences, in one batch and alone', async () => {
  const texts = known.map(([text]) => text)
  const first = known.map(([, values]) => [...values])
  await expectClose(model.apply(idsOf(texts)).at([], [0, 4]), first, 1e-6)
  await expectClose(model.apply(idsOf(texts.slice(0, 1))).at([], [0, 4]), first.slice(0, 1), 1e-6)
})

const folder = process.env.SADDLEPOINT_DATA
const reference = folder && join(folder, 'use-lite', 'reference_embeddings.json')

test.skipIf(!reference)('all components of the reference sentences (needs the folder SADDLEPOINT_DATA)', async () => {
  const { sentences, embeddings } = JSON.parse(readFileSync(reference ?? '', 'utf8'))
  await expectClose(model.apply(idsOf(sentences)), embeddings, 1e-5)
})

test('tokens as the package has them', () => {
  expect(tokenizer.encode('hello')).toEqual([2002, 102])
  // ':' (57) lost its score, and ':30' (4177) has 30.
  expect(tokenizer.encode('Note: it is 10:30.')).toEqual([4566, 57, 21, 18, 320, 4177, 6])
  // A run of characters that no piece holds is one 0.
  expect(tokenizer.encode('a 你好 b').filter(id => id === 0)).toEqual([0])
  expect(tokenizer.encode('')).toEqual([])
  // Control symbols are no text.
  expect(tokenizer.encode('a</s>').filter(id => id > 0 && id < 6)).toEqual([])
})

test('a head on it: gradients reach the table of words, and a step along them raises the loss', async () => {
  const classifier = new TextClassifier(model, { width: 512, classes: 2, key: random.key(5) })
  const ids = idsOf(['The film was wonderful.', 'The film was terrible, and far too long.'])
  const label = tensor([1, 0], { dtype: 'int32' })
  const loss = (m: typeof classifier): Tensor => crossEntropy(m.apply(ids), label)
  const slopes = grad(loss)(classifier)
  await realize(slopes)
  for (const slope of leaves(slopes)) expect((await slope.data()).every(Number.isFinite)).toBe(true)
  const rows = await slopes.encoder.embedding.weight.abs().sum({ axis: 1 }).data()
  const moved = [...rows].flatMap((g, id) => (g > 0 ? [id] : []))
  const words = new Set((await ids.data()).filter(id => id !== model.paddingIndex))
  expect(moved).toEqual([...words].sort((a, b) => a - b))

  // The fast gradient method: a step of length 0.1 along the gradient in the looked-up vectors.
  const attacked = (v: Tensor): Tensor => crossEntropy(classifier.applyEmbedded(v, classifier.mask(ids)), label)
  const vectors = classifier.embed(ids)
  const [before, slope] = valueAndGrad(attacked)(vectors)
  const length = slope
    .square()
    .sum({ axis: [1, 2], keepdims: true })
    .sqrt()
  const after = attacked(add(vectors, mul(slope.div(length), 0.1)))
  expect(await after.item()).toBeGreaterThan((await before.item()) + 1e-3)
})

test('the waves of positions are not trained', () => {
  expect(isParameter(model.state.frequencies, 'state.frequencies')).toBe(false)
})

test('a folder without the files is named', async () => {
  await expect(loadSentenceEncoder({ folder: 'nowhere' })).rejects.toThrow(
    'loadSentenceEncoder: cannot read nowhere/vocab.json: ENOENT',
  )
})

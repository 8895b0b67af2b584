/** The pretrained sentence encoder under a new head, trained against perturbed words and with their gradient penalised. */

import { random, setDevice } from 'saddlepoint'
import { accuracyOn, fgm, gradientPenalty, type Logits, type Method } from 'saddlepoint/adversarial'
import { dataset, padded } from 'saddlepoint/data'
import { loadSentenceEncoder, TextClassifier } from 'saddlepoint/models'
import { crossEntropy, type Loss } from 'saddlepoint/nn'
import { adam } from 'saddlepoint/optim'
import { Trainer } from 'saddlepoint/train'
import { beforeAll, expect, test } from 'vitest'

beforeAll(async () => {
  await setDevice('wasm')
})

const texts = [
  'The film was wonderful.',
  'I loved every minute of this movie.',
  'A touching story, beautifully acted.',
  'The actors are brilliant.',
  'Shares fell sharply on Monday.',
  'The bank raised its interest rate.',
  'Investors sold government bonds.',
  'The company reported a loss.',
]
type Model = Awaited<ReturnType<typeof classifier>>['model']

async function classifier() {
  const { model: encoder, tokenizer } = await loadSentenceEncoder()
  const model = new TextClassifier(encoder, { width: 512, classes: 2, key: random.key(1) })
  const label = { dtype: 'int32' as const, shape: [8], data: Int32Array.of(0, 0, 0, 0, 1, 1, 1, 1) }
  return { model, data: dataset({ ...padded(texts, tokenizer, { length: 10 }), label }) }
}
const logits: Logits<Model> = (m, { ids, mask }, ctx) => m.apply(ids, ctx, mask)
const loss: Loss<Model> = (m, batch, ctx) => crossEntropy(logits(m, batch, ctx), batch.label)

test.each<[string, Method]>([
  [
    'FGM on what each token looks up',
    fgm({ on: 'encoder.embedding', epsilon: 0.1, scope: 'token', paddingMask: 'mask' }),
  ],
  [
    'the gradient penalty by occurrence',
    gradientPenalty({ on: 'encoder.embedding', reading: 'occurrence', paddingMask: 'mask' }),
  ],
])('%s', async (_, method) => {
  const { model, data } = await classifier()
  const before = await model.encoder.embedding.weight.data()
  const trainer = new Trainer({ model, loss, optimizer: adam({ learningRate: 3e-4 }), seed: 1 }).use(method)
  const { epochs } = await trainer.fit(data, { epochs: 8, batchSize: 8 })
  expect(epochs[7].train.loss).toBeLessThan(0.8 * epochs[0].train.loss)
  expect(await accuracyOn(logits, model, data)).toBe(1)
  // Words that were read have moved.
  const after = await model.encoder.embedding.weight.data()
  expect(after.some((v, i) => v !== before[i])).toBe(true)
})

/** Probabilities that are given to a loss on logits raise a warning, which the graph is enough for; logits do not. */

import { clip, grad, random, type Tensor, tensor } from 'saddlepoint'
import { attackDataset, gradientDeaths } from 'saddlepoint/adversarial'
import { dataset } from 'saddlepoint/data'
import {
  accuracy,
  binaryCrossEntropy,
  clippedCrossEntropyOfProbabilities,
  crossEntropy,
  dlrLoss,
  klDivergence,
  Linear,
  type Loss,
  marginLoss,
} from 'saddlepoint/nn'
import { adam } from 'saddlepoint/optim'
import { Trainer } from 'saddlepoint/train'
import { afterEach, beforeEach, describe, expect, type MockInstance, test, vi } from 'vitest'

let warn: MockInstance<typeof console.warn>
beforeEach(() => {
  warn = vi.spyOn(console, 'warn').mockImplementation(() => {})
})
afterEach(() => warn.mockRestore())

const key = random.key(1)
let classes = 2
/** A number of classes that nothing has warned of. */
const fresh = () => {
  const [n, of] = [4, ++classes + 2]
  const data = dataset({
    x: { dtype: 'float32', shape: [n, 3], data: Float32Array.from({ length: 3 * n }, (_, i) => Math.sin(i)) },
    label: { dtype: 'int32', shape: [n], data: Int32Array.of(0, 1, 2, 1) },
  })
  const model = new Linear(3, of, { key })
  const batch = { x: tensor(data.columns.x), label: tensor(data.columns.label) }
  return { of, data, model, batch, z: random.normal(key, [n, of]) }
}
const soft: Loss<Linear> = (m, { x, label }) => crossEntropy(m.apply(x).softmax(), label)
const right: Loss<Linear> = (m, { x, label }) => crossEntropy(m.apply(x), label)

describe('crossEntropy of softmax', () => {
  test.each<[string, (loss: Loss<Linear>, made: ReturnType<typeof fresh>) => unknown]>([
    ['in attackDataset', (loss, { model, data }) => attackDataset(loss, model, data, { epsilon: 0.1, steps: 2 })],
    ['in gradientDeaths', (loss, { model, batch }) => gradientDeaths(loss, model, batch)],
    [
      'in training',
      (loss, { model, data }) => new Trainer({ model, loss, optimizer: adam() }).fit(data, { epochs: 2, batchSize: 3 }),
    ],
    ['in grad', (loss, { model, batch }) => grad((m: Linear) => loss(m, batch, { training: true }))(model)],
  ])('%s', async (_, run) => {
    await run(right, fresh())
    expect(warn).not.toHaveBeenCalled()
    const made = fresh()
    await run(soft, made)
    expect(warn).toHaveBeenCalledTimes(1)
    const [message] = warn.mock.calls[0]
    expect(message).toMatch(
      new RegExp(
        `^crossEntropy: its logits are probabilities, the result of softmax at mul:float32\\[\\d,${made.of}\\]; `,
      ),
    )
    expect(message).toContain('give what softmax is applied to')
  })
})

test.each<[string, (p: Tensor, label: Tensor) => Tensor]>([
  ['clipped', (p, label) => crossEntropy(clip(p, 1e-7, 1 - 1e-7), label)],
  ['cast, cut and shaped', (p, label) => crossEntropy(p.astype('float64').at([0, 4]).reshape([4, -1]), label)],
  ['marginLoss', (p, label) => marginLoss(p, label)],
  ['dlrLoss', (p, label) => dlrLoss(p, label)],
  ['klDivergence', p => klDivergence(p.add(1), p)],
  ['with probabilities as labels', p => crossEntropy(p, p)],
])('softmax, %s', (_, loss) => {
  const { z, batch } = fresh()
  loss(z.softmax(), batch.label)
  expect(warn).toHaveBeenCalledTimes(1)
})

test('softmax written as a quotient', () => {
  const { z, batch } = fresh()
  const e = z.sub(z.max({ axis: -1, keepdims: true })).exp()
  crossEntropy(e.div(e.sum({ axis: -1, keepdims: true })), batch.label)
  expect(warn).toHaveBeenCalledTimes(1)
})

test('sigmoid', () => {
  const { z } = fresh()
  binaryCrossEntropy(z, z.sigmoid())
  expect(warn).not.toHaveBeenCalled()
  binaryCrossEntropy(z.sigmoid(), z.sigmoid())
  expect(warn.mock.calls[0][0]).toContain('the result of sigmoid at div')
})

test('what is no mistake', () => {
  const { z, of, batch } = fresh()
  const { label } = batch
  crossEntropy(z, z.softmax())
  crossEntropy(z.logSoftmax(), label)
  crossEntropy(z.softmax().add(z), label)
  crossEntropy(z.softmax().matmul(random.normal(key, [of, of])), label)
  crossEntropy(z.div(z.sum({ axis: -1, keepdims: true })), label)
  crossEntropy(z.exp(), label)
  crossEntropy(z.exp().mul(z.sum({ axis: -1, keepdims: true }).reciprocal()), label)
  crossEntropy(z.exp().mul(z.exp().sum({ axis: -1, keepdims: true })), label)
  klDivergence(z, z.mul(2))
  accuracy(z.softmax(), label)
  clippedCrossEntropyOfProbabilities(z.softmax(), label)
  expect(warn).not.toHaveBeenCalled()
})

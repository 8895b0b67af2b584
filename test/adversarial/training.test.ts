/** Adversarial regularisation inside the Trainer: the loss that is trained, its reported part, and the file of the model. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { random, type Tensor } from 'saddlepoint'
import { adversarialRegularization } from 'saddlepoint/adversarial'
import { dataset } from 'saddlepoint/data'
import { crossEntropy, Linear, type Loss } from 'saddlepoint/nn'
import { sgd } from 'saddlepoint/optim'
import { loadTree, saveTree, Trainer } from 'saddlepoint/train'
import { expect, test } from 'vitest'

const clean: Loss<Linear> = (model, { x, label }) => crossEntropy(model.apply(x), label)
const robust = adversarialRegularization({ multiplier: 0.5, stepSize: 0.3, norm: 'l2' })(clean)
const newModel = (): Linear => new Linear(4, 3, { key: random.key(1) })
const data = dataset({
  x: { dtype: 'float32', shape: [12, 4], data: Float32Array.from({ length: 48 }, (_, i) => Math.sin(i * 1.7)) },
  label: { dtype: 'int32', shape: [12], data: Int32Array.from({ length: 12 }, (_, i) => i % 3) },
})

test('the Trainer reports the added part, and the whole is the clean loss plus that part', async () => {
  const trainer = new Trainer({
    model: newModel(),
    loss: robust,
    optimizer: sgd({ learningRate: 0.1 }),
    metrics: { added: robust.scaledAdversarialLoss, clean },
  })
  const { epochs } = await trainer.fit(data, { epochs: 4, batchSize: 6 })
  for (const { train } of epochs) {
    expect(train.loss).toBeCloseTo(train.clean + train.added, 5)
    // An l2 step climbs a convex loss, so the part exceeds half of the clean loss.
    expect(train.added).toBeGreaterThan(0.5 * train.clean)
  }
  expect(epochs[3].train.loss).toBeLessThan(epochs[0].train.loss)
})

test('what is saved after robust training is the base model', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'saddlepoint-'))
  try {
    const trainer = new Trainer({ model: newModel(), loss: robust, optimizer: sgd({ learningRate: 0.1 }) })
    await trainer.fit(data, { epochs: 1, batchSize: 6 })
    const path = join(folder, 'base.safetensors')
    await saveTree(path, trainer.model)
    const restored = newModel()
    await loadTree(path, restored, () => undefined)
    const values = async (t: Tensor): Promise<number[]> => Array.from(await t.data())
    expect(await values(restored.weight)).toEqual(await values(trainer.model.weight))
  } finally {
    rmSync(folder, { recursive: true })
  }
})

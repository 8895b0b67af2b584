/** The first ten steps of the main job's training, plain and adversarially regularised, on `webgpu` and on `wasm`. */

import * as sp from 'saddlepoint'
import { adversarialRegularization } from 'saddlepoint/adversarial'
import { type Dataset, dataset, mnist } from 'saddlepoint/data'
import { adam } from 'saddlepoint/optim'
import { Trainer } from 'saddlepoint/train'
import { afterAll, expect, test } from 'vitest'
import { loss } from '../../src/cli/mnist/training.js'
import { network } from '../../src/cli/tasks/network.js'
import { firstImages } from '../../src/data/images.js'

const steps = 10
const batchSize = 32
const devices = {
  wasm: await sp.setDevice('wasm', { threads: 1 }),
  webgpu: await sp.setDevice('webgpu', { software: true }),
}
afterAll(() => Promise.all(Object.values(devices).map(d => d.close())))
const { images, shape, labels } = firstImages((await mnist()).train, steps * batchSize)
const data: Dataset = dataset({
  image: { dtype: 'float32', shape, data: images },
  label: { dtype: 'int32', shape: [shape[0]], data: labels },
})

/** The losses of a seed's first ten steps, and the weights after them. */
async function run(device: sp.Device, adversarial: boolean): Promise<{ mean: number; weights: number[] }> {
  await sp.setDevice(device)
  const objective = adversarial
    ? adversarialRegularization({ multiplier: 0.2, stepSize: 0.2, norm: 'linf' })(loss)
    : loss
  const trainer = new Trainer({
    model: network(sp.random.key(0)),
    loss: objective,
    optimizer: adam({ learningRate: 1e-3 }),
  })
  const { epochs } = await trainer.fit(data, { epochs: 1, batchSize, handleInterrupt: false })
  const weights = (await Promise.all(sp.leaves(trainer.model).map(t => t.data()))).flatMap(d => [...d])
  expect(trainer.step).toBe(steps)
  return { mean: epochs[0].train.loss, weights }
}

// docs/devices.md states the bounds. The sign of the perturbation turns a rounding error into a step of its own.
test.each([
  ['plain', false, 1e-5, 1e-5],
  ['adversarially regularised', true, 1e-4, 1e-3],
] as const)('%s', async (_, adversarial, lossBound, weightBound) => {
  const [want, got] = [await run(devices.wasm, adversarial), await run(devices.webgpu, adversarial)]
  const size = Math.sqrt(want.weights.reduce((n, w) => n + w * w, 0))
  const apart = Math.sqrt(want.weights.reduce((n, w, i) => n + (w - got.weights[i]) ** 2, 0))
  expect(Math.abs(got.mean / want.mean - 1)).toBeLessThan(lossBound)
  expect(apart / size).toBeLessThan(weightBound)
})

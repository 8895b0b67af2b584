import { expect, test } from 'vitest'
import { random, relu, stats, getDevice, setDevice } from 'saddlepoint'
import { accuracy, Conv2d, crossEntropy, Flatten, Linear, MaxPool2d, Sequential } from 'saddlepoint/nn'
import { adam } from 'saddlepoint/optim'
import { Trainer } from 'saddlepoint/train'
import * as mnist from '../../src/data/mnist.js'
test('mnist', async () => {
  console.log(Object.keys(mnist))
  const d = await (mnist as any).mnist()
  const k = (i: number) => random.foldIn(random.key(0), i)
  const model = new Sequential([new Conv2d(1, 32, 3, { key: k(0) }), relu, new MaxPool2d(2), new Conv2d(32, 64, 3, { key: k(1) }), relu, new MaxPool2d(2), new Conv2d(64, 64, 3, { key: k(2) }), relu, new Flatten(), new Linear(576, 64, { key: k(3) }), relu, new Linear(64, 10, { key: k(4) })])
  const { dataset } = await import('../../src/data/dataset.js')
  const ds = (set: any) => dataset({ x: set.images.dtype ? set.images : set.images, y: set.labels })
  const [xi, yi] = ['x','y']
  console.log(Object.entries(ds(d.train).columns).map(([k, v]: any) => [k, v.dtype, v.shape]))
  const t = new Trainer({ model, loss: (m, b, c) => crossEntropy(m.apply(b[xi], c), b[yi]), optimizer: adam(), metrics: { accuracy: (m, b, c) => accuracy(m.apply(b[xi], c), b[yi]) } })
  const t0 = performance.now()
  const h = await t.fit(ds(d.train).slice(0, 3200), { epochs: 2, batchSize: 32, validation: ds(d.test).slice(0, 1000), progress: true })
  console.log(JSON.stringify(h), performance.now() - t0, stats, (await getDevice()).description)
})

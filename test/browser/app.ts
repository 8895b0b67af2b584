/**
 * The program of the page: the library imported by name, as a user of a browser does it. It runs unchanged with an import
 * map, bundled by esbuild and built by Vite; the tests call what it leaves in `globalThis.app`, and train in Node with it.
 */

import {
  type DeviceName,
  type DeviceOptions,
  type DType,
  grad,
  printProfile,
  profile,
  random,
  setDevice,
  tensor,
} from 'saddlepoint'
import { adversarialRegularization } from 'saddlepoint/adversarial'
import { dataset, parseIdx, readIdx } from 'saddlepoint/data'
import {
  AvgPool2d,
  accuracy,
  type Batch,
  type Context,
  Conv2d,
  crossEntropy,
  Flatten,
  Linear,
  MaxPool2d,
  Sequential,
} from 'saddlepoint/nn'
import { adam } from 'saddlepoint/optim'
import { type Means, type Screen, Trainer } from 'saddlepoint/train'
import { exact, floating, type Make } from '../runtime/device-programs.js'

const values =
  (dtype: DType): Make =>
  (seed, shape) =>
    random.uniform(random.key(seed), shape, { low: -1, high: 1, dtype })

/** The first things a user tries: methods, a gradient of a gradient, several devices; and work for several threads. */
async function hello(device: DeviceName, options: DeviceOptions = {}) {
  const { description } = await setDevice(device, options)
  const cubic = grad((x: ReturnType<typeof tensor>) =>
    grad((y: typeof x) => y.pow(3).sum())(x)
      .square()
      .sum(),
  )
  const a = random.normal(random.key(0), [160, 160])
  return { description, slope: await cubic(tensor([1, 2])).array(), product: await a.matmul(a).sum().item() }
}

/** A program of test/runtime/device-programs.ts in float32, computed on the device in use. */
async function compute(name: string): Promise<number[]> {
  const program = floating[name] ?? exact[name]
  return [...(await program(values('float32')).data())]
}

/** Trains a small network on idx files with adversarial regularisation; the means of each epoch. */
async function train(images: Uint8Array, labels: Uint8Array, progress?: Screen): Promise<Means[]> {
  const [{ data: pixels, shape }, digits] = [parseIdx(images), parseIdx(labels)]
  const data = dataset({
    image: { dtype: 'float32', shape: [...shape, 1], data: Float32Array.from(pixels, v => v / 255) },
    label: { dtype: 'int32', shape: digits.shape, data: Int32Array.from(digits.data) },
  })
  const keys = random.split(random.key(0), 2)
  const model = new Sequential([
    new AvgPool2d(2),
    new Conv2d(1, 8, 3, { key: keys.at(0) }),
    x => x.relu(),
    new MaxPool2d(2),
    new Flatten(),
    new Linear(8 * 6 * 6, 10, { key: keys.at(1) }),
  ])
  const loss = (m: typeof model, { image, label }: Batch, ctx: Context) => crossEntropy(m.apply(image, ctx), label)
  const trainer = new Trainer({
    model,
    loss: adversarialRegularization({ multiplier: 0.2, stepSize: 1, norm: 'l2', labelKeys: ['label'] })(loss),
    optimizer: adam({ learningRate: 1e-2 }),
    metrics: { accuracy: (m, { image, label }, ctx) => accuracy(m.apply(image, ctx), label) },
  })
  const { epochs } = await trainer.fit(data, { epochs: 2, batchSize: 32, progress: progress ?? true })
  return epochs.map(e => e.train)
}

/** The same, with the files fetched from where the page comes from. */
async function trainFetched(): Promise<Means[]> {
  const bytes = async (name: string): Promise<Uint8Array> =>
    new Uint8Array(await (await fetch(`/data/${name}`)).arrayBuffer())
  return train(await bytes('images.idx'), await bytes('labels.idx'))
}

/** The profile of a product that so many threads share. */
async function profiled(threads: number): Promise<string> {
  await setDevice('wasm', { threads })
  const a = random.normal(random.key(0), [512, 512])
  const measured = await profile(() => a.matmul(a).sum().item())
  return printProfile(measured.profile)
}

const functions = { hello, compute, train, trainFetched, profiled, setDevice, readIdx }

declare global {
  var app: typeof functions
}
globalThis.app = functions

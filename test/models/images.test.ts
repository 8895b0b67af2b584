/** VGG16 and ResNet-20 of few channels, with stored weights, against plain loops; and ResNet-20 as published. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { grad, namedLeaves, random, type Tensor, tensor } from 'saddlepoint'
import { readSafetensors } from 'saddlepoint/data'
import { kerasNames, loadWeights, ResNet20, resNet20Names, torchvisionNames, Vgg16 } from 'saddlepoint/models'
import { accuracy, countParameters } from 'saddlepoint/nn'
import { describe, expect, test } from 'vitest'
import { expectClose } from '../oracle/close.js'
import { convolve, drawn, type Image, linear, mapImage, numbers, pool, relu, type Weights } from './plain.js'

const key = random.key(0)
type Drawn = ReturnType<typeof drawn>

/** Images [n][c][h][w] channels last. */
const channelsLast = (images: readonly Image[]): Tensor =>
  tensor(
    images.map(x => x[0].map((row, y) => row.map((_, z) => x.map(channel => channel[y][z])))),
    { dtype: 'float64' },
  )
const image = (next: () => number, height: number, width: number): Image =>
  Array.from({ length: 3 }, () => Array.from({ length: height }, () => Array.from({ length: width }, next)))

describe('VGG16', () => {
  const widths = [2, 3, 2, 3, 4] as const
  const options = { key, dtype: 'float64', inputSize: [32, 96], widths, hidden: 5, classes: 3 } as const
  const next = numbers(11)
  const stored: Record<string, Drawn> = {}
  const places: number[] = []
  let [inputs, place] = [3, 0]
  ;[2, 2, 3, 3, 3].forEach((depth, b) => {
    for (let i = 0; i < depth; i++, place += 2) {
      stored[`features.${place}.weight`] = drawn(next, [widths[b], inputs, 3, 3], 0.7)
      stored[`features.${place}.bias`] = drawn(next, [widths[b]], 0.3)
      places.push(place)
      inputs = widths[b]
    }
    place++
  })
  ;[
    [0, 12, 5],
    [3, 5, 5],
    [6, 5, 3],
  ].forEach(([i, from, to]) => {
    stored[`classifier.${i}.weight`] = drawn(next, [to, from])
    stored[`classifier.${i}.bias`] = drawn(next, [to])
  })
  const images = [image(next, 32, 96), image(next, 32, 96)]
  const plain = (x: Image): number[] => {
    let y = x
    places.forEach((place, i) => {
      y = relu(convolve(y, stored, `features.${place}`))
      if ([1, 3, 6, 9, 12].includes(i)) y = pool(y)
    })
    const flat = y.flat(2)
    const hidden = (v: readonly number[], i: number) => linear(v, stored, `classifier.${i}`).map(a => Math.max(0, a))
    return linear(hidden(hidden(flat, 0), 3), stored, 'classifier.6')
  }
  const expected = images.map(plain)

  test('of torchvision', async () => {
    const model = new Vgg16(options)
    await loadWeights(model, stored, torchvisionNames(model))
    expect(expected.flat().every(v => Math.abs(v) > 1e-4)).toBe(true)
    await expectClose(model.apply(channelsLast(images)), expected, 1e-10)
  })
  test('of Keras, whose layouts are ours', async () => {
    const kernel = ({ shape: [o, c, h, w], data }: Drawn): Drawn => ({
      dtype: 'float64',
      shape: [h, w, c, o],
      data: Float64Array.from(data, (_, k) => {
        const [b, rest] = [k % o, Math.floor(k / o)]
        const [a, yx] = [rest % c, Math.floor(rest / c)]
        return data[(b * c + a) * h * w + yx]
      }),
    })
    /** [out, in] -> [in, out], the inputs of which were c x h x w and become h x w x c. */
    const dense = ({ shape: [o, n], data }: Drawn, c = 1, pixels = n): Drawn => ({
      dtype: 'float64',
      shape: [n, o],
      data: Float64Array.from(data, (_, k) => {
        const [b, i] = [k % o, Math.floor(k / o)]
        return data[b * n + (c === 1 ? i : (i % c) * pixels + Math.floor(i / c))]
      }),
    })
    const names = [2, 2, 3, 3, 3].flatMap((depth, b) =>
      Array.from({ length: depth }, (_, i) => `block${b + 1}_conv${i + 1}`),
    )
    const keras: Record<string, Drawn> = {}
    names.forEach((name, i) => {
      keras[`${name}/kernel:0`] = kernel(stored[`features.${places[i]}.weight`])
      keras[`${name}/bias:0`] = stored[`features.${places[i]}.bias`]
    })
    for (const [name, i] of Object.entries({ fc1: 0, fc2: 3, predictions: 6 })) {
      keras[`${name}/kernel:0`] = dense(stored[`classifier.${i}.weight`], i === 0 ? 4 : 1, 3)
      keras[`${name}/bias:0`] = stored[`classifier.${i}.bias`]
    }
    const model = await loadWeights(new Vgg16(options), keras, kerasNames)
    await expectClose(model.apply(channelsLast(images)), expected, 1e-10)
  })
  test('as published, and for other sizes', () => {
    expect(countParameters(new Vgg16({ key }))).toBe(138357544)
    expect(new Vgg16({ key, inputSize: 32, classes: 10, hidden: 512 }).pooledSize).toEqual([1, 1])
  })
  test('dropout in training, and images that do not fit', async () => {
    const model = new Vgg16(options)
    const x = channelsLast(images)
    expect(() => model.apply(x, { training: true })).toThrow('training needs a random key')
    expect(() => new Vgg16({ key, inputSize: 31 })).toThrow('height and width must be integers of at least 32, not 31')
    expect(() => model.apply(x.at([], [0, 16]))).toThrow('was made for images [n, 32, 96, 3], got [2,16,96,3]')
  })
})

describe('ResNet-20', () => {
  const widths = [2, 4, 7] as const
  const next = numbers(5)
  const stored: Record<string, Drawn> = {}
  const unit = (conv: string, bn: string, from: number, to: number) => {
    stored[`${conv}.weight`] = drawn(next, [to, from, 3, 3], 0.7)
    stored[`${bn}.weight`] = drawn(next, [to], 0.4, 1)
    stored[`${bn}.bias`] = drawn(next, [to], 0.4)
    stored[`${bn}.running_mean`] = drawn(next, [to], 0.4)
    stored[`${bn}.running_var`] = drawn(next, [to], 0.4, 1)
  }
  unit('conv1', 'bn1', 3, 2)
  for (let s = 0; s < 3; s++)
    for (let i = 0; i < 3; i++) {
      const name = `layer${s + 1}.${i}`
      unit(`${name}.conv1`, `${name}.bn1`, i ? widths[s] : widths[Math.max(0, s - 1)], widths[s])
      unit(`${name}.conv2`, `${name}.bn2`, widths[s], widths[s])
    }
  stored['linear.weight'] = drawn(next, [10, 7])
  stored['linear.bias'] = drawn(next, [10])

  const norm = (x: Image, w: Weights, name: string): number[][][] => {
    const [weight, bias] = [w[`${name}.weight`].data, w[`${name}.bias`].data]
    const [mean, variance] = [w[`${name}.running_mean`].data, w[`${name}.running_var`].data]
    return mapImage(x, (v, c) => ((v - mean[c]) / Math.sqrt(variance[c] + 1e-5)) * weight[c] + bias[c])
  }
  const plain = (image: Image): number[] => {
    let x: Image = relu(norm(convolve(image, stored, 'conv1'), stored, 'bn1'))
    for (let s = 0; s < 3; s++)
      for (let i = 0; i < 3; i++) {
        const [name, stride] = [`layer${s + 1}.${i}`, s && !i ? 2 : 1]
        const y = relu(norm(convolve(x, stored, `${name}.conv1`, stride), stored, `${name}.bn1`))
        const z = norm(convolve(y, stored, `${name}.conv2`), stored, `${name}.bn2`)
        // Option A: every second pixel, and zeros on both sides of the channels.
        const before = Math.floor((z.length - x.length) / 2)
        const old = x
        x = relu(
          z.map((rows, c) =>
            rows.map((row, a) => row.map((v, b) => v + (old[c - before]?.[a * stride][b * stride] ?? 0))),
          ),
        )
      }
    const features = x.map(rows => rows.flat().reduce((s, v) => s + v, 0) / rows.flat().length)
    return linear(features, stored, 'linear')
  }

  test('of torch, for images of odd sizes too', async () => {
    const extra = { 'bn1.num_batches_tracked': drawn(next, []) }
    const model = new ResNet20({ key, dtype: 'float64', widths })
    await loadWeights(model, { ...stored, ...extra }, resNet20Names, { ignore: /num_batches_tracked$/ })
    const images = [image(next, 8, 7), image(next, 8, 7)]
    await expectClose(model.apply(channelsLast(images)), images.map(plain), 1e-10)
  })
  test('as published; its statistics are not trained', () => {
    const model = new ResNet20({ key })
    // 19 convolutions, their scales and shifts, and a linear layer.
    expect(countParameters(model)).toBe(269722)
    expect(namedLeaves(model).filter(l => l.name.includes('.state.')).length).toBe(38)
  })
  test('batch normalisation is that of the context', async () => {
    const model = await loadWeights(new ResNet20({ key, dtype: 'float64', widths }), stored, resNet20Names)
    const x = channelsLast([image(next, 8, 8), image(next, 8, 8)])
    let updates = 0
    const training = { training: true, update: () => void updates++ }
    expect(await model.apply(x, training).data()).not.toEqual(await model.apply(x).data())
    expect(updates).toBe(38)
    const slope = await grad((x: Tensor) => model.apply(x, { training: true }).square().sum())(x).data()
    expect(slope.every(g => Number.isFinite(g) && g !== 0)).toBe(true)
  })

  const folder = process.env.SADDLEPOINT_DATA
  test.skipIf(!folder)('classifies 200 images of CIFAR-10 (needs the folder SADDLEPOINT_DATA)', async () => {
    const { tensors } = await readSafetensors(join(folder ?? '', 'cifar10', 'resnet20-12fca82f.safetensors'))
    const model = await loadWeights(new ResNet20({ key }), tensors, resNet20Names)
    const bytes = readFileSync(join(folder ?? '', 'cifar10', 'train_lossless_first4000.bin')).subarray(0, 200 * 3073)
    const labels = Int32Array.from({ length: 200 }, (_, i) => bytes[i * 3073])
    const [mean, deviation] = [
      [0.485, 0.456, 0.406],
      [0.229, 0.224, 0.225],
    ]
    const pixels = Float32Array.from({ length: 200 * 3072 }, (_, k) => {
      const [c, pixel, i] = [k % 3, Math.floor(k / 3) % 1024, Math.floor(k / 3072)]
      return (bytes[i * 3073 + 1 + c * 1024 + pixel] / 255 - mean[c]) / deviation[c]
    })
    const logits = model.apply(tensor(pixels, { shape: [200, 32, 32, 3] }))
    expect(await accuracy(logits, tensor(labels)).item()).toBeGreaterThanOrEqual(0.99)
  })
})

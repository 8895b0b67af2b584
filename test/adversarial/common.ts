/** The small classifier that the tests attack, as tensors and as plain arrays. */

import { add, matmul, random, type Tensor, tanh, tensor } from 'saddlepoint'
import { type Dataset, dataset } from 'saddlepoint/data'
import { type Batch, crossEntropy, type Loss } from 'saddlepoint/nn'
import type { Matrix, Net } from './plain.js'

export const size = { examples: 5, features: 4, hidden: 6, classes: 3 }

export interface Classifier {
  w1: Tensor
  w2: Tensor
}

export const f64 = (values: Matrix | number[]): Tensor => tensor(values, { dtype: 'float64' })

/** What the tests compare is a matrix; anything else is a mistake in the test. */
export async function rows(x: Tensor): Promise<Matrix> {
  const data = Array.from(await x.data())
  const width = x.size / x.shape[0]
  return Array.from({ length: x.shape[0] }, (_, i) => data.slice(i * width, (i + 1) * width))
}

export async function example(seed: number): Promise<{
  model: Classifier
  net: Net
  batch: { x: Tensor; label: Tensor }
  x: Matrix
  labels: number[]
}> {
  const keys = random.split(random.key(seed), 4)
  const model = {
    w1: random.normal(keys.at(0), [size.features, size.hidden], 'float64'),
    w2: random.normal(keys.at(1), [size.hidden, size.classes], 'float64'),
  }
  const batch = {
    x: random.normal(keys.at(2), [size.examples, size.features], 'float64'),
    label: random.randint(keys.at(3), [size.examples], 0, size.classes),
  }
  return {
    model,
    net: { w1: await rows(model.w1), w2: await rows(model.w2) },
    batch,
    x: await rows(batch.x),
    labels: Array.from(await batch.label.data()),
  }
}

export const logits = (model: Classifier, batch: Batch): Tensor => matmul(tanh(matmul(batch.x, model.w1)), model.w2)
export const meanLoss: Loss<Classifier> = (model, batch) => crossEntropy(logits(model, batch), batch.label)
export const exampleLosses: Loss<Classifier> = (model, batch) =>
  crossEntropy(logits(model, batch), batch.label, { reduction: 'none' })
/** The mean loss of a batch whose features come in two columns. */
export const splitLoss: Loss<Classifier> = (model, { a, b, label }) => {
  const hidden = tanh(add(matmul(a, model.w1.at([0, 1])), matmul(b, model.w1.at([1, null]))))
  return crossEntropy(matmul(hidden, model.w2), label)
}

/** A classifier of these weights, and the weights of a classifier. */
export const fresh = (net: Net): Classifier => ({ w1: f64([...net.w1]), w2: f64([...net.w2]) })
export const netOf = async (m: Classifier): Promise<Net> => ({ w1: await rows(m.w1), w2: await rows(m.w2) })

/** Eight examples, and where a classifier starts. */
export async function problem(): Promise<{ net: Net; x: Matrix; labels: number[]; data: Dataset }> {
  const [a, b] = [await example(6), await example(7)]
  const x = [...a.x, ...b.x].slice(0, 8)
  const labels = [...a.labels, ...b.labels].slice(0, 8)
  const data = dataset({
    x: { dtype: 'float64', shape: [8, x[0].length], data: Float64Array.from(x.flat()) },
    label: { dtype: 'int32', shape: [8], data: Int32Array.from(labels) },
  })
  return { net: a.net, x, labels, data }
}

/** Bregman proximal point steps in the Trainer against their algorithm in plain float64 loops. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { add, matmul, random, setDevice, tanh, tensor } from 'saddlepoint'
import { type Logits, type ProximalOptions, proximal, sam, smart } from 'saddlepoint/adversarial'
import { readSafetensors } from 'saddlepoint/data'
import { Dropout, type Loss } from 'saddlepoint/nn'
import { sgd } from 'saddlepoint/optim'
import { Trainer } from 'saddlepoint/train'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Classifier, fresh, logits, meanLoss, netOf, problem } from './common.js'
import { type Matrix, type Net, plainDescent, plainMean, plainProbabilities, plainSlope } from './plain.js'

beforeAll(async () => {
  await setDevice('reference')
})
const folder = mkdtempSync(join(tmpdir(), 'saddlepoint-proximal-'))
afterAll(() => rmSync(folder, { recursive: true }))

const learningRate = 0.5
interface Rule {
  readonly weight: number
  readonly momentum: number
  readonly every?: number
}

const numbers = (net: Net): number[] => [...net.w1.flat(), ...net.w2.flat()]
const mixed = (a: Matrix, b: Matrix, share: number): Matrix =>
  a.map((row, i) => row.map((v, j) => share * v + (1 - share) * b[i][j]))

/** Algorithm 1 with gradient descent: the weights after each step. */
function plainProximal(
  net: Net,
  x: Matrix,
  labels: readonly number[],
  { weight, momentum, every = 1 }: Rule,
  steps: number,
  size: number,
): Net[] {
  const nets: Net[] = []
  let [now, anchor] = [net, net]
  for (let k = 0; k < steps; k++) {
    const first = (k * size) % x.length
    const [xs, ys] = [x.slice(first, first + size), labels.slice(first, first + size)]
    const fixed = anchor
    now = plainDescent(now, xs, learningRate, (p, i) => {
      const q = plainProbabilities(fixed, xs[i])
      const divergence = p.reduce((s, v, c) => s + v * Math.log(v / q[c]), 0)
      // ∂KL(p ‖ q)/∂z = p (log p/q - KL), ∂KL(q ‖ p)/∂z = p - q.
      return plainSlope(p, ys[i]).map(
        (v, c) => v + weight * (p[c] * (Math.log(p[c] / q[c]) - divergence) + p[c] - q[c]),
      )
    })
    if ((k + 1) % every === 0)
      anchor = { w1: mixed(anchor.w1, now.w1, momentum), w2: mixed(anchor.w2, now.w2, momentum) }
    nets.push(now)
  }
  return nets
}

const expectSame = (got: Net, want: Net): void =>
  numbers(got).forEach((v, i) => expect(v).toBeCloseTo(numbers(want)[i], 11))
const nearly = (model: Classifier, options: Omit<ProximalOptions<Classifier>, 'logits'>, more = {}) =>
  new Trainer({ model, loss: meanLoss, optimizer: sgd({ learningRate }), ...more }).use(
    proximal({ logits, ...options }),
  )
const options = { epochs: 3, batchSize: 4, shuffle: false }

describe('proximal', () => {
  test.each<Rule>([
    { weight: 3, momentum: 0.99 },
    { weight: 3, momentum: 0.5, every: 2 },
    { weight: 3, momentum: 0, every: 3 },
  ])('follows the algorithm, step by step: %j', async rule => {
    const { net, x, labels, data } = await problem()
    const want = plainProximal(net, x, labels, rule, 6, 4)
    const model = fresh(net)
    const nets: Net[] = []
    await nearly(model, rule).fit(data, {
      ...options,
      onStep: async () => {
        nets.push(await netOf(model))
      },
    })
    expect(nets).toHaveLength(6)
    nets.forEach((got, i) => expectSame(got, want[i]))
    // It holds back: without the divergence the weights end elsewhere.
    const free = plainProximal(net, x, labels, { ...rule, weight: 0 }, 6, 4)[5]
    expect(Math.max(...numbers(free).map((v, i) => Math.abs(v - numbers(want[5])[i])))).toBeGreaterThan(0.01)
  })

  test('parts of a batch see one average; the optimiser’s own state is none of its business', async () => {
    const { net, x, labels, data } = await problem()
    const rule = { weight: 3, momentum: 0.9 }
    const model = fresh(net)
    await nearly(model, rule, { microBatches: 3 }).fit(data, options)
    expectSame(await netOf(model), plainProximal(net, x, labels, rule, 6, 4)[5])
  })

  test('resumes from a checkpoint, number for number', async () => {
    const { net, data } = await problem()
    const rule = { weight: 3, momentum: 0.9, every: 2 }
    const [whole, cut, resumed] = [fresh(net), fresh(net), fresh(net)]
    await nearly(whole, rule).fit(data, options)
    const path = join(folder, 'proximal.safetensors')
    const stop = new AbortController()
    const first = nearly(cut, rule)
    await first.fit(data, {
      ...options,
      checkpoint: path,
      signal: stop.signal,
      onStep: () => (first.step === 3 ? stop.abort() : undefined),
    })
    expect(first.step).toBe(3)
    const second = nearly(resumed, rule)
    await second.load(path)
    await second.fit(data, options)
    expect(await netOf(resumed)).toEqual(await netOf(whole))
  })

  test('two of them have averages of their own', async () => {
    const { net, x, labels, data } = await problem()
    const model = fresh(net)
    // Equal rules are one of twice the weight, whichever is inside.
    await nearly(model, { weight: 1, momentum: 0.9 })
      .use(proximal({ logits, weight: 2, momentum: 0.9 }))
      .fit(data, options)
    expectSame(await netOf(model), plainProximal(net, x, labels, { weight: 3, momentum: 0.9 }, 6, 4)[5])
    const [one, other] = [fresh(net), fresh(net)]
    await nearly(one, { momentum: 0.9 })
      .use(proximal({ logits, momentum: 0, every: 3 }))
      .fit(data, options)
    await nearly(other, { momentum: 0, every: 3 })
      .use(proximal({ logits, momentum: 0.9 }))
      .fit(data, options)
    expectSame(await netOf(one), await netOf(other))
  })

  test('composes with smart and sam, whose passes see the divergence too', async () => {
    const { net, data } = await problem()
    const [w1, w2] = [tensor(net.w1, { dtype: 'float64' }), tensor(net.w2, { dtype: 'float64' })]
    const written: Loss<Classifier> = (m, batch, ctx) => {
      const [p, q] = [logits(m, batch), matmul(tanh(matmul(batch.x, w1)), w2)].map(z => z.logSoftmax())
      const divergence = p.sub(q).mul(p.exp().sub(q.exp())).sum({ axis: -1 }).mean()
      return add(meanLoss(m, batch, ctx), divergence)
    }
    for (const method of [sam({ rho: 0.2 }), smart({ logits, epsilon: 0.1 })]) {
      // With the anchor at the first weights, the divergence can be written out.
      const [got, want] = [fresh(net), fresh(net)]
      await nearly(got, { momentum: 1 }).use(method).fit(data, options)
      const trainer = new Trainer({ model: want, loss: written, optimizer: sgd({ learningRate }) })
      await trainer.use(method).fit(data, options)
      expectSame(await netOf(got), await netOf(want))
    }
  })

  test('both passes drop the same units: the first step has no divergence', async () => {
    const { net, data } = await problem()
    const dropout = new Dropout(0.5)
    const dropped: Logits<Classifier> = (m, b, ctx) => matmul(dropout.apply(tanh(matmul(b.x, m.w1)), ctx), m.w2)
    const seen = async (method: (loss: Loss<Classifier>) => Loss<Classifier>): Promise<Net> => {
      const model = fresh(net)
      await new Trainer({ model, loss: meanLoss, optimizer: sgd({ learningRate }) })
        .use(method)
        .fit(data, { ...options, epochs: 1, batchSize: 8 })
      return netOf(model)
    }
    expectSame(await seen(proximal({ logits: dropped, weight: 100 })), await seen(loss => loss))
  })

  test('evaluation sees the loss alone; float16 trains with an average in float32', async () => {
    const { net, x, labels, data } = await problem()
    const model = fresh(net)
    const trainer = nearly(model, { weight: 3 })
    await trainer.fit(data, options)
    const { loss } = await trainer.evaluate(data, { batchSize: 8 })
    expect(loss).toBeCloseTo(plainMean(await netOf(model), x, labels), 5)
    const w = { w1: random.normal(random.key(1), [4, 6]), w2: random.normal(random.key(2), [6, 3]) }
    const half = nearly(w, { weight: 1, momentum: 0.9 }, { precision: 'float16' })
    const path = join(folder, 'half.safetensors')
    const { epochs } = await half.fit(data, { ...options, checkpoint: path })
    expect(epochs[2].train.loss).toBeLessThan(epochs[0].train.loss)
    const { tensors } = await readSafetensors(path)
    expect(tensors['memory.proximal.parameters.w1'].dtype).toBe('float32')
    expect(Array.from(tensors['memory.proximal.steps'].data)).toEqual([6])
  })

  test('is checked', () => {
    expect(() => proximal({ logits, momentum: 0 })).toThrow(
      'proximal: momentum 0 compares each step with where it starts',
    )
    expect(() => proximal({ logits, momentum: 1.5 })).toThrow(
      'proximal: momentum must be a number from 0 to 1, not 1.5',
    )
    expect(() => proximal({ logits, every: 0 })).toThrow('proximal: every must be an integer >= 1, not 0')
    expect(() => proximal({} as never)).toThrow('proximal: needs logits, a function')
  })
})

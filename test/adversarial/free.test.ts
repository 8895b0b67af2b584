/** Free adversarial training in the Trainer against its algorithm in plain float64 loops. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { profile, random, setDevice } from 'saddlepoint'
import { type FreeTrainingOptions, freeTraining, sam } from 'saddlepoint/adversarial'
import { dataset } from 'saddlepoint/data'
import { BatchNorm, type Context, crossEntropy, Linear, type Loss } from 'saddlepoint/nn'
import { sgd } from 'saddlepoint/optim'
import { type StepReport, Trainer } from 'saddlepoint/train'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Classifier, fresh, meanLoss, netOf, problem, rows } from './common.js'
import {
  type Matrix,
  type Net,
  plainDescent,
  plainGradient,
  plainMean,
  plainNorm,
  plainProject,
  plainSlope,
  plainSteepest,
} from './plain.js'

beforeAll(async () => {
  await setDevice('reference')
})
const folder = mkdtempSync(join(tmpdir(), 'saddlepoint-free-'))
afterAll(() => rmSync(folder, { recursive: true }))

const learningRate = 0.3

interface Rule {
  readonly epsilon: number
  readonly replays: number
  readonly stepSize?: number
  readonly norm?: 'linf' | 'l2' | 'l1'
  readonly range?: readonly [number, number]
}

/** Algorithm 1 over epochs in the order of the data: the weights after each step, δ, and the loss that was descended. */
function plainFree(
  net: Net,
  x: Matrix,
  labels: readonly number[],
  { epsilon, replays, stepSize = epsilon, norm = 'linf', range = [-Infinity, Infinity] }: Rule,
  epochs: number,
  batchSize: number,
) {
  const delta: Matrix = Array.from({ length: batchSize }, () => x[0].map(() => 0))
  const [nets, losses]: [Net[], number[]] = [[], []]
  let now = net
  for (let epoch = 0; epoch < epochs; epoch++)
    for (let first = 0; first < x.length; first += batchSize) {
      const [xs, ys] = [x.slice(first, first + batchSize), labels.slice(first, first + batchSize)]
      for (let k = 0; k < replays; k++) {
        const moved = xs.map((v, i) => v.map((c, d) => Math.min(range[1], Math.max(range[0], c + delta[i][d]))))
        losses.push(plainMean(now, moved, ys))
        const before = now
        now = plainDescent(before, moved, learningRate, (p, i) => plainSlope(p, ys[i]))
        moved.forEach((v, i) => {
          const direction = plainSteepest(plainGradient(before, v, ys[i]), norm)
          delta[i] = plainProject(
            delta[i].map((c, d) => c + stepSize * direction[d]),
            epsilon,
            norm,
          )
        })
        nets.push(now)
      }
    }
  return { nets, losses, delta }
}

const expectSame = (got: Net, want: Net): void =>
  [...got.w1.flat(), ...got.w2.flat()].forEach((v, i) =>
    expect(v).toBeCloseTo([...want.w1.flat(), ...want.w2.flat()][i], 11),
  )
const freely = (model: Classifier, options: FreeTrainingOptions, more = {}): Trainer<Classifier> =>
  new Trainer({ model, loss: meanLoss, optimizer: sgd({ learningRate }), ...more }).use(freeTraining(options))
const options = { epochs: 2, batchSize: 3, shuffle: false }

describe('freeTraining', () => {
  test.each<Rule>([
    { epsilon: 0.4, replays: 3 },
    { epsilon: 0.4, replays: 4, stepSize: 0.15, range: [-0.8, 0.9] },
    { epsilon: 0.5, replays: 2, stepSize: 0.3, norm: 'l2' },
    { epsilon: 0.5, replays: 2, stepSize: 0.3, norm: 'l1' },
  ])('follows the algorithm, step by step, a smaller last batch included: %j', async rule => {
    const { net, x, labels, data } = await problem()
    const want = plainFree(net, x, labels, rule, 2, 3)
    const model = fresh(net)
    const nets: Net[] = []
    const reports: StepReport[] = []
    const { range: [clipMin, clipMax] = [], ...given } = rule
    const { epochs } = await freely(model, { ...given, clipMin, clipMax }).fit(data, {
      ...options,
      onStep: async report => {
        reports.push(report)
        nets.push(await netOf(model))
      },
    })
    expect(nets).toHaveLength(2 * 3 * rule.replays)
    nets.forEach((got, i) => expectSame(got, want.nets[i]))
    // It moved, and not only by what the loss does by itself.
    expect(plainNorm(want.delta[0], rule.norm ?? 'linf')).toBeGreaterThan(0.1)
    // An epoch is that many steps with each batch, and its loss the mean over all of them.
    expect(reports.map(r => r.step).slice(0, 3 * rule.replays)).toEqual(
      nets.slice(nets.length / 2).map((_, i) => i + 1),
    )
    expect(reports[0].stepsPerEpoch).toBe(3 * rule.replays)
    const first = want.losses.slice(0, 3 * rule.replays)
    const weighted = first.reduce((s, v, i) => s + v * (i < 2 * rule.replays ? 3 : 2), 0)
    expect(epochs[0].train.loss).toBeCloseTo(weighted / (8 * rule.replays), 5)
  })

  test('resumes from a checkpoint within the replays of a batch, number for number', async () => {
    const { net, data } = await problem()
    const rule = { epsilon: 0.4, replays: 3 }
    const [whole, cut, resumed] = [fresh(net), fresh(net), fresh(net)]
    await freely(whole, rule).fit(data, options)
    const path = join(folder, 'free.safetensors')
    const stop = new AbortController()
    const first = freely(cut, rule)
    const stopped = await first.fit(data, {
      ...options,
      checkpoint: path,
      signal: stop.signal,
      onStep: () => (first.step === 14 ? stop.abort() : undefined),
    })
    expect([stopped.interrupted, first.step]).toEqual([true, 14])
    const second = freely(resumed, rule)
    await second.load(path)
    await second.fit(data, options)
    expect(await netOf(resumed)).toEqual(await netOf(whole))
    // The perturbation is part of that: without it, the rest goes otherwise.
    const other = freely(fresh(net), { ...rule, replays: 1 })
    await other.load(path)
    await expect(other.fit(data, options)).rejects.toThrow('the interrupted epoch began with')
  })

  test('one forward and one backward pass a step: a single product more, for the features', async () => {
    const { net, data } = await problem()
    const parts = { microBatches: 2 }
    const products = async (trainer: Trainer<Classifier>): Promise<number> => {
      const { profile: found } = await profile(() => trainer.fit(data, { epochs: 1, batchSize: 8 }))
      return found.kernels.filter(k => k.name.includes('matmul')).length
    }
    const plain = new Trainer({ model: fresh(net), loss: meanLoss, optimizer: sgd({ learningRate }) })
    expect(await products(plain)).toBe(5)
    expect(await products(freely(fresh(net), { epsilon: 0.4, replays: 1 }))).toBe(6)
    expect(await products(freely(fresh(net), { epsilon: 0.4, replays: 4 }))).toBe(24)
    expect(await products(freely(fresh(net), { epsilon: 0.4, replays: 1 }, parts))).toBe(12)
  })

  test('a part of a batch has its own rows, whatever the size of the batch', async () => {
    const { net, x, labels, data } = await problem()
    const rule = { epsilon: 0.4, replays: 3 }
    // Batches of 5 and 3 in parts of 1 or 2.
    const want = plainFree(net, x, labels, rule, 2, 5)
    const model = fresh(net)
    await freely(model, rule, { microBatches: 3 }).fit(data, { ...options, batchSize: 5 })
    expectSame(await netOf(model), want.nets[want.nets.length - 1])
  })

  test('evaluation sees the clean loss, and changes nothing', async () => {
    const { net, x, labels, data } = await problem()
    const rule = { epsilon: 0.4, replays: 3 }
    const [model, other] = [fresh(net), fresh(net)]
    const trainer = freely(model, rule)
    const { epochs } = await trainer.fit(data, { ...options, validation: data })
    const { loss } = await trainer.evaluate(data, { batchSize: 4 })
    expect(loss).toBeCloseTo(plainMean(await netOf(model), x, labels), 5)
    expect(epochs[1].validation?.loss).toBeCloseTo(loss, 6)
    await freely(other, rule).fit(data, options)
    expect(await netOf(model)).toEqual(await netOf(other))
  })

  test('goes on in a second fit; another batch size starts the perturbation again', async () => {
    const { net, x, labels, data } = await problem()
    const rule = { epsilon: 0.4, replays: 2 }
    const model = fresh(net)
    const trainer = freely(model, rule)
    await trainer.fit(data, { ...options, epochs: 1 })
    await trainer.fit(data, options)
    const want = plainFree(net, x, labels, rule, 2, 3)
    const last = want.nets[want.nets.length - 1]
    expectSame(await netOf(model), last)
    await trainer.fit(data, { ...options, epochs: 3, batchSize: 4 })
    const again = plainFree(last, x, labels, rule, 1, 4)
    expectSame(await netOf(model), again.nets[again.nets.length - 1])
  })

  test('inside another method it replays, and moves once a step', async () => {
    const { net, data } = await problem()
    const keeps: Context[] = []
    const watched: Loss<Classifier> = (m, b, ctx) => {
      if (ctx.keep) keeps.push(ctx)
      return meanLoss(m, b, ctx)
    }
    const trainer = new Trainer({ model: fresh(net), loss: watched, optimizer: sgd({ learningRate }) })
    trainer.use(freeTraining({ epsilon: 0.4, replays: 3 })).use(sam({ rho: 0.1 }))
    await trainer.fit(data, { epochs: 1, batchSize: 8 })
    expect(trainer.step).toBe(3)
    expect(keeps).toHaveLength(1)
  })

  test('statistics of batch normalisation move once a step; float16 trains', async () => {
    const { data } = await problem()
    const single = dataset({
      x: { dtype: 'float32', shape: [8, 4], data: Float32Array.from(data.columns.x.data as Float64Array) },
      label: data.columns.label,
    })
    const make = () => ({ norm: new BatchNorm(4, { momentum: 0.5 }), out: new Linear(4, 3, { key: random.key(1) }) })
    const loss: Loss<ReturnType<typeof make>> = (m, { x, label }, ctx) =>
      crossEntropy(m.out.apply(m.norm.apply(x, ctx)), label)
    const first = make()
    const optimizer = sgd({ learningRate: 0 })
    const train = (model: ReturnType<typeof make>, epsilon: number) =>
      new Trainer({ model, loss, optimizer })
        .use(freeTraining({ epsilon, replays: 2 }))
        .fit(single, { epochs: 1, batchSize: 8 })
    await train(first, 0)
    // Two steps with the same mean μ from 0, momentum ½: ¾ μ.
    const [mean] = await rows(first.norm.state.mean.reshape([1, 4]))
    const { x } = await problem()
    mean.forEach((v, d) => expect(v).toBeCloseTo((0.75 * x.reduce((s, r) => s + r[d], 0)) / 8, 5))
    const half = new Trainer({ model: make(), loss, optimizer: sgd({ learningRate }), precision: 'float16' })
    half.use(freeTraining({ epsilon: 0.1, replays: 2 }))
    const { epochs } = await half.fit(single, { epochs: 10, batchSize: 4 })
    expect(epochs[9].train.loss).toBeLessThan(epochs[0].train.loss)
  })

  test('is checked', async () => {
    const { net, data } = await problem()
    expect(() => freeTraining({ epsilon: 0.1, replays: 0 })).toThrow(
      'freeTraining: replays must be an integer >= 1, not 0',
    )
    expect(() => freeTraining({ replays: 3 } as never)).toThrow('freeTraining: needs epsilon, a finite number >= 0')
    expect(() => freeTraining({ epsilon: 0.1, norm: 'l7' as never })).toThrow("freeTraining: unknown norm 'l7'")
    await expect(freely(fresh(net), { epsilon: 0.1, features: ['y'] }).fit(data, options)).rejects.toThrow(
      "freeTraining: features names 'y'",
    )
  })
})

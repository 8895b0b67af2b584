/** Steps in parts: the gradient of the whole batch, in less memory, with attacks and dropout that see a part. */

import * as sp from 'saddlepoint'
import { fgsm } from 'saddlepoint/adversarial'
import { dataset } from 'saddlepoint/data'
import {
  type Batch,
  BatchNorm,
  type Context,
  crossEntropy,
  Dropout,
  Linear,
  type Loss,
  Sequential,
} from 'saddlepoint/nn'
import { adam, sgd } from 'saddlepoint/optim'
import { Trainer } from 'saddlepoint/train'
import { beforeAll, expect, test } from 'vitest'
import { canonicalize } from '../../src/compiler/canonical.js'
import { planMemory } from '../../src/compiler/plan-memory.js'
import { schedule } from '../../src/compiler/schedule.js'
import { compileObjective } from '../../src/train/step.js'

beforeAll(async () => {
  await sp.setDevice('reference')
})

const n = 10
const keys = sp.random.split(sp.random.key(3), 4)
const make = (): Sequential =>
  new Sequential([
    new Linear(4, 8, { key: keys.at(0), dtype: 'float64' }),
    x => x.tanh(),
    new Linear(8, 3, { key: keys.at(1), dtype: 'float64' }),
  ])
const loss: Loss<Sequential> = (m, { x, label }, ctx) => crossEntropy(m.apply(x, ctx), label)
const data = async () =>
  dataset({
    x: {
      dtype: 'float64',
      shape: [n, 4],
      data: Float64Array.from(await sp.random.normal(keys.at(2), [n, 4], 'float64').data()),
    },
    label: { dtype: 'int32', shape: [n], data: Int32Array.from({ length: n }, (_, i) => i % 3) },
  })
const weights = async (m: unknown): Promise<number[]> =>
  (await Promise.all(sp.leaves(m).map(async l => [...(await l.data())]))).flat()

test.each([2, 3, 10, 40])('%i parts train as the whole does', async microBatches => {
  const [whole, parts] = [make(), make()]
  const options = {
    loss,
    optimizer: adam({ learningRate: 0.01 }),
    clipNorm: 0.5,
    metrics: { twice: (m: Sequential, b: Batch, c: Context) => loss(m, b, c).mul(2) },
  }
  // 7 and 3 examples a step: parts of unequal size.
  const a = await new Trainer({ model: whole, ...options }).fit(await data(), { epochs: 3, batchSize: 7 })
  const b = await new Trainer({ model: parts, ...options, microBatches }).fit(await data(), { epochs: 3, batchSize: 7 })
  const [want, got] = [await weights(whole), await weights(parts)]
  got.forEach((v, i) => expect(v).toBeCloseTo(want[i], 10))
  for (const name of ['loss', 'twice']) expect(b.epochs[2].train[name]).toBeCloseTo(a.epochs[2].train[name], 5)
})

test('an attack sees its part, and the sum is of the parts’ losses under attack', async () => {
  const seen: number[] = []
  const attacked: Loss<Sequential> = (m, batch, ctx) => {
    seen.push(batch.x.shape[0])
    return loss(m, fgsm(loss, m, batch, { epsilon: 0.1 }).adversarial, ctx)
  }
  const [whole, parts] = [make(), make()]
  for (const [model, microBatches] of [
    [whole, 1],
    [parts, 3],
  ] as const) {
    const trainer = new Trainer({ model, loss: attacked, optimizer: sgd({ learningRate: 0.1 }), microBatches })
    await trainer.fit(await data(), { epochs: 1, batchSize: n })
  }
  // The whole once more for each Trainer, which looks for memories.
  expect(seen).toEqual([10, 10, 10, 3, 4, 3])
  const [want, got] = [await weights(whole), await weights(parts)]
  got.forEach((v, i) => expect(v).toBeCloseTo(want[i], 10))
})

test('parts drop different units, and statistics move once', async () => {
  const dropout = new Dropout(0.5)
  const masks: sp.Tensor[] = []
  const model = { norm: new BatchNorm(4), out: new Linear(4, 3, { key: keys.at(0) }) }
  const noisy: Loss<typeof model> = (m, { x, label }, ctx) => {
    masks.push(dropout.apply(sp.ones([4, 8]), ctx))
    return crossEntropy(m.out.apply(m.norm.apply(x.astype('float32'), ctx)), label)
  }
  const { init, step } = compileObjective({ loss: noisy, optimizer: sgd({ learningRate: 0 }), microBatches: 2 })
  const state = init(model)
  await sp.realize(state)
  const columns = (await data()).rows([0, 1, 2, 3, 4, 5, 6, 7])
  const x = columns.x.data.slice()
  const batch = { x: sp.tensor(columns.x), label: sp.tensor(columns.label) }
  const next = await step(state, sp.random.key(1), batch)
  expect(masks).toHaveLength(2)
  expect(masks[0].node).not.toBe(masks[1].node)
  // From the statistics of the last part alone, once.
  const last = x.slice(16)
  const momentum = 0.9
  const mean = [0, 1, 2, 3].map(d => [0, 1, 2, 3].reduce((s, i) => s + last[4 * i + d] / 4, 0))
  const running = sp.namedLeaves(next.model).find(l => l.name.includes('state') && l.name.endsWith('mean'))
  const got = Array.from((await running?.tensor.data()) ?? [])
  got.forEach((v, d) => expect(v).toBeCloseTo((1 - momentum) * mean[d], 5))
  expect(got).toHaveLength(4)
})

test('take less memory', () => {
  const deep = new Sequential(
    Array.from({ length: 12 }, (_, i) => [
      new Linear(64, 64, { key: sp.random.foldIn(keys.at(3), i) }),
      (x: sp.Tensor) => x.tanh(),
    ]).flat(),
  )
  const square: Loss<Sequential> = (m, { x }) => m.apply(x).square().mean()
  const arena = (microBatches: number): number => {
    let found = 0
    const parts =
      microBatches === 1 ? [[0, 4096]] : Array.from({ length: microBatches }, (_, k) => [k * 1024, (k + 1) * 1024])
    const x = sp.tensor(new Float32Array(4096 * 64), { shape: [4096, 64] })
    const grads = parts
      .map(([a, b]) => sp.grad((m: Sequential) => square(m, { x: x.at([a, b]) }, { training: true }))(deep))
      .reduce((a, b) => sp.zipTrees((p: sp.Tensor, q: sp.Tensor) => p.add(q), a, b))
    found = planMemory(schedule(canonicalize(sp.leaves(grads).map(t => t.node))), [], 64, 0).arenaBytes
    return found
  }
  expect(arena(4)).toBeLessThan(0.5 * arena(1))
})

test('is checked', () => {
  expect(() => new Trainer({ model: make(), loss, optimizer: adam(), microBatches: 0 })).toThrow(
    'Trainer: microBatches must be an integer >= 1, not 0',
  )
})

/**
 * What methods cost: the matrix products of a training step on a deep network, for one of plain training. A plain step has three
 * for each layer, a forward and two backward; what an attack differentiates has one backward.
 */

import { inspect, matmul, random, realize, setDevice, type Tensor, tanh, valueAndGrad } from 'saddlepoint'
import {
  adversarialRegularization,
  adversarialTraining,
  awp,
  curvaturePenalty,
  fastTraining,
  fgm,
  freeLB,
  gradientAlignment,
  gradientPenalty,
  inputGradientPenalty,
  jacobianPenalty,
  type Logits,
  localLinearity,
  mart,
  pgd,
  rDrop,
  sam,
  smart,
  trades,
  vat,
  wganGradientPenalty,
} from 'saddlepoint/adversarial'
import { type Batch, crossEntropy, type Loss } from 'saddlepoint/nn'
import { beforeAll, expect, test } from 'vitest'

beforeAll(async () => {
  await setDevice('reference')
})

const depth = 20
const key = random.key(0)
const model = Array.from({ length: depth }, (_, i) => random.normal(random.foldIn(key, i), [4, 4]))
type Net = typeof model
const through = (m: Net, x: Tensor): Tensor => m.reduce((h, w) => tanh(matmul(h, w)), x)
const logits: Logits<Net> = (m, b) => through(m, b.x)
const losses: Loss<Net> = (m, b, ctx) => crossEntropy(logits(m, b, ctx), b.label, { reduction: 'none' })
const loss: Loss<Net> = (m, b, ctx) => losses(m, b, ctx).mean()
const draw = (i: number): Tensor => random.normal(random.foldIn(key, i), [3, 4])
const batch = { x: draw(100), label: random.randint(key, [3], 0, 4) }

async function products(method: (l: Loss<Net>) => Loss<Net>, of: Batch = batch, base = loss): Promise<number> {
  await realize(model, of)
  const found = valueAndGrad((m: Net) => method(base)(m, of, { training: true, key }))(model)
  const { schedule } = await inspect(found)
  return schedule.split('\n').filter(line => line.includes('matmul')).length / depth
}

const ball = { epsilon: 0.1, logits }
/** Products of a layer in a step. */
const cases: readonly (readonly [string, (loss: Loss<Net>) => Loss<Net>, number])[] = [
  ['plain', l => l, 3],
  ['fgm', fgm({ on: '0' }), 6],
  ['fgm, replace', fgm({ on: '0', mode: 'replace' }), 5],
  ['pgd, K = 3', pgd({ on: '0' }), 10],
  ['freeLB, K = 3', freeLB({ on: '0', scope: 'matrix' }), 9],
  ['gradientPenalty', gradientPenalty({ on: '0' }), 7],
  ['adversarialRegularization', adversarialRegularization(), 6],
  ['adversarialRegularization, 3 iterations', adversarialRegularization({ iterations: 3 }), 10],
  ['adversarialTraining, K = 7', adversarialTraining({ epsilon: 0.1 }), 17],
  ['fastTraining', fastTraining({ epsilon: 0.1 }), 5],
  ['trades, K = 10', trades(ball), 26],
  ['mart, K = 10', mart(ball), 26],
  ['vat', vat(ball), 9],
  ['vat, 2 iterations', vat({ ...ball, iterations: 2 }), 11],
  ['smart', smart(ball), 8],
  ['sam', sam(), 6],
  ['awp', awp(), 6],
  ['inputGradientPenalty', inputGradientPenalty(), 7],
  ['jacobianPenalty', jacobianPenalty({ logits }), 8],
  ['jacobianPenalty, 2 projections', jacobianPenalty({ logits, projections: 2 }), 11],
  ['curvaturePenalty', curvaturePenalty(), 13],
  ['localLinearity, K = 10', localLinearity({ epsilon: 0.1, losses }), 31],
  ['gradientAlignment', gradientAlignment({ epsilon: 0.1 }), 13],
]

test.each(cases)('%s', async (_, method, want) => {
  // Where the network begins and ends a product is missing.
  expect(Math.round(await products(method))).toBe(want)
})

test('wganGradientPenalty', async () => {
  const critic = (m: Net, x: Tensor): Tensor => through(m, x).sum({ axis: 1 })
  expect(
    Math.round(await products(wganGradientPenalty({ critic }), { ...batch, real: draw(101), fake: draw(102) })),
  ).toBe(9)
})

test('rDrop', async () => {
  const masked: Logits<Net> = (m, b, ctx) => through(m, b.x.mul(random.uniform(ctx.key as Tensor, b.x.shape)))
  const base: Loss<Net> = (m, b, ctx) => crossEntropy(masked(m, b, ctx), b.label)
  expect(Math.round(await products(rDrop({ logits: masked }), batch, base))).toBe(6)
})

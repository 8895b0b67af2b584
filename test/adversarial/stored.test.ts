/** What attacks say of examples holds for them as data sets store them, on the device too that computes float32 more exactly than that. */

import { matmul, random, setDevice, type Tensor, tanh, tensor } from 'saddlepoint'
import {
  accuracyOn,
  apgd,
  autoAttack,
  carliniWagner,
  deepFool,
  fab,
  type Logits,
  square,
} from 'saddlepoint/adversarial'
import { type Dataset, dataset } from 'saddlepoint/data'
import type { Batch } from 'saddlepoint/nn'
import { beforeAll, describe, expect, test } from 'vitest'
import { rows } from './common.js'

beforeAll(async () => {
  await setDevice('reference')
})

const [n, d, hidden, classes] = [200, 6, 16, 3]
const key = random.key(5)

/** A network in float32, and examples that it classifies right. */
async function make() {
  const part = (i: number): Tensor => random.foldIn(random.key(4), i)
  const drawn = async (i: number, shape: number[]): Promise<Tensor> =>
    tensor(Float32Array.from(await random.normal(part(i), shape).data()), { shape })
  const model = { w1: await drawn(0, [d, hidden]), w2: await drawn(1, [hidden, classes]) }
  const values = Float32Array.from(await random.normal(part(2), [n, d]).data())
  const [w1, w2] = [await rows(model.w1), await rows(model.w2)]
  /** In float64, of a point that is held in float32. */
  const plain = (x: readonly number[]): number => {
    const h = w1[0].map((_, j) => Math.tanh(x.reduce((s, v, i) => s + v * w1[i][j], 0)))
    const z = w2[0].map((_, c) => h.reduce((s, v, j) => s + v * w2[j][c], 0))
    return z.indexOf(Math.max(...z))
  }
  const labels = Int32Array.from({ length: n }, (_, i) => plain([...values.subarray(i * d, (i + 1) * d)]))
  const data = dataset({
    x: { dtype: 'float32', shape: [n, d], data: values },
    label: { dtype: 'int32', shape: [n], data: labels },
  })
  return { model, data, labels, plain }
}
const logits: Logits<{ w1: Tensor; w2: Tensor }> = (m, { x }) => matmul(tanh(matmul(x, m.w1)), m.w2)
const batchOf = ({ columns: { x, label } }: Dataset): Batch => {
  return { x: tensor(x.data, { shape: x.shape }), label: tensor(label.data, { shape: label.shape }) }
}

describe('broken on the device is broken on file', () => {
  const ball = { epsilon: 0.3, key, steps: 30 }
  const range = { clipMin: -4, clipMax: 4 }
  test.each([
    ['fab, linf', (m, b) => fab(logits, m, b, { steps: 10 })],
    ['fab, l2', (m, b) => fab(logits, m, b, { steps: 10, norm: 'l2' })],
    ['deepFool', (m, b) => deepFool(logits, m, b, { overshoot: 0 })],
    ['carliniWagner', (m, b) => carliniWagner(logits, m, b, { searches: 3, steps: 60, learningRate: 0.1, ...range })],
    ['apgd, linf', (m, b) => apgd(logits, m, b, ball)],
    ['apgd, l2', (m, b) => apgd(logits, m, b, { ...ball, norm: 'l2' })],
    ['square, linf', (m, b) => square(logits, m, b, ball)],
    ['square, l2', (m, b) => square(logits, m, b, { ...ball, norm: 'l2' })],
  ] as [string, (m: { w1: Tensor; w2: Tensor }, b: Batch) => Promise<{ adversarial: Batch; broken: Tensor }>][])(
    '%s',
    async (_, attack) => {
      const { model, data, labels, plain } = await make()
      const { adversarial, broken } = await attack(model, batchOf(data))
      const held = await adversarial.x.data()
      expect(held).toBeInstanceOf(Float32Array)
      const isBroken = Array.from(await broken.data(), Boolean)
      const wrong = isBroken.map((_, i) => plain([...held.subarray(i * d, (i + 1) * d)] as number[]) !== labels[i])
      expect(isBroken.filter((is, i) => is && !wrong[i])).toEqual([])
      expect(isBroken.filter(Boolean).length).toBeGreaterThan(20)
    },
  )

  test.each(['linf', 'l2'] as const)('autoAttack, %s: as accurate as the data that it returns', async norm => {
    const { model, data } = await make()
    const options = { norm, epsilon: 0.6, key, steps: 10, attacks: ['fab-t'] } as const
    const { robust, data: attacked } = await autoAttack(logits, model, data, options)
    const standing = robust.filter(Boolean).length
    expect(standing).toBeLessThan(n / 2)
    expect(await accuracyOn(logits, model, attacked)).toBe(standing / n)
  })
})

/**
 * Penalties on derivatives against plain float64 arrays: values from gradients written out by hand, and their own gradients
 * in the weights by central differences of those values.
 */

import { grad, matmul, mean, mul, random, setDevice, sum, type Tensor, tanh, tensor, valueAndGrad } from 'saddlepoint'
import {
  curvaturePenalty,
  gradientAlignment,
  inputGradientPenalty,
  jacobianPenalty,
  type Logits,
  localLinearity,
  wganGradientPenalty,
} from 'saddlepoint/adversarial'
import type { Batch, Loss } from 'saddlepoint/nn'
import { beforeAll, describe, expect, test } from 'vitest'
import { type Classifier, example, exampleLosses, f64, meanLoss, rows } from './common.js'
import { type Matrix, type Net, plainGradient, plainLoss, plainMean } from './plain.js'

beforeAll(async () => {
  await setDevice('reference')
})

const training = { training: true, key: random.key(3) }
const logits: Logits<Classifier> = (model, batch) => matmul(tanh(matmul(batch.x, model.w1)), model.w2)
const dot = (a: readonly number[], b: readonly number[]): number => a.reduce((s, v, i) => s + v * b[i], 0)
const average = (values: readonly number[]): number => values.reduce((s, v) => s + v, 0) / values.length

/** Expects the value of a loss and its gradient in w1 to be those of a plain function of the weights. */
async function expectSame(loss: Loss<Classifier>, plain: (net: Net) => number, seed = 4, digits = 8): Promise<void> {
  const { model, net, batch } = await example(seed)
  const [value, slope] = valueAndGrad((m: Classifier) => loss(m, batch, training))(model)
  expect(await value.item()).toBeCloseTo(plain(net), digits)
  const got = await rows(slope.w1)
  for (const [i, j] of [
    [0, 0],
    [3, 5],
    [1, 2],
  ]) {
    const at = (h: number): number =>
      plain({ ...net, w1: net.w1.map((row, a) => row.map((v, b) => (a === i && b === j ? v + h : v))) })
    expect(got[i][j]).toBeCloseTo((at(1e-5) - at(-1e-5)) / 2e-5, digits - 1)
  }
}

/** ∂z/∂x [classes][features] of one example. */
function plainJacobian({ w1, w2 }: Net, x: readonly number[]): Matrix {
  const h = w1[0].map((_, j) =>
    Math.tanh(
      dot(
        x,
        w1.map(row => row[j]),
      ),
    ),
  )
  return w2[0].map((_, c) => x.map((_, i) => h.reduce((s, v, j) => s + w1[i][j] * (1 - v * v) * w2[j][c], 0)))
}

/** H·v of one example's loss, by central differences of the gradient. */
const plainProduct = (net: Net, x: readonly number[], label: number, v: readonly number[]): number[] => {
  const [a, b] = [1e-5, -1e-5].map(h =>
    plainGradient(
      net,
      x.map((c, i) => c + h * v[i]),
      label,
    ),
  )
  return a.map((c, i) => (c - b[i]) / 2e-5)
}

describe('inputGradientPenalty', () => {
  test.each([1, 2] as const)('L + weight · mean ‖g_i‖^%i', async power => {
    const { x, labels } = await example(4)
    await expectSame(
      inputGradientPenalty({ weight: 0.7, power })(meanLoss),
      net =>
        plainMean(net, x, labels) +
        0.7 * average(x.map((v, i) => Math.hypot(...plainGradient(net, v, labels[i])) ** power)),
    )
  })

  test('of losses by example the same, and with a mask only what it leaves', async () => {
    const { model, net, batch, x, labels } = await example(4)
    const masked = inputGradientPenalty({ featureMask: f64([1, 0, 1, 0]) })(meanLoss)
    const want = average(
      x.map((v, i) => plainGradient(net, v, labels[i]).reduce((s, g, d) => s + (d % 2 ? 0 : g * g), 0)),
    )
    expect(await masked(model, batch, training).item()).toBeCloseTo(plainMean(net, x, labels) + want, 10)
    const byExample = inputGradientPenalty()((m: Classifier, b: Batch) => mean(exampleLosses(m, b, training)))
    expect(await byExample(model, batch, training).item()).toBeCloseTo(
      await inputGradientPenalty()(meanLoss)(model, batch, training).item(),
      12,
    )
  })

  test('of a constant: 0, and its gradient too, for either power', async () => {
    const { model, batch } = await example(4)
    const flat: Loss<Classifier> = (m, b, ctx) => mul(meanLoss(m, b, ctx), 0)
    for (const power of [1, 2] as const) {
      const [value, slope] = valueAndGrad((m: Classifier) => inputGradientPenalty({ power })(flat)(m, batch, training))(
        model,
      )
      expect(await value.item()).toBe(0)
      expect((await rows(slope.w1)).flat().every(v => v === 0)).toBe(true)
    }
  })
})

describe('jacobianPenalty', () => {
  test('exact: L + ½ weight · mean ‖J_i‖_F²', async () => {
    const { x, labels } = await example(4)
    await expectSame(
      jacobianPenalty({ logits, weight: 0.3, projections: 'exact' })(meanLoss),
      net =>
        plainMean(net, x, labels) +
        0.15 *
          average(
            x.map(v =>
              plainJacobian(net, v)
                .flat()
                .reduce((s, j) => s + j * j, 0),
            ),
          ),
    )
  })

  test('random projections have that mean', async () => {
    const { model, net, batch, x, labels } = await example(4)
    const penalty = jacobianPenalty({ logits, weight: 2, projections: 1000 })(meanLoss)
    const want = average(
      x.map(v =>
        plainJacobian(net, v)
          .flat()
          .reduce((s, j) => s + j * j, 0),
      ),
    )
    const got = (await penalty(model, batch, training).item()) - plainMean(net, x, labels)
    expect(got / want).toBeGreaterThan(0.95)
    expect(got / want).toBeLessThan(1.05)
    expect(() => jacobianPenalty({ logits })(meanLoss)(model, batch, { training: true })).toThrow(
      'the context has no key',
    )
    expect(() => jacobianPenalty({ logits: meanLoss })(meanLoss)(model, batch, training)).toThrow(
      'jacobianPenalty: logits must be [5, classes]',
    )
  })
})

describe('curvaturePenalty', () => {
  test('L + weight · mean ‖H_i z_i‖², z the unit sign of the gradient', async () => {
    const { x, labels } = await example(4)
    await expectSame(
      curvaturePenalty({ weight: 0.5 })(meanLoss),
      net => {
        const bent = x.map((v, i) => {
          const g = plainGradient(net, v, labels[i])
          return plainProduct(
            net,
            v,
            labels[i],
            g.map(c => Math.sign(c) / Math.sqrt(g.length)),
          ).reduce((s, c) => s + c * c, 0)
        })
        return plainMean(net, x, labels) + 0.5 * average(bent)
      },
      4,
      6,
    )
  })
})

describe('localLinearity', () => {
  test('the gap and the slope at the point it reaches', async () => {
    const { model, net, batch, x, labels } = await example(4)
    // Where it looks is seen by the losses that it is given: the last batch is the point it ends at.
    const seen: Tensor[] = []
    const losses: Loss<Classifier> = (m, b, ctx) => {
      seen.push(b.x)
      return exampleLosses(m, b, ctx)
    }
    const options = { losses, epsilon: 0.4, steps: 5, violation: 4, slope: 3 }
    const value = localLinearity(options)(meanLoss)(model, batch, training)
    const point = await rows(seen[seen.length - 1])
    const gaps = x.map((v, i) => {
      const d = point[i].map((c, k) => c - v[k])
      for (const c of d) expect(Math.abs(c)).toBeLessThanOrEqual(0.4 + 1e-12)
      const change = dot(d, plainGradient(net, v, labels[i]))
      return (
        4 * Math.abs(plainLoss(net, point[i], labels[i]) - plainLoss(net, v, labels[i]) - change) + 3 * Math.abs(change)
      )
    })
    expect(await value.item()).toBeCloseTo(plainMean(net, x, labels) + average(gaps), 10)
  })

  test('climbs the gap by signed steps within the ball', async () => {
    const { model, net, batch, x, labels } = await example(4)
    const seen: Tensor[] = []
    const losses: Loss<Classifier> = (m, b, ctx) => {
      seen.push(b.x)
      return exampleLosses(m, b, ctx)
    }
    await localLinearity({ losses, epsilon: 0.4, steps: 3, stepSize: 0.1 })(meanLoss)(model, batch, training).item()
    const points = (await Promise.all(seen.map(rows))).slice(-4)
    const gap = (v: number[], p: number[], i: number): number =>
      Math.abs(
        plainLoss(net, p, labels[i]) -
          plainLoss(net, v, labels[i]) -
          dot(
            p.map((c, k) => c - v[k]),
            plainGradient(net, v, labels[i]),
          ),
      )
    for (let k = 0; k < 3; k++)
      x.forEach((v, i) =>
        points[k][i].forEach((c, d) => {
          const at = (h: number): number =>
            gap(
              v,
              points[k][i].map((e, j) => (j === d ? e + h : e)),
              i,
            )
          const want = Math.min(v[d] + 0.4, Math.max(v[d] - 0.4, c + 0.1 * Math.sign(at(1e-6) - at(-1e-6))))
          expect(points[k + 1][i][d]).toBeCloseTo(want, 10)
        }),
      )
  })
})

describe('gradientAlignment', () => {
  test('1 - the mean cosine of the gradients here and there', async () => {
    const { model, net, batch, x, labels } = await example(4)
    const seen: Tensor[] = []
    const loss: Loss<Classifier> = (m, b, ctx) => {
      seen.push(b.x)
      return meanLoss(m, b, ctx)
    }
    const value = gradientAlignment({ epsilon: 0.5, weight: 2 })(loss)(model, batch, training)
    const points = await Promise.all(seen.map(rows))
    const there = points.find(p => String(p) !== String(x)) ?? []
    const cosines = x.map((v, i) => {
      const [a, b] = [plainGradient(net, v, labels[i]), plainGradient(net, there[i], labels[i])]
      return dot(a, b) / Math.hypot(...a) / Math.hypot(...b)
    })
    expect(Math.max(...there.flat().map((c, k) => Math.abs(c - x.flat()[k])))).toBeLessThanOrEqual(0.5)
    expect(await value.item()).toBeCloseTo(plainMean(net, x, labels) + 2 * (1 - average(cosines)), 10)
  })

  test('a gradient of 0 has cosine 0 and passes nothing back', async () => {
    const { model, batch } = await example(4)
    const flat: Loss<Classifier> = (m, b, ctx) => mul(meanLoss(m, b, ctx), 0)
    const [value, slope] = valueAndGrad((m: Classifier) =>
      gradientAlignment({ epsilon: 0.5, weight: 2 })(flat)(m, batch, training),
    )(model)
    expect(await value.item()).toBe(2)
    expect((await rows(slope.w1)).flat().every(v => v === 0)).toBe(true)
  })
})

describe('wganGradientPenalty', () => {
  /** D(x) = |w|·x, of gradient w everywhere. */
  const critic = (w: Tensor, samples: Tensor): Tensor => matmul(samples, w)
  const batch = {
    real: f64([
      [1, 2],
      [3, 4],
    ]),
    fake: f64([
      [0, 0],
      [5, 5],
    ]),
  }
  const zero: Loss<Tensor> = w => mul(sum(w), 0)

  test('weight · (‖w‖ - 1)², with its gradient', async () => {
    const loss = wganGradientPenalty({ critic })(zero)
    expect(await loss(f64([3, 4]), batch, training).item()).toBeCloseTo(10 * 16, 10)
    const slope = await grad((w: Tensor) => loss(w, batch, training))(f64([3, 4])).data()
    // 10 · 2 (‖w‖ - 1) w / ‖w‖
    expect([...slope].map(v => Math.round(v * 1e9) / 1e9)).toEqual([48, 64])
  })
  test('at a critic that is flat the penalty is its weight and the gradient 0', async () => {
    const loss = wganGradientPenalty({ critic, weight: 5 })(zero)
    expect(await loss(f64([0, 0]), batch, training).item()).toBe(5)
    expect([...(await grad((w: Tensor) => loss(w, batch, training))(f64([0, 0])).data())]).toEqual([0, 0])
  })
  test('is taken between the pairs', async () => {
    const seen: Tensor[] = []
    const watching = (w: Tensor, samples: Tensor): Tensor => {
      seen.push(samples)
      return critic(w, samples)
    }
    await wganGradientPenalty({ critic: watching })(zero)(f64([3, 4]), batch, training).item()
    const [a, b] = await rows(seen[0])
    expect(a[1]).toBeCloseTo(2 * a[0], 12)
    expect(a[0]).toBeGreaterThan(0)
    expect(a[0]).toBeLessThan(1)
    expect(b[1] - 4).toBeCloseTo((b[0] - 3) / 2, 12)
  })
  test('columns are checked', () => {
    const loss = wganGradientPenalty({ critic, fake: 'made' })(zero)
    expect(() => loss(f64([3, 4]), batch, training)).toThrow(
      "wganGradientPenalty: the batch has no column 'made', only real, fake",
    )
    const uneven = { ...batch, fake: tensor([[1, 2, 3]]) }
    expect(() => wganGradientPenalty({ critic })(zero)(f64([3, 4]), uneven, training)).toThrow(
      'real [2,2] and fake [1,3] differ in shape',
    )
  })
})

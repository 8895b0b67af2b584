/**
 * Training methods against plain float64 arrays. Where a method looks is seen by the loss or the logits it is given: each
 * point must follow from the one before by a step computed here, and the value from the last.
 */

import {
  grad,
  matmul,
  mean,
  mul,
  random,
  realize,
  setDevice,
  sum,
  type Tensor,
  tanh,
  tensor,
  valueAndGrad,
} from 'saddlepoint'
import {
  adversarialTraining,
  awp,
  catastrophicOverfitting,
  fastTraining,
  hessianTrace,
  type Logits,
  mart,
  rDrop,
  robustAccuracy,
  sam,
  smart,
  topEigenvalue,
  trades,
  vat,
} from 'saddlepoint/adversarial'
import {
  type Batch,
  BatchNorm,
  type Context,
  crossEntropy,
  Dropout,
  Embedding,
  evaluation,
  type Loss,
  mse,
} from 'saddlepoint/nn'
import { beforeAll, describe, expect, test } from 'vitest'
import { type Classifier, example, f64, logits, meanLoss, rows } from './common.js'
import { type Matrix, type Net, plainAttack, plainLoss, plainMean, plainProbabilities } from './plain.js'

beforeAll(async () => {
  await setDevice('reference')
})

const training = { training: true, key: random.key(3) }
const average = (values: readonly number[]): number => values.reduce((s, v) => s + v, 0) / values.length
const clamp = (v: number, low: number, high: number): number => Math.min(high, Math.max(low, v))

/** KL(p ‖ q) */
const plainDivergence = (p: readonly number[], q: readonly number[]): number =>
  p.reduce((s, v, c) => s + v * Math.log(v / q[c]), 0)

/** f with the features of each call kept. */
function watched(f: Loss<Classifier>): { f: Loss<Classifier>; points(): Promise<Matrix[]>; contexts: Context[] } {
  const seen: Tensor[] = []
  const contexts: Context[] = []
  return {
    f: (model, batch, ctx) => {
      seen.push(batch.x)
      contexts.push(ctx)
      return f(model, batch, ctx)
    },
    points: () => Promise.all(seen.map(rows)),
    contexts,
  }
}

/** Expects each point to be a signed step up an objective from the one before, within the ball around x. */
function expectClimb(
  points: readonly Matrix[],
  x: Matrix,
  objective: (v: number[], i: number) => number,
  stepSize: number,
  epsilon: number,
): void {
  for (let k = 0; k + 1 < points.length; k++)
    x.forEach((v, i) =>
      v.forEach((c, d) => {
        const at = (h: number): number =>
          objective(
            points[k][i].map((e, j) => (j === d ? e + h : e)),
            i,
          )
        const want = clamp(points[k][i][d] + stepSize * Math.sign(at(1e-6) - at(-1e-6)), c - epsilon, c + epsilon)
        expect(points[k + 1][i][d]).toBeCloseTo(want, 10)
      }),
    )
}

describe('adversarialTraining', () => {
  test('the loss at the end of PGD in the place of the clean one', async () => {
    const { model, net, batch, x, labels } = await example(6)
    const method = adversarialTraining({
      epsilon: 0.3,
      steps: 4,
      stepSize: 0.1,
      randomStart: false,
      clipMin: -1,
      clipMax: 1.2,
    })
    const rule = { norm: 'linf', epsilon: 0.3, steps: 4, stepSize: 0.1, clip: [-1, 1.2] } as const
    const moved = x.map((v, i) => plainAttack(net, v, labels[i], rule))
    expect(await method(meanLoss)(model, batch, training).item()).toBeCloseTo(plainMean(net, moved, labels), 12)
  })

  test('from a random start that differs by key; the attack runs in evaluation mode, training does not', async () => {
    const { model, net, batch, x, labels } = await example(6)
    const { f, points, contexts } = watched(meanLoss)
    const value = await adversarialTraining({ epsilon: 0.3, steps: 2, stepSize: 0.2 })(f)(model, batch, training).item()
    expect(contexts.map(c => c.training)).toEqual([false, false, true])
    const seen = await points()
    expectClimb(seen, x, (v, i) => plainLoss(net, v, labels[i]), 0.2, 0.3)
    expect(value).toBeCloseTo(plainMean(net, seen[2], labels), 12)
    expect(() => adversarialTraining({ epsilon: 0.3 })(meanLoss)(model, batch, { training: true })).toThrow(
      'the context has no key',
    )
  })

  test('the gradient in the weights is that at the point', async () => {
    const { model, batch } = await example(6)
    const method = adversarialTraining({ epsilon: 0.3, steps: 2, randomStart: false })
    const { f, points } = watched(meanLoss)
    const got = await rows(grad((m: Classifier) => method(f)(m, batch, training))(model).w1)
    const all = await points()
    const there = { ...batch, x: f64(all[all.length - 1]) }
    const want = await rows(grad((m: Classifier) => meanLoss(m, there, training))(model).w1)
    got.forEach((row, i) => row.forEach((v, j) => expect(v).toBeCloseTo(want[i][j], 12)))
  })

  test('fastTraining: one step of 1.25 ε from a random start', async () => {
    const { model, net, batch, x, labels } = await example(6)
    const { f, points } = watched(meanLoss)
    await fastTraining({ epsilon: 0.4 })(f)(model, batch, training).item()
    const seen = await points()
    expect(seen).toHaveLength(2)
    expectClimb(seen, x, (v, i) => plainLoss(net, v, labels[i]), 0.5, 0.4)
  })

  test('catastrophicOverfitting: the loss under PGD less that under one step', async () => {
    const { model, net, batch, x, labels } = await example(6)
    const under = (steps: number, stepSize: number): number =>
      plainMean(
        net,
        x.map((v, i) => plainAttack(net, v, labels[i], { norm: 'linf', epsilon: 0.8, steps, stepSize })),
        labels,
      )
    const metric = catastrophicOverfitting(meanLoss, { epsilon: 0.8, steps: 6, stepSize: 0.2 })
    expect(await metric(model, batch, training).item()).toBeCloseTo(under(6, 0.2) - under(1, 0.8), 12)
  })
})

describe('robustAccuracy', () => {
  test('counts what is still right at the end of PGD', async () => {
    const { model, net, batch, x, labels } = await example(40)
    for (const epsilon of [0, 0.3, 1]) {
      const rule = { norm: 'linf', epsilon, steps: 5, stepSize: (2.5 * epsilon) / 5 } as const
      const moved = x.map((v, i) => plainAttack(net, v, labels[i], rule))
      const right = moved.filter((v, i) => {
        const p = plainProbabilities(net, v)
        return p.indexOf(Math.max(...p)) === labels[i]
      })
      const found = robustAccuracy(meanLoss, { logits, epsilon, steps: 5 })
      expect(await found(model, batch, evaluation).item()).toBeCloseTo(right.length / 40, 6)
    }
  })

  test('among the vectors of an embedding, as when those are the features', async () => {
    const table = new Embedding(20, 3, { key: random.key(1), dtype: 'float64' })
    const w = await random.normal(random.key(2), [3, 4], 'float64')
    const ids = tensor(
      [
        [1, 5],
        [7, 2],
        [3, 3],
        [11, 0],
        [19, 4],
        [8, 6],
      ],
      { dtype: 'int32' },
    )
    const label = tensor([0, 1, 2, 3, 0, 1], { dtype: 'int32' })
    const z = (x: Tensor): Tensor => matmul(tanh(mean(x, { axis: 1 })), w)
    const ofIds = (m: { table: Embedding }, batch: Batch): Tensor => z(m.table.apply(batch.ids))
    const ofVectors = (_: unknown, batch: Batch): Tensor => z(batch.x)
    const attack = { epsilon: 0.8, norm: 'l2', steps: 4 } as const
    const among = robustAccuracy((m: { table: Embedding }, b: Batch) => crossEntropy(ofIds(m, b), b.label), {
      ...attack,
      ...{ logits: ofIds, on: 'table', scope: 'example' },
    })
    const features = robustAccuracy((m: unknown, b: Batch) => crossEntropy(ofVectors(m, b), b.label), {
      ...attack,
      logits: ofVectors,
    })
    const x = table.apply(ids)
    const clean = await features(null, { x, label }, evaluation).item()
    expect(await among({ table }, { ids, label }, evaluation).item()).toBe(clean)
    const still = robustAccuracy((m: { table: Embedding }, b: Batch) => crossEntropy(ofIds(m, b), b.label), {
      ...{ logits: ofIds, on: 'table', scope: 'example', epsilon: 0 },
    })
    expect(await still({ table }, { ids, label }, evaluation).item()).not.toBe(clean)
  })
})

describe('trades', () => {
  test('L + β KL(p ‖ p′), p′ at the end of an ascent of that from a small normal start', async () => {
    const { model, net, batch, x, labels } = await example(6)
    const { f, points } = watched(logits)
    const method = trades({ logits: f, epsilon: 0.3, steps: 3, stepSize: 0.1, beta: 2, start: 0.01 })
    const [value, slope] = valueAndGrad((m: Classifier) => method(meanLoss)(m, batch, training))(model)
    const got = await value.item()
    const seen = await points()
    const p = x.map(v => plainProbabilities(net, v))
    // The clean pass of the attack, its three points, the clean pass, the last point.
    expect(seen).toHaveLength(6)
    expect(Math.max(...seen[1].flat().map((c, k) => Math.abs(c - x.flat()[k])))).toBeLessThan(0.05)
    expect(seen[1]).not.toEqual(x)
    expectClimb(
      [...seen.slice(1, 4), seen[5]],
      x,
      (v, i) => plainDivergence(p[i], plainProbabilities(net, v)),
      0.1,
      0.3,
    )
    const plain = (n: Net): number =>
      plainMean(n, x, labels) +
      2 * average(x.map((v, i) => plainDivergence(plainProbabilities(n, v), plainProbabilities(n, seen[5][i]))))
    expect(got).toBeCloseTo(plain(net), 12)
    // Both sides have their gradient.
    const w = await rows(slope.w1)
    for (const [i, j] of [
      [0, 0],
      [3, 5],
    ]) {
      const at = (h: number): number =>
        plain({ ...net, w1: net.w1.map((row, a) => row.map((c, b) => (a === i && b === j ? c + h : c))) })
      expect(w[i][j]).toBeCloseTo((at(1e-5) - at(-1e-5)) / 2e-5, 8)
    }
  })
})

test('mart: boosted cross-entropy there, divergence weighted by doubt', async () => {
  const { model, net, batch, x, labels } = await example(6)
  const seenLoss = watched(meanLoss)
  const seenLogits = watched(logits)
  const method = mart({ logits: seenLogits.f, epsilon: 0.3, steps: 2, stepSize: 0.2, weight: 5 })
  const got = await method(seenLoss.f)(model, batch, training).item()
  const climbed = await seenLoss.points()
  const [, there] = await seenLogits.points()
  expectClimb([...climbed, there], x, (v, i) => plainLoss(net, v, labels[i]), 0.2, 0.3)
  const terms = x.map((v, i) => {
    const [p, q] = [plainProbabilities(net, v), plainProbabilities(net, there[i])]
    const rival = Math.max(...q.filter((_, c) => c !== labels[i]))
    return -Math.log(q[labels[i]]) - Math.log(1 - rival) + 5 * plainDivergence(p, q) * (1 - p[labels[i]])
  })
  expect(got).toBeCloseTo(average(terms), 12)
})

test('smart: both divergences there, from a small start', async () => {
  const { model, net, batch, x, labels } = await example(6)
  const { f, points } = watched(logits)
  const got = await smart({ logits: f, epsilon: 0.2, weight: 3, start: 0.01 })(meanLoss)(model, batch, training).item()
  const seen = await points()
  const both = (v: number[], i: number): number => {
    const [p, q] = [plainProbabilities(net, x[i]), plainProbabilities(net, v)]
    return plainDivergence(p, q) + plainDivergence(q, p)
  }
  expectClimb(seen.slice(-2), x, both, 0.2, 0.2)
  const there = seen[seen.length - 1]
  expect(got).toBeCloseTo(plainMean(net, x, labels) + 3 * average(there.map(both)), 12)
})

describe('vat', () => {
  /** JᵀFJ, the Hessian of KL(p(x) ‖ p(x + r)) in r at 0: F = diag p - ppᵀ. */
  function plainFisher(net: Net, x: readonly number[]): Matrix {
    const p = plainProbabilities(net, x)
    const z = (v: readonly number[]): number[] => plainProbabilities(net, v).map(Math.log)
    const jacobian = x.map((_, d) => {
      const [a, b] = [1e-5, -1e-5].map(h => z(x.map((c, k) => (k === d ? c + h : c))))
      return a.map((c, k) => (c - b[k]) / 2e-5)
    })
    return x.map((_, a) => x.map((_, b) => p.reduce((s, v, c) => s + v * jacobian[a][c] * jacobian[b][c], 0)))
  }

  test('the divergence in the direction of largest curvature: ½ε²λ for a small ε', async () => {
    const { model, net, batch, x, labels } = await example(6)
    const epsilon = 1e-3
    const got = await vat({ logits, epsilon, iterations: 60 })(meanLoss)(model, batch, training).item()
    const curvatures = x.map(v => {
      const fisher = plainFisher(net, v)
      let d = v.map((_, i) => 1 + i)
      let top = 0
      for (let k = 0; k < 500; k++) {
        const next = fisher.map(row => row.reduce((s, c, j) => s + c * d[j], 0))
        top = Math.hypot(...next)
        d = next.map(c => c / top)
      }
      return top
    })
    const penalty = got - plainMean(net, x, labels)
    expect(penalty / (0.5 * epsilon ** 2 * average(curvatures))).toBeCloseTo(1, 2)
  })

  test('has length ε for each example and needs no label', async () => {
    const { model, batch, x } = await example(6)
    const { f, points } = watched(logits)
    const unlabelled: Loss<Classifier> = m => mul(sum(m.w1), 0)
    await vat({ logits: f, epsilon: 0.3, labelKeys: [] })(unlabelled)(model, { x: batch.x }, training).item()
    const seen = await points()
    for (const [i, v] of seen[seen.length - 1].entries())
      expect(Math.hypot(...v.map((c, d) => c - x[i][d]))).toBeCloseTo(0.3, 10)
  })
})

describe('rDrop', () => {
  test('two losses and the mean of both divergences, with two masks', async () => {
    const { model, batch, labels } = await example(6)
    const dropout = new Dropout(0.5)
    const seen: Tensor[] = []
    const dropped: Logits<Classifier> = (m, b, ctx) => {
      const z = matmul(dropout.apply(tanh(matmul(b.x, m.w1)), ctx), m.w2)
      seen.push(z)
      return z
    }
    const loss: Loss<Classifier> = (m, b, ctx) =>
      mean(mul(dropped(m, b, ctx).softmax().log(), -1).takeAlongAxis(b.label.reshape([-1, 1]), { axis: 1 }))
    const got = await rDrop({ logits: dropped, alpha: 3 })(loss)(model, batch, training).item()
    const [a, b] = (await Promise.all(seen.map(rows))).slice(0, 2)
    expect(a).not.toEqual(b)
    const soft = (z: number[]): number[] => {
      const e = z.map(Math.exp)
      const total = e.reduce((s, v) => s + v, 0)
      return e.map(v => v / total)
    }
    const terms = a.map((z, i) => {
      const [p, q] = [soft(z), soft(b[i])]
      return -Math.log(p[labels[i]]) - Math.log(q[labels[i]]) + 1.5 * (plainDivergence(p, q) + plainDivergence(q, p))
    })
    expect(got).toBeCloseTo(average(terms), 12)
  })
})

describe('perturbed weights', () => {
  /** ½ mean (x·w - y)², a quadratic of known Hessian. */
  const quadratic: Loss<{ w: Tensor; b: Tensor }> = (m, { x, y }) => mul(mse(matmul(x, m.w).add(m.b), y), 0.5)
  const model = { w: f64([1, -2]), b: f64([0.5]) }
  const x = [
    [1, 2],
    [0, 1],
    [3, -1],
  ]
  const y = [1, 0, 2]
  const batch = { x: f64(x), y: f64(y) }
  const value = ([a, b, c]: number[]): number => average(x.map((v, i) => (v[0] * a + v[1] * b + c - y[i]) ** 2)) / 2
  const slope = ([a, b, c]: number[]): number[] =>
    [0, 1, 2].map(k => average(x.map((v, i) => (v[0] * a + v[1] * b + c - y[i]) * [v[0], v[1], 1][k])))
  const at = [1, -2, 0.5]

  test('sam: the loss at ρ along the gradient of all parameters together', async () => {
    const g = slope(at)
    const moved = at.map((v, i) => v + (0.3 * g[i]) / Math.hypot(...g))
    const [found, slopes] = valueAndGrad((m: typeof model) => sam({ rho: 0.3 })(quadratic)(m, batch, training))(model)
    expect(await found.item()).toBeCloseTo(value(moved), 12)
    const got = [...(await slopes.w.data()), await slopes.b.item()]
    slope(moved).forEach((v, i) => expect(got[i]).toBeCloseTo(v, 12))
  })

  test('awp: each weight matrix by γ times its length', async () => {
    const { model, net, batch, x, labels } = await example(6)
    const method = awp({ gamma: 0.1 })(meanLoss)
    const g = grad((m: Classifier) => meanLoss(m, batch, training))(model)
    const moved = async (w: Tensor, slope: Tensor): Promise<Matrix> => {
      const [a, b] = [await rows(w), await rows(slope)]
      const scale = (0.1 * Math.hypot(...a.flat())) / Math.hypot(...b.flat())
      return a.map((row, i) => row.map((v, j) => v + scale * b[i][j]))
    }
    const there = { w1: await moved(model.w1, g.w1), w2: await moved(model.w2, g.w2) }
    expect(await method(model, batch, training).item()).toBeCloseTo(plainMean(there, x, labels), 12)
    const onlyFirst = awp({ gamma: 0.1, on: 'w1' })(meanLoss)
    expect(await onlyFirst(model, batch, training).item()).toBeCloseTo(
      plainMean({ ...net, w1: there.w1 }, x, labels),
      12,
    )
    expect(() => awp({ on: 'w3' })(meanLoss)(model, batch, training)).toThrow(
      "awp: 'w3' matches no parameter of the model; its parameters are w1, w2",
    )
  })

  test('at a minimum nothing moves and nothing is NaN', async () => {
    const flat: Loss<typeof model> = (m, b, ctx) => mul(quadratic(m, b, ctx), 0)
    for (const method of [sam(), awp({ on: /./ })]) {
      const [found, slopes] = valueAndGrad((m: typeof model) => method(flat)(m, batch, training))(model)
      expect(await found.item()).toBe(0)
      expect([...(await slopes.w.data())]).toEqual([0, 0])
    }
  })

  test('the statistics of batch normalisation move once, with the clean pass', async () => {
    const norm = new BatchNorm(2)
    const net = { norm, w: f64([1, 2]).astype('float32') }
    const loss: Loss<typeof net> = (m, b, ctx) => mean(matmul(m.norm.apply(b.x.astype('float32'), ctx), m.w).square())
    const values = async (method: (l: typeof loss) => typeof loss): Promise<string[]> => {
      const updates: Tensor[] = []
      await method(loss)(net, batch, { ...training, update: (_, v) => updates.push(v) }).item()
      await realize(updates)
      return Promise.all(updates.map(async u => String(await u.data())))
    }
    const clean = await values(l => l)
    expect(clean.length).toBeGreaterThan(0)
    expect(await values(sam())).toEqual(clean)
    expect(await values(awp({ on: 'w' }))).toEqual(clean)
    expect(await values(sam({ rho: 5 }))).toEqual(clean)
  })

  test('the top eigenvalue and the trace of a known Hessian', async () => {
    // H = mean of (v, 1)(v, 1)ᵀ
    const rows3 = x.map(v => [...v, 1])
    const h = [0, 1, 2].map(a => [0, 1, 2].map(b => average(rows3.map(r => r[a] * r[b]))))
    let d = [1, 1, 1]
    let top = 0
    for (let k = 0; k < 500; k++) {
      const next = h.map(row => row.reduce((s, c, j) => s + c * d[j], 0))
      top = Math.hypot(...next)
      d = next.map(c => c / top)
    }
    const { eigenvalue, residual } = await topEigenvalue(quadratic, model, batch, { iterations: 100 })
    expect(eigenvalue).toBeCloseTo(top, 8)
    expect(residual).toBeLessThan(1e-6)
    const { trace, standardError } = await hessianTrace(quadratic, model, batch, { iterations: 300 })
    const exact = h[0][0] + h[1][1] + h[2][2]
    expect(Math.abs(trace - exact)).toBeLessThan(4 * standardError + 1e-9)
    expect(standardError).toBeLessThan(exact)
  })
})

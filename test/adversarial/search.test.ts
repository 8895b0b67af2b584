/**
 * Attacks on logits. On a linear classifier the truth is known in closed form: which examples break within a ball, and how far
 * the nearest boundary is. Auto-PGD is also followed step by step by a plain float64 loop.
 */

import { matmul, random, relu, setDevice, type Tensor, tanh, tensor } from 'saddlepoint'
import {
  accuracyCurve,
  accuracyOn,
  apgd,
  attackDataset,
  autoAttack,
  bim,
  carliniWagner,
  deepFool,
  type Logits,
  linearity,
  mifgsm,
  square,
  transferMatrix,
} from 'saddlepoint/adversarial'
import { dataset } from 'saddlepoint/data'
import type { Batch, Loss } from 'saddlepoint/nn'
import { beforeAll, describe, expect, test, vi } from 'vitest'
import { checkpoints } from '../../src/adversarial/apgd.js'
import { shareAt } from '../../src/adversarial/square.js'
import { type Classifier, example, exampleLosses, f64, meanLoss, rows } from './common.js'
import { type Matrix, plainGradient, plainLoss, plainProject, plainSteepest } from './plain.js'

beforeAll(async () => {
  await setDevice('reference')
})

const key = random.key(7)
const mlp: Logits<Classifier> = (model, batch) => matmul(tanh(matmul(batch.x, model.w1)), model.w2)
const dot = (a: readonly number[], b: readonly number[]): number => a.reduce((s, v, i) => s + v * b[i], 0)

describe('a linear classifier', () => {
  const linear: Logits<Tensor> = (w, { x }) => matmul(x, w)
  const [n, features] = [40, 6]

  async function make(classes = 5): Promise<{ w: Tensor; batch: Batch; x: Matrix; labels: number[]; columns: Matrix }> {
    const [a, b] = [random.split(key).at(0), random.split(key).at(1)]
    const [w, x] = [random.normal(a, [features, classes], 'float64'), random.normal(b, [n, features], 'float64')]
    const [table, points] = [await rows(w), await rows(x)]
    const columns = Array.from({ length: classes }, (_, c) => table.map(row => row[c]))
    // Every fifth label is wrong, so that some examples need no attack.
    const labels = points.map((p, i) => {
      const z = columns.map(c => dot(p, c))
      const top = z.indexOf(Math.max(...z))
      return i % 5 === 4 ? (top + 1) % classes : top
    })
    return { w, batch: { x, label: tensor(Int32Array.from(labels)) }, x: points, labels, columns }
  }
  /** The distance of each example to the nearest boundary, in the norm dual to that of the weights; 0 where misclassified. */
  const distances = (x: Matrix, labels: number[], columns: Matrix, dual: 'l1' | 'l2'): number[] =>
    x.map((p, i) =>
      Math.max(
        0,
        Math.min(
          ...columns.flatMap((c, k) => {
            if (k === labels[i]) return []
            const w = c.map((v, d) => v - columns[labels[i]][d])
            return [-dot(p, w) / (dual === 'l2' ? Math.hypot(...w) : w.reduce((s, v) => s + Math.abs(v), 0))]
          }),
        ),
      ),
    )
  const flags = async (t: Tensor): Promise<boolean[]> => Array.from(await t.data(), Boolean)

  test.each([
    ['linf', 'l1', 0.3],
    ['l2', 'l2', 0.7],
  ] as const)('apgd, %s: breaks exactly what can be broken', async (norm, dual, epsilon) => {
    const { w, batch, x, labels, columns } = await make()
    const want = distances(x, labels, columns, dual)
    const breakable = want.map(d => d < epsilon)
    expect(breakable).toContain(true)
    expect(breakable).toContain(false)
    const found = new Array(n).fill(false)
    const towards = [1, 2, 3, 4].map(target => ({ loss: 'targeted-dlr', target }) as const)
    for (const options of [{ loss: 'ce' } as const, ...towards]) {
      const { adversarial, broken } = await apgd(linear, w, batch, { epsilon, norm, steps: 60, key, ...options })
      const moved = await rows(adversarial.x)
      const isBroken = await flags(broken)
      moved.forEach((p, i) => {
        const delta = p.map((v, d) => v - x[i][d])
        const size = norm === 'l2' ? Math.hypot(...delta) : Math.max(...delta.map(Math.abs))
        expect(size).toBeLessThanOrEqual(epsilon + 1e-9)
        const z = columns.map(c => dot(p, c))
        expect(isBroken[i]).toBe(z.indexOf(Math.max(...z)) !== labels[i])
        if (isBroken[i]) found[i] = true
      })
    }
    expect(found).toEqual(breakable)
  })

  test('deepFool: the distance to the nearest boundary, and a little', async () => {
    const { w, batch, x, labels, columns } = await make()
    const want = distances(x, labels, columns, 'l2')
    const { distance, broken, adversarial, report } = await deepFool(linear, w, batch)
    expect((await flags(broken)).every(b => b)).toBe(true)
    Array.from(await distance.data()).forEach((d, i) => expect(d).toBeCloseTo(1.02 * want[i], 5))
    const kept = await rows(adversarial.x)
    // All are broken in the first step.
    const counts = [report.gradients, report.zero, report.nonFinite]
    expect(await Promise.all(counts.map(c => c.item()))).toEqual([want.filter(far => far > 0).length, 0, 0])
    kept.forEach((p, i) => want[i] === 0 && expect(p).toEqual(x[i]))
  })

  // Of several classes it finds a near one, of two the nearest.
  test('carliniWagner: near the distance to the boundary', async () => {
    const { w, batch, x, labels, columns } = await make(2)
    const want = distances(x, labels, columns, 'l2')
    const { distance, broken, adversarial } = await carliniWagner(linear, w, batch, {
      clipMin: -5,
      clipMax: 5,
      searches: 9,
      steps: 300,
      learningRate: 0.02,
      initial: 0.1,
    })
    expect((await flags(broken)).every(b => b)).toBe(true)
    const kept = await rows(adversarial.x)
    Array.from(await distance.data()).forEach((d, i) => {
      expect(d).toBeCloseTo(Math.hypot(...kept[i].map((v, j) => v - x[i][j])), 14)
      expect(d).toBeGreaterThanOrEqual(want[i] * (1 - 1e-12))
      expect(d).toBeLessThanOrEqual(1.1 * want[i] + 0.02)
    })
  })

  test('square: stays in the ball, breaks only what can be broken, and much of it', async () => {
    const { w, batch, x, labels, columns } = await make()
    const breakable = distances(x, labels, columns, 'l1').map(d => d < 0.3)
    const { adversarial, broken } = await square(linear, w, batch, {
      epsilon: 0.3,
      key,
      steps: 300,
      clipMin: -2,
      clipMax: 2,
    })
    const moved = await rows(adversarial.x)
    const isBroken = await flags(broken)
    moved.forEach((p, i) => {
      p.forEach((v, d) => {
        const inRange = Math.min(2, Math.max(-2, x[i][d]))
        if (isBroken[i] && p !== x[i])
          expect(Math.abs(v - x[i][d])).toBeLessThanOrEqual(Math.max(0.3, Math.abs(inRange - x[i][d])) + 1e-9)
      })
      if (isBroken[i]) expect(breakable[i] || x[i].some(v => Math.abs(v) > 2)).toBe(true)
    })
    const all = breakable.filter(b => b).length
    expect(isBroken.filter((b, i) => b && breakable[i]).length).toBeGreaterThan(0.9 * all)
  })

  test('square in l2: in the ball, breaks only what can be broken, and much of it', async () => {
    const { w, batch, x, labels, columns } = await make()
    const breakable = distances(x, labels, columns, 'l2').map(d => d < 0.7)
    const { adversarial, broken } = await square(linear, w, batch, { norm: 'l2', epsilon: 0.7, key, steps: 300 })
    const isBroken = await flags(broken)
    ;(await rows(adversarial.x)).forEach((p, i) => {
      expect(Math.hypot(...p.map((v, d) => v - x[i][d]))).toBeLessThanOrEqual(0.7 + 1e-9)
      if (isBroken[i]) expect(breakable[i]).toBe(true)
    })
    expect(isBroken.filter(b => b).length).toBeGreaterThan(0.9 * breakable.filter(b => b).length)
  })

  test('autoAttack in l2: each attack alone finds what the distances say', async () => {
    const { w, x, labels, columns } = await make()
    const data = dataset({
      x: { dtype: 'float64', shape: [n, features], data: Float64Array.from(x.flat()) },
      label: { dtype: 'int32', shape: [n], data: Int32Array.from(labels) },
    })
    const robust = distances(x, labels, columns, 'l2').map(d => d >= 0.7)
    const options = { epsilon: 0.7, norm: 'l2', key, steps: 40, queries: 400 } as const
    for (const attack of ['apgd-t', 'fab-t'] as const)
      expect((await autoAttack(linear, w, data, { ...options, attacks: [attack] })).robust).toEqual(robust)
    const { accuracies, errors } = await autoAttack(linear, w, data, options)
    expect(accuracies.map(a => a.attack)).toEqual(['apgd-ce', 'apgd-t', 'fab-t', 'square'])
    expect(errors).toEqual([])
    const alone = await autoAttack(linear, w, data, { ...options, attacks: ['square'] })
    expect(alone.accuracies[0].accuracy).toBeLessThan(robust.filter(r => r).length / n + 0.06)
  })

  test('autoAttack: the accuracy that the distances say, and nothing to doubt', async () => {
    const { w, x, labels, columns } = await make()
    const data = dataset({
      x: { dtype: 'float64', shape: [n, features], data: Float64Array.from(x.flat()) },
      label: { dtype: 'int32', shape: [n], data: Int32Array.from(labels) },
    })
    const want = distances(x, labels, columns, 'l1')
    const seen: string[] = []
    const {
      clean,
      accuracies,
      robust,
      errors,
      data: attacked,
    } = await autoAttack(linear, w, data, {
      epsilon: 0.3,
      key,
      steps: 40,
      queries: 40,
      batchSize: 16,
      onAttack: name => void seen.push(name),
    })
    const alone = await autoAttack(linear, w, data, { epsilon: 0.3, key, steps: 40, attacks: ['fab-t'] })
    expect(alone.robust).toEqual(robust)
    expect(await accuracyOn(linear, w, alone.data)).toBe(alone.accuracies[0].accuracy)
    expect(seen).toEqual(['apgd-ce', 'apgd-t', 'fab-t', 'square'])
    expect(clean).toBe(want.filter(d => d > 0).length / n)
    expect(robust).toEqual(want.map(d => d >= 0.3))
    expect(accuracies[accuracies.length - 1].accuracy).toBe(robust.filter(r => r).length / n)
    expect(errors).toEqual([])
    // The examples that it returns are what it says.
    expect(await accuracyOn(linear, w, attacked)).toBe(accuracies[accuracies.length - 1].accuracy)
  })

  test('autoAttack: targets that fill no more than a batch are one run, to the same end', async () => {
    const { w, x, labels, columns } = await make()
    const data = dataset({
      x: { dtype: 'float64', shape: [n, features], data: Float64Array.from(x.flat()) },
      label: { dtype: 'int32', shape: [n], data: Int32Array.from(labels) },
    })
    const robust = distances(x, labels, columns, 'l1').map(d => d >= 0.3)
    const runs: number[] = []
    // 32 of 40 are right without an attack; those left after a target are more than 8.
    for (const batchSize of [32 * 4, 32 * 4 - 1, 32]) {
      let calls = 0
      const counted: Logits<Tensor> = (m, batch, ctx) => {
        calls++
        return linear(m, batch, ctx)
      }
      const found = await autoAttack(counted, w, data, { epsilon: 0.3, key, attacks: ['apgd-t'], steps: 40, batchSize })
      expect(found.robust).toEqual(robust)
      expect(found.accuracies).toEqual([{ attack: 'apgd-t', accuracy: robust.filter(r => r).length / n }])
      runs.push(calls)
    }
    // One run; one and then the rest as one; more.
    expect(runs[0]).toBeLessThan(runs[1])
    expect(runs[1]).toBeLessThan(runs[2])
  })

  test('autoAttack says so when the black box beats the white box', async () => {
    // Rounded logits: gradients are 0 everywhere, and attacks along them do not move.
    const stepped: Logits<Tensor> = (w, { x }) => matmul(x, w).mul(4).round()
    const { w, x, labels } = await make()
    const data = dataset({
      x: { dtype: 'float64', shape: [n, features], data: Float64Array.from(x.flat()) },
      label: { dtype: 'int32', shape: [n], data: Int32Array.from(labels) },
    })
    const { errors, accuracies } = await autoAttack(stepped, w, data, {
      epsilon: 0.4,
      key,
      attacks: ['apgd-ce', 'square'],
      steps: 10,
      queries: 200,
    })
    expect(accuracies[1].accuracy).toBeLessThan(accuracies[0].accuracy)
    expect(errors).toHaveLength(1)
    expect(errors[0]).toContain('the black box beat the white box: square broke')
  })

  test('logits that look like probabilities raise a warning, once', async () => {
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => {})
    const { w, batch } = await make()
    const soft: Logits<Tensor> = (m, b, ctx) => linear(m, b, ctx).logSoftmax().exp()
    for (const logits of [linear, soft, soft]) await apgd(logits, w, batch, { epsilon: 0.1, steps: 1 })
    expect(warn).toHaveBeenCalledTimes(1)
    expect(warn.mock.calls[0][0]).toContain(
      'apgd: every row of logits is positive and adds up to 1, as probabilities do',
    )
    // Where the graph says so, nothing else does.
    const softmax: Logits<Tensor> = (m, b, ctx) => linear(m, b, ctx).softmax()
    await apgd(softmax, w, batch, { epsilon: 0.1, steps: 1 })
    await deepFool(softmax, w, batch, { steps: 1 })
    expect(warn).toHaveBeenCalledTimes(2)
    expect(warn.mock.calls[1][0]).toContain('apgd: its logits are probabilities, the result of softmax at mul')
    warn.mockRestore()
  })

  test('options are checked', async () => {
    const { w, batch, x, labels } = await make()
    const data = dataset({
      x: { dtype: 'float64', shape: [n, features], data: Float64Array.from(x.flat()) },
      label: { dtype: 'int32', shape: [n], data: Int32Array.from(labels) },
    })
    await expect(apgd(linear, w, batch, { epsilon: -1 })).rejects.toThrow(
      'apgd: epsilon must be a finite number >= 0, not -1',
    )
    await expect(apgd(linear, w, batch, { epsilon: 1, loss: 'mse' as 'ce' })).rejects.toThrow(
      "apgd: unknown loss 'mse'",
    )
    await expect(apgd(linear, w, batch, { epsilon: 1, label: 'y' })).rejects.toThrow(
      "apgd: the batch has no column 'y', only x, label",
    )
    await expect(square(linear, w, batch, { epsilon: 1 } as never)).rejects.toThrow(
      'square: a random search needs a random key',
    )
    await expect(carliniWagner(linear, w, batch, { clipMin: 1, clipMax: 0 })).rejects.toThrow(
      'needs the valid range, clipMin below clipMax, not 1 and 0',
    )
    await expect(autoAttack(linear, w, data, { epsilon: 1, key, attacks: ['fab' as 'square'] })).rejects.toThrow(
      "'fab' is unknown; one of apgd-ce, apgd-t",
    )
  })
})

describe('apgd, several runs as one batch', () => {
  const classes = 5
  const net: Logits<Classifier> = (m, { x }) => matmul(tanh(matmul(x, m.w1)), m.w2)
  const model: Classifier = {
    w1: random.normal(random.key(1), [6, 8], 'float64'),
    w2: random.normal(random.key(2), [8, classes], 'float64'),
  }
  const make = async (): Promise<Batch> => {
    const x = random.normal(random.key(3), [60, 6], 'float64')
    return { x, label: net(model, { x }, { training: false }).argmax({ axis: -1 }) }
  }
  const base = { epsilon: 0.3, steps: 5, loss: 'targeted-dlr', key } as const
  const points = async (found: { adversarial: Batch; broken: Tensor }) => ({
    x: await rows(found.adversarial.x),
    broken: Array.from(await found.broken.data(), Boolean),
  })
  /** Each example from the first run that breaks it; and where none does, any run's point. */
  const expectOneOf = async (
    got: Awaited<ReturnType<typeof apgd>>,
    alone: readonly Awaited<ReturnType<typeof apgd>>[],
  ): Promise<void> => {
    const [found, runs] = [await points(got), await Promise.all(alone.map(points))]
    const breakers = found.broken.map((_, i) => runs.filter(r => r.broken[i]))
    expect(found.broken).toEqual(breakers.map(b => b.length > 0))
    // Some examples are broken by one run and not by another, some by none.
    expect(breakers.some(b => b.length > 0 && b.length < runs.length)).toBe(true)
    expect(found.broken).toContain(false)
    expect(runs.some(r => r.broken.some((b, i) => b && !runs[0].broken[i]))).toBe(true)
    const distance = (a: number[], b: number[]): number => Math.max(...a.map((v, d) => Math.abs(v - b[d])))
    found.x.forEach((v, i) => {
      if (found.broken[i]) expect(distance(v, breakers[i][0].x[i])).toBeLessThan(1e-10)
      else expect(Math.min(...runs.map(r => distance(v, r.x[i])))).toBeLessThan(1e-10)
    })
    const counts = await Promise.all(alone.map(a => a.report.gradients.item()))
    expect(await got.report.gradients.item()).toBe(counts.reduce((s, c) => s + c, 0))
  }

  test.each(['linf', 'l2'] as const)('%s: targets come to what each of them does alone', async norm => {
    const batch = await make()
    const radius = norm === 'l2' ? 0.7 : 0.3
    const options = { ...base, norm, epsilon: radius }
    const together = await apgd(net, model, batch, { ...options, target: [1, 2, 3, 4] })
    const alone = await Promise.all(
      [1, 2, 3, 4].map(target => apgd(net, model, batch, { ...options, target, key: random.foldIn(key, target) })),
    )
    await expectOneOf(together, alone)
    const [single, listed] = [alone[1], await apgd(net, model, batch, { ...options, target: [2] })]
    expect(await points(listed)).toEqual(await points(single))
  })

  test('restarts come to what each of them does alone, for cross-entropy too', async () => {
    const batch = await make()
    const options = { ...base, loss: 'ce' } as const
    const together = await apgd(net, model, batch, { ...options, restarts: 4 })
    const alone = await Promise.all(
      [0, 1, 2, 3].map(r => apgd(net, model, batch, { ...options, key: random.foldIn(key, r) })),
    )
    await expectOneOf(together, alone)
    await expect(apgd(net, model, batch, { ...options, restarts: 2, key: undefined })).rejects.toThrow(
      'apgd: 2 restarts from one point are all the same; give a key',
    )
    await expect(apgd(net, model, batch, { ...base, target: [] })).rejects.toThrow('apgd: no target')
    await expect(apgd(net, model, batch, { ...base, target: [1, 5] })).rejects.toThrow(
      'apgd: target 5 of 4 wrong classes',
    )
  })

  test('both: each target has its restarts, and a run ends where all are broken', async () => {
    const batch = await make()
    const options = base
    const together = await apgd(net, model, batch, { ...options, target: [1, 3], restarts: 2 })
    const alone = await Promise.all(
      [1, 3].flatMap(target =>
        [0, 1].map(r =>
          apgd(net, model, batch, { ...options, target, key: random.foldIn(random.foldIn(key, target), r) }),
        ),
      ),
    )
    await expectOneOf(together, alone)
    const { signal } = new AbortController()
    const looks = vi.spyOn(signal, 'throwIfAborted')
    const easy = await apgd(net, model, batch, { ...base, epsilon: 5, steps: 60, target: [1, 2], signal })
    expect(Array.from(await easy.broken.data(), Boolean)).toEqual(new Array(60).fill(true))
    // Of the looks before steps 0, 20 and 40.
    expect(looks).toHaveBeenCalledTimes(2)
  })
})

describe('apgd step by step', () => {
  test('checkpoints of 100 steps are those of the paper', () => {
    const at = checkpoints(100).flatMap((p, k) => (p ? [k] : []))
    expect(at).toEqual([22, 41, 57, 70, 80, 87, 93, 99])
  })

  test.each(['linf', 'l2'] as const)('%s: the best point is that of a plain loop', async norm => {
    const { model, net, batch, x, labels } = await example(11)
    const [epsilon, steps] = [0.8, 30]
    // Labels that no point is taken from: examples stay unbroken by naming the loss alone.
    const { adversarial, broken } = await apgd(mlp, model, batch, { epsilon, norm, steps })
    const isBroken = Array.from(await broken.data(), Boolean)
    const got = await rows(adversarial.x)
    const periods = checkpoints(steps)
    const isRight = (p: number[], i: number): boolean => {
      const h = net.w1[0].map((_, j) =>
        Math.tanh(
          dot(
            p,
            net.w1.map(r => r[j]),
          ),
        ),
      )
      const z = net.w2[0].map((_, c) =>
        dot(
          h,
          net.w2.map(r => r[c]),
        ),
      )
      return z.indexOf(Math.max(...z)) === labels[i]
    }
    let untouched = 0
    x.forEach((origin, i) => {
      const inside = (p: number[]): number[] =>
        plainProject(
          p.map((v, d) => v - origin[d]),
          epsilon,
          norm,
        ).map((v, d) => origin[d] + v)
      let [current, previous, best] = [origin, origin, origin]
      let [bestLoss, lastLoss, checked, size, gains, halved] = [-Infinity, -Infinity, -Infinity, 2 * epsilon, 0, true]
      let bestGradient: number[] = []
      let first: number[] | undefined = isRight(origin, i) ? undefined : origin
      for (let k = 0; k <= steps; k++) {
        const [value, gradient] = [plainLoss(net, current, labels[i]), plainGradient(net, current, labels[i])]
        if (!first && !isRight(current, i)) first = current
        if (value > bestLoss) [best, bestLoss, bestGradient] = [current, value, gradient]
        if (k > 0 && value > lastLoss) gains++
        lastLoss = value
        if (k === steps) break
        let [point, slope] = [current, gradient]
        if (periods[k]) {
          const halves = gains <= 0.75 * periods[k] || (!halved && bestLoss <= checked)
          if (halves) [size, point, slope] = [size / 2, best, bestGradient]
          ;[gains, checked, halved] = [0, bestLoss, halves]
        }
        const way = plainSteepest(slope, norm)
        const tried = inside(point.map((v, d) => v + size * way[d]))
        const next = inside(
          point.map((v, d) => (k === 0 ? tried[d] : v + 0.75 * (tried[d] - v) + 0.25 * (v - previous[d]))),
        )
        ;[previous, current] = [point, next]
      }
      expect(isBroken[i]).toBe(first !== undefined)
      const want = first ?? best
      if (!first) untouched++
      // Rounding may turn a gain of nothing into a loss of nothing, and so move a last halving.
      got[i].forEach((v, d) => expect(v).toBeCloseTo(want[d], 6))
    })
    expect(untouched).toBeLessThan(x.length)
  })
})

describe('square', () => {
  test('squares shrink as in the paper', () => {
    expect([0, 10, 11, 51, 9000].map(k => shareAt(k, 10_000, 0.8))).toEqual([0.8, 0.8, 0.4, 0.2, 0.8 / 512])
  })
  test('images: at most a square of each channel changes in a step', async () => {
    const seen: Tensor[] = []
    // Nothing breaks, and every step is taken: the margin falls with each call.
    let calls = 0
    const logits: Logits<Tensor> = (_, { x }) => {
      seen.push(x)
      calls++
      return matmul(
        x.reshape([2, 75]).mul(0).slice([], [0, 2]).add(1),
        f64([
          [1, 0],
          [1, 0],
        ]),
      ).add(f64([[3, 0]]))
    }
    const batch = { x: random.uniform(key, [2, 5, 5, 3], { dtype: 'float64' }), label: tensor(Int32Array.of(0, 0)) }
    const { adversarial, broken } = await square(logits, f64([0]), batch, { epsilon: 0.1, key, steps: 4 })
    expect(Array.from(await broken.data())).toEqual([0, 0])
    const [before, after] = [await batch.x.data(), await adversarial.x.data()]
    before.forEach((v, i) => expect(Math.abs(Math.abs(after[i] - v) - 0.1)).toBeLessThan(1e-12))
    expect(calls).toBeGreaterThan(0)
  })
})

describe('other iterations', () => {
  test('bim: ten steps of ε/10', async () => {
    const { model, net, batch, x, labels } = await example(12)
    const moved = await rows(bim(meanLoss, model, batch, { epsilon: 0.5 }).adversarial.x)
    x.forEach((v, i) => {
      let at = v
      for (let k = 0; k < 10; k++) at = at.map((c, d) => c + 0.05 * Math.sign(plainGradient(net, at, labels[i])[d]))
      at.forEach((c, d) => expect(moved[i][d]).toBeCloseTo(c, 12))
    })
  })
  test('mifgsm: the sign of a running sum of gradients over their L1 norms', async () => {
    const { model, net, batch, x, labels } = await example(12)
    const moved = await rows(mifgsm(meanLoss, model, batch, { epsilon: 1.5, steps: 6, decay: 0.9 }).adversarial.x)
    let differs = false
    x.forEach((v, i) => {
      let [at, sum] = [v, v.map(() => 0)]
      for (let k = 0; k < 6; k++) {
        const g = plainGradient(net, at, labels[i])
        const length = g.reduce((s, c) => s + Math.abs(c), 0)
        sum = sum.map((m, d) => 0.9 * m + g[d] / length)
        differs ||= sum.some((m, d) => Math.sign(m) !== Math.sign(g[d]))
        at = at.map((c, d) => Math.min(v[d] + 1.5, Math.max(v[d] - 1.5, c + 0.25 * Math.sign(sum[d]))))
      }
      at.forEach((c, d) => expect(moved[i][d]).toBeCloseTo(c, 12))
    })
    expect(differs).toBe(true)
  })
})

describe('evaluation', () => {
  const setOf = (x: Matrix, labels: number[]) =>
    dataset({
      x: { dtype: 'float64', shape: [x.length, x[0].length], data: Float64Array.from(x.flat()) },
      label: { dtype: 'int32', shape: [x.length], data: Int32Array.from(labels) },
    })

  test('accuracyCurve falls from the clean accuracy to 0', async () => {
    const { model, x, labels } = await example(11)
    const data = setOf(x, labels)
    const curve = await accuracyCurve(mlp, meanLoss, model, data, [0, 0.5, 6], { steps: 20 })
    expect(curve[0].accuracy).toBe(await accuracyOn(mlp, model, data))
    expect(curve.map(c => c.epsilon)).toEqual([0, 0.5, 6])
    expect(curve[2].accuracy).toBeLessThanOrEqual(curve[1].accuracy)
    expect(curve[1].accuracy).toBeLessThanOrEqual(curve[0].accuracy)
    expect(curve[2].report.gradients).toBe(100)
  })

  test.each([
    ['from x', {}],
    ['random starts', { randomStart: true, key, clipMin: -1.5, clipMax: 1.5 }],
    ['l2, restarts, own step', { norm: 'l2', stepSize: 0.1, randomStart: true, restarts: 3, key }],
    ['l1', { norm: 'l1', randomStart: true, key }],
    ['momentum, targeted', { decay: 1, targeted: true }],
  ] as const)('accuracyCurve: all radii as one batch are each of them alone, %s', async (_, options) => {
    const { model } = await example(11)
    const x = await rows(random.normal(random.key(5), [30, 4], 'float64'))
    const net = mlp(model, { x: f64(x) }, { training: false })
    // What the model says, so that accuracy falls from 1; a class beside it, so that it rises from 0.
    const other = 'targeted' in options ? 1 : 0
    const data = setOf(
      x,
      Array.from(await net.argmax({ axis: -1 }).data(), c => (c + other) % 3),
    )
    const epsilons = [0, 0.1, 0.2, 0.35, 0.5, 0.9, 1.4]
    const steps = { ...options, steps: 5 }
    const curve = await accuracyCurve(mlp, exampleLosses, model, data, epsilons, { ...steps, batchSize: 8 * 7 + 3 })
    for (const [i, epsilon] of epsilons.entries()) {
      const alone = await attackDataset(exampleLosses, model, data, { ...steps, epsilon }, { batchSize: 8 })
      expect(curve[i]).toEqual({ epsilon, accuracy: await accuracyOn(mlp, model, alone.data), report: alone.report })
    }
    expect(new Set(curve.map(c => c.accuracy)).size).toBeGreaterThan(3)
  })

  test('accuracyCurve: one radius is more than the batch, no radius is nothing', async () => {
    const { model, x, labels } = await example(11)
    const data = setOf(x, labels)
    const wide = await accuracyCurve(mlp, meanLoss, model, data, [0.2, 0.4, 0.6], { steps: 3, batchSize: 2 })
    expect(wide).toEqual(await accuracyCurve(mlp, meanLoss, model, data, [0.2, 0.4, 0.6], { steps: 3 }))
    expect(await accuracyCurve(mlp, meanLoss, model, data, [])).toEqual([])
  })

  test('transferMatrix: rows are sources, columns targets', async () => {
    const [one, other] = [await example(11), await example(12)]
    const data = setOf(one.x, one.labels)
    const matrix = await transferMatrix(mlp, meanLoss, [one.model, other.model], data, { epsilon: 1, steps: 10 })
    const { data: attacked } = await attackDataset(meanLoss, one.model, data, { epsilon: 1, steps: 10 })
    expect(matrix[0]).toEqual([
      await accuracyOn(mlp, one.model, attacked),
      await accuracyOn(mlp, other.model, attacked),
    ])
    expect(matrix).toHaveLength(2)
  })

  test('linearity: the rise, and what both derivatives promise', async () => {
    const { model, net, batch, x, labels } = await example(11)
    const delta = x.map((v, i) => v.map((_, d) => 0.3 * Math.sin(i + 2 * d)))
    const perturbed = { ...batch, x: f64(x.map((v, i) => v.map((c, d) => c + delta[i][d]))) }
    const { actual, linear, quadratic, masked } = await linearity(exampleLosses, model, batch, perturbed)
    x.forEach((v, i) => {
      const g = (h: number): number[] =>
        plainGradient(
          net,
          v.map((c, d) => c + h * delta[i][d]),
          labels[i],
        )
      const bent = dot(g(1e-5), delta[i]) - dot(g(-1e-5), delta[i])
      expect(actual[i]).toBeCloseTo(
        plainLoss(
          net,
          v.map((c, d) => c + delta[i][d]),
          labels[i],
        ) - plainLoss(net, v, labels[i]),
        12,
      )
      expect(linear[i]).toBeCloseTo(dot(g(0), delta[i]), 12)
      expect(quadratic[i]).toBeCloseTo(bent / 4e-5, 6)
    })
    expect(masked).toBe(0)
  })

  test('linearity flags a loss that is flat here and steep there', async () => {
    const cliff: Loss<Tensor> = (_, { x }) => relu(x.sub(0.5)).mul(10).reshape([-1])
    const batch = { x: f64([[0.4], [0.6]]), label: tensor(Int32Array.of(0, 0)) }
    const { masked } = await linearity(cliff, f64([0]), batch, { ...batch, x: f64([[0.7], [0.9]]) })
    expect(masked).toBe(0.5)
  })
})

/** Certificates against closed forms, and against points and attacks that they must withstand. */

import { grad, matmul, random, setDevice, type Tensor, tensor } from 'saddlepoint'
import { autoAttack, certified, intervalBounds, type Logits, smoothed, worstLogits } from 'saddlepoint/adversarial'
import { dataset } from 'saddlepoint/data'
import { Conv2d, crossEntropy, Flatten, Linear, MaxPool2d, Sequential } from 'saddlepoint/nn'
import { beforeAll, describe, expect, test } from 'vitest'
import { lowerBound } from '../../src/adversarial/certificates.js'
import { f64, rows } from './common.js'

beforeAll(async () => {
  await setDevice('reference')
})

const keys = random.split(random.key(1), 6)
const dtype = 'float64'

describe('intervalBounds', () => {
  const relu = (x: Tensor): Tensor => x.relu()
  const net = new Sequential([
    new Conv2d(2, 3, 3, { key: keys.at(0), dtype }),
    relu,
    new MaxPool2d(2),
    new Flatten(),
    new Linear(12, 8, { key: keys.at(1), dtype }),
    relu,
    new Linear(8, 4, { key: keys.at(2), dtype }),
  ])
  const x = random.uniform(keys.at(3), [5, 6, 6, 2], { dtype })

  test('of a linear layer: exactly the extremes', async () => {
    const layer = new Linear(3, 2, { key: keys.at(0), dtype })
    const point = f64([[1, -2, 0.5]])
    const { lower, upper } = intervalBounds(new Sequential([layer]), point, { epsilon: 0.1 })
    const [w, [z]] = [await rows(layer.weight), await rows(layer.apply(point))]
    const spread = [0, 1].map(c => w.reduce((s, row) => s + 0.1 * Math.abs(row[c]), 0))
    ;(await rows(lower))[0].forEach((v, c) => expect(v).toBeCloseTo(z[c] - spread[c], 12))
    ;(await rows(upper))[0].forEach((v, c) => expect(v).toBeCloseTo(z[c] + spread[c], 12))
  })

  test('hold at every point of the ball that is tried, and meet at its centre', async () => {
    const { lower, upper } = intervalBounds(net, x, { epsilon: 0.2, clipMin: 0, clipMax: 1 })
    const [low, high] = [await rows(lower), await rows(upper)]
    for (let i = 0; i < 30; i++) {
      const noise = random.uniform(random.foldIn(keys.at(4), i), x.shape, { dtype, low: -0.2, high: 0.2 })
      const there = i % 2 ? noise : noise.sign().mul(0.2)
      const z = await rows(net.apply(x.add(there).clip(0, 1)))
      z.forEach((row, e) =>
        row.forEach((v, c) => {
          expect(v).toBeGreaterThanOrEqual(low[e][c] - 1e-12)
          expect(v).toBeLessThanOrEqual(high[e][c] + 1e-12)
        }),
      )
    }
    const point = intervalBounds(net, x, { epsilon: 0 })
    const z = await rows(net.apply(x))
    ;(await rows(point.lower)).forEach((row, e) => row.forEach((v, c) => expect(v).toBeCloseTo(z[e][c], 12)))
  })

  test('what is certified withstands the ensemble', async () => {
    const labels = Int32Array.from(await rows(net.apply(x)).then(z => z.map(row => row.indexOf(Math.max(...row)))))
    const label = tensor(labels)
    const bounds = intervalBounds(net, x, { epsilon: 0.005 })
    const sure = Array.from(await certified(bounds, label).data(), Boolean)
    expect(sure).toContain(true)
    const data = dataset({
      image: { dtype, shape: [5, 6, 6, 2], data: Float64Array.from(await x.data()) },
      label: { dtype: 'int32', shape: [5], data: labels },
    })
    const logits: Logits<Sequential> = (m, { image }) => m.apply(image)
    const { robust } = await autoAttack(logits, net, data, { epsilon: 0.005, key: keys.at(5), steps: 20, queries: 50 })
    sure.forEach((isSure, i) => isSure && expect(robust[i]).toBe(true))
    // Of a larger ball nothing is certain.
    const wide = certified(intervalBounds(net, x, { epsilon: 5 }), label)
    expect(Array.from(await wide.data())).toEqual([0, 0, 0, 0, 0])
  })

  test('a loss on them has a gradient', async () => {
    const label = tensor(Int32Array.of(0, 1, 2, 3, 0))
    const loss = (m: Sequential): Tensor =>
      crossEntropy(worstLogits(intervalBounds(m, x, { epsilon: 0.1 }), label), label)
    const slope = grad(loss)(net)
    const [first] = slope.layers as [Conv2d]
    const values = Array.from(await first.weight.data())
    expect(values.every(Number.isFinite)).toBe(true)
    expect(values.some(v => v !== 0)).toBe(true)
  })
})

describe('smoothed', () => {
  test('the bound of Clopper and Pearson', () => {
    // All of n: p^n = α.
    expect(lowerBound(100, 100, 0.001)).toBeCloseTo(0.001 ** (1 / 100), 12)
    expect(lowerBound(0, 100, 0.001)).toBe(0)
    // One of n: 1 - (1 - p)^n = α.
    expect(lowerBound(1, 50, 0.01)).toBeCloseTo(1 - 0.99 ** (1 / 50), 12)
    // binom.test(80, 100, alternative = "greater", conf.level = 0.95) of R.
    expect(lowerBound(80, 100, 0.05)).toBeCloseTo(0.7227998, 6)
  })

  test('of two half-spaces: never beyond the distance to the boundary, and near it', async () => {
    const w = [3, -4]
    const logits: Logits<Tensor> = (m, { x }) => matmul(x, m)
    const model = f64([
      [3, 0],
      [-4, 0],
    ])
    const points = [
      [1, 0],
      [0.1, 0],
      [0, 1],
      [0.001, 0],
    ]
    const found = await smoothed(
      logits,
      model,
      { x: f64(points), label: tensor(Int32Array.of(0, 0, 1, 0)) },
      { sigma: 0.5, key: keys.at(0), samples: 2000 },
    )
    points.forEach(([a, b], i) => {
      const distance = Math.abs(w[0] * a + w[1] * b) / 5
      expect(found[i].radius).toBeLessThanOrEqual(distance + 1e-9)
      if (i !== 3) expect(found[i].class).toBe(w[0] * a + w[1] * b > 0 ? 0 : 1)
    })
    expect(found[0].radius).toBeGreaterThan(0.5)
    expect(found[1].radius).toBeLessThan(0.06)
    expect(found[3]).toEqual({ class: undefined, radius: 0 })
  })

  test('options are checked', async () => {
    const logits: Logits<Tensor> = (m, { x }) => matmul(x, m)
    const batch = { x: f64([[1]]), label: tensor(Int32Array.of(0)) }
    await expect(smoothed(logits, f64([[1]]), batch, { sigma: -1, key: keys.at(0) })).rejects.toThrow(
      'smoothed: sigma must be a finite number >= 0, not -1',
    )
    await expect(smoothed(logits, f64([[1]]), batch, { sigma: 1, key: keys.at(0), alpha: 2 })).rejects.toThrow(
      'alpha must be a number between 0 and 1, not 2',
    )
    await expect(smoothed(logits, f64([[1]]), batch, { sigma: 1 } as never)).rejects.toThrow('noise needs a random key')
  })
})

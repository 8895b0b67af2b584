/** The vanished gradient: a confident classifier under a clipped loss, and the report that says where it died. */

import { grad, matmul, mul, random, setDevice, sigmoid, softmax, type Tensor, tanh, tensor } from 'saddlepoint'
import {
  apgd,
  attackDataset,
  carliniWagner,
  deepFool,
  fab,
  fgsm,
  type GradientReport,
  gradientDeaths,
  type Logits,
  pgd,
} from 'saddlepoint/adversarial'
import { dataset } from 'saddlepoint/data'
import {
  type Batch,
  clippedCrossEntropyOfProbabilities,
  crossEntropy,
  dlrLoss,
  type Loss,
  marginLoss,
} from 'saddlepoint/nn'
import { afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { f64 } from './common.js'

beforeAll(async () => {
  await setDevice('reference')
})
afterEach(() => void vi.restoreAllMocks())

const p = [
  2.9802322e-8, 3.9100647e-4, 8.3446503e-7, 7.8368187e-4, 3.361702e-5, 9.9810326e-1, 8.8602304e-5, 7.6818466e-4,
  5.9614644e-7, 9.8974469e-6,
]
const z = p.map(Math.log)
const classes = (...labels: number[]): Tensor => tensor(Int32Array.from(labels))
const clipped: Loss<null> = (_, { x, label }) => clippedCrossEntropyOfProbabilities(softmax(x), label)
const fused: Loss<null> = (_, { x, label }) => crossEntropy(x, label)
const at = (label: number): Batch => ({ x: f64([z]), label: classes(label) })
const value = (loss: Loss<null>, label: number): Promise<number> => loss(null, at(label), { training: false }).item()
const slope = async (loss: Loss<null>, label: number): Promise<number[]> =>
  Array.from(await grad((x: Tensor) => loss(null, { ...at(label), x }, { training: false }))(f64([z])).data())

describe('the founding numbers', () => {
  test('clipped: a loss of 16.118095 whose gradient is exactly 0', async () => {
    expect(await value(clipped, 0)).toBeCloseTo(16.118095, 5)
    expect(await slope(clipped, 0)).toEqual(z.map(() => 0))
  })
  test('fused: 17.328859 and a gradient as long as it should be, at both classes', async () => {
    expect(await value(fused, 0)).toBeCloseTo(17.328859, 5)
    const g = await slope(fused, 0)
    expect(g[0]).toBeCloseTo(-0.99999997, 7)
    expect(g[1]).toBeCloseTo(3.909362e-4, 9)
    expect(g[5]).toBeCloseTo(0.9979239, 6)
    expect(Math.hypot(...g)).toBeCloseTo(1.4127468, 6)
    expect(await value(fused, 5)).toBeCloseTo(0.00207824, 7)
    expect(Math.hypot(...(await slope(fused, 5)))).toBeCloseTo(2.382401e-3, 8)
  })
  test('margin and DLR', async () => {
    const margin = marginLoss(f64([z]), classes(0))
    expect(await margin.item()).toBeCloseTo(17.326781, 5)
    expect(await dlrLoss(f64([z]), classes(5)).item()).toBeCloseTo(-0.9972142, 6)
    expect(await dlrLoss(f64([z]), classes(5), { targets: classes(0) }).item()).toBeCloseTo(-2.308011, 5)
  })
  test('targeted FGSM does not move under the clipped loss, and does under the fused one', async () => {
    const moved = async (loss: Loss<null>): Promise<number[]> => {
      const { adversarial } = fgsm(loss, null, at(0), { epsilon: 0.5, targeted: true })
      return Array.from(await adversarial.x.data(), (v, i) => Math.sign(Math.round((v - z[i]) * 1e6)))
    }
    expect(await moved(clipped)).toEqual(z.map(() => 0))
    expect(await moved(fused)).toEqual([1, ...z.slice(1).map(() => -1)])
  })
})

describe('gradientDeaths', () => {
  const batch: Batch = { x: f64([z, z, z.map(() => 0)]), label: classes(0, 5, 3) }
  test('names the clip, with the examples that died there', async () => {
    expect(await gradientDeaths(clipped, null, batch)).toEqual({
      examples: 3,
      dead: 1,
      places: [{ operation: 'clip at 1e-7 of float64[3]', examples: 1 }],
    })
  })
  test('none die under the fused loss', async () =>
    expect(await gradientDeaths(fused, null, batch)).toEqual({ examples: 3, dead: 0, places: [] }))
  test('names relu where that is what is dead, and tells places apart', async () => {
    const loss: Loss<null> = (_, { x, label }) => clippedCrossEntropyOfProbabilities(softmax(mul(x.relu(), 40)), label)
    const x = f64([
      [-1, -2, -3],
      [0.1, 3, -1],
      [0.1, 0.2, 0.3],
    ])
    const { dead, places } = await gradientDeaths(loss, null, { x, label: classes(0, 0, 1) })
    expect(dead).toBe(2)
    expect(places.map(p => p.examples)).toEqual([1, 1])
    expect(places.map(p => p.operation).some(o => o.startsWith('clip at 1e-7'))).toBe(true)
    expect(places.map(p => p.operation).some(o => o.includes('[3,3]'))).toBe(true)
  })
})

describe('attackDataset', () => {
  const data = dataset({
    x: { dtype: 'float64', shape: [4, 10], data: Float64Array.from([z, z, z, z.map(() => 0)].flat()) },
    label: { dtype: 'int32', shape: [4], data: Int32Array.of(0, 0, 0, 0) },
  })
  test('warns once, with the share, the place and the way out', async () => {
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => {})
    const options = { epsilon: 0.1, steps: 2, targeted: true }
    const { report } = await attackDataset(clipped, null, data, options, { batchSize: 4 })
    expect(report).toMatchObject({ gradients: 8, zero: 6 })
    await attackDataset(clipped, null, data, options, { batchSize: 4 })
    expect(warn).toHaveBeenCalledTimes(1)
    const [[message]] = warn.mock.calls
    expect(message).toContain('75.0% are exactly 0')
    expect(message).toContain('clip at 1e-7 of float64[4] (75.0% of the first 4)')
    expect(message).toContain('Use a loss on logits, such as crossEntropy, or attack by marginLoss or dlrLoss')
  })
  test('attacks the dead once more with another loss, and leaves the others', async () => {
    vi.spyOn(console, 'warn').mockImplementation(() => {})
    const options = { epsilon: 0.1, steps: 2, targeted: true, restarts: 2, randomStart: true, key: random.key(1) }
    const each: Loss<null> = (_, { x, label }) =>
      clippedCrossEntropyOfProbabilities(softmax(x), label, { reduction: 'none' })
    const margins: Loss<null> = (_, { x, label }) => marginLoss(x, label, { reduction: 'none' })
    const alone = await attackDataset(each, null, data, options, { batchSize: 3 })
    const helped = await attackDataset(each, null, data, options, { batchSize: 3, fallback: margins })
    const others = await attackDataset(margins, null, data.slice(0, 3), options, { batchSize: 3 })
    const rowsOf = (d: typeof data) => Array.from({ length: d.size }, (_, i) => Array.from(d.rows([i]).x.data))
    expect(rowsOf(helped.data)[3]).toEqual(rowsOf(alone.data)[3])
    expect(rowsOf(helped.data).slice(0, 3)).toEqual(rowsOf(others.data))
    expect(rowsOf(helped.data)[0]).not.toEqual(rowsOf(alone.data)[0])
  })
  test('is silent where gradients live', async () => {
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => {})
    await attackDataset(fused, null, data, { epsilon: 0.1, steps: 2 }, { batchSize: 4 })
    expect(warn).not.toHaveBeenCalled()
  })
})

describe('attacks that read logits', () => {
  // Saturated: the first stage is 0 or 1 to the last bit.
  const w = f64([
    [9000, -9000],
    [-9000, 9000],
  ])
  const saturated: Logits<null> = (_, { x }) => sigmoid(matmul(x, w))
  const open: Logits<null> = (_, { x }) => tanh(matmul(x, mul(w, 1e-4)))
  const batch = {
    x: f64([
      [1, 0.1],
      [0.2, 1],
    ]),
    label: classes(0, 1),
  }
  const range = { clipMin: 0, clipMax: 1 }
  const attacks: Readonly<Record<string, (logits: Logits<null>) => Promise<unknown>>> = {
    apgd: logits => apgd(logits, null, batch, { epsilon: 0.05, steps: 3 }),
    deepFool: logits => deepFool(logits, null, batch, { steps: 3 }),
    fab: logits => fab(logits, null, batch, { steps: 3 }),
    carliniWagner: logits => carliniWagner(logits, null, batch, { searches: 1, steps: 3, ...range }),
  }
  test.each(Object.entries(attacks))(
    '%s warns once where its gradients died, and not where they live',
    async (name, run) => {
      const warn = vi.spyOn(console, 'warn').mockImplementation(() => {})
      const said = () =>
        warn.mock.calls.map(([message]) => String(message)).filter(m => m.startsWith(`${name}: of the`))
      await run(open)
      expect(said()).toEqual([])
      await run(saturated)
      await run(saturated)
      expect(said()).toHaveLength(1)
      expect(said()[0]).toMatch(
        /of the gradients 100\.0% are exactly 0 .* They died at \S.* \(100\.0% of the first 2\)/,
      )
    },
  )
})

describe('what is broken already', () => {
  // The first is, where no gradient lives; the second stands.
  const flat: Logits<null> = (_, { x }) =>
    x
      .relu()
      .mul(2)
      .add(f64([0.1, 0]))
  const batch = {
    x: f64([
      [-1, -1],
      [1, 0.2],
    ]),
    label: classes(1, 0),
  }
  const broken = (_: null, b: Batch): Tensor =>
    flat(null, b, { training: false }).argmax({ axis: -1 }).notEqual(b.label)
  const margins: Loss<null> = (m, b, ctx) => marginLoss(flat(m, b, ctx), b.label, { reduction: 'none' })
  const attacks: Readonly<Record<string, () => Promise<{ report: GradientReport }>>> = {
    apgd: () => apgd(flat, null, batch, { epsilon: 0.05, steps: 3 }),
    deepFool: () => deepFool(flat, null, batch, { steps: 3 }),
    fab: () => fab(flat, null, batch, { steps: 3 }),
    carliniWagner: () => carliniWagner(flat, null, batch, { searches: 2, steps: 3, clipMin: -2, clipMax: 2 }),
    pgd: async () => pgd(margins, null, batch, { epsilon: 0.05, steps: 3, broken }),
  }
  test.each(Object.entries(attacks))('%s counts the gradients of what stands', async (name, run) => {
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => {})
    const { report } = await run()
    expect(await report.zero.item()).toBe(0)
    // deepFool and fab break it by one step.
    expect(await report.gradients.item()).toBe({ apgd: 4, deepFool: 1, fab: 1, carliniWagner: 6, pgd: 3 }[name])
    expect(warn).not.toHaveBeenCalled()
  })
})

test('without a place, another share of zeros is another warning', async () => {
  const warn = vi.spyOn(console, 'warn').mockImplementation(() => {})
  // Cross-entropy is sure of what is 1 apart, and the margin is not.
  const sure: Logits<null> = (_, { x }) => mul(x, 1000)
  const run = (x: number[][]) =>
    apgd(sure, null, { x: f64(x), label: classes(...x.map(() => 0)) }, { epsilon: 1e-6, steps: 2 })
  const half = [
    [1, 0],
    [0.001, 0],
  ]
  await run([[1, 0]])
  await run(half)
  await run(half)
  const said = warn.mock.calls.map(([message]) => String(message)).filter(m => m.startsWith('apgd: of the gradients'))
  expect(said.map(m => m.slice(0, 36))).toEqual([
    'apgd: of the gradients 100.0% are ex',
    'apgd: of the gradients 50.0% are exa',
  ])
})

test('the clipped loss checks its floor', () => {
  expect(() => clippedCrossEntropyOfProbabilities(f64([[0.5, 0.5]]), classes(0), { floor: 0.7 })).toThrow(
    'floor must be a number between 0 and 0.5, not 0.7',
  )
})

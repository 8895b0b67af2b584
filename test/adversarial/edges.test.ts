/** Edges of the methods: confident mistakes, NaN, padding, repeated lookups, missing options, evaluation of losses that draw. */

import { add, matmul, mul, random, setDevice, type Tensor, tensor } from 'saddlepoint'
import {
  accuracyCurve,
  accuracyOn,
  adversarialTraining,
  apgd,
  autoAttack,
  bim,
  carliniWagner,
  deepFool,
  fab,
  fastTraining,
  fgm,
  freeLB,
  gradientAlignment,
  gradientPenalty,
  intervalBounds,
  type Logits,
  linearity,
  localLinearity,
  mart,
  pgd,
  rDrop,
  robustAccuracy,
  smart,
  smoothed,
  square,
  trades,
  transferMatrix,
  vat,
} from 'saddlepoint/adversarial'
import { dataset } from 'saddlepoint/data'
import { type Batch, BatchNorm, crossEntropy, Embedding, Linear, type Loss, Sequential } from 'saddlepoint/nn'
import { adam } from 'saddlepoint/optim'
import { Trainer } from 'saddlepoint/train'
import { beforeAll, describe, expect, test, vi } from 'vitest'
import { type Classifier, example, f64, meanLoss, logits as mlp } from './common.js'

beforeAll(async () => {
  await setDevice('reference')
})

const key = random.key(4)
const training = { training: true, key }
const linear: Logits<Tensor> = (w, { x }) => matmul(x, w)
const labels = (...of: number[]): Tensor => tensor(Int32Array.from(of))
const setOf = (rows: number[][], of: number[]) =>
  dataset({
    x: { dtype: 'float64', shape: [rows.length, rows[0].length], data: Float64Array.from(rows.flat()) },
    label: { dtype: 'int32', shape: [of.length], data: Int32Array.from(of) },
  })

test('mart is finite where a wrong class is certain', async () => {
  const loss: Loss<Tensor> = (w, b, ctx) => crossEntropy(linear(w, b, ctx), b.label)
  const w = f64([
    [60, 0, 0],
    [0, 60, 0],
  ])
  const value = mart({ logits: linear, epsilon: 0, weight: 0 })(loss)(
    w,
    { x: f64([[1, 0]]), label: labels(1) },
    training,
  )
  // -log p_y is 60, and so is -log(1 - p_0): 1 - p_0 = 2 exp(-60).
  expect(await value.item()).toBeCloseTo(60 + 60 - Math.LN2, 8)
})

describe('float16', () => {
  test('gradients above 2 do not overflow', async () => {
    const x = tensor([[1, 2, 3, 4]]).astype('float16')
    const w = tensor([
      [30, -30],
      [-20, 20],
      [10, -10],
      [5, -5],
    ]).astype('float16')
    const loss: Loss<Tensor> = (w, { x, label }) => crossEntropy(matmul(x, w), label)
    const under = (x: Tensor, w: Tensor): Promise<number> =>
      adversarialTraining({ epsilon: 0.5, steps: 1, stepSize: 0.5, randomStart: false })(loss)(
        w,
        { x, label: labels(1) },
        training,
      ).item()
    const [half, whole] = [await under(x, w), await under(x.astype('float32'), w.astype('float32'))]
    const clean = await loss(w.astype('float32'), { x: x.astype('float32'), label: labels(1) }, training).item()
    expect(whole).toBeGreaterThan(clean + 10)
    expect(Math.abs(half / whole - 1)).toBeLessThan(0.01)
  })
})

test('a Trainer evaluates losses that draw', async () => {
  const { model, x, labels: of } = await example(3)
  const data = setOf(x, of)
  const logits: Logits<Classifier> = (m, b) => matmul(matmul(b.x, m.w1).tanh(), m.w2)
  for (const method of [
    rDrop({ logits }),
    trades({ logits, epsilon: 0.1, steps: 1 }),
    adversarialTraining({ epsilon: 0.1, steps: 1 }),
  ]) {
    const trainer = new Trainer({ model, loss: meanLoss, optimizer: adam() }).use(method)
    const { epochs } = await trainer.fit(data, { epochs: 1, batchSize: 2, validation: data })
    expect(Number.isFinite(epochs[0].validation?.loss)).toBe(true)
  }
})

describe('what must be given is asked for', () => {
  const logits = linear
  const withoutEpsilon = (make: (options: never) => unknown, op: string, given: object = {}) =>
    [op, () => make(given as never)] as const
  test.each([
    withoutEpsilon(trades, 'trades', { logits }),
    withoutEpsilon(mart, 'mart', { logits }),
    withoutEpsilon(vat, 'vat', { logits }),
    withoutEpsilon(smart, 'smart', { logits }),
    withoutEpsilon(localLinearity, 'localLinearity', { losses: linear }),
    withoutEpsilon(gradientAlignment, 'gradientAlignment'),
    withoutEpsilon(adversarialTraining, 'adversarialTraining', { stepSize: 1 }),
  ])('%s without epsilon', (op, make) => expect(make).toThrow(`${op}: needs epsilon, a finite number >= 0`))
  test('attacks without epsilon', async () => {
    const [w, batch, data] = [f64([[1, 0]]), { x: f64([[1]]), label: labels(0) }, setOf([[1]], [0])]
    await expect(apgd(linear, w, batch, {} as never)).rejects.toThrow('apgd: needs epsilon')
    await expect(square(linear, w, batch, { key } as never)).rejects.toThrow('square: needs epsilon')
    await expect(autoAttack(linear, w, data, { key } as never)).rejects.toThrow('autoAttack: needs epsilon')
    await expect(smoothed(linear, w, batch, { key } as never)).rejects.toThrow('smoothed: needs sigma')
  })
  test('options at all', async () => {
    for (const [op, make] of Object.entries({
      fgm,
      freeLB,
      gradientPenalty,
      trades,
      mart,
      vat,
      smart,
      rDrop,
      adversarialTraining,
    }))
      expect(() => (make as () => unknown)()).toThrow(`${op}: expects its options as an object, not undefined`)
    const [w, batch] = [f64([[1, 0]]), { x: f64([[1]]), label: labels(0) }]
    for (const [op, attack] of Object.entries({ apgd, square, carliniWagner }))
      await expect(attack(linear, w, batch, undefined as never)).rejects.toThrow(`${op}: expects its options`)
    expect(() => fastTraining({ epsilon: 0.3, steps: 5 } as never)).toThrow(
      'fastTraining: takes one step; adversarialTraining takes several',
    )
  })
  test('parameters', () => {
    for (const make of [fgm, freeLB, gradientPenalty])
      expect(() => make({} as never)).toThrow('needs on, the parameters to perturb')
  })
  test('as numbers, not as text', async () => {
    const [w, batch] = [f64([[1, 0]]), { x: f64([[1]]), label: labels(0) }]
    const text = { epsilon: '0.3' } as never
    expect(() => trades({ logits, ...(text as object) } as never)).toThrow(
      "trades: epsilon must be a finite number >= 0, not '0.3'",
    )
    expect(() => smart({ logits, epsilon: 0.1, steps: '2' } as never)).toThrow(
      "smart: steps must be an integer >= 1, not '2'",
    )
    expect(() => pgd(linear, w, batch, text)).toThrow("pgd: epsilon must be a finite number >= 0, not '0.3'")
    await expect(fab(linear, w, batch, text)).rejects.toThrow("fab: epsilon must be a finite number >= 0, not '0.3'")
  })
  test('steps that go up', () => {
    const [w, batch] = [f64([[1, 0]]), { x: f64([[1]]), label: labels(0) }]
    const loss: Loss<Tensor> = (m, b, ctx) => crossEntropy(linear(m, b, ctx), b.label)
    for (const [op, attack] of Object.entries({ pgd, bim }))
      for (const stepSize of [-1, Number.NaN])
        expect(() => attack(loss, w, batch, { epsilon: 1, stepSize })).toThrow(
          `${op}: stepSize must be a finite number >= 0, not ${stepSize}`,
        )
  })
  test('functions', () => {
    expect(() => rDrop({} as never)).toThrow(
      'rDrop: needs logits, a function (model, batch, ctx) => tensor, not nothing',
    )
    expect(() => trades({ epsilon: 1 } as never)).toThrow('trades: needs logits')
  })
  test('losses of examples', async () => {
    const { model, batch } = await example(3)
    expect(() => localLinearity({ losses: meanLoss, epsilon: 0.1 })(meanLoss)(model, batch, training)).toThrow(
      'losses must be those of 5 examples, not of shape []',
    )
    await expect(linearity(meanLoss, model, batch, batch)).rejects.toThrow('losses must be those of 5 examples')
    await expect(linearity(meanLoss, model, batch, {})).rejects.toThrow("the perturbed batch has no column 'x'")
  })
})

describe('NaN is no answer', () => {
  const [w, batch, data] = [
    f64([[Number.NaN, 1]]),
    { x: f64([[1], [2]]), label: labels(0, 0) },
    setOf([[1], [2]], [0, 0]),
  ]
  test('nowhere', async () => {
    expect(await accuracyOn(linear, w, data)).toBe(0)
    expect((await autoAttack(linear, w, data, { epsilon: 0.1, key, steps: 2, queries: 2 })).clean).toBe(0)
    const { broken } = await apgd(linear, w, batch, { epsilon: 0.1, steps: 1 })
    expect(Array.from(await broken.data())).toEqual([1, 1])
    expect((await smoothed(linear, w, batch, { sigma: 1, key, selection: 5, samples: 20 }))[0]).toEqual({
      class: undefined,
      radius: 0,
    })
  })
})

describe('autoAttack measures what it says', () => {
  const [w, data] = [f64([[1, -1]]), setOf([[1], [2]], [0, 0])]
  const run = (options: object) => autoAttack(linear, w, data, { epsilon: 0.1, key, steps: 2, queries: 2, ...options })
  test('options', async () => {
    await expect(run({ norm: 'l1' })).rejects.toThrow("autoAttack: unknown norm 'l1'")
    await expect(run({ targets: 0 })).rejects.toThrow('autoAttack: targets must be an integer >= 1, not 0')
    await expect(run({ epsilon: -1 })).rejects.toThrow('autoAttack: epsilon must be a finite number >= 0, not -1')
    await expect(
      apgd(linear, w, { x: f64([[1]]), label: labels(0) }, { epsilon: 1, norm: 'l1' as 'l2' }),
    ).rejects.toThrow("apgd: unknown norm 'l1'")
  })
  test('an abort rejects', async () => {
    await expect(run({ signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow('enough')
  })
  test('the column of labels needs no second name', async () => {
    const named = dataset({ x: data.columns.x, y: data.columns.label })
    expect((await autoAttack(linear, w, named, { epsilon: 0.1, key, steps: 2, queries: 2, label: 'y' })).clean).toBe(1)
  })
})

test('autoAttack counts the gradients of all attacks along them', async () => {
  const [w, data] = [f64([[1, -1]]), setOf([[1], [2]], [0, 0])]
  const { report } = await autoAttack(linear, w, data, { epsilon: 0.1, key, steps: 2, queries: 2 })
  // Of APGD 3 of each example, of FAB 1 until its first step has crossed the boundary.
  expect(report).toEqual({ gradients: 2 * 3 + 2, zero: 0, nonFinite: 0, floorHit: 0 })
})

describe('a column of labels by another name', () => {
  const pgdOptions = { epsilon: 0.4, steps: 3 }
  const lossBy =
    (name: string): Loss<Classifier> =>
    (m, b) =>
      crossEntropy(mlp(m, b), b[name].astype('int32'))
  test('it is no feature, even as float', async () => {
    const { model, x, labels: classes } = await example(11)
    const data = setOf(x, classes)
    const named = dataset({
      x: data.columns.x,
      y: { dtype: 'float64', shape: [x.length], data: Float64Array.from(classes) },
    })
    const curve = (d: typeof data, label: string) =>
      accuracyCurve(mlp, lossBy(label), model, d, [0.4], { steps: 3, label })
    expect(await curve(named, 'y')).toEqual(await curve(data, 'label'))
    const matrix = (d: typeof data, label: string) =>
      transferMatrix(mlp, lossBy(label), [model], d, { ...pgdOptions, label })
    expect(await matrix(named, 'y')).toEqual(await matrix(data, 'label'))
    const [one, other] = [
      { x: f64(x), label: labels(...classes) },
      { x: f64(x), y: f64(classes) },
    ]
    const robust = (b: Batch, label: string) =>
      robustAccuracy(lossBy(label), { logits: mlp, label, ...pgdOptions })(model, b, training).item()
    expect(await robust(other, 'y')).toBe(await robust(one, 'label'))
    const marted = (b: Batch, label: string) =>
      mart({ logits: mlp, label, ...pgdOptions })(lossBy(label))(model, b, training).item()
    const integers = { ...other, y: one.label }
    expect(await marted(integers, 'y')).toBe(await marted(one, 'label'))
  })
})

describe('labels that are no class', () => {
  const w = f64([[1, -1]])
  const loss: Loss<Tensor> = (m, b, ctx) => crossEntropy(linear(m, b, ctx), b.label)
  test.each([2, -1])('%i of two', async label => {
    const data = setOf([[1], [2], [3]], [0, label, 1])
    const said = (op: string) => `${op}: the label of row 1 is ${label}, and there are logits of 2 classes, 0 to 1`
    await expect(accuracyOn(linear, w, data)).rejects.toThrow(said('accuracyOn'))
    await expect(autoAttack(linear, w, data, { epsilon: 0.1, key, steps: 2 })).rejects.toThrow(said('autoAttack'))
    await expect(accuracyCurve(linear, loss, w, data, [0.1], { steps: 2 })).rejects.toThrow(said('accuracyCurve'))
  })
})

describe('a signal', () => {
  const [w, batch] = [f64([[1, -1]]), { x: f64([[1], [2]]), label: labels(0, 0) }]
  const range = { clipMin: 0.5, clipMax: 3 }
  const attacks: Readonly<Record<string, (signal: AbortSignal) => Promise<unknown>>> = {
    apgd: signal => apgd(linear, w, batch, { epsilon: 0.1, steps: 60, signal }),
    deepFool: signal => deepFool(linear, w, batch, { steps: 60, signal, ...range }),
    fab: signal => fab(linear, w, batch, { steps: 60, signal }),
    carliniWagner: signal => carliniWagner(linear, w, batch, { steps: 60, signal, ...range }),
    square: signal => square(linear, w, batch, { epsilon: 0.1, steps: 60, key, signal }),
  }
  test.each(Object.entries(attacks))('ends %s between its steps', async (_, attack) => {
    const { signal } = new AbortController()
    const looks = vi.spyOn(signal, 'throwIfAborted').mockImplementation(() => {
      if (looks.mock.calls.length === 3) throw new Error('enough')
    })
    await expect(attack(signal)).rejects.toThrow('enough')
  })
  test('reaches an attack that runs', async () => {
    const controller = new AbortController()
    setTimeout(() => controller.abort(new Error('enough')), 50)
    const options = { steps: 1e6, signal: controller.signal, ...range }
    await expect(carliniWagner(linear, w, batch, options)).rejects.toThrow('enough')
  })
  test('ends evaluations', async () => {
    const data = setOf([[1], [2]], [0, 0])
    const loss: Loss<Tensor> = (m, b, ctx) => crossEntropy(linear(m, b, ctx), b.label)
    const signal = AbortSignal.abort(new Error('enough'))
    await expect(accuracyOn(linear, w, data, { signal })).rejects.toThrow('enough')
    await expect(accuracyCurve(linear, loss, w, data, [0.1], { steps: 2, signal })).rejects.toThrow('enough')
    await expect(transferMatrix(linear, loss, [w], data, { epsilon: 0.1, steps: 2, signal })).rejects.toThrow('enough')
  })
})

describe('looked-up vectors', () => {
  type Model = { embedding: Embedding; out: Linear }
  const model: Model = {
    embedding: new Embedding(9, 4, { key, dtype: 'float64', paddingIndex: 0 }),
    out: new Linear(4, 3, { key, dtype: 'float64' }),
  }
  const loss: Loss<Model> = (m, { ids, label }) =>
    crossEntropy(m.out.apply(m.embedding.apply(ids).tanh().sum({ axis: 1 })), label)
  const twice: Loss<Model> = (m, b, c) => mul(add(loss(m, b, c), loss(m, b, c)), 0.5)
  const batchOf = (...rows: number[][]) => ({
    ids: tensor(Int32Array.from(rows.flat()), { shape: [rows.length, rows[0].length] }),
    label: labels(...rows.map((_, i) => i % 3)),
  })
  const batch = batchOf([1, 2, 3], [4, 5, 0])

  test('those read twice by the same ids are perturbed as one', async () => {
    for (const method of [
      fgm({ on: 'embedding', scope: 'example', mode: 'replace', epsilon: 0.5 }),
      gradientPenalty({ on: 'embedding', reading: 'occurrence', epsilon: 100 }),
    ]) {
      const [once, again] = await Promise.all([loss, twice].map(l => method(l)(model, batch, training).item()))
      expect(again).toBeCloseTo(once, 12)
    }
  })

  test('padding has no part in a random start', async () => {
    const start = (rows: number[][]) =>
      freeLB({ on: 'embedding', start: 0.5, steps: 1, scope: 'example' })(loss)(
        model,
        batchOf(...rows),
        training,
      ).item()
    const changes: number[] = []
    for (const padding of [0, 40]) {
      const rows = [
        [1, 2, 3],
        [4, 5, 6],
      ].map(row => [...row, ...new Array(padding).fill(0)])
      const clean = await loss(model, batchOf(...rows), training).item()
      changes.push(Math.abs((await start(rows)) - clean))
    }
    expect(changes[1]).toBeGreaterThan(0.2 * changes[0])
  })

  test('names and fields of the embedding stay what they are', async () => {
    const seen: unknown[] = []
    const watching: Loss<Model> = (m, b, c) => {
      seen.push(m.embedding instanceof Embedding, m.embedding.paddingIndex)
      return loss(m, b, c)
    }
    const nested = gradientPenalty({ on: 'embedding.weight', reading: 'occurrence' })(
      fgm({ on: 'embedding.weight', scope: 'example' })(watching),
    )
    expect(Number.isFinite(await nested(model, batch, training).item())).toBe(true)
    expect(new Set(seen)).toEqual(new Set([true, 0]))
  })

  test('a padding mask of another shape is said', () => {
    const method = fgm({ on: 'embedding', scope: 'token', paddingMask: 'mask' })(loss)
    expect(() =>
      method(
        model,
        {
          ...batch,
          mask: f64([
            [1, 1],
            [1, 1],
          ]),
        },
        training,
      ),
    ).toThrow('paddingMask is [2,2], but the ids that are looked up are [2,3]')
  })
})

test('intervalBounds refuses layers that may fall', () => {
  const net = new Sequential([new BatchNorm(2)])
  expect(() => intervalBounds(net, f64([[1, 2]]), { epsilon: 0.1 })).toThrow(
    'intervalBounds: BatchNorm is not known to be non-decreasing',
  )
})

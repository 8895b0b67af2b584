import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  arange,
  getDevice,
  grad,
  type HostArray,
  leaves,
  namedLeaves,
  ones,
  random,
  relu,
  stats,
  type Tensor,
  tensor,
  zeros,
} from 'saddlepoint'
import {
  accuracy,
  BatchNorm,
  type Context,
  crossEntropy,
  Dropout,
  Linear,
  type Loss,
  mse,
  Sequential,
} from 'saddlepoint/nn'
import { adam, cosine, sgd } from 'saddlepoint/optim'
import { type FitOptions, loadTree, saveTree, Trainer, type TrainerOptions } from 'saddlepoint/train'
import { afterAll, describe, expect, test } from 'vitest'
import { dataset } from '../../src/data/dataset.js'
import { decodeSafetensors, encodeSafetensors } from '../../src/data/safetensors.js'

const folder = mkdtempSync(join(tmpdir(), 'saddlepoint-train-'))
afterAll(() => rmSync(folder, { recursive: true }))

/** Points in the plane and whether they lie in a disc: 0 or 1. */
function disc(rows: number) {
  const x = Float32Array.from({ length: 2 * rows }, (_, i) => Math.sin(12.9898 * (i + 1)) * 1.5)
  const y = Int32Array.from({ length: rows }, (_, i) => Number(Math.hypot(x[2 * i], x[2 * i + 1]) < 1.1))
  return dataset({ x: { dtype: 'float32', shape: [rows, 2], data: x }, y: { dtype: 'int32', shape: [rows], data: y } })
}
const train = disc(150)

type Model = Sequential
const network = (): Model =>
  new Sequential([
    new Linear(2, 16, { key: random.key(1) }),
    new BatchNorm(16),
    relu,
    new Dropout(0.1),
    new Linear(16, 2, { key: random.key(2) }),
  ])
const loss: Loss<Model> = (model, { x, y }, ctx) => crossEntropy(model.apply(x, ctx), y)
const metrics = {
  accuracy: (model: Model, { x, y }: Record<string, Tensor>, ctx: Context) => accuracy(model.apply(x, ctx), y),
}
const trainer = (options: Partial<TrainerOptions<Model>> = {}): Trainer<Model> =>
  new Trainer({
    model: network(),
    loss,
    metrics,
    optimizer: adam({ learningRate: cosine(0.03, 60, { warmup: 3 }) }),
    seed: 3,
    ...options,
  })
const values = (tree: unknown): Promise<number[][]> =>
  Promise.all(leaves(tree).map(async t => Array.from(await t.data())))
const means = ({ epochs }: { epochs: readonly { train: unknown; validation?: unknown }[] }) =>
  epochs.map(({ train, validation }) => ({ train, validation }))
const options: FitOptions = { epochs: 3, batchSize: 16 }

describe('fit', () => {
  test('learns, moves the statistics once a step, and reports means', async () => {
    const t = trainer()
    const before = await t.evaluate(train, { batchSize: 64 })
    const { epochs, interrupted, stoppedEarly } = await t.fit(train, { ...options, epochs: 12, validation: train })
    expect([interrupted, stoppedEarly]).toEqual([false, false])
    expect(epochs.map(e => e.epoch)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
    const last = epochs[11]
    expect(last.validation?.loss).toBeLessThan(before.loss / 2)
    expect(last.validation?.accuracy).toBeGreaterThan(0.9)
    expect(last.seconds).toBeGreaterThan(0)
    expect([t.step, t.epoch]).toEqual([120, 12])
    const state = namedLeaves(t.model).filter(l => l.name.includes('state'))
    expect((await values(state.map(l => l.tensor)))[1]).not.toEqual(Array(16).fill(1))
  })

  test('statistics follow the running mean, step by step', async () => {
    const model = { norm: new BatchNorm(1, { momentum: 0.5 }), w: ones([1]) }
    const data = dataset({ x: { dtype: 'float32', shape: [4, 1], data: new Float32Array([1, 3, 5, 11]) } })
    const t = new Trainer({
      model,
      loss: (m, { x }, ctx) => m.norm.apply(x, ctx).mul(m.w).mean(),
      // A second pass in training mode, which must not move them again.
      metrics: { again: (m, { x }, ctx) => m.norm.apply(x.mul(2), ctx).mean() },
      optimizer: sgd({ learningRate: 0 }),
    })
    await t.fit(data, { epochs: 2, batchSize: 2, shuffle: false })
    expect((await values(model.norm.state.mean))[0]).toEqual([((0.5 * 2 * 0.5 + 0.5 * 8) * 0.5 + 1) * 0.5 + 4])
  })

  test('statistics move through a gradient within the loss', async () => {
    const model = { norm: new BatchNorm(1, { momentum: 0.5 }) }
    const t = new Trainer({
      model,
      loss: (m, { x }, ctx) => leaves(grad((n: typeof m) => n.norm.apply(x, ctx).pow(3).mean())(m))[0].sum(),
      optimizer: sgd({ learningRate: 0 }),
    })
    const data = dataset({ x: { dtype: 'float32', shape: [2, 1], data: new Float32Array([1, 3]) } })
    await t.fit(data, { epochs: 1, batchSize: 2 })
    expect(await model.norm.state.mean.item()).toBe(1)
  })

  test('means are over the examples of one epoch, whatever the batches', async () => {
    const t = trainer({
      model: new Sequential([new Linear(2, 2, { key: random.key(5) })]),
      optimizer: sgd({ learningRate: 0 }),
    })
    const whole = await t.evaluate(train, { batchSize: 150 })
    const { epochs } = await t.fit(train, { epochs: 2, batchSize: 4 })
    for (const { train } of epochs) {
      expect(train.loss).toBeCloseTo(whole.loss, 5)
      expect(train.accuracy).toBeCloseTo(whole.accuracy, 5)
    }
  })

  test('order and dropout change from step to step and with the seed', async () => {
    const x = Float32Array.from({ length: 64 }, (_, i) => i)
    const data = dataset({ x: { dtype: 'float32', shape: [64], data: x } })
    const run = async (seed: number, shuffle: boolean) => {
      const t = new Trainer<{ w: Tensor; drop: Dropout }>({
        model: { w: ones([]), drop: new Dropout(0.5) },
        loss: ({ w }) => w.mul(w),
        metrics: {
          order: (_, { x }) => x.mul(arange(64)).sum(),
          mask: ({ drop }, _, ctx) =>
            drop
              .apply(ones([64]), ctx)
              .mul(arange(64))
              .sum(),
        },
        optimizer: sgd({ learningRate: 0 }),
        seed,
      })
      const { epochs } = await t.fit(data, { epochs: 3, batchSize: 64, shuffle })
      return epochs.map(e => [e.train.order, e.train.mask])
    }
    const [a, b, still] = [await run(0, true), await run(1, true), await run(0, false)]
    for (const i of [0, 1]) expect(new Set([...a, ...b].map(e => e[i])).size).toBe(6)
    expect(new Set(still.map(e => e[0])).size).toBe(1)
  })

  test('the second epoch compiles nothing', async () => {
    const counts: number[][] = []
    const count = () => void counts.push([stats.plansCompiled, stats.kernelsCompiled])
    await trainer().fit(train, { ...options, validation: train, onEpoch: count })
    expect(counts.length).toBe(3)
    expect(counts[2]).toEqual(counts[0])
  })

  test('the second step compiles nothing', async () => {
    const plans: number[] = []
    await trainer().fit(train, { ...options, epochs: 1, onStep: () => void plans.push(stats.plansCompiled) })
    expect(plans[8]).toBe(plans[0])
  })

  test('memory stays flat', async () => {
    const bytes: number[] = []
    const device = await getDevice()
    await trainer().fit(train, { ...options, epochs: 20, onEpoch: () => void bytes.push(device.bytesInUse) })
    expect(Math.max(...bytes.slice(3))).toBeLessThanOrEqual(Math.max(...bytes.slice(0, 3)))
  })

  test('the same seed gives the same numbers, another seed others', async () => {
    const run = async (seed: number) => {
      const t = trainer({ seed })
      return [means(await t.fit(train, options)), await values(t.model)]
    }
    const [a, b, c] = [await run(3), await run(3), await run(4)]
    expect(a).toEqual(b)
    expect(a).not.toEqual(c)
  })

  test('two models that share constants do not free each other', async () => {
    const shared = zeros([2])
    const square: Loss<{ w: Tensor }> = ({ w }, { x }) => mse(x.mul(w), x)
    const [a, b] = [1, 2].map(
      () => new Trainer({ model: { w: shared }, loss: square, optimizer: sgd({ learningRate: 0.1 }) }),
    )
    const apart = [zeros([2]), zeros([2])].map(w => new Trainer({ model: { w }, loss: square, optimizer: adam() }))
    await shared.realize()
    for (const t of [...apart, a, b]) await t.fit(train, { epochs: 1, batchSize: 50 })
    for (const t of [...apart, a, b]) expect((await values(t.model))[0].every(v => v > 0)).toBe(true)
  })

  test('the gradient is clipped', async () => {
    const model = { w: tensor([0]) }
    const data = dataset({ x: { dtype: 'float32', shape: [1], data: new Float32Array([1]) } })
    const t = new Trainer({
      model,
      loss: ({ w }, { x }) => w.mul(x).mul(100).sum(),
      optimizer: sgd({ learningRate: 1 }),
      clipNorm: 0.5,
    })
    await t.fit(data, { epochs: 1, batchSize: 1 })
    expect(await model.w.item()).toBe(-0.5)
  })

  test('callbacks see every step and epoch', async () => {
    const steps: string[] = []
    const epochs: number[] = []
    await trainer().fit(train, {
      ...options,
      epochs: 2,
      dropLast: true,
      onStep: s => void steps.push(`${s.epoch}.${s.step}/${s.stepsPerEpoch}`),
      onEpoch: async e => void epochs.push(e.epoch),
    })
    expect(steps.length).toBe(18)
    expect([steps[0], steps[17], epochs]).toEqual(['1.1/9', '2.9/9', [1, 2]])
  })

  test('progress in plain lines', async () => {
    let text = ''
    const screen = { write: (more: string) => (text += more) }
    await trainer().fit(train, { ...options, progress: screen })
    expect(text).toMatch(/^training: 0% \(0\/30\)\n/)
    expect(text).toMatch(/training: 100% \(30\/30\) {2}epoch 3\/3 {2}loss \d\.\d+ {2}accuracy \d/)
  })
})

describe('evaluate', () => {
  test('means are over examples, whatever the batches', async () => {
    const t = trainer()
    const whole = await t.evaluate(train, { batchSize: 150 })
    for (const batchSize of [1, 7, 64]) {
      const parts = await t.evaluate(train, { batchSize })
      expect(parts.loss).toBeCloseTo(whole.loss, 5)
      expect(parts.accuracy).toBeCloseTo(whole.accuracy, 5)
    }
  })
  test('leaves the model as it is', async () => {
    const t = trainer()
    const before = await values(t.model)
    await t.evaluate(train, { batchSize: 64 })
    expect(await values(t.model)).toEqual(before)
  })
})

describe('early stop', () => {
  test('ends when the best epoch lies `patience` epochs back', async () => {
    const t = trainer({ optimizer: sgd({ learningRate: 0 }) })
    const early = { metric: 'loss', patience: 2, mode: 'min' } as const
    const { epochs, stoppedEarly } = await t.fit(train, { ...options, epochs: 9, validation: train, earlyStop: early })
    expect(stoppedEarly).toBe(true)
    // Statistics of BatchNorm still move in the first epochs, the weights never.
    expect(epochs.length).toBeLessThan(9)
    const losses = epochs.map(e => e.validation?.loss ?? Number.NaN)
    expect(epochs.length - 1 - losses.indexOf(Math.min(...losses))).toBe(2)
  })
  test('does not end while the metric improves', async () => {
    const seen = dataset({ x: { dtype: 'float32', shape: [4], data: new Float32Array([1, 1, 1, 1]) } })
    const t = new Trainer({
      model: { w: tensor([0]) },
      loss: ({ w }, { x }) => mse(w.mul(x), x),
      metrics: { w: ({ w }) => w.sum() },
      optimizer: sgd({ learningRate: 0.1 }),
    })
    const { epochs, stoppedEarly } = await t.fit(seen, {
      epochs: 6,
      batchSize: 4,
      earlyStop: { metric: 'w', patience: 1, mode: 'max' },
    })
    expect([epochs.length, stoppedEarly]).toEqual([6, false])
  })
})

/** The numbers of two runs: equal, but on the reference device, which computes with more digits than a file keeps. */
async function expectSame(found: unknown, expected: unknown): Promise<void> {
  if ((await getDevice()).name !== 'reference') return expect(found).toEqual(expected)
  const numbers = (x: unknown): number[] => Array.from(JSON.stringify(x).matchAll(/-?\d[\d.e+-]*/g), ([n]) => Number(n))
  const [a, b] = [numbers(found), numbers(expected)]
  expect(a.length).toBe(b.length)
  expect(Math.max(...a.map((v, i) => Math.abs(v - b[i])))).toBeLessThan(1e-5)
}

describe('checkpoints', () => {
  const uninterrupted = async () => {
    const t = trainer()
    return [means(await t.fit(train, { ...options, epochs: 4, validation: train })), await values(t.model)]
  }

  test('resuming at an epoch gives the numbers of an uninterrupted run', async () => {
    const checkpoint = join(folder, 'epoch.safetensors')
    await trainer().fit(train, { ...options, epochs: 2, validation: train, checkpoint })
    const resumed = trainer({ seed: 99 })
    await resumed.load(checkpoint)
    expect([resumed.epoch, resumed.step]).toEqual([2, 20])
    const history = await resumed.fit(train, { ...options, epochs: 4, validation: train })
    await expectSame([means(history), await values(resumed.model)], await uninterrupted())
  })

  test.each([13, 20])('resuming after an abort in step %i gives them too', async at => {
    const checkpoint = join(folder, `step${at}.safetensors`)
    const controller = new AbortController()
    const first = trainer()
    const { interrupted, epochs } = await first.fit(train, {
      ...options,
      epochs: 4,
      validation: train,
      checkpoint,
      signal: controller.signal,
      onStep: () => {
        if (first.step === at) controller.abort()
      },
    })
    expect([interrupted, epochs.length, first.step]).toEqual([true, Math.floor(at / 10), at])
    const resumed = trainer()
    await resumed.load(checkpoint)
    const history = await resumed.fit(train, { ...options, epochs: 4, validation: train })
    await expectSame([means(history), await values(resumed.model)], await uninterrupted())
    await first.load(checkpoint)
    const other = { ...options, batchSize: 8 }
    if (at === 13) await expect(first.fit(train, other)).rejects.toThrow('the interrupted epoch began with')
  })

  test('a file that cannot be written is an error before the first step', async () => {
    const t = trainer()
    const places = [folder, join(folder, 'none', 'a.safetensors'), join(folder, 'file', 'a.safetensors')]
    writeFileSync(join(folder, 'file'), '')
    for (const checkpoint of places) {
      const fitting = t.fit(train, { ...options, epochs: 1, checkpoint })
      await expect(fitting).rejects.toThrow(
        /^fit: checkpoint: (cannot write .* no such|cannot write .* not a|.* is a folder)/,
      )
    }
    expect(t.step).toBe(0)
    await t.fit(train, { ...options, epochs: 1, checkpoint: join(folder, 'written.safetensors') })
    expect(t.epoch).toBe(1)
  })

  test('a metric that is not a number survives', async () => {
    const path = join(folder, 'nan.safetensors')
    const make = () => trainer({ metrics: { odd: () => tensor(Number.NaN) } })
    const first = make()
    const { epochs } = await first.fit(train, { ...options, epochs: 1, checkpoint: path })
    const second = make()
    await second.load(path)
    expect((await second.fit(train, { ...options, epochs: 1 })).epochs).toEqual(epochs)
    expect(epochs[0].train.odd).toBeNaN()
  })

  test('a file that does not fit is refused by name and changes nothing', async () => {
    const path = join(folder, 'good.safetensors')
    const t = trainer()
    await t.fit(train, { ...options, epochs: 1, checkpoint: path })
    const before = await values(t.model)
    const wider = trainer({ model: new Sequential([new Linear(2, 3, { key: random.key(0) })]) })
    await expect(wider.load(path)).rejects.toThrow(
      /'model.layers.0.weight' is float32\[2,16\], expected float32\[2,3\]/,
    )
    await expect(wider.load(path)).rejects.toThrow('and 21 more; nothing was loaded')
    await expect(trainer({ metrics: {} }).load(path)).rejects.toThrow(
      'has the metrics loss, accuracy, this trainer loss',
    )
    await expect(t.load(join(folder, 'none'))).rejects.toThrow('cannot read')
    const foreign = join(folder, 'foreign.safetensors')
    const one: HostArray = { dtype: 'float32', shape: [1], data: new Float32Array(1) }
    writeFileSync(foreign, encodeSafetensors({ one }, { run: 'x' }))
    await expect(t.load(foreign)).rejects.toThrow('foreign.safetensors was not written by the save of a Trainer')
    const { tensors, metadata } = decodeSafetensors(readFileSync(path))
    const run = JSON.parse(metadata.run)
    const without = (key: string) => ({ ...run, [key]: undefined })
    const running = { order: { rows: 150, batchSize: 16, shuffle: true, dropLast: false }, steps: 1, seen: 16, read: 0 }
    for (const broken of [
      ...['seed', 'steps', 'epochs', 'names'].map(without),
      { ...run, seed: -1 },
      { ...run, steps: '3' },
      { ...run, epochs: [{ epoch: 1, seconds: 1 }] },
      { ...run, running },
    ]) {
      writeFileSync(foreign, encodeSafetensors(tensors, { run: JSON.stringify(broken) }))
      await expect(trainer().load(foreign)).rejects.toThrow('foreign.safetensors was not written by the save')
      await expect(t.load(foreign)).rejects.toThrow('foreign.safetensors was not written by the save')
    }
    writeFileSync(foreign, encodeSafetensors(tensors, { run: metadata.run.slice(0, -1) }))
    await expect(t.load(foreign)).rejects.toThrow('foreign.safetensors was not written by the save')
    writeFileSync(
      foreign,
      encodeSafetensors(tensors, { run: JSON.stringify({ ...run, running: { ...running, sums: [], seconds: 0 } }) }),
    )
    await trainer().load(foreign)
    expect(await values(t.model)).toEqual(before)
    expect(readdirSync(folder).filter(f => f.endsWith('.tmp'))).toEqual([])
  })

  test('trees of tensors', async () => {
    const path = join(folder, 'tree.safetensors')
    const tree = { a: [tensor([1, 2])], n: 3, b: tensor([true, false]) }
    await saveTree(path, tree, { note: 'hello' })
    const other = { a: [zeros([2])], n: 4, b: tensor([true, true]) }
    expect(await loadTree(path, other, m => m.note)).toBe('hello')
    expect(await values(other)).toEqual([
      [1, 2],
      [1, 0],
    ])
    await expect(loadTree(path, { a: [zeros([2])] }, () => 0)).rejects.toThrow(
      "'b' is not expected; nothing was loaded",
    )
    await expect(loadTree(path, { ...other, c: ones([1]) }, () => 0)).rejects.toThrow("'c' is missing")
    await expect(loadTree(path, { ...other, b: ones([2]) }, () => 0)).rejects.toThrow(
      "'b' is bool[2], expected float32[2]",
    )
  })
})

describe('a loss that is not finite', () => {
  test('stops, names epoch and step, and leaves the checkpoint alone', async () => {
    const checkpoint = join(folder, 'finite.safetensors')
    let poisoned = 0
    const data = dataset({ x: { dtype: 'float32', shape: [30], data: new Float32Array(30).fill(1) } })
    const run = (rate: number, epochs: number, last?: string) => {
      const t = new Trainer({
        model: { w: tensor([1]) },
        loss: ({ w }, { x }) => w.sub(x).pow(2).mean(),
        optimizer: sgd({ learningRate: rate }),
      })
      const load = last === undefined ? Promise.resolve() : t.load(last)
      return load.then(() => t.fit(data, { epochs, batchSize: 1, checkpoint, onEpoch: () => void poisoned++ }))
    }
    await run(0.1, 1)
    const good = readFileSync(checkpoint)
    data.columns.x.data[29] = Number.NaN
    data.columns.x.data[7] = Number.NaN
    const t = new Trainer({
      model: { w: tensor([1]) },
      loss: ({ w }, { x }) => w.sub(x).pow(2).mean(),
      optimizer: sgd({ learningRate: 0.1 }),
    })
    await t.load(checkpoint)
    await expect(t.fit(data, { epochs: 3, batchSize: 1, checkpoint, shuffle: false })).rejects.toThrow(
      'fit: the loss is not finite at epoch 2, step 8 of 30',
    )
    // Noticed at a reading, not only at the end of the epoch.
    expect(t.step).toBe(30 + 20)
    expect(readFileSync(checkpoint).equals(good)).toBe(true)
    expect(process.listenerCount('SIGINT')).toBe(0)
    // The trainer itself can go back.
    await t.load(checkpoint)
    expect(t.epoch).toBe(1)
    expect(poisoned).toBe(1)
  })
})

test('Ctrl-C ends a run in a process with a checkpoint that loads', async () => {
  const checkpoint = join(folder, 'interrupt.safetensors')
  const t = trainer()
  const history = await t.fit(train, {
    ...options,
    epochs: 50,
    checkpoint,
    onStep: () => {
      if (t.step === 5) process.kill(process.pid, 'SIGINT')
    },
  })
  expect(history.interrupted).toBe(true)
  // Not only when the epoch's checkpoint is written.
  expect(t.step).toBeLessThan(9)
  expect(process.listenerCount('SIGINT')).toBe(0)
  const next = trainer()
  await next.load(checkpoint)
  expect([next.step, next.epoch]).toEqual([t.step, t.epoch])
})

describe('wrong arguments', () => {
  test('of the constructor', () => {
    expect(() => new Trainer({ model: { n: 1 }, loss: () => tensor(1), optimizer: adam() })).toThrow(
      'the model has no tensors',
    )
    expect(() => trainer({ clipNorm: 0 })).toThrow('clipNorm must be a number > 0, not 0')
    expect(() => trainer({ seed: -1 })).toThrow('the seed must be an integer')
    expect(() => trainer({ metrics: { loss } })).toThrow("a metric cannot be called 'loss'")
    const w = tensor([1, 2])
    const tied = (model: object) => new Trainer({ model, loss: () => tensor(1), optimizer: adam() })
    expect(() => tied({ a: w, deep: { b: w } })).toThrow(
      "Trainer: 'a' and 'deep.b' are one tensor, whose gradients would be lost in part; give each a tensor of its own, or keep it at 'a' alone",
    )
    // What is not trained has no gradient to lose, and two tensors may hold the same.
    tied({ a: w, b: tensor([1, 2]), state: { c: w }, d: tensor(1, { dtype: 'int32' }) })
    // @ts-expect-error no function
    expect(() => trainer({ loss: 3 })).toThrow('loss must be a function')
  })
  test('of fit and evaluate', async () => {
    const t = trainer()
    const refused = (change: object, data = train) => expect(t.fit(data, { ...options, ...change })).rejects
    await refused({ epochs: 0 }).toThrow('epochs must be a positive integer, not 0')
    await refused({ batchSize: 0 }).toThrow('batchSize 0: needs a positive integer')
    await refused({ batchSize: 500, dropLast: true }).toThrow('leaves no batch')
    await refused({}, train.slice(0, 0)).toThrow('fit: the data set has no rows')
    await refused({ validation: train.slice(0, 0) }).toThrow('fit: validation: the data set has no rows')
    await refused({ validation: {} }).toThrow('expects a data set made by dataset')
    await refused({ earlyStop: { metric: 'f1', patience: 1, mode: 'max' } }).toThrow(
      "watches 'f1', but there are only loss, accuracy",
    )
    await refused({ earlyStop: { metric: 'loss', patience: 0, mode: 'min' } }).toThrow(
      'patience must be a positive integer',
    )
    await refused({ earlyStop: { metric: 'loss', patience: 1, mode: 'up' } }).toThrow(
      "mode must be 'min' or 'max', not 'up'",
    )
    await expect(t.evaluate(train.slice(0, 0), { batchSize: 3 })).rejects.toThrow('evaluate: the data set has no rows')
    await expect(t.evaluate(train, { batchSize: 1.5 })).rejects.toThrow('batchSize 1.5')
    const running = t.fit(train, { ...options, epochs: 1 })
    await refused({}).toThrow('this trainer is fitting already')
    await expect(t.load('x')).rejects.toThrow('the trainer is fitting')
    await running
  })
  test('a loss or metric per example, and updates of what is no state', async () => {
    const vector = trainer({ loss: (m, { x, y }, ctx) => crossEntropy(m.apply(x, ctx), y, { reduction: 'none' }) })
    await expect(vector.fit(train, options)).rejects.toThrow('loss must return one number per batch, not float32[16]')
    const metric = trainer({ metrics: { ids: (_, { y }) => y } })
    await expect(metric.evaluate(train, { batchSize: 16 })).rejects.toThrow(
      "metric 'ids' must return one number per batch, not int32[16]",
    )
    const meddler = (leaf: (m: { w: Tensor; state: Tensor }) => Tensor, value: Tensor) =>
      new Trainer<{ w: Tensor; state: Tensor }>({
        model: { w: ones([1]), state: ones([1]) },
        loss: (m, _, ctx) => {
          ctx.update?.(leaf(m), value)
          return m.w.sum()
        },
        optimizer: adam(),
      }).fit(train, options)
    await expect(meddler(m => m.w, ones([1]))).rejects.toThrow("update: 'w' is trained")
    await expect(meddler(() => ones([1]), ones([1]))).rejects.toThrow('is no leaf of the model')
    await expect(meddler(m => m.state, ones([2]))).rejects.toThrow("float32[2] cannot replace 'state', float32[1]")
  })
})

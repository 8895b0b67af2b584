import fc from 'fast-check'
import {
  add,
  compile,
  grad,
  leaves,
  log,
  matmul,
  mean,
  mul,
  namedLeaves,
  ones,
  random,
  realize,
  setDevice,
  stats,
  sum,
  type Tensor,
  tensor,
  valueAndGrad,
} from 'saddlepoint'
import {
  adversarialRegularization,
  type Norm,
  norms,
  type PerturbationOptions,
  perturbOnBatch,
} from 'saddlepoint/adversarial'
import { BatchNorm, type Context, Dropout, evaluation, Linear, type Loss, mse } from 'saddlepoint/nn'
import { beforeAll, describe, expect, test, vi } from 'vitest'
import { type Classifier, example, f64, meanLoss, rows, splitLoss } from './common.js'
import { plainAttack, plainMean, plainNorm } from './plain.js'

beforeAll(async () => {
  await setDevice('reference')
})

const close = (found: number[][], wanted: number[][], digits = 12) => {
  for (const [i, row] of found.entries())
    for (const [j, v] of row.entries()) expect(v).toBeCloseTo(wanted[i][j], digits)
}
/** x · w, so that the gradient of every example is w. */
const linear: Loss<Tensor> = (w, { x }) => mean(matmul(x, w))

describe('pinned', () => {
  const w = f64([3, 4])
  const batch = {
    x: f64([
      [1, 1],
      [2, 0],
    ]),
    label: tensor([0, 1], { dtype: 'int32' }),
  }
  const moved = (options: PerturbationOptions) => rows(perturbOnBatch(linear, w, batch, options).x)

  test('one step in each norm', async () => {
    close(await moved({ stepSize: 0.5 }), [
      [1.3, 1.4],
      [2.3, 0.4],
    ])
    close(await moved({ stepSize: 0.5, norm: 'linf' }), [
      [1.5, 1.5],
      [2.5, 0.5],
    ])
    close(await moved({ stepSize: 0.5, norm: 'l1' }), [
      [1, 1.5],
      [2, 0.5],
    ])
    close(await moved({}), [
      [1.0006, 1.0008],
      [2.0006, 0.0008],
    ])
  })

  test('the mask comes before the norm: what is left has the whole step', async () => {
    close(await moved({ stepSize: 0.5, featureMask: tensor([1, 0]) }), [
      [1.5, 1],
      [2.5, 0],
    ])
    close(await moved({ stepSize: 0.5, norm: 'l1', featureMask: tensor([1, 0]) }), [
      [1.5, 1],
      [2.5, 0],
    ])
    close(await moved({ stepSize: 0.5, featureMask: { x: tensor([1, 0.75]) } }), [
      [1 + Math.SQRT1_2 / 2, 1 + Math.SQRT1_2 / 2],
      [2 + Math.SQRT1_2 / 2, Math.SQRT1_2 / 2],
    ])
    close(await moved({ stepSize: 0.5, featureMask: 0 }), [
      [1, 1],
      [2, 0],
    ])
  })

  test('the step, then the projection, then the clip', async () => {
    const options = { stepSize: 0.5, norm: 'linf', epsilon: 0.25, iterations: 3 } as const
    close(await moved(options), [
      [1.25, 1.25],
      [2.25, 0.25],
    ])
    close(await moved({ ...options, clipMin: 0.2, clipMax: 2 }), [
      [1.25, 1.25],
      [2, 0.25],
    ])
    close(await moved({ ...options, iterations: 1, norm: 'l2' }), [
      [1.15, 1.2],
      [2.15, 0.2],
    ])
  })

  test('the loss: 0.2 of the loss on moved features is added', async () => {
    const loss = adversarialRegularization({ stepSize: 0.5 })(linear)
    // Means of 7 and 6, and of the same plus ‖w‖ / 2.
    expect(await loss(w, batch, evaluation).item()).toBeCloseTo(6.5 + 0.2 * 9, 12)
    expect(await loss.scaledAdversarialLoss(w, batch, evaluation).item()).toBeCloseTo(0.2 * 9, 12)
  })
})

interface Drawn {
  norm: Norm
  stepSize: number
  iterations: number
  epsilon?: number
  clip?: readonly [number, number]
  mask?: number[]
  seed: number
}
const rule: fc.Arbitrary<Drawn> = fc.record({
  norm: fc.constantFrom(...norms),
  stepSize: fc.constantFrom(0.001, 0.2, 1),
  iterations: fc.integer({ min: 1, max: 4 }),
  epsilon: fc.constantFrom(undefined, 0.05, 0.5),
  clip: fc.constantFrom(undefined, [-0.5, 0.5] as const),
  mask: fc.constantFrom(undefined, [1, 0, 0.5, 1]),
  seed: fc.integer({ min: 0, max: 50 }),
})
const optionsOf = ({ norm, stepSize, iterations, epsilon, clip, mask }: Drawn): PerturbationOptions => ({
  norm,
  stepSize,
  iterations,
  epsilon,
  clipMin: clip?.[0],
  clipMax: clip?.[1],
  featureMask: mask && tensor(mask),
})

describe('against plain arrays', () => {
  test('the perturbation, the loss and its gradient', () =>
    fc.assert(
      fc.asyncProperty(rule, async r => {
        const { model, net, batch, x, labels } = await example(r.seed)
        const wanted = x.map((row, i) => plainAttack(net, row, labels[i], { ...r, steps: r.iterations }))
        close(await rows(perturbOnBatch(meanLoss, model, batch, optionsOf(r)).x), wanted, 9)
        const loss = adversarialRegularization({ ...optionsOf(r), multiplier: 0.7 })(meanLoss)
        const value = plainMean(net, x, labels) + 0.7 * plainMean(net, wanted, labels)
        const [found, g] = valueAndGrad(loss)(model, batch, evaluation)
        expect(await found.item()).toBeCloseTo(value, 9)
        // δ is cut: the gradient is that with the perturbed features fixed.
        const fixed = (m: Classifier) =>
          add(meanLoss(m, batch, evaluation), mul(meanLoss(m, { ...batch, x: f64(wanted) }, evaluation), 0.7))
        close(await rows(g.w1), await rows(grad(fixed)(model).w1), 8)
        close(await rows(g.w2), await rows(grad(fixed)(model).w2), 8)
      }),
      { numRuns: 40 },
    ))

  test('l1 and l2 are joint over features', async () => {
    const { model, net, batch, x, labels } = await example(3)
    for (const norm of norms) {
      const split = { a: batch.x.at([], [0, 1]), b: batch.x.at([], [1, null]), label: batch.label }
      const moved = perturbOnBatch(splitLoss, model, split, { norm, stepSize: 0.3 })
      const wanted = x.map((row, i) => plainAttack(net, row, labels[i], { norm, stepSize: 0.3, steps: 1 }))
      const [a, b] = [await rows(moved.a), await rows(moved.b)]
      close(
        a.map((row, i) => [...row, ...b[i]]),
        wanted,
      )
    }
  })

  test('a mask by name holds one feature and leaves the other', async () => {
    const { model, batch } = await example(4)
    const split = { a: batch.x.at([], [0, 1]), b: batch.x.at([], [1, null]), label: batch.label }
    const moved = perturbOnBatch(splitLoss, model, split, { featureMask: { a: 0 }, stepSize: 0.3 })
    expect(await rows(moved.a)).toEqual(await rows(split.a))
    const [before, after] = [await rows(split.b), await rows(moved.b)]
    for (const [i, row] of after.entries())
      expect(
        plainNorm(
          row.map((v, j) => v - before[i][j]),
          'l2',
        ),
      ).toBeCloseTo(0.3)
  })

  test('the scale of the loss and the size of the batch change nothing', async () => {
    const { model, batch } = await example(5)
    for (const norm of norms) {
      const reference = await rows(perturbOnBatch(meanLoss, model, batch, { norm, stepSize: 0.3 }).x)
      const scaled: Loss<Classifier> = (m, b, ctx) => mul(meanLoss(m, b, ctx), 2 ** -200)
      expect(await rows(perturbOnBatch(scaled, model, batch, { norm, stepSize: 0.3 }).x)).toEqual(reference)
      const one = { x: batch.x.at([0, 1]), label: batch.label.at([0, 1]) }
      close(await rows(perturbOnBatch(meanLoss, model, one, { norm, stepSize: 0.3 }).x), reference.slice(0, 1))
    }
  })

  test('through the attack: the gradient is that of the whole, by central differences', async () => {
    const { model, batch } = await example(6)
    const options = { stepSize: 0.5, iterations: 2, epsilon: 0.8, multiplier: 1 }
    const through = adversarialRegularization({ ...options, throughAttack: true })(meanLoss)
    const value = async (w1: Tensor) => through({ ...model, w1 }, batch, evaluation).item()
    const found = await grad(through)(model, batch, evaluation).w1.data()
    const w1 = Float64Array.from(await model.w1.data())
    const cut = await grad(adversarialRegularization(options)(meanLoss))(model, batch, evaluation).w1.data()
    let apart = 0
    for (let i = 0; i < w1.length; i += 5) {
      const shifted = (h: number) =>
        value(
          tensor(
            w1.map((v, j) => v + (i === j ? h : 0)),
            { shape: model.w1.shape },
          ),
        )
      expect(found[i]).toBeCloseTo(((await shifted(1e-5)) - (await shifted(-1e-5))) / 2e-5, 7)
      apart = Math.max(apart, Math.abs(found[i] - cut[i]))
    }
    expect(apart).toBeGreaterThan(1e-3)
  })

  test('it differentiates again: the gradient penalty of a regularised loss is finite and not zero', async () => {
    const { model, batch } = await example(7)
    const loss = adversarialRegularization({ stepSize: 0.3, throughAttack: true })(meanLoss)
    const penalty = (m: Classifier) => sum(grad((x: Tensor) => loss(m, { ...batch, x }, evaluation))(batch.x).pow(2))
    const g = await grad(penalty)(model).w1.data()
    expect(Array.from(g).every(Number.isFinite)).toBe(true)
    expect(plainNorm(Array.from(g), 'l2')).toBeGreaterThan(1e-3)
  })
})

describe('awkward gradients', () => {
  test('elements that are not finite count as 0, the others keep the whole step', async () => {
    // d log(x)/dx is infinite at 0.
    const loss: Loss<Tensor> = (w, { x }) => mean(sum(mul(log(x), w), { axis: 1 }))
    const batch = {
      x: f64([
        [0, 2],
        [1, 1],
      ]),
      label: tensor([0, 0]),
    }
    const found = await rows(perturbOnBatch(loss, f64([1, 1]), batch, { stepSize: 1 }).x)
    close(found, [
      [0, 3],
      [1 + Math.SQRT1_2, 1 + Math.SQRT1_2],
    ])
  })

  test('a zero gradient moves nothing and gives no NaN', async () => {
    const flat: Loss<Tensor> = (w, { x }) => mean(mul(sum(mul(x, 0), { axis: 1 }), sum(w)))
    const batch = { x: f64([[1, 2]]), label: tensor([0]) }
    for (const norm of norms) {
      const loss = adversarialRegularization({ norm, throughAttack: true, epsilon: 1 })(flat)
      expect(await rows(perturbOnBatch(loss, f64([1, 1]), batch).x)).toEqual([[1, 2]])
      expect(await rows(grad(loss)(f64([1, 1]), batch, evaluation).reshape([1, 2]))).toEqual([[0, 0]])
    }
  })

  test('integer features pass through, with one warning', async () => {
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => {})
    const loss = adversarialRegularization({ stepSize: 0.5 })(linear)
    const batch = { x: f64([[1, 1]]), id: tensor([7], { dtype: 'int32' }), label: tensor([0]) }
    const moved = perturbOnBatch(loss, f64([3, 4]), batch)
    perturbOnBatch(loss, f64([3, 4]), batch)
    expect(moved.id).toBe(batch.id)
    close(await rows(moved.x), [[1.3, 1.4]])
    expect(warn.mock.calls).toEqual([[expect.stringMatching(/'id' cannot be perturbed \(not float\)/)]])
    warn.mockRestore()
  })
})

describe('labels, weights and state', () => {
  test('float labels and sample weights are not perturbed', async () => {
    const loss: Loss<Tensor> = (w, { x, y, weight }) => mse(matmul(x, w), y, { weights: weight })
    const batch = {
      x: f64([
        [1, 1],
        [2, 0],
      ]),
      y: f64([1, 9]),
      weight: f64([1, 3]),
    }
    const options = { labelKeys: ['y'], sampleWeightKey: 'weight', stepSize: 0.5 }
    const moved = perturbOnBatch(loss, f64([3, 4]), batch, options)
    expect([moved.y, moved.weight]).toEqual([batch.y, batch.weight])
    // Above its label the first goes up along w, the second, below, goes down.
    close(await rows(moved.x), [
      [1.3, 1.4],
      [1.7, -0.4],
    ])
    const regularized = adversarialRegularization(options)(loss)
    const value = (first: number, second: number) => ((first - 1) ** 2 + 3 * (second - 9) ** 2) / 4
    expect(await regularized(f64([3, 4]), batch, evaluation).item()).toBeCloseTo(
      value(7, 6) + 0.2 * value(9.5, 3.5),
      12,
    )
  })

  class Normed {
    readonly first: Linear
    readonly norm: BatchNorm
    readonly dropout: Dropout
    readonly last: Linear
    constructor() {
      const [a, b] = [random.key(1), random.key(2)]
      this.first = new Linear(4, 6, { key: a, dtype: 'float64' })
      this.norm = new BatchNorm(6, { dtype: 'float64' })
      this.dropout = new Dropout(0.5)
      this.last = new Linear(6, 3, { key: b, dtype: 'float64' })
    }
    apply(x: Tensor, ctx: Context): Tensor {
      return this.last.apply(this.dropout.apply(this.norm.apply(this.first.apply(x), ctx), ctx))
    }
  }
  const normedLoss: Loss<Normed> = (m, { x, y }, ctx) => mse(m.apply(x, ctx), y)
  const normedBatch = {
    x: f64([
      [1, 2, 0, 1],
      [0, 1, 3, 1],
      [2, 2, 1, 0],
    ]),
    y: ones([3, 3], 'float64'),
  }

  test('the attack is blind to the mode of the pass, and state is updated once, by the clean pass', async () => {
    const model = new Normed()
    await realize(model)
    const before = await Promise.all(leaves(model).map(rowsOf))
    const updates = new Map<Tensor, Tensor[]>()
    const ctx: Context = {
      training: true,
      key: random.key(3),
      update: (leaf, value) => updates.set(leaf, [...(updates.get(leaf) ?? []), value]),
    }
    const options = { labelKeys: ['y'], stepSize: 0.5, iterations: 2 }
    const loss = adversarialRegularization(options)(normedLoss)
    await loss(model, normedBatch, ctx).item()
    expect(updates.size).toBeGreaterThan(0)
    for (const values of updates.values()) expect(values.length).toBe(1)
    const inTraining = perturbOnBatch(loss, model, normedBatch, {}, ctx)
    const inEvaluation = perturbOnBatch(loss, model, normedBatch)
    expect(await rows(inTraining.x)).toEqual(await rows(inEvaluation.x))
    const told = perturbOnBatch(loss, model, normedBatch, { trainingMode: true }, ctx)
    expect(await rows(told.x)).not.toEqual(await rows(inEvaluation.x))
    expect(await Promise.all(leaves(model).map(rowsOf))).toEqual(before)
    for (const values of updates.values()) expect(values.length).toBe(1)
  })

  test('the same random key: the dropout mask of both passes is one', async () => {
    const model = new Normed()
    const ctx: Context = { training: true, key: random.key(5) }
    const loss = adversarialRegularization({ labelKeys: ['y'], stepSize: 0, multiplier: 1 })(normedLoss)
    const [clean, both] = [normedLoss(model, normedBatch, ctx), loss(model, normedBatch, ctx)]
    expect(await both.item()).toBeCloseTo(2 * (await clean.item()), 12)
  })

  test('what is saved is the base model: the loss adds no leaf and renames none', async () => {
    const model = new Normed()
    const names = namedLeaves(model).map(l => l.name)
    const loss = adversarialRegularization({ labelKeys: ['y'] })(normedLoss)
    const trained = grad(loss)(model, normedBatch, evaluation)
    expect(namedLeaves(model).map(l => l.name)).toEqual(names)
    expect(namedLeaves(trained).map(l => l.name)).toEqual(names)
    expect(loss.base).toBe(normedLoss)
  })
})

const rowsOf = async (t: Tensor) => Array.from(await t.data())

describe('random starts', () => {
  test('stay in the ball, follow the key, respect the mask', async () => {
    const { model, batch, x } = await example(8)
    const ctx: Context = { training: true, key: random.key(1) }
    const options = { randomInit: true, epsilon: 0.1, stepSize: 0.05, featureMask: tensor([1, 1, 0, 1]) } as const
    for (const norm of norms) {
      const draw = (c: Context) => rows(perturbOnBatch(meanLoss, model, batch, { ...options, norm }, c).x)
      const found = await draw(ctx)
      for (const [i, row] of found.entries()) {
        const delta = row.map((v, j) => v - x[i][j])
        expect(plainNorm(delta, norm)).toBeLessThanOrEqual(0.1 + 1e-12)
        expect(delta[2]).toBe(0)
      }
      expect(await draw(ctx)).toEqual(found)
      expect(await draw({ training: true, key: random.key(2) })).not.toEqual(found)
    }
  })
})

test('inside compile, the clean pass is shared and a second step compiles nothing', async () => {
  const { model, batch } = await example(9)
  await realize(model, batch)
  const loss = adversarialRegularization({ stepSize: 0.2, norm: 'linf' })(meanLoss)
  const run = compile((m: Classifier, b: { x: Tensor; label: Tensor }) => ({
    step: valueAndGrad(loss)(m, b, evaluation),
    part: loss.scaledAdversarialLoss(m, b, evaluation),
  }))
  const kernels = async (f: () => Promise<unknown>) => {
    const before = stats.kernelsCompiled
    await f()
    return stats.kernelsCompiled - before
  }
  const alone = await kernels(() =>
    compile((m: Classifier, b: typeof batch) => valueAndGrad(loss)(m, b, evaluation))(model, batch),
  )
  const both = await kernels(() => run(model, batch))
  expect(both - alone).toBeLessThanOrEqual(2)
  const { step, part } = await run(model, batch)
  expect(await kernels(() => run(model, batch))).toBe(0)
  expect(await part.item()).toBeCloseTo(await loss.scaledAdversarialLoss(model, batch, evaluation).item(), 12)
  expect(await step[0].item()).toBeCloseTo(await loss(model, batch, evaluation).item(), 12)
})

test('bad options say what and the way out', async () => {
  const batch = { x: ones([2, 2]), label: tensor([0, 1], { dtype: 'int32' }) }
  const run = (options: PerturbationOptions, b: Record<string, Tensor> = batch) =>
    perturbOnBatch(linear, ones([2]), b, options)
  expect(() => run({ stepSize: Number.NaN })).toThrow('stepSize must be a finite number, not NaN')
  expect(() => run({ epsilon: -1 })).toThrow('epsilon must be a finite number >= 0, not -1')
  expect(() => run({ iterations: 0 })).toThrow('iterations must be an integer >= 1, not 0')
  expect(() => run({ clipMin: 1, clipMax: 0 })).toThrow('clipMin 1 must not be above clipMax 0')
  expect(() => run({ randomInit: true })).toThrow('give epsilon')
  expect(() => run({ randomInit: true, epsilon: 1 })).toThrow('needs a random key in the context')
  expect(() => run({ labelKeys: ['y'] })).toThrow("names 'y', but the batch has 'x' float32[2,2]")
  expect(() => run({ featureMask: { z: 1 } })).toThrow("featureMask names 'z'")
  expect(() => run({ featureMask: ones([3, 2, 2]) })).toThrow("the mask of 'x' does not broadcast to it")
  expect(() => run({ features: ['label'] })).toThrow('only float columns')
  expect(() => run({}, { label: tensor([1], { dtype: 'int32' }) })).toThrow('no float column to perturb')
  expect(() => run({}, { x: ones([2, 2]), label: tensor([1], { dtype: 'int32' }) })).toThrow('same first dimension')
  expect(() => adversarialRegularization({ multiplier: Number.NaN })).toThrow('multiplier')
  const vector: Loss<Tensor> = (w, { x }) => matmul(x, w.reshape([2, 1]))
  expect(() => perturbOnBatch(vector, ones([2]), batch)).toThrow(
    'the loss must return its mean or the losses of 2 examples',
  )
  // @ts-expect-error a number is no tensor
  const number: Loss<Tensor> = () => 3
  expect(() => adversarialRegularization()(number)(ones([2]), batch, evaluation)).toThrow(
    'adversarialRegularization: the loss must return its mean or the losses of 2 examples, not a number',
  )
})

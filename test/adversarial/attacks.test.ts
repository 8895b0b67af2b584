import fc from 'fast-check'
import {
  argmax,
  compile,
  grad,
  matmul,
  mean,
  mul,
  notEqual,
  random,
  realize,
  relu,
  setDevice,
  stats,
  sum,
  type Tensor,
  tanh,
  tensor,
} from 'saddlepoint'
import {
  type Attacked,
  attackDataset,
  type FgsmOptions,
  fgsm,
  norms,
  type PgdOptions,
  pgd,
} from 'saddlepoint/adversarial'
import { dataset } from 'saddlepoint/data'
import { type Batch, evaluation, type Loss, mse } from 'saddlepoint/nn'
import { beforeAll, describe, expect, test } from 'vitest'
import { type Classifier, example, exampleLosses, f64, meanLoss, rows } from './common.js'
import { plainAttack, plainLoss, plainNorm } from './plain.js'

beforeAll(async () => {
  await setDevice('reference')
})

const close = (found: number[][], wanted: number[][], digits = 9) => {
  for (const [i, row] of found.entries())
    for (const [j, v] of row.entries()) expect(v).toBeCloseTo(wanted[i][j], digits)
}
const linear: Loss<Tensor> = (w, { x }) => mean(matmul(x, w))
const one = { x: f64([[1, 1]]), label: tensor([0], { dtype: 'int32' }) }

describe('fgsm', () => {
  test('pinned: w = (3, -4) from (1, 1), in each norm, targeted and clipped', async () => {
    const moved = (options: Omit<FgsmOptions, 'epsilon'>) =>
      rows(fgsm(linear, f64([3, -4]), one, { epsilon: 0.5, ...options }).adversarial.x)
    close(await moved({}), [[1.5, 0.5]])
    close(await moved({ norm: 'l2' }), [[1.3, 0.6]])
    close(await moved({ norm: 'l1' }), [[1, 0.5]])
    close(await moved({ targeted: true }), [[0.5, 1.5]])
    close(await moved({ clipMin: 0.75, clipMax: 1.25 }), [[1.25, 0.75]])
    close(await moved({ featureMask: tensor([0, 1]) }), [[1, 0.5]])
  })

  test('is the plain computation, from mean losses and from losses per example', async () => {
    const { model, net, batch, x, labels } = await example(1)
    for (const norm of norms) {
      for (const targeted of [false, true]) {
        const wanted = x.map((row, i) =>
          plainAttack(net, row, labels[i], { norm, stepSize: targeted ? -0.3 : 0.3, steps: 1 }),
        )
        for (const loss of [meanLoss, exampleLosses])
          close(await rows(fgsm(loss, model, batch, { epsilon: 0.3, norm, targeted }).adversarial.x), wanted)
      }
    }
  })
})

const drawn = fc.record({
  norm: fc.constantFrom(...norms),
  epsilon: fc.constantFrom(0, 0.1, 0.5, 2),
  steps: fc.integer({ min: 1, max: 5 }),
  stepSize: fc.constantFrom(undefined, 0.1, 1),
  clip: fc.constantFrom(undefined, [-0.4, 0.6] as const),
  mask: fc.constantFrom(undefined, [1, 0, 1, 1]),
  seed: fc.integer({ min: 0, max: 50 }),
})

describe('pgd', () => {
  test('is the plain computation', () =>
    fc.assert(
      fc.asyncProperty(drawn, async ({ clip, mask, seed, ...rest }) => {
        const { model, net, batch, x, labels } = await example(seed)
        const options = { ...rest, clipMin: clip?.[0], clipMax: clip?.[1], featureMask: mask && tensor(mask) }
        const stepSize = rest.stepSize ?? (2.5 * rest.epsilon) / rest.steps
        const wanted = x.map((row, i) => plainAttack(net, row, labels[i], { ...rest, stepSize, clip, mask }))
        close(await rows(pgd(meanLoss, model, batch, options).adversarial.x), wanted)
      }),
      { numRuns: 40 },
    ))

  test('from random starts it stays in the ball and in the range, and leaves masked elements', () =>
    fc.assert(
      fc.asyncProperty(drawn, async ({ clip, mask, seed, ...rest }) => {
        const { model, batch, x } = await example(seed)
        const start = { randomStart: true, key: random.key(seed), restarts: 2 }
        const options = { ...rest, ...start, clipMin: clip?.[0], clipMax: clip?.[1], featureMask: mask && tensor(mask) }
        const found = await rows(pgd(exampleLosses, model, batch, options).adversarial.x)
        for (const [i, row] of found.entries()) {
          if (clip) for (const v of row) expect(v >= clip[0] && v <= clip[1]).toBe(true)
          else
            expect(
              plainNorm(
                row.map((v, j) => v - x[i][j]),
                rest.norm,
              ),
            ).toBeLessThanOrEqual(rest.epsilon + 1e-12)
          if (mask && !clip) expect(row[1]).toBe(x[i][1])
        }
      }),
      { numRuns: 30 },
    ))

  test('restarts never weaken an attack: each example keeps the worst of its own', () =>
    fc.assert(
      fc.asyncProperty(drawn, fc.boolean(), async ({ clip: _, mask, seed, ...rest }, targeted) => {
        const { model, batch } = await example(seed)
        const options = {
          ...rest,
          targeted,
          randomStart: true,
          key: random.key(seed),
          featureMask: mask && tensor(mask),
        }
        // Three restarts of five examples start where the fifteen copies of them do.
        const index = tensor(
          [...Array(15).keys()].map(i => i % 5),
          { dtype: 'int32' },
        )
        const copies = { x: batch.x.take(index), label: batch.label.take(index) }
        const lossesOn = async ({ adversarial, report }: Attacked) => {
          expect(await report.gradients.item()).toBe(15 * rest.steps)
          return Array.from(await exampleLosses(model, adversarial, evaluation).data())
        }
        const all = await lossesOn(pgd(exampleLosses, model, copies, options))
        const kept = await lossesOn(pgd(exampleLosses, model, batch, { ...options, restarts: 3 }))
        const worst = targeted ? Math.min : Math.max
        close([kept], [[0, 1, 2, 3, 4].map(i => worst(all[i], all[i + 5], all[i + 10]))], 12)
      }),
      { numRuns: 15 },
    ))

  test('broken examples stop where they are and win among restarts', async () => {
    const { model, batch } = await example(14)
    const logits = (m: Classifier, b: Batch) => matmul(tanh(matmul(b.x, m.w1)), m.w2)
    const broken = (m: Classifier, b: Batch) => notEqual(argmax(logits(m, b), { axis: 1 }), b.label)
    const options: PgdOptions<Classifier> = { epsilon: 1, steps: 6, stepSize: 0.1, broken }
    const atStart = await broken(model, batch).data()
    const [before, after] = [await rows(batch.x), await rows(pgd(meanLoss, model, batch, options).adversarial.x)]
    expect(new Set(atStart).size).toBe(2)
    for (const [i, row] of after.entries()) {
      if (atStart[i]) expect(row).toEqual(before[i])
      else expect(row).not.toEqual(before[i])
    }
    const restarted = { ...options, randomStart: true, key: random.key(1), restarts: 3 }
    const won = await sum(broken(model, pgd(exampleLosses, model, batch, restarted).adversarial).astype('int32')).item()
    const lost = await sum(
      broken(model, pgd(exampleLosses, model, batch, { ...restarted, restarts: 1 }).adversarial).astype('int32'),
    ).item()
    expect(won).toBeGreaterThanOrEqual(lost)
  })

  test('it differentiates: the gradient through one l2 step', async () => {
    // adv = x + ε w / ‖w‖, and the loss on it is w·x + ε ‖w‖, whose gradient is x + ε w / ‖w‖.
    const value = (w: Tensor) =>
      linear(w, pgd(linear, w, one, { epsilon: 0.5, steps: 1, norm: 'l2' }).adversarial, evaluation)
    close([Array.from(await grad(value)(f64([3, 4])).data())], [[1.3, 1.4]], 12)
  })
})

describe('the gradient report', () => {
  test('counts dead, malformed and tiny gradients', async () => {
    // d/dx = w where x > 0, 0 elsewhere; the square root is infinitely steep at 0.
    const loss: Loss<Tensor> = (w, { x, scale }) =>
      mean(sum(mul(mul(relu(x), w), scale), { axis: 1 }).add(x.at([], 1).sub(7).sqrt()))
    const batch = {
      x: f64([
        [1, 8],
        [-1, 8],
        [1, 7],
        [1, 8],
      ]),
      scale: f64([
        [1, 0],
        [1, 0],
        [1, 0],
        [1e-9, 0],
      ]),
      label: tensor([0, 0, 0, 0]),
    }
    const noRoot: Loss<Tensor> = (w, b) => mean(sum(mul(mul(relu(b.x), w), b.scale), { axis: 1 }))
    const numbers = async (l: Loss<Tensor>, steps: number) => {
      const { report } = pgd(l, f64([1, 1]), batch, { epsilon: 0.1, steps, features: ['x'], clipMin: 7 })
      return Promise.all([report.gradients, report.zero, report.nonFinite, report.floorHit].map(t => t.item()))
    }
    expect(await numbers(noRoot, 1)).toEqual([4, 1, 0, 1])
    expect(await numbers(loss, 1)).toEqual([4, 0, 1, 0])
    // After a step, everything is at 7 at least.
    expect(await numbers(noRoot, 3)).toEqual([12, 1, 0, 3])
  })
})

describe('attackDataset', () => {
  const columns = async (seed: number) => {
    const { model, batch, net } = await example(seed)
    const data = dataset({
      x: { dtype: 'float64', shape: batch.x.shape, data: await batch.x.data() },
      label: { dtype: 'int32', shape: batch.label.shape, data: await batch.label.data() },
    })
    return { model, batch, net, data }
  }

  test('is pgd, and one plan serves all steps of all full batches', async () => {
    const { model, batch, data } = await columns(20)
    const options = { epsilon: 0.5, steps: 9, stepSize: 0.1, clipMin: -1, clipMax: 1 }
    const wanted = await pgd(meanLoss, model, batch, options).adversarial.x.data()
    await attackDataset(meanLoss, model, data, { ...options, steps: 1 }, { batchSize: 2 })
    const before = stats.plansCompiled
    const { data: attacked, report } = await attackDataset(meanLoss, model, data, options, { batchSize: 2 })
    expect(stats.plansCompiled).toBe(before)
    close([Array.from(attacked.columns.x.data)], [Array.from(wanted)], 12)
    expect(attacked.columns.label.data).toEqual(data.columns.label.data)
    expect(report).toEqual({ gradients: 45, zero: 0, nonFinite: 0, floorHit: 0 })
  })

  test('random starts follow the key; restarts raise the loss; the data given stay as they were', async () => {
    const { model, net, data } = await columns(21)
    const before = data.columns.x.data.slice()
    const options = { epsilon: 1, steps: 2, stepSize: 0.1, randomStart: true, key: random.key(3) }
    const run = async (restarts: number) => {
      const { data: moved } = await attackDataset(
        exampleLosses,
        model,
        data,
        { ...options, restarts },
        { batchSize: 2 },
      )
      return Array.from(moved.columns.x.data)
    }
    expect(await run(1)).toEqual(await run(1))
    const loss = (x: number[]) =>
      Array.from(data.columns.label.data).reduce((t, l, i) => t + plainLoss(net, x.slice(4 * i, 4 * i + 4), l), 0)
    expect(loss(await run(5))).toBeGreaterThan(loss(await run(1)))
    expect(data.columns.x.data).toEqual(before)
  })

  test('can be stopped: what is done is kept', async () => {
    const { model, data } = await columns(22)
    const stop = new AbortController()
    const seen: number[] = []
    const onBatch = (done: number) => {
      seen.push(done)
      if (done >= 4) stop.abort()
    }
    const { data: kept } = await attackDataset(
      meanLoss,
      model,
      data,
      { epsilon: 0.1, steps: 1 },
      { batchSize: 2, onBatch, signal: stop.signal },
    )
    expect([seen, kept.size]).toEqual([[2, 4], 4])
  })
})

test('fgsm and pgd work inside compile', async () => {
  const { model, batch } = await example(30)
  await realize(model, batch)
  const options = { epsilon: 0.3, steps: 3, randomStart: true }
  const run = compile((m: Classifier, b: typeof batch, key: Tensor) => [
    fgsm(meanLoss, m, b, { epsilon: 0.3 }).adversarial.x,
    pgd(meanLoss, m, b, { ...options, key }).adversarial.x,
  ])
  const [a, b] = await run(model, batch, random.key(1))
  close(await rows(a), await rows(fgsm(meanLoss, model, batch, { epsilon: 0.3 }).adversarial.x), 12)
  close(await rows(b), await rows(pgd(meanLoss, model, batch, { ...options, key: random.key(1) }).adversarial.x), 12)
})

test('bad options say what and the way out', () => {
  const w = f64([1, 1])
  const run = (options: Partial<PgdOptions<Tensor>>) => () => pgd(linear, w, one, { epsilon: 1, steps: 2, ...options })
  expect(run({ steps: 0 })).toThrow('pgd: steps must be an integer >= 1, not 0')
  expect(run({ restarts: 1.5 })).toThrow('pgd: restarts must be an integer >= 1, not 1.5')
  expect(run({ epsilon: Number.NaN })).toThrow('pgd: epsilon must be a finite number >= 0, not NaN')
  expect(run({ restarts: 2 })).toThrow('set randomStart')
  expect(run({ randomStart: true })).toThrow('{ key: random.key(0) }')
  expect(run({ restarts: 2, randomStart: true, key: random.key(0) })).toThrow(
    'give a loss that returns [n], not a mean',
  )
  const ids = { ids: tensor([[1, 2]], { dtype: 'int32' }), label: one.label }
  expect(() => fgsm(linear, w, ids, { epsilon: 1 })).toThrow("by the methods that take on: 'embedding'")
  expect(() => fgsm(linear, w, one, { epsilon: -1 })).toThrow('fgsm: epsilon must be a finite number >= 0, not -1')
  expect(() => fgsm(linear, w, { x: one.x }, { epsilon: 1 })).toThrow("names 'label', but the batch has 'x'")
  const targets: Loss<Tensor> = (m, { x }) => mse(matmul(x, m), f64([0, 0, 0]))
  expect(() => fgsm(targets, w, one, { epsilon: 1 })).toThrow('mse')
  const integers: Loss<Tensor> = (m, { x }) => matmul(x, m).astype('int32')
  expect(() => fgsm(integers, w, one, { epsilon: 1 })).toThrow('losses of 1 examples, not int32 of shape [1]')
  // @ts-expect-error a number is no tensor
  const number: Loss<Tensor> = () => 3
  for (const [name, attack] of Object.entries({ fgsm, pgd }))
    expect(() => attack(number, w, one, { epsilon: 1 })).toThrow(
      `${name}: the loss must return its mean or the losses of 1 examples, not a number, which is no tensor`,
    )
})

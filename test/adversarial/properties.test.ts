/** What holds of every attack, for any classifier, norm, range, mask and key. */

import fc from 'fast-check'
import {
  concat,
  type Device,
  matmul,
  mul,
  namedLeaves,
  random,
  relu,
  setDevice,
  type Tensor,
  tanh,
  tensor,
} from 'saddlepoint'
import {
  accuracyCurve,
  adversarialRegularization,
  apgd,
  attackDataset,
  bim,
  carliniWagner,
  deepFool,
  fab,
  fgm,
  fgsm,
  gradientDeaths,
  type Logits,
  linearity,
  mifgsm,
  type Norm,
  norms,
  perturbOnBatch,
  pgd,
  project,
  square,
  uniformInBall,
} from 'saddlepoint/adversarial'
import { dataset } from 'saddlepoint/data'
import {
  type Batch,
  BatchNorm,
  type Context,
  crossEntropy,
  Dropout,
  evaluation,
  Linear,
  type Loss,
  Sequential,
} from 'saddlepoint/nn'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { holds } from '../oracle/property.js'
import { rows } from './common.js'
import { plainNorm } from './plain.js'

beforeAll(async () => {
  await setDevice('reference')
})

const [n, features, hidden, classes] = [4, 6, 5, 3]
interface Net {
  w1: Tensor
  w2: Tensor
}
const logits: Logits<Net> = (m, { x }) => matmul(tanh(matmul(x, m.w1)), m.w2)
const losses: Loss<Net> = (m, b, ctx) => crossEntropy(logits(m, b, ctx), b.label, { reduction: 'none' })

type Float = 'float32' | 'float64'
/** A net, and a batch inside [0, 1]. */
function make(seed: number, dtype: Float = 'float32', width = classes) {
  const keys = random.split(random.key(seed), 5)
  const model = {
    w1: random.normal(keys.at(0), [features, hidden], dtype),
    w2: random.normal(keys.at(1), [hidden, width], dtype),
  }
  const batch = {
    x: random.uniform(keys.at(2), [n, features], { dtype }),
    label: random.randint(keys.at(3), [n], 0, width),
  }
  return { model, batch, key: keys.at(4) }
}

interface Rule {
  epsilon: number
  norm: Norm
  key: Tensor
  clipMin?: number
  clipMax?: number
  featureMask?: Tensor
}
type Run = (model: Net, batch: Batch, rule: Rule) => Promise<Batch> | Batch

/** All attacks in a ball, each with the norms that it takes. */
const inBall: Readonly<Record<string, { of: readonly Norm[]; run: Run }>> = {
  fgsm: { of: norms, run: (m, b, { key: _, ...rule }) => fgsm(losses, m, b, rule).adversarial },
  pgd: {
    of: norms,
    run: (m, b, rule) =>
      pgd(losses, m, b, { ...rule, steps: 3, stepSize: rule.epsilon, randomStart: true, restarts: 2 }).adversarial,
  },
  bim: { of: norms, run: (m, b, rule) => bim(losses, m, b, { ...rule, steps: 3 }).adversarial },
  mifgsm: {
    of: norms,
    run: (m, b, rule) => mifgsm(losses, m, b, { ...rule, randomStart: true, steps: 3 }).adversarial,
  },
  perturbOnBatch: {
    of: norms,
    run: (m, b, { key, ...rule }) =>
      perturbOnBatch(
        adversarialRegularization({ ...rule, stepSize: 2 * rule.epsilon, iterations: 2, randomInit: true })(losses),
        m,
        b,
        {},
        { training: false, key },
      ),
  },
  apgd: {
    of: ['linf', 'l2'],
    run: async (m, b, rule) => (await apgd(logits, m, b, { ...rule, norm: rule.norm as 'l2', steps: 4 })).adversarial,
  },
  'apgd, restarts and targets': {
    of: ['linf', 'l2'],
    run: async (m, b, rule) => {
      const wide: Logits<Net> = (net, batch) =>
        concat([logits(net, batch, evaluation), mul(logits(net, batch, evaluation), 0.5)], 1)
      const options = { ...rule, norm: rule.norm as 'l2', loss: 'targeted-dlr', target: [1, 3], restarts: 2 } as const
      return (await apgd(wide, m, b, { ...options, steps: 3 })).adversarial
    },
  },
  square: {
    of: ['linf', 'l2'],
    run: async (m, b, rule) => (await square(logits, m, b, { ...rule, norm: rule.norm as 'l2', steps: 4 })).adversarial,
  },
}
/** Those that look for the least perturbation. */
const smallest: Readonly<Record<string, Run>> = {
  deepFool: async (m, b, { norm: _, epsilon: __, ...rule }) =>
    (await deepFool(logits, m, b, { ...rule, steps: 3 })).adversarial,
  fab: async (m, b, { norm, epsilon: _, ...rule }) =>
    (await fab(logits, m, b, { ...rule, norm: norm as 'l2', steps: 3 })).adversarial,
  carliniWagner: async (m, b, { norm: _, epsilon: __, ...rule }) =>
    (await carliniWagner(logits, m, b, { ...rule, clipMin: 0, clipMax: 1, searches: 2, steps: 4, learningRate: 0.1 }))
      .adversarial,
}

const seeds = fc.integer({ min: 0, max: 2 ** 20 })
const radius = fc.oneof(fc.constantFrom(0, 0.1, 0.3, 8 / 255), fc.double({ min: 1e-6, max: 2, noNaN: true }))
const normed = fc.constantFrom(...norms)

describe.each(['reference', 'wasm'] as const)('the ball, on %s', name => {
  beforeAll(async () => {
    await setDevice(name)
  })
  afterAll(async () => {
    await setDevice('reference')
  })
  test('linf holds a projection to the last bit; l2 and l1 but for the rounding of their sums', () =>
    holds(
      fc.asyncProperty(
        seeds,
        radius,
        normed,
        fc.constantFrom<Float>('float32', 'float64'),
        async (seed, epsilon, norm, dtype) => {
          const delta = { x: random.normal(random.key(seed), [3, 9], dtype).mul(2 ** ((seed % 9) - 4)) }
          const [bound, digit] = dtype === 'float32' ? [Math.fround(epsilon), 2 ** -23] : [epsilon, 2 ** -52]
          const before = await rows(delta.x)
          for (const [i, row] of (await rows(project(delta, epsilon, norm).x)).entries()) {
            const rounding = 9 * digit * { linf: 0, l2: bound, l1: plainNorm(before[i], 'l1') }[norm]
            expect(plainNorm(row, norm)).toBeLessThanOrEqual(bound + rounding)
          }
        },
      ),
      60,
    ))

  test.each(Object.entries(inBall))('%s stays in it, and in the valid range', (_, { of, run }) =>
    holds(
      fc.asyncProperty(seeds, radius, fc.constantFrom(...of), fc.boolean(), async (seed, epsilon, norm, isClipped) => {
        const { model, batch, key } = make(seed)
        const range = isClipped ? { clipMin: 0.1, clipMax: 0.9 } : {}
        // A leaf: an expression would be computed again inside the attack, with more digits.
        if (isClipped) batch.x = tensor(await batch.x.mul(0.8).add(0.1).clip(0.1, 0.9).data(), { shape: [n, features] })
        const [x, moved] = [
          await rows(batch.x),
          await rows((await run(model, batch, { epsilon, norm, key, ...range })).x),
        ]
        const e = Math.fround(epsilon)
        const [low, high] = [isClipped ? Math.fround(0.1) : -Infinity, isClipped ? Math.fround(0.9) : Infinity]
        x.forEach((row, i) => {
          row.forEach((v, j) => {
            // The nearest numbers to the ends of the ball, and no further.
            expect(moved[i][j]).toBeGreaterThanOrEqual(Math.max(low, Math.fround(v - e)))
            expect(moved[i][j]).toBeLessThanOrEqual(Math.min(high, Math.fround(v + e)))
          })
          const delta = row.map((v, j) => moved[i][j] - v)
          const sums = norm === 'linf' ? 1 : features
          expect(plainNorm(delta, norm)).toBeLessThanOrEqual(
            epsilon * (1 + sums * 2 ** -23) + sums * 2 ** -23 * (1 + epsilon),
          )
        })
      }),
      8,
    ),
  )
})

test.each([...Object.entries(inBall).map(([name, { run }]) => [name, run] as const), ...Object.entries(smallest)])(
  '%s never moves what is masked',
  (_, run) =>
    holds(
      fc.asyncProperty(seeds, fc.integer({ min: 0, max: 2 ** features - 2 }), async (seed, bits) => {
        const { model, batch, key } = make(seed)
        const mask = Array.from({ length: features }, (_, j) => (bits >> j) & 1)
        const norm = bits % 2 ? 'linf' : 'l2'
        const rule = { epsilon: 0.5, norm, key, clipMin: 0, clipMax: 1, featureMask: tensor(mask) } as const
        const [x, moved] = [await rows(batch.x), await rows((await run(model, batch, rule)).x)]
        x.forEach((row, i) =>
          mask.forEach((isFree, j) => {
            if (!isFree) expect(moved[i][j]).toBe(row[j])
          }),
        )
        // Unless nothing is free or nothing has to move, something does.
        if (bits && run === inBall.fgsm.run) expect(moved).not.toEqual(x)
      }),
      6,
    ),
)

test('of two classes, towards one is away from the other', () =>
  holds(
    fc.asyncProperty(seeds, normed, fc.integer({ min: 1, max: 4 }), async (seed, norm, steps) => {
      const { model, batch } = make(seed, 'float64', 2)
      const other = { ...batch, label: batch.label.mul(-1).add(1) }
      const rule = { epsilon: 0.4, norm, steps, stepSize: 0.15 }
      const points = async (at: Batch, targeted: boolean) =>
        rows(pgd(losses, model, at, { ...rule, targeted }).adversarial.x)
      const close = (a: number[][], b: number[][]) =>
        a.forEach((row, i) => row.forEach((v, j) => expect(v).toBeCloseTo(b[i][j], 10)))
      close(await points(batch, false), await points(other, true))
      close(await points(batch, true), await points(other, false))
      // And one step of either is the other's reversed.
      const x = await rows(batch.x)
      const [up, down] = [false, true].map(targeted => fgsm(losses, model, batch, { epsilon: 0.4, norm, targeted }))
      const back = await rows(down.adversarial.x)
      close(
        await rows(up.adversarial.x),
        x.map((row, i) => row.map((v, j) => 2 * v - back[i][j])),
      )
    }),
    20,
  ))

test('a restart more never weakens an attack', () =>
  holds(
    fc.asyncProperty(seeds, normed, fc.integer({ min: 1, max: 3 }), async (seed, norm, restarts) => {
      const { model, batch, key } = make(seed, 'float64')
      const found = async (restarts: number, targeted: boolean) => {
        const rule = { epsilon: 0.6, norm, steps: 2, randomStart: true, key, restarts, targeted }
        const { adversarial } = pgd(losses, model, batch, rule)
        return [...(await losses(model, adversarial, { training: false }).data())]
      }
      for (const targeted of [false, true]) {
        const [few, more] = [await found(restarts, targeted), await found(restarts + 1, targeted)]
        for (const [i, loss] of few.entries())
          expect(targeted ? loss - more[i] : more[i] - loss).toBeGreaterThanOrEqual(-1e-12)
      }
    }),
    15,
  ))

test('a larger ball never helps a linear model', () =>
  holds(
    fc.asyncProperty(seeds, normed, fc.array(radius, { minLength: 2, maxLength: 4 }), async (seed, norm, radii) => {
      const { model, batch } = make(seed, 'float64', 2)
      const linear: Logits<Net> = (m, { x }) => matmul(x, matmul(m.w1, m.w2))
      const each: Loss<Net> = (m, b, ctx) => crossEntropy(linear(m, b, ctx), b.label, { reduction: 'none' })
      const sorted = radii.toSorted((a, b) => a - b)
      const data = dataset({
        x: { dtype: 'float64', shape: [n, features], data: Float64Array.from(await batch.x.data()) },
        label: { dtype: 'int32', shape: [n], data: Int32Array.from(await batch.label.data()) },
      })
      const curve = await accuracyCurve(linear, each, model, data, sorted, { norm, steps: 3 })
      let before = (await rows(each(model, batch, { training: false }).reshape([n, 1]))).flat()
      for (const [k, epsilon] of sorted.entries()) {
        if (k > 0) expect(curve[k].accuracy).toBeLessThanOrEqual(curve[k - 1].accuracy)
        const { adversarial } = pgd(each, model, batch, { epsilon, norm, steps: 3 })
        const now = [...(await each(model, adversarial, { training: false }).data())]
        now.forEach((loss, i) => expect(loss).toBeGreaterThanOrEqual(before[i] - 1e-9))
        before = now
      }
    }),
    15,
  ))

describe('the scale of the loss', () => {
  const powers = fc.integer({ min: -80, max: 80 })
  test('changes no step of FGM on features or parameters', () =>
    holds(
      fc.asyncProperty(seeds, normed, powers, async (seed, norm, power) => {
        const { model, batch, key } = make(seed, 'float64')
        const scale = 2 ** power
        const seen: Tensor[] = []
        const scaled =
          (by: number): Loss<Net> =>
          (m, b, ctx) => {
            seen.push(m.w1)
            return losses(m, b, ctx).mean().mul(by)
          }
        const moved = async (by: number) => {
          const x = await rows(fgsm(scaled(by), model, batch, { epsilon: 0.3, norm }).adversarial.x)
          seen.length = 0
          fgm({ on: 'w1', norm, epsilon: 0.3, mode: 'replace' })(scaled(by))(model, batch, { training: true, key })
          return { x, w1: await rows(seen[1]) }
        }
        const [one, other] = [await moved(1), await moved(scale)]
        expect(other).toEqual(one)
        expect(one.w1).not.toEqual(await rows(model.w1))
      }),
      20,
    ))
})

describe('the state of a model', () => {
  test('is the same bits after an attack, in training mode too', async () => {
    const key = random.key(5)
    const model = new Sequential([
      new Linear(features, 8, { key }),
      new BatchNorm(8),
      relu,
      new Dropout(0.3),
      new Linear(8, classes, { key }),
    ])
    const { batch } = make(1)
    const z: Logits<Sequential> = (m, b, ctx) => m.apply(b.x, ctx)
    const each: Loss<Sequential> = (m, b, ctx) => crossEntropy(z(m, b, ctx), b.label, { reduction: 'none' })
    const update = () => {
      throw new Error('an attack moved the state of the model')
    }
    const context: Context = { training: true, key, update }
    const common = { epsilon: 0.2, context }
    const data = dataset({
      x: { dtype: 'float32', shape: [n, features], data: Float32Array.from(await batch.x.data()) },
      label: { dtype: 'int32', shape: [n], data: Int32Array.from(await batch.label.data()) },
    })
    const bits = async () =>
      JSON.stringify(await Promise.all(namedLeaves(model).map(async l => [l.name, [...(await l.tensor.data())]])))
    const before = await bits()
    expect(before).toContain('variance')
    const runs: readonly (() => unknown)[] = [
      () => fgsm(each, model, batch, common).adversarial.x.data(),
      () => pgd(each, model, batch, { ...common, steps: 2 }).adversarial.x.data(),
      () => mifgsm(each, model, batch, { ...common, steps: 2 }).adversarial.x.data(),
      () => attackDataset(each, model, data, { ...common, steps: 2 }),
      () => apgd(z, model, batch, { ...common, steps: 2 }),
      () => square(z, model, batch, { ...common, key, steps: 2 }),
      () => deepFool(z, model, batch, { context, steps: 2 }),
      () => fab(z, model, batch, { context, steps: 2 }),
      () => carliniWagner(z, model, batch, { context, clipMin: 0, clipMax: 1, searches: 1, steps: 2 }),
      () => gradientDeaths(each, model, batch, { context }),
      () => linearity(each, model, batch, batch, { context }),
      () => perturbOnBatch(adversarialRegularization({ trainingMode: true })(each), model, batch, {}, context).x.data(),
    ]
    for (const run of runs) {
      await run()
      expect(await bits()).toBe(before)
    }
  })
})

describe('one key, one attack, on every device', async () => {
  const devices: Readonly<Record<string, Device>> = {
    reference: await setDevice('reference'),
    wasm: await setDevice('wasm', { threads: 1 }),
    webgpu: await setDevice('webgpu', { software: true }),
  }
  afterAll(async () => {
    await setDevice('reference')
    for (const device of [devices.wasm, devices.webgpu]) await device.close()
  })
  const on = async (device: string, run: () => Promise<number[][]>) => {
    await setDevice(devices[device])
    return run()
  }
  const values = async (t: Tensor) => [[...(await t.data())]]
  test.each(norms)('%s: random starts', async norm => {
    const draw = () => values(uniformInBall(random.key(11), { x: make(3).batch.x }, 0.3, norm).x)
    const want = await on('reference', draw)
    for (const device of ['wasm', 'webgpu']) {
      const got = await on(device, draw)
      if (norm === 'linf') expect(got).toEqual(want)
      else got[0].forEach((v, i) => expect(Math.abs(v - want[0][i])).toBeLessThan(1e-6))
    }
  })
  test.each(['pgd', 'mifgsm', 'apgd', 'square'] as const)('%s', async name => {
    const run = async () => {
      const { model, batch, key } = make(7)
      const rule = { epsilon: 0.25, norm: 'linf', key, clipMin: 0, clipMax: 1 } as const
      return values((await inBall[name].run(model, batch, rule)).x)
    }
    const want = await on('reference', run)
    for (const device of ['wasm', 'webgpu']) {
      const [got] = await on(device, run)
      got.forEach((v, i) => expect(Math.abs(v - want[0][i])).toBeLessThan(1e-6))
    }
    // And no other key's.
    const other = async () => {
      const { model, batch } = make(7)
      const rule = { epsilon: 0.25, norm: 'linf', key: random.key(99), clipMin: 0, clipMax: 1 } as const
      return values((await inBall[name].run(model, batch, rule)).x)
    }
    expect(await on('reference', other)).not.toEqual(want)
  })
})

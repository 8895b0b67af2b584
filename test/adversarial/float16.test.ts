/** Attacks on losses in float16, whose input gradients would vanish there: they are those of float32, rounded at the end. */

import { getDevice, matmul, random, setDevice, type Tensor } from 'saddlepoint'
import {
  type Attacked,
  adversarialRegularization,
  carliniWagner,
  deepFool,
  fab,
  fgsm,
  type Logits,
  type Norm,
  norms,
  perturbOnBatch,
  pgd,
} from 'saddlepoint/adversarial'
import type { Batch, Loss } from 'saddlepoint/nn'
import { describe, expect, test } from 'vitest'
import { inputGradient } from '../../src/adversarial/gradient.js'
import { roundToHalf } from '../../src/graph/half.js'

const [n, d] = [6, 8]
const draw = (seed: number, shape: readonly number[]): Tensor =>
  random.uniform(random.key(seed), shape, { low: -1, high: 1, dtype: 'float16' })

interface Model {
  readonly first: Tensor
  readonly second: Tensor
  readonly scale: readonly [number, number]
}
/**
 * Two matrix products, so that a gradient is stored in float16 between them; it is of the size of `gradient`, in two
 * factors that float16 holds.
 */
const model = (gradient: number): Model => {
  const small = gradient > 1 ? 1 : 2 ** -12
  return { first: draw(1, [d, d]), second: draw(2, [d, d]), scale: [small, gradient / small] }
}
const wide = (x: Tensor): Tensor => x.astype('float32')
const wideModel = (gradient: number): Model => {
  const { first, second, scale } = model(gradient)
  return { first: wide(first), second: wide(second), scale }
}
const losses: Loss<Model> = ({ first, second, scale }, { x }) =>
  matmul(matmul(x, first).relu(), second).sum({ axis: 1 }).mul(scale[1]).mul(scale[0])
const mean: Loss<Model> = (model, batch, ctx) => losses(model, batch, ctx).mean()
/** The examples, anew on the device in use. */
const examples = (): Tensor => draw(3, [n, d])
const flat = async (t: Tensor): Promise<number[]> => Array.from(await t.data())

const epsilon = 0.25
/** One place of float16, and what places of its gradient do to a perturbation. */
const allowed = (v: number): number => 2 ** (Math.max(-14, Math.floor(Math.log2(Math.abs(v)))) - 10) + epsilon * 2 ** -9
async function expectRounded(half: Tensor, exact: Tensor): Promise<void> {
  expect([half.dtype, exact.dtype]).toEqual(['float16', 'float32'])
  const [got, want] = [await flat(half), await flat(exact)]
  got.forEach((g, i) => {
    expect(Math.abs(g - roundToHalf(want[i]))).toBeLessThanOrEqual(allowed(want[i]))
  })
}

describe.each(['reference', 'wasm'] as const)('%s', device => {
  const on = (run: (x: Tensor) => Promise<void>) => async () => {
    const before = await getDevice()
    const own = await setDevice(device, { threads: 1 })
    try {
      await run(examples())
    } finally {
      await setDevice(before)
      await own.close()
    }
  }

  for (const [name, loss] of Object.entries({ losses, mean })) {
    test(
      `the input gradient of ${name} has the digits of float16, though it is far below its normal numbers, or at their end`,
      on(async x => {
        for (const size of [1e-7, 1e-5, 1, 100, 3000]) {
          const of = (m: Model, x: Tensor) =>
            inputGradient('test', loss, m, { x }, { x }, { training: false }).gradient.x
          const [half, exact] = [of(model(size), x), of(wideModel(size), wide(x))]
          expect([half.dtype, exact.dtype]).toEqual(['float32', 'float32'])
          const [got, want] = [await flat(half), await flat(exact)]
          const largest = Math.max(...want.map(Math.abs))
          expect(largest).toBeLessThan(20 * size)
          got.forEach((g, i) => {
            expect(Math.abs(g - want[i]) / largest).toBeLessThan(2 ** -8)
          })
        }
      }),
    )
  }

  for (const norm of norms) {
    test(
      `${norm}: FGSM, PGD and adversarial regularisation move float16 as float32, rounded`,
      on(async x => {
        const options = { epsilon, norm, clipMin: -0.875, clipMax: 0.875, labelKeys: [] }
        const attacks: Readonly<Record<string, (loss: Loss<Model>, m: Model, batch: Batch) => Attacked>> = {
          fgsm: (loss, m, batch) => fgsm(loss, m, batch, options),
          pgd: (loss, m, batch) => pgd(loss, m, batch, { ...options, steps: 2, stepSize: 0.125 }),
        }
        const tiny = model(1e-7)
        for (const loss of [losses, mean])
          for (const attack of Object.values(attacks)) {
            const half = attack(loss, tiny, { x })
            const exact = attack(loss, wideModel(1e-7), { x: wide(x) })
            await expectRounded(half.adversarial.x, exact.adversarial.x)
            for (const key of ['zero', 'nonFinite', 'floorHit'] as const)
              expect(await half.report[key].item()).toBe(await exact.report[key].item())
          }
        const regularised = adversarialRegularization({ stepSize: epsilon, norm, labelKeys: [] })(mean)
        const [half, exact] = [
          perturbOnBatch(regularised, tiny, { x }),
          perturbOnBatch(regularised, wideModel(1e-7), { x: wide(x) }),
        ]
        await expectRounded(half.x, exact.x)
      }),
    )
  }

  test(
    'random starts of float16 lie in the ball',
    on(async x => {
      for (const norm of ['linf', 'l2', 'l1'] satisfies Norm[]) {
        const options = { epsilon, norm, steps: 1, stepSize: 0, randomStart: true, key: random.key(5), labelKeys: [] }
        const { adversarial } = pgd(losses, model(1), { x }, options)
        expect(adversarial.x.dtype).toBe('float16')
        const delta = wide(adversarial.x).sub(wide(x))
        const length = await flat(delta.vectorNorm({ axis: 1, ord: { linf: Infinity, l2: 2, l1: 1 }[norm] }))
        for (const l of length) {
          expect(l).toBeGreaterThan(0)
          expect(l).toBeLessThan(epsilon + d * 2 ** -11)
        }
      }
    }),
  )
})

describe('the smallest perturbations of float16 are about those of float32', () => {
  interface Net {
    readonly first: Tensor
    readonly second: Tensor
  }
  const logits: Logits<Net> = ({ first, second }, { x }) => matmul(matmul(x, first).tanh(), second)
  const clipMin = 0
  const clipMax = 1
  type Found = Promise<{ readonly adversarial: Batch; readonly broken: Tensor; readonly distance: Tensor }>
  const attacks: Readonly<Record<string, (net: Net, batch: Batch) => Found>> = {
    carliniWagner: (net, batch) =>
      carliniWagner(logits, net, batch, {
        clipMin,
        clipMax,
        searches: 5,
        steps: 150,
        learningRate: 0.05,
        initial: 0.1,
      }),
    deepFool: (net, batch) => deepFool(logits, net, batch, { clipMin, clipMax }),
    'fab, linf': (net, batch) => fab(logits, net, batch, { clipMin, clipMax, steps: 40 }),
    'fab, l2': (net, batch) => fab(logits, net, batch, { norm: 'l2', clipMin, clipMax, steps: 40, targets: 2 }),
  }
  test.each(Object.keys(attacks))('%s', async name => {
    // A third of the elements stand at an end of the range.
    const x = draw(11, [24, d]).mul(1.5).add(0.5).clip(0, 1)
    const half: Net = { first: draw(12, [d, 12]).mul(2), second: draw(13, [12, 4]) }
    const full: Net = { first: wide(half.first), second: wide(half.second) }
    const label = logits(full, { x: wide(x) }, { training: false }).argmax({ axis: -1 })
    const [small, exact] = [await attacks[name](half, { x, label }), await attacks[name](full, { x: wide(x), label })]
    expect(small.adversarial.x.dtype).toBe('float16')
    const [got, want] = [await flat(small.distance), await flat(exact.distance)]
    const both = got.flatMap((g, i) => (Number.isFinite(g) && Number.isFinite(want[i]) ? [i] : []))
    expect(both.length).toBeGreaterThan(20)
    expect(both.length).toBeGreaterThanOrEqual(want.filter(Number.isFinite).length - 1)
    const total = (v: readonly number[]): number => both.reduce((s, i) => s + v[i], 0)
    expect(total(got) / total(want)).toBeLessThan(1.03)
    expect(total(got) / total(want)).toBeGreaterThan(0.97)
    // They are what breaks the model of float16.
    const z = logits(half, small.adversarial, { training: false })
    const isBroken = await flat(z.argmax({ axis: -1 }).equal(label).astype('int32'))
    expect(isBroken).toEqual((await flat(small.broken.astype('int32'))).map(b => 1 - b))
  })
})

test('the loss of an attack sees float16 at every step, after a random start too', async () => {
  const x = examples()
  const seen: string[] = []
  const look: Loss<Model> = (m, batch, ctx) => {
    seen.push(batch.x.dtype)
    return mean(m, batch, ctx)
  }
  const key = random.key(5)
  pgd(look, model(1), { x }, { epsilon, steps: 2, randomStart: true, key, labelKeys: [] })
  const options = { stepSize: epsilon, epsilon, iterations: 2, randomInit: true, labelKeys: [] }
  perturbOnBatch(adversarialRegularization(options)(look), model(1), { x }, {}, { training: false, key })
  expect(seen).toEqual(Array(4).fill('float16'))
})

test('a loss of float32 over float16 features, and one of float16 over float32 features', async () => {
  const x = examples()
  const tiny = model(1e-7)
  const options = { epsilon, norm: 'l2', labelKeys: [] } as const
  const exact = fgsm(losses, wideModel(1e-7), { x: wide(x) }, options).adversarial.x
  const widened: Loss<Model> = (m, batch, ctx) => losses(m, batch, ctx).astype('float32')
  await expectRounded(fgsm(widened, tiny, { x }, options).adversarial.x, exact)
  const narrowed: Loss<Model> = (m, batch, ctx) => losses(m, { x: batch.x.astype('float16') }, ctx)
  const moved = fgsm(narrowed, tiny, { x: wide(x) }, options).adversarial.x
  expect(moved.dtype).toBe('float32')
  await expectRounded(moved.astype('float16'), exact)
})

/** Adversarial examples rounded to levels are judged again. */

import fc from 'fast-check'
import { matmul, setDevice, tensor } from 'saddlepoint'
import { accuracyOn, attackDataset, type Logits, quantized } from 'saddlepoint/adversarial'
import { type Dataset, dataset } from 'saddlepoint/data'
import { crossEntropy, type Loss } from 'saddlepoint/nn'
import { beforeAll, describe, expect, test } from 'vitest'

beforeAll(async () => {
  await setDevice('reference')
})

type Float = 'float16' | 'float32' | 'float64'
const rounded = async (values: number[], dtype: Float) => await tensor(values).astype(dtype).data()
const setOf = async (values: number[], dtype: Float = 'float32', width = 1): Promise<Dataset> => {
  const shape = [values.length / width, width]
  const data = dtype === 'float64' ? Float64Array.from(values) : Float32Array.from(await rounded(values, dtype))
  const label = { dtype: 'int32', shape: shape.slice(0, 1), data: new Int32Array(shape[0]) } as const
  return dataset({ x: { dtype, shape, data }, label })
}
const valuesOf = ({ columns }: Dataset) => Array.from(columns.x.data)

describe('levels', () => {
  const level = fc.integer({ min: 0, max: 255 })
  test.each(['float32', 'float64'] as const)('%s: whole, towards the original, as far as they go', dtype =>
    fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(level, fc.double({ min: -40, max: 40, noNaN: true })), { minLength: 1 }),
        async pairs => {
          const inside = pairs.map(([k, d]) => Math.min(255, Math.max(0, k + d)) / 255)
          const original = await setOf(
            pairs.map(([k]) => k / 255),
            dtype,
          )
          const attacked = await setOf(inside, dtype)
          const [x, moved, q] = [original, attacked, quantized(original, attacked)].map(valuesOf)
          q.forEach((v, i) => {
            const k = Math.round(v * 255)
            expect(v).toBe(dtype === 'float32' ? Math.fround(k / 255) : k / 255)
            const [step, wanted] = [k - pairs[i][0], (moved[i] - x[i]) * 255]
            expect(Math.abs(step)).toBeLessThanOrEqual(Math.abs(wanted) + 1e-4)
            expect(Math.abs(step)).toBeGreaterThan(Math.abs(wanted) - 1)
            expect(step * wanted).toBeGreaterThanOrEqual(0)
          })
        },
      ),
      { numRuns: 60 },
    ),
  )
  test.each(['float16', 'float32', 'float64'] as const)(
    '%s: eight levels are eight levels, whatever the rounding',
    async dtype => {
      const levels = Array.from({ length: 240 }, (_, k) => k + 8)
      const original = await setOf(
        levels.map(k => k / 255),
        dtype,
      )
      for (const step of [8, -8]) {
        const attacked = await setOf(
          valuesOf(original).map(v => v + Math.fround(step / 255)),
          dtype,
        )
        expect(valuesOf(quantized(original, attacked)).map(v => Math.round(v * 255))).toEqual(levels.map(k => k + step))
      }
    },
  )
  test('another range and number; an original between levels goes to the nearest', async () => {
    const [from, to] = [await setOf([-1, 0.1, 0.9], 'float64'), await setOf([-0.3, 0.2, -0.9], 'float64')]
    expect(valuesOf(quantized(from, to, { levels: 5, clipMin: -1, clipMax: 1 }))).toEqual([-0.5, 0, -0.5])
  })
})

test('an attack between two levels is none', async () => {
  const logits: Logits<null> = (_, { x }) => matmul(x, tensor([[1, -1]])).sub(tensor([100.5 / 255, -100.5 / 255]))
  const loss: Loss<null> = (m, b, ctx) => crossEntropy(logits(m, b, ctx), b.label)
  const data = await setOf([101 / 255, 104 / 255])
  const attack = async (epsilon: number) =>
    (await attackDataset(loss, null, data, { epsilon: epsilon / 255, steps: 3, clipMin: 0, clipMax: 1 })).data
  const judged = async (attacked: Dataset) => [
    await accuracyOn(logits, null, attacked),
    await accuracyOn(logits, null, quantized(data, attacked)),
  ]
  expect(await judged(await attack(0.9))).toEqual([0.5, 1])
  expect(await judged(await attack(1))).toEqual([0.5, 0.5])
  expect(await judged(await attack(3.9))).toEqual([0, 0.5])
  expect(await judged(await attack(4))).toEqual([0, 0])
})

test('labels stay, and what does not fit is said', async () => {
  const [a, b] = [await setOf([0.5, 0.25]), await setOf([0.5])]
  expect(quantized(a, a).columns.label).toBe(a.columns.label)
  expect(() => quantized(a, b)).toThrow("quantized: 'x' is [2,1], but [1,1] in the attacked data set")
  expect(() => quantized(a, dataset({ label: a.columns.label }))).toThrow('but not there in the attacked data set')
  expect(() => quantized(a, a, { levels: 1 })).toThrow('quantized: levels must be an integer >= 2, not 1')
  expect(() => quantized(a, a, { clipMin: 1 })).toThrow('clipMin below clipMax, not 1 and 1')
})

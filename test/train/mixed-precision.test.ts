/** Training in float16: master weights, the scale of the loss, steps that are skipped, resumption. */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { getDevice, leaves, ones, random, relu, setDevice, type Tensor, tensor, zeros } from 'saddlepoint'
import { dataset } from 'saddlepoint/data'
import { BatchNorm, type Context, crossEntropy, Dropout, Linear, type Loss, Sequential } from 'saddlepoint/nn'
import { adam, sgd } from 'saddlepoint/optim'
import { loadTree, saveTree, Trainer, type TrainerOptions } from 'saddlepoint/train'
import { afterAll, describe, expect, test } from 'vitest'
import { decodeSafetensors } from '../../src/data/safetensors.js'
import { nextScale } from '../../src/train/loss-scale.js'

const folder = mkdtempSync(join(tmpdir(), 'saddlepoint-half-'))
afterAll(() => rmSync(folder, { recursive: true }))

/** Points in the plane and whether they lie in a disc. */
const rows = 128
const x = Float32Array.from({ length: 2 * rows }, (_, i) => Math.sin(12.9898 * (i + 1)) * 1.5)
const y = Int32Array.from({ length: rows }, (_, i) => Number(Math.hypot(x[2 * i], x[2 * i + 1]) < 1.1))
const disc = dataset({
  x: { dtype: 'float32', shape: [rows, 2], data: x },
  y: { dtype: 'int32', shape: [rows], data: y },
})
/** As many rows of ones as there are steps in an epoch of batches of 1. */
const single = (n: number, data = new Float32Array(n).fill(1)) => dataset({ x: { dtype: 'float32', shape: [n], data } })

const loss: Loss<Sequential> = (model, { x, y }, ctx) => crossEntropy(model.apply(x, ctx), y)
const network = (): Sequential =>
  new Sequential([
    new Linear(2, 16, { key: random.key(1) }),
    new BatchNorm(16),
    relu,
    new Dropout(0.1),
    new Linear(16, 2, { key: random.key(2) }),
  ])
const trainer = (options: Partial<TrainerOptions<Sequential>> = {}): Trainer<Sequential> =>
  new Trainer({ model: network(), loss, optimizer: adam({ learningRate: 0.02 }), seed: 3, ...options })
const values = (tree: unknown): Promise<number[][]> =>
  Promise.all(leaves(tree).map(async t => Array.from(await t.data())))

/** A weight, and a count of the passes that moved it. */
interface Weight {
  readonly w: Tensor
  readonly state: { readonly passes: Tensor }
}
const weight = (): Weight => ({ w: zeros([]), state: { passes: zeros([]) } })
/** 64 · w · x, whose cotangent is rounded to float16 on its way to w: 64 times the scale, infinite from a scale of 2^10 on. */
const steep: Loss<Weight> = ({ w, state }, { x }, ctx) => {
  ctx.update?.(state.passes, state.passes.add(1))
  return w.mul(x).mean().astype('float32').mul(64)
}
/** What a checkpoint says of a scalar. */
async function saved(t: Trainer<Weight>, name: string): Promise<number> {
  const path = join(folder, 'scalars.safetensors')
  await t.save(path)
  return decodeSafetensors(readFileSync(path)).tensors[name].data[0]
}

describe.each(['wasm', 'reference'] as const)('%s', device => {
  test('the loss falls as in float32', async () => {
    const before = await getDevice()
    const own = await setDevice(device, { threads: 2 })
    try {
      const run = async (precision: 'float32' | 'float16') => {
        const t = trainer({ precision })
        const { epochs } = await t.fit(disc, { epochs: 8, batchSize: 16, validation: disc })
        for (const leaf of leaves(t.model)) expect(leaf.dtype).toBe('float32')
        return epochs.map(e => [e.train.loss, e.validation?.loss ?? Number.NaN])
      }
      const [wide, half] = [await run('float32'), await run('float16')]
      expect(half[7][1]).toBeLessThan(half[0][0] / 2)
      half.forEach((losses, e) => {
        losses.forEach((l, i) => {
          expect(Math.abs(l - wide[e][i])).toBeLessThan(0.03)
        })
      })
      expect(half).not.toEqual(wide)
    } finally {
      await setDevice(before)
      await own.close()
    }
  })
})

test('the loss and the metrics see float16, but for statistics and integers', async () => {
  const seen: string[] = []
  const look = (model: Sequential, batch: Readonly<Record<string, Tensor>>, ctx: Context): Tensor => {
    seen.push([...leaves(model), ...Object.values(batch)].map(t => t.dtype).join())
    return loss(model, batch, ctx)
  }
  const t = trainer({ loss: look, metrics: { again: look }, precision: 'float16' })
  await t.fit(disc, { epochs: 1, batchSize: 64 })
  await t.evaluate(disc, { batchSize: 128 })
  const [h, f] = ['float16', 'float32']
  expect(new Set(seen).size).toBe(1)
  expect(seen[0].split(',').sort()).toEqual([f, f, h, h, h, h, h, h, h, 'int32'].sort())
  // One of them a look for memories.
  expect(seen.length).toBe(5)
})

test('a scale that overflows is halved, and such a step changes nothing', async () => {
  const model = weight()
  const t = new Trainer({
    model,
    loss: steep,
    // A number of each step's own, whether it is skipped or not.
    metrics: { draw: (_, __, ctx) => (ctx.key ? random.uniform(ctx.key, []) : zeros([])) },
    optimizer: adam({ learningRate: 1, beta1: 0 }),
    precision: 'float16',
  })
  const { epochs } = await t.fit(single(1), { epochs: 10, batchSize: 1 })
  // 64 · 2^15 down to 64 · 2^10 overflow.
  expect(await saved(t, 'scale.factor')).toBe(2 ** 9)
  expect(await saved(t, 'scale.skipped')).toBe(6)
  expect(await saved(t, 'scale.good')).toBe(4)
  expect(await saved(t, 'optimizer.step')).toBe(4)
  expect(await model.state.passes.item()).toBe(4)
  expect(await model.w.item()).toBeCloseTo(-4, 5)
  expect(await saved(t, 'badStep')).toBe(-1)
  expect(t.step).toBe(10)
  expect(epochs.map(e => e.train.loss)).toEqual([0, 0, 0, 0, 0, 0, 0, -64, -128, -192])
  expect(new Set(epochs.map(e => e.train.draw)).size).toBe(10)
})

test('a loss that is not finite is an error that names its step, after skipped steps too', async () => {
  const data = new Float32Array(12).fill(1)
  data[8] = Number.NaN
  const t = new Trainer({ model: weight(), loss: steep, optimizer: sgd({ learningRate: 1 }), precision: 'float16' })
  const run = t.fit(single(12, data), { epochs: 1, batchSize: 1, shuffle: false })
  await expect(run).rejects.toThrow('not finite at epoch 1, step 9 of 12')
})

test('the scale is out of the gradient before it is clipped and before the optimiser', async () => {
  const after = async (options: Partial<TrainerOptions<{ w: Tensor }>>): Promise<number> => {
    const model = { w: tensor([0]) }
    const t = new Trainer({
      model,
      // 2^-20, rounded to float16 on the way: without a scale too coarse, with one exact.
      loss: ({ w }, { x }) =>
        w
          .mul(x)
          .sum()
          .astype('float32')
          .mul(1.25 * 2 ** -20),
      optimizer: sgd({ learningRate: 1 }),
      ...options,
    })
    await t.fit(single(1), { epochs: 1, batchSize: 1 })
    return model.w.item()
  }
  const half = { precision: 'float16' } as const
  expect(await after({})).toBe(-1.25 * 2 ** -20)
  for (const lossScale of ['dynamic', 2 ** 10, 2 ** 20] as const)
    expect(await after({ ...half, lossScale })).toBe(-1.25 * 2 ** -20)
  expect(await after({ ...half, lossScale: 2 ** -5 })).toBe(-(2 ** -19))
  expect(await after({ ...half, clipNorm: 2 ** -21 })).toBe(-(2 ** -21))
  expect(await after({ ...half, clipNorm: 2 ** -19 })).toBe(-1.25 * 2 ** -20)
})

test('the scale doubles after 2000 good steps in a row, and stays within its bounds', async () => {
  const next = async (factor: number, good: number, finite: boolean, lossScale?: number) => {
    const scale = {
      factor: tensor(factor),
      good: tensor(good, { dtype: 'int32' }),
      skipped: tensor(3, { dtype: 'int32' }),
    }
    const { factor: f, good: g, skipped } = nextScale(scale, tensor(finite), { lossScale })
    return [await f.item(), await g.item(), await skipped.item()]
  }
  expect(await next(1024, 1998, true)).toEqual([1024, 1999, 3])
  expect(await next(1024, 1999, true)).toEqual([2048, 0, 3])
  expect(await next(1024, 1999, false)).toEqual([512, 0, 4])
  expect(await next(2 ** 24, 1999, true)).toEqual([2 ** 24, 0, 3])
  expect(await next(1, 7, false)).toEqual([1, 0, 4])
  expect(await next(100, 1999, true, 100)).toEqual([100, 0, 3])
  expect(await next(100, 5, false, 100)).toEqual([100, 0, 4])
})

test('resumption is exact, the scale included', async () => {
  const path = join(folder, 'run.safetensors')
  const make = () => trainer({ precision: 'float16', loss: (m, b, ctx) => loss(m, b, ctx).astype('float32').mul(4000) })
  const options = { epochs: 4, batchSize: 32 }
  const whole = make()
  await whole.fit(disc, options)
  const first = make()
  await first.fit(disc, { ...options, epochs: 1, checkpoint: path })
  const { tensors } = decodeSafetensors(readFileSync(path))
  expect(tensors['scale.skipped'].data[0]).toBeGreaterThan(0)
  const second = make()
  await second.load(path)
  await second.fit(disc, options)
  expect(await values(second.model)).toEqual(await values(whole.model))
  await whole.save(path)
  const at = decodeSafetensors(readFileSync(path))
  await second.save(path)
  expect(decodeSafetensors(readFileSync(path)).tensors).toEqual(at.tensors)
})

test('checkpoints of float32 know no scale, and files of float16 fill a float32 model', async () => {
  const path = join(folder, 'wide.safetensors')
  await trainer().save(path)
  expect(Object.keys(decodeSafetensors(readFileSync(path)).tensors).filter(name => name.startsWith('scale'))).toEqual(
    [],
  )
  await trainer().load(path)
  await expect(trainer({ precision: 'float16' }).load(path)).rejects.toThrow("'scale.factor' is missing")
  await saveTree(path, { w: tensor([0.1, 3], { dtype: 'float16' }) })
  expect(decodeSafetensors(readFileSync(path)).tensors.w.dtype).toBe('float16')
  const model = { w: zeros([2]) }
  await loadTree(path, model, () => 0)
  expect([model.w.dtype, await model.w.array()]).toEqual(['float32', [0.0999755859375, 3]])
  await expect(loadTree(path, { w: ones([2], 'int32') }, () => 0)).rejects.toThrow(
    "'w' is float16[2], expected int32[2]",
  )
})

test.each([
  [{ precision: 'half' }, "precision must be 'float32' or 'float16', not 'half'"],
  [{ lossScale: 8 }, "lossScale is for precision 'float16'"],
  [{ precision: 'float16', lossScale: 0 }, "lossScale must be 'dynamic' or a finite number > 0, not 0"],
  [{ precision: 'float16', lossScale: 'static' }, "must be 'dynamic' or a finite number > 0, not static"],
])('refuses %j', (options, message) => {
  // As a caller without types may.
  const given: object = { model: network(), loss, optimizer: adam(), ...options }
  const make: new (options: never) => unknown = Trainer
  expect(() => Reflect.construct(make, [given])).toThrow(message)
})

/** Robust training in one line, with all else that a Trainer does: schedules, micro-batches, checkpoints, interruption. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { leaves, random, setDevice, type Tensor } from 'saddlepoint'
import {
  adversarialRegularization,
  awp,
  fgm,
  freeLB,
  freeTraining,
  gradientPenalty,
  pgd,
  proximal,
  rDrop,
  sam,
  smart,
  trades,
  vat,
} from 'saddlepoint/adversarial'
import { dataset } from 'saddlepoint/data'
import { TextCNN } from 'saddlepoint/models'
import { type Context, crossEntropy, type Loss } from 'saddlepoint/nn'
import { adam, linearWarmup } from 'saddlepoint/optim'
import { Trainer } from 'saddlepoint/train'
import { afterAll, beforeAll, expect, test } from 'vitest'

let folder = ''
beforeAll(async () => {
  await setDevice('wasm', { threads: 1 })
  folder = await mkdtemp(join(tmpdir(), 'saddlepoint-methods-'))
})
afterAll(() => rm(folder, { recursive: true }))

type Inputs = Readonly<Record<string, Tensor>>
const logits = (model: TextCNN, { ids }: Inputs, ctx: Context): Tensor => model.apply(ids, ctx)
const loss: Loss<TextCNN> = (model, batch, ctx) => crossEntropy(logits(model, batch, ctx), batch.label)

const n = 26
const data = dataset({
  ids: { dtype: 'int32', shape: [n, 6], data: Int32Array.from({ length: n * 6 }, (_, i) => (i * i * 7) % 19) },
  label: { dtype: 'int32', shape: [n], data: Int32Array.from({ length: n }, (_, i) => i % 3) },
  // Something for adversarialRegularization to perturb.
  extra: { dtype: 'float32', shape: [n, 2], data: Float32Array.from({ length: 2 * n }, (_, i) => Math.sin(i)) },
})

const on = 'embedding'
type Method = (loss: Loss<TextCNN>) => Loss<TextCNN>
const scaled: Loss<TextCNN> = (model, batch, ctx) => loss(model, batch, ctx).mul(batch.extra.mean().add(2))
const methods: readonly (readonly [string, Method, Loss<TextCNN>])[] = [
  ['fgm', fgm({ on, epsilon: 0.5 }), loss],
  ['fgm of tokens', fgm({ on, epsilon: 0.1, scope: 'token', mode: 'replace' }), loss],
  ['pgd', pgd({ on, steps: 2 }), loss],
  ['freeLB', freeLB({ on, steps: 2, start: 0.1 }), loss],
  ['gradientPenalty of fgm', l => gradientPenalty({ on })(fgm({ on })(l)), loss],
  ['trades', trades({ logits, on, scope: 'example', epsilon: 0.2, steps: 2 }), loss],
  [
    'vat and rDrop',
    l => rDrop<TextCNN>({ logits })(vat<TextCNN>({ logits, on, scope: 'token', epsilon: 0.1 })(l)),
    loss,
  ],
  [
    'smart and proximal',
    l => proximal<TextCNN>({ logits })(smart<TextCNN>({ logits, on, scope: 'example', epsilon: 0.1 })(l)),
    loss,
  ],
  ['freeTraining', freeTraining({ epsilon: 0.1, replays: 3 }), scaled],
  ['sam of awp', l => sam()(awp()(l)), loss],
  ['adversarialRegularization', adversarialRegularization({ stepSize: 0.1 }), scaled],
]

async function values(model: unknown): Promise<number[]> {
  return (await Promise.all(leaves(model).map(async t => Array.from(await t.data(), Number)))).flat()
}

test.each(methods)('%s: interrupted and resumed, in micro-batches, under a schedule', async (name, method, base) => {
  const make = (): Trainer<TextCNN> =>
    new Trainer({
      model: new TextCNN({ vocabulary: 19, dim: 4, classes: 3, filters: 3, widths: [2, 3], key: random.key(1) }),
      loss: base,
      optimizer: adam({ learningRate: linearWarmup(0.01, 5) }),
      microBatches: 2,
      seed: 4,
    }).use(method)
  const options = { epochs: 3, batchSize: 8 }
  const whole = make()
  const first = await values(whole.model)
  const history = await whole.fit(data, options)
  expect(history.epochs.every(e => Number.isFinite(e.train.loss))).toBe(true)
  expect(await values(whole.model)).not.toEqual(first)

  const stop = new AbortController()
  const checkpoint = join(folder, `${name.replaceAll(' ', '-')}.safetensors`)
  const onStep = ({ epoch, step }: { epoch: number; step: number }): void => {
    if (epoch === 2 && step === 2) stop.abort()
  }
  expect((await make().fit(data, { ...options, checkpoint, signal: stop.signal, onStep })).interrupted).toBe(true)
  const resumed = make()
  await resumed.load(checkpoint)
  await resumed.fit(data, options)
  expect(await values(resumed.model)).toEqual(await values(whole.model))
})

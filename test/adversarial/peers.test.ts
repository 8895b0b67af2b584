/**
 * Known bugs of other libraries, each once for all methods. Those that have a place elsewhere: logits of the clean pass after the
 * perturbation (embedding.test.ts), the mask behind the norm (regularization.test.ts, and here for attacks), pixels of 8 bits
 * (quantization.test.ts).
 */

import {
  grad,
  leaves,
  mapTree,
  matmul,
  random,
  relu,
  setDevice,
  type Tensor,
  tanh,
  tensor,
  valueAndGrad,
} from 'saddlepoint'
import {
  adversarialRegularization,
  adversarialTraining,
  apgd,
  awp,
  curvaturePenalty,
  fastTraining,
  fgm,
  fgsm,
  freeLB,
  gradientAlignment,
  gradientPenalty,
  inputGradientPenalty,
  jacobianPenalty,
  type Logits,
  localLinearity,
  mart,
  pgd,
  rDrop,
  sam,
  smart,
  trades,
  vat,
} from 'saddlepoint/adversarial'
import { dataset } from 'saddlepoint/data'
import {
  type Batch,
  BatchNorm,
  type Context,
  crossEntropy,
  Dropout,
  Embedding,
  Linear,
  type Loss,
  Sequential,
} from 'saddlepoint/nn'
import { sgd } from 'saddlepoint/optim'
import { Trainer } from 'saddlepoint/train'
import { beforeAll, describe, expect, test } from 'vitest'
import { type Classifier, example, exampleLosses, meanLoss, rows } from './common.js'
import { plainGradient, plainNorm, plainSteepest } from './plain.js'

beforeAll(async () => {
  await setDevice('reference')
})

const key = random.key(3)
const f64 = { key, dtype: 'float64' } as const

/** Every method on features, and those on parameters, for a model whose weights are called so. */
const methodsOf = <M>(logits: Logits<M>, losses: Loss<M>, on: string) => {
  const ball = { epsilon: 0.2, steps: 2 }
  return {
    adversarialRegularization: adversarialRegularization({ stepSize: 0.1 }),
    adversarialTraining: adversarialTraining(ball),
    fastTraining: fastTraining({ epsilon: 0.2 }),
    trades: trades({ ...ball, logits }),
    mart: mart({ ...ball, logits }),
    vat: vat({ epsilon: 0.2, logits }),
    smart: smart({ ...ball, logits }),
    rDrop: rDrop({ logits }),
    sam: sam(),
    awp: awp({ on }),
    inputGradientPenalty: inputGradientPenalty(),
    jacobianPenalty: jacobianPenalty({ logits }),
    curvaturePenalty: curvaturePenalty(),
    localLinearity: localLinearity({ ...ball, losses }),
    gradientAlignment: gradientAlignment({ epsilon: 0.2 }),
    'fgm, accumulate': fgm({ on }),
    'fgm, replace': fgm({ on, mode: 'replace' }),
    'pgd, replace': pgd({ on, mode: 'replace' }),
    freeLB: freeLB({ on, scope: 'matrix', start: 0.1 }),
    gradientPenalty: gradientPenalty({ on }),
  } as const satisfies Record<string, (loss: Loss<M>) => Loss<M>>
}

describe('passes of a step', () => {
  const model = new Sequential([
    new Linear(4, 6, f64),
    new BatchNorm(6, { dtype: 'float64' }),
    relu,
    new Dropout(0.5),
    new Linear(6, 3, f64),
  ])
  let keys = new Set<Tensor | undefined>()
  const logits: Logits<Sequential> = (m, { x }, ctx) => {
    keys.add(ctx.key)
    return m.apply(x, ctx)
  }
  const losses: Loss<Sequential> = (m, b, ctx) => crossEntropy(logits(m, b, ctx), b.label, { reduction: 'none' })
  const loss: Loss<Sequential> = (m, b, ctx) => losses(m, b, ctx).mean()

  test.each(Object.entries(methodsOf(logits, losses, 'layers.0.weight')))(
    '%s: statistics move once, dropout is drawn once',
    async (name, method) => {
      const { batch } = await example(2)
      const moved: Tensor[] = []
      keys = new Set()
      const ctx: Context = { training: true, key, update: leaf => moved.push(leaf) }
      const [value, slopes] = valueAndGrad((m: Sequential) => method(loss)(m, batch, ctx))(model)
      expect(moved.length).toBe(2)
      expect(new Set(moved).size).toBe(2)
      // R-Drop lives of a second mask.
      expect(keys.size).toBe(name === 'rDrop' ? 2 : 1)
      expect(keys.has(key)).toBe(true)
      const found = [value, ...leaves(slopes)]
      for (const t of found) for (const v of await t.data()) expect(v).toBeTypeOf('number')
      expect(Number.isFinite(await value.item())).toBe(true)
    },
  )
})

describe('a gradient of 0', () => {
  const logits: Logits<Classifier> = (m, { x }) => matmul(tanh(matmul(x, m.w1)), m.w2)
  test.each(Object.entries(methodsOf(logits, exampleLosses, 'w1')))(
    '%s stays finite, and so do its slopes',
    async (_, method) => {
      const { model, batch } = await example(4)
      const flat = mapTree(model, t => t.mul(0))
      const ctx = { training: true, key }
      const [value, slopes] = valueAndGrad((m: Classifier) => method(meanLoss)(m, batch, ctx))(flat)
      for (const t of [value, ...leaves(slopes)]) for (const v of await t.data()) expect(v).toSatisfy(Number.isFinite)
    },
  )
})

describe('the mask comes before the norm', () => {
  const mask = [1, 0, 1, 0]
  test.each(['l2', 'l1'] as const)('%s: what is free has the whole step', async norm => {
    const { model, net, batch, x, labels } = await example(6)
    const rule = { epsilon: 0.3, norm, featureMask: tensor(mask, { dtype: 'float64' }) }
    const attacks: Readonly<Record<string, Batch>> = {
      fgsm: fgsm(meanLoss, model, batch, rule).adversarial,
      pgd: pgd(meanLoss, model, batch, { ...rule, steps: 1, stepSize: 0.3 }).adversarial,
    }
    for (const moved of Object.values(attacks)) {
      const at = await rows(moved.x)
      x.forEach((row, i) => {
        const g = plainGradient(net, row, labels[i]).map((v, j) => v * mask[j])
        plainSteepest(g, norm).forEach((d, j) => expect(at[i][j]).toBeCloseTo(row[j] + 0.3 * d, 12))
      })
    }
  })
  test('apgd: its points reach the surface of the ball', async () => {
    const { model, batch, x } = await example(6)
    const logits: Logits<Classifier> = (m, b) => matmul(tanh(matmul(b.x, m.w1)), m.w2)
    const featureMask = tensor(mask, { dtype: 'float64' })
    const { adversarial } = await apgd(logits, model, batch, { epsilon: 1e-3, norm: 'l2', steps: 1, featureMask })
    const lengths = (await rows(adversarial.x)).map((row, i) =>
      plainNorm(
        row.map((v, j) => v - x[i][j]),
        'l2',
      ),
    )
    const moved = lengths.filter(l => l > 0)
    expect(moved.length).toBeGreaterThan(0)
    for (const l of moved) expect(l).toBeCloseTo(1e-3, 9)
  })
})

describe('padding', () => {
  type Text = { embedding: Embedding; out: Linear }
  const ids = [
    [1, 2, 0, 3],
    [4, 0, 0, 0],
    [5, 1, 2, 0],
  ]
  const isText = ids.map(row => row.map(id => Number(id !== 0)))
  const batch = {
    ids: tensor(ids, { dtype: 'int32' }),
    mask: tensor(isText, { dtype: 'int32' }),
    label: tensor([0, 1, 2], { dtype: 'int32' }),
  }
  const seen: Tensor[] = []
  const logits: Logits<Text> = (m, b) => {
    const vectors = m.embedding.apply(b.ids)
    seen.push(vectors)
    return m.out.apply(tanh(vectors).sum({ axis: 1 }))
  }
  const losses: Loss<Text> = (m, b, ctx) => crossEntropy(logits(m, b, ctx), b.label, { reduction: 'none' })
  const loss: Loss<Text> = (m, b, ctx) => losses(m, b, ctx).mean()

  const on = 'embedding'
  const ball = { on, epsilon: 0.5, steps: 2 }
  const cases = (['example', 'token'] as const).flatMap(scope =>
    [undefined, 'mask'].flatMap(paddingMask => {
      const place = { scope, paddingMask }
      const methods = {
        fgm: fgm({ on, ...place }),
        pgd: pgd({ ...ball, ...place }),
        freeLB: freeLB({ on, start: 0.3, ...place }),
        adversarialTraining: adversarialTraining({ ...ball, ...place }),
        fastTraining: fastTraining({ on, epsilon: 0.5, ...place }),
        trades: trades({ ...ball, ...place, logits, start: 0.3 }),
        mart: mart({ ...ball, ...place, logits }),
        vat: vat({ on, epsilon: 0.5, ...place, logits }),
        smart: smart({ ...ball, ...place, logits, start: 0.3 }),
        ...(scope === 'example' && { localLinearity: localLinearity({ ...ball, ...place, losses }) }),
        gradientAlignment: gradientAlignment({ on, epsilon: 0.5, ...place }),
      }
      return Object.entries(methods).map(([name, method]) => [name, scope, paddingMask, method] as const)
    }),
  )
  test.each(cases)('%s by %s is untouched, by index or by mask (%s)', async (_, __, paddingMask, method) => {
    const model: Text = {
      embedding: new Embedding(6, 3, { ...f64, ...(paddingMask ? {} : { paddingIndex: 0 }) }),
      out: new Linear(3, 3, f64),
    }
    const clean = await rows(model.embedding.apply(batch.ids).reshape([12, 3]))
    seen.length = 0
    method(loss)(model, batch, { training: true, key })
    let moved = 0
    for (const vectors of seen)
      (await rows(vectors.reshape([12, 3]))).forEach((v, place) => {
        if (!isText.flat()[place]) expect(v).toEqual(clean[place])
        else if (String(v) !== String(clean[place])) moved++
      })
    expect(moved).toBeGreaterThan(0)
  })
})

describe('in the Trainer', () => {
  const start = async () => {
    const { model, x, labels } = await example(8)
    const wide = { w1: model.w1.astype('float32'), w2: model.w2.astype('float32') }
    const n = 4
    const data = dataset({
      x: { dtype: 'float32', shape: [n, x[0].length], data: Float32Array.from(x.slice(0, n).flat()) },
      label: { dtype: 'int32', shape: [n], data: Int32Array.from(labels.slice(0, n)) },
    })
    return { model: wide, data }
  }
  const bare = async (model: Classifier) =>
    (await Promise.all(leaves(model).map(async t => [...(await t.data())]))).flat()

  test.each([
    ['fgm', fgm({ on: 'w1', epsilon: 2 })],
    ['adversarialTraining', adversarialTraining({ epsilon: 0.5, steps: 2, randomStart: false })],
    ['adversarialRegularization', adversarialRegularization({ stepSize: 0.5, multiplier: 1 })],
  ] as const)('%s: an attack sees its own micro-batch alone', async (_, method) => {
    const { model, data } = await start()
    const sizes = new Set<number>()
    const watched: Loss<Classifier> = (m, b, ctx) => {
      sizes.add(b.x.shape[0])
      return meanLoss(m, b, ctx)
    }
    const learningRate = 0.5
    /** The weights after a step along the mean gradient of parts that are attacked by themselves. */
    const expected = async (parts: readonly (readonly number[])[]) => {
      const ctx = { training: true, key }
      const slopes = parts.map(part => {
        const columns = data.rows(part)
        const batch = { x: tensor(columns.x), label: tensor(columns.label) }
        return grad((m: Classifier) => method(meanLoss)(m, batch, ctx).div(parts.length))(model)
      })
      const next = (name: 'w1' | 'w2') => slopes.reduce((w, g) => w.sub(g[name].mul(learningRate)), model[name])
      return bare({ w1: next('w1'), w2: next('w2') })
    }
    const [apart, together] = [
      await expected([
        [0, 1],
        [2, 3],
      ]),
      await expected([[0, 1, 2, 3]]),
    ]
    const trainer = new Trainer({ model, loss: watched, optimizer: sgd({ learningRate }), microBatches: 2 }).use(method)
    await trainer.fit(data, { epochs: 1, batchSize: 4, shuffle: false })
    // The Trainer looks at the loss of a whole batch once, to see what it remembers: nobody computes that.
    expect([...sizes]).toEqual([4, 2])
    const found = await bare(trainer.model)
    found.forEach((v, i) => expect(v).toBeCloseTo(apart[i], 5))
    // A norm over the whole batch would be another one.
    if (_ === 'fgm') expect(Math.max(...found.map((v, i) => Math.abs(v - together[i])))).toBeGreaterThan(1e-3)
  })

  test.each([
    ['fgm', fgm({ on: 'w1', epsilon: 0.5, mode: 'replace' })],
    ['pgd', pgd({ on: 'w1', epsilon: 0.5, mode: 'replace' })],
    ['adversarialTraining', adversarialTraining({ epsilon: 0.5, norm: 'l2', steps: 2, randomStart: false })],
    ['adversarialRegularization', adversarialRegularization({ stepSize: 0.5, multiplier: 1 })],
    ['gradientPenalty', gradientPenalty({ on: 'w1' })],
    ['inputGradientPenalty', inputGradientPenalty()],
  ] as const)('%s: the scale of float16 losses changes neither radius nor penalty', async (_, method) => {
    const run = async (lossScale: number) => {
      const { model, data } = await start()
      const optimizer = sgd({ learningRate: 0.1 })
      const trainer = new Trainer({ model, loss: meanLoss, optimizer, precision: 'float16', lossScale }).use(method)
      const { epochs } = await trainer.fit(data, { epochs: 2, batchSize: 4, shuffle: false })
      return { loss: epochs.map(e => e.train.loss), weights: await bare(trainer.model) }
    }
    const [one, other] = [await run(2), await run(2 ** 11)]
    one.loss.forEach((l, i) => expect(other.loss[i]).toBeCloseTo(l, 2))
    one.weights.forEach((w, i) => expect(other.weights[i]).toBeCloseTo(w, 2))
    const { model, data } = await start()
    const plain = new Trainer({ model, loss: meanLoss, optimizer: sgd({ learningRate: 0.1 }) }).use(method)
    const { epochs } = await plain.fit(data, { epochs: 2, batchSize: 4, shuffle: false })
    epochs.forEach((e, i) => expect(one.loss[i]).toBeCloseTo(e.train.loss, 1))
  })
})

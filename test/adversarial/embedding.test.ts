/** Training on perturbed parameters and their gradient penalty, against sums written out in plain arrays. */

import {
  add,
  grad,
  leaves,
  matmul,
  mean,
  mul,
  random,
  setDevice,
  sum,
  type Tensor,
  take,
  tanh,
  tensor,
  valueAndGrad,
} from 'saddlepoint'
import { fgm, freeLB, gradientPenalty, type Method, pgd } from 'saddlepoint/adversarial'
import { dataset } from 'saddlepoint/data'
import { type Batch, crossEntropy, Dropout, Embedding, type Loss } from 'saddlepoint/nn'
import { adam } from 'saddlepoint/optim'
import { Trainer } from 'saddlepoint/train'
import { beforeAll, describe, expect, test } from 'vitest'
import { f64, rows } from './common.js'
import { type Matrix, type Net, plainGradient, plainMean, plainNorm, plainProject, plainSteepest } from './plain.js'

beforeAll(async () => {
  await setDevice('reference')
})

const training = { training: true, key: random.key(9) }

interface TextModel {
  embedding: Embedding
  w1: Tensor
  w2: Tensor
}
/** tanh(mean of the vectors · w1) · w2. */
const textLoss: Loss<TextModel> = (model, { ids, label }) =>
  crossEntropy(matmul(tanh(matmul(mean(model.embedding.apply(ids), { axis: 1 }), model.w1)), model.w2), label)

const ids = [
  [1, 2, 2],
  [3, 1, 0],
  [4, 4, 0],
  [2, 5, 1],
]
const labels = [0, 2, 1, 1]
const [examples, time] = [ids.length, ids[0].length]

async function text(paddingIndex?: number): Promise<{ model: TextModel; table: Matrix; net: Net; batch: Batch }> {
  const keys = random.split(random.key(5), 3)
  const draw = (k: number, ...shape: number[]): Tensor => random.normal(keys.at(k), shape, 'float64')
  const embedding = new Embedding(6, 4, {
    key: keys.at(0),
    dtype: 'float64',
    paddingIndex,
    initializer: key => random.normal(key, [6, 4], 'float64'),
  })
  const model = { embedding, w1: draw(1, 4, 5), w2: draw(2, 5, 3) }
  const net = { w1: await rows(model.w1), w2: await rows(model.w2) }
  const batch = {
    ids: tensor(Int32Array.from(ids.flat()), { shape: [examples, time] }),
    label: tensor(Int32Array.from(labels)),
  }
  return { model, table: await rows(embedding.weight), net, batch }
}

/** The vectors [example][place][dim] that are looked up. */
const lookedUp = (table: Matrix): number[][][] => ids.map(row => row.map(id => table[id]))
const meanOf = (vectors: Matrix): number[] =>
  vectors[0].map((_, d) => vectors.reduce((s, v) => s + v[d], 0) / vectors.length)
const plainTextLoss = (net: Net, vectors: number[][][]): number => plainMean(net, vectors.map(meanOf), labels)
/** ∂L/∂ the vectors of each place of an example: all the same, since the loss reads their mean. */
const vectorGradients = (net: Net, vectors: number[][][]): Matrix =>
  vectors.map((v, i) => plainGradient(net, meanOf(v), labels[i]).map(g => g / examples / time))
/** ∂L/∂table: those of all places with an id, added up. */
function tableGradient(net: Net, table: Matrix): Matrix {
  const g = vectorGradients(net, lookedUp(table))
  const total = table.map(row => row.map(() => 0))
  ids.forEach((row, i) => row.forEach(id => g[i].forEach((v, d) => (total[id][d] += v))))
  return total
}
const norm2 = (m: Matrix): number => Math.hypot(...m.flat())
const shifted = (a: Matrix, b: Matrix, factor: number): Matrix =>
  a.map((row, i) => row.map((v, j) => v + factor * b[i][j]))
const plainTableLoss = (net: Net, table: Matrix): number => plainTextLoss(net, lookedUp(table))

const valueOf = async (method: Method, model: TextModel, batch: Batch): Promise<number> =>
  method(textLoss)(model, batch, training).item()

describe('fgm', () => {
  test('matrix: L(E) + L(E + ε G/‖G‖), G of the whole table; replace is the second alone', async () => {
    const { model, table, net, batch } = await text()
    const g = tableGradient(net, table)
    const moved = shifted(table, g, 0.5 / norm2(g))
    const [clean, there] = [plainTableLoss(net, table), plainTableLoss(net, moved)]
    expect(await valueOf(fgm({ on: 'embedding', epsilon: 0.5 }), model, batch)).toBeCloseTo(clean + there, 12)
    expect(await valueOf(fgm({ on: 'embedding', epsilon: 0.5, mode: 'replace' }), model, batch)).toBeCloseTo(there, 12)
  })

  test('the gradient is the sum of the clean one and the one at E + r, with the logits of E + r', async () => {
    const { model, table, net, batch } = await text()
    const g = tableGradient(net, table)
    const moved = shifted(table, g, 0.5 / norm2(g))
    const found = grad((m: TextModel) => fgm({ on: 'embedding', epsilon: 0.5 })(textLoss)(m, batch, training))(model)
    const want = shifted(g, tableGradient(net, moved), 1)
    const got = await rows(found.embedding.weight)
    got.forEach((row, i) => row.forEach((v, j) => expect(v).toBeCloseTo(want[i][j], 12)))
  })

  test('through the attack the gradient is that of the whole expression', async () => {
    const { model, table, net, batch } = await text()
    const through = fgm({ on: 'embedding', epsilon: 0.5, throughAttack: true })
    const found = grad((m: TextModel) => through(textLoss)(m, batch, training))(model)
    const value = (t: Matrix): number => {
      const g = tableGradient(net, t)
      return plainTableLoss(net, t) + plainTableLoss(net, shifted(t, g, 0.5 / norm2(g)))
    }
    const got = await rows(found.embedding.weight)
    for (const [i, j] of [
      [1, 0],
      [2, 3],
      [4, 1],
    ]) {
      const at = (h: number): number =>
        value(table.map((row, a) => row.map((v, b) => (a === i && b === j ? v + h : v))))
      expect(got[i][j]).toBeCloseTo((at(1e-5) - at(-1e-5)) / 2e-5, 8)
    }
  })

  test('example and token: a norm for each example, or for each vector, and padding stays', async () => {
    const { model, table, net, batch } = await text(0)
    const vectors = lookedUp(table)
    const g = vectorGradients(net, vectors)
    const isToken = ids.map(row => row.map(id => id !== 0))
    for (const scope of ['example', 'token'] as const) {
      const moved = vectors.map((v, i) => {
        const tokens = scope === 'example' ? isToken[i].filter(t => t).length : 1
        const scale = 0.7 / (Math.hypot(...g[i]) * Math.sqrt(tokens))
        return v.map((x, t) => (isToken[i][t] ? x.map((c, d) => c + scale * g[i][d]) : x))
      })
      const want = plainTextLoss(net, moved)
      expect(await valueOf(fgm({ on: /embedding/, epsilon: 0.7, scope, mode: 'replace' }), model, batch)).toBeCloseTo(
        want,
        12,
      )
    }
  })

  test('padding given by a mask of the batch', async () => {
    const [padded, plain] = [await text(0), await text()]
    const mask = tensor(
      Float32Array.from(ids.flat(), id => (id === 0 ? 0 : 1)),
      { shape: [examples, time] },
    )
    // The row of id 0 reads as zeros in both.
    const model = {
      ...plain.model,
      embedding: Object.assign(Object.create(Embedding.prototype), { weight: padded.model.embedding.weight }),
    }
    for (const scope of ['example', 'token'] as const) {
      const options = { on: 'embedding.weight', scope, mode: 'replace' } as const
      const want = await valueOf(fgm(options), padded.model, padded.batch)
      expect(await valueOf(fgm({ ...options, paddingMask: 'mask' }), model, { ...plain.batch, mask })).toBeCloseTo(
        want,
        12,
      )
    }
  })

  test('skips where the gradient is 0 or not finite, and counts it', async () => {
    const { model, batch } = await text()
    const flat: Loss<TextModel> = (m, b) => mul(textLoss(m, b, training), 0)
    const broken: Loss<TextModel> = (m, b) =>
      add(textLoss(m, b, training), mul(sum(m.embedding.weight).sub(sum(m.embedding.weight)).sqrt(), 1))
    for (const loss of [flat, broken]) {
      const method = fgm({ on: 'embedding', mode: 'replace' })(loss)
      expect(await method.skipped(model, batch, training).item()).toBe(1)
      expect(await method(model, batch, training).item()).toBe(await loss(model, batch, training).item())
    }
    expect(await fgm({ on: 'embedding' })(textLoss).skipped(model, batch, training).item()).toBe(0)
    const byToken = fgm({ on: 'embedding', scope: 'token' })
    expect(await byToken(textLoss).skipped(model, batch, training).item()).toBe(0)
    expect(await byToken(flat).skipped(model, batch, training).item()).toBe(examples * time)
  })

  test('drops the same units in both passes', async () => {
    const { model, batch } = await text()
    const dropped: Tensor[] = []
    const dropout = new Dropout(0.5)
    const loss: Loss<TextModel> = (m, { ids, label }, ctx) => {
      const mask = dropout.apply(take(f64([[1, 1, 1, 1, 1]]), tensor(new Int32Array(examples))), ctx)
      dropped.push(mask)
      return crossEntropy(matmul(mul(tanh(matmul(mean(m.embedding.apply(ids), { axis: 1 }), m.w1)), mask), m.w2), label)
    }
    await fgm({ on: 'embedding' })(loss)(model, batch, training).item()
    const masks = await Promise.all(dropped.map(async m => String(await m.data())))
    expect(masks.length).toBeGreaterThan(1)
    expect(new Set(masks).size).toBe(1)
    expect(masks[0]).toContain('0')
  })

  test('errors say what there is', async () => {
    const { model, batch } = await text()
    const run = (options: Parameters<typeof fgm>[0]) => () => fgm(options)(textLoss)(model, batch, training)
    expect(run({ on: 'embeddings' })).toThrow(
      "fgm: 'embeddings' matches no parameter of the model; its parameters are embedding.weight, w1, w2",
    )
    expect(run({ on: 'w1', scope: 'token' })).toThrow("'w1' is no table of one; use scope 'matrix'")
    expect(run({ on: 'embedding', paddingMask: 'mask', scope: 'token' })).toThrow(
      "paddingMask names 'mask', but the batch has ids, label",
    )
    expect(() => fgm({ on: 'embedding', epsilon: -1 })).toThrow('fgm: epsilon must be a finite number >= 0, not -1')
    expect(() => fgm({ on: 'embedding', mode: 'add' as 'replace' })).toThrow("unknown mode 'add'")
    expect(run({ on: 'embedding', scope: 'word' as 'token' })).toThrow("unknown scope 'word'")
    expect(() => fgm({ on: 'embedding', norm: 'l3' as 'l2' })).toThrow("unknown norm 'l3'")
    const unused = (_: TextModel, { label }: Batch): Tensor => sum(label.astype('float64'))
    expect(() => fgm({ on: 'embedding', scope: 'token' })(unused)(model, batch, training)).toThrow('looks nothing up')
  })
})

describe('pgd on a table', () => {
  test.each(['l2', 'linf'] as const)('%s: steps, projected on the ball of the whole table', async norm => {
    const { model, table, net, batch } = await text()
    let delta = table.map(row => row.map(() => 0))
    for (let k = 0; k < 4; k++) {
      const direction = plainSteepest(tableGradient(net, shifted(table, delta, 1)).flat(), norm)
      const moved = plainProject(
        delta.flat().map((d, i) => d + 0.3 * direction[i]),
        1,
        norm,
      )
      delta = delta.map((row, i) => row.map((_, j) => moved[i * row.length + j]))
    }
    expect(plainNorm(delta.flat(), norm)).toBeCloseTo(1, 12)
    const want = plainTableLoss(net, table) + plainTableLoss(net, shifted(table, delta, 1))
    expect(await valueOf(pgd({ on: 'embedding', steps: 4, norm }), model, batch)).toBeCloseTo(want, 12)
  })
})

describe('freeLB', () => {
  test('the mean loss along the steps, from a clean start, a norm for each example', async () => {
    const { model, table, net, batch } = await text()
    const vectors = lookedUp(table)
    let delta = vectors.map(v => v.map(x => x.map(() => 0)))
    let total = 0
    const at = (): number[][][] => vectors.map((v, i) => v.map((x, t) => x.map((c, d) => c + delta[i][t][d])))
    for (let k = 0; k < 3; k++) {
      total += plainTextLoss(net, at())
      const g = vectorGradients(net, at())
      delta = delta.map((v, i) => {
        const flat = v.flatMap(x => x.map((c, d) => c + (0.4 * g[i][d]) / (Math.hypot(...g[i]) * Math.sqrt(time))))
        const kept = plainProject(flat, 0.6, 'l2')
        return v.map((x, t) => x.map((_, d) => kept[t * x.length + d]))
      })
    }
    const method = freeLB({ on: 'embedding', steps: 3, stepSize: 0.4, epsilon: 0.6 })
    expect(await valueOf(method, model, batch)).toBeCloseTo(total / 3, 12)
  })

  test('a random start is drawn by the key of the pass', async () => {
    const { model, batch } = await text()
    const method = freeLB({ on: 'embedding', start: 0.5 })(textLoss)
    const run = (seed: number): Promise<number> =>
      method(model, batch, { training: true, key: random.key(seed) }).item()
    expect(await run(1)).toBe(await run(1))
    expect(await run(1)).not.toBe(await run(2))
    expect(() => method(model, batch, { training: true })).toThrow(
      'freeLB: draws random numbers, and the context has no key',
    )
  })
})

describe('gradientPenalty', () => {
  test('w = (1, 2), read twice through one id: 20 by rows, 10 by occurrence', async () => {
    const weight = f64([
      [0, 0],
      [0, 0],
    ])
    const model = { embedding: Object.assign(Object.create(Embedding.prototype) as Embedding, { weight }) }
    const loss: Loss<typeof model> = (m, { ids }) => sum(mul(m.embedding.apply(ids), f64([1, 2])))
    const batch = { ids: tensor(Int32Array.of(1, 1)) }
    const penalty = (reading: 'row' | 'occurrence'): Promise<number> =>
      gradientPenalty({ on: 'embedding', epsilon: 2, reading })(loss)(model, batch, training).item()
    expect(await penalty('row')).toBe(20)
    expect(await penalty('occurrence')).toBe(10)
  })

  test('L + ½ε‖G‖² by both readings, with its gradient', async () => {
    const { model, table, net, batch } = await text()
    const byRows = (n: Net): number => plainTableLoss(n, table) + 0.5 * 3 * norm2(tableGradient(n, table)) ** 2
    const byPlaces = (n: Net): number => {
      const g = vectorGradients(n, lookedUp(table))
      return plainTableLoss(n, table) + 0.5 * 3 * time * norm2(g) ** 2
    }
    for (const [reading, plain] of [
      ['row', byRows],
      ['occurrence', byPlaces],
    ] as const) {
      const loss = gradientPenalty({ on: 'embedding', epsilon: 3, reading })(textLoss)
      const [value, slope] = valueAndGrad((m: TextModel) => loss(m, batch, training))(model)
      expect(await value.item()).toBeCloseTo(plain(net), 12)
      const got = await rows(slope.w1)
      for (const [i, j] of [
        [0, 0],
        [3, 4],
        [2, 1],
      ]) {
        const at = (h: number): number =>
          plain({ ...net, w1: net.w1.map((row, a) => row.map((v, b) => (a === i && b === j ? v + h : v))) })
        expect(got[i][j]).toBeCloseTo((at(1e-5) - at(-1e-5)) / 2e-5, 8)
      }
    }
  })

  test.each(['accumulate', 'replace'] as const)('of fgm, %s: the penalty of the sum, with its gradient', async mode => {
    const { model, table, net, batch } = await text()
    const g = tableGradient(net, table)
    // The perturbation is cut: it is that of these weights, whatever becomes of them.
    const moved = shifted(table, g, 0.5 / norm2(g))
    const points = mode === 'accumulate' ? [table, moved] : [moved]
    const plain = (n: Net): number => {
      const slopes = points.map(t => tableGradient(n, t))
      const total = slopes.reduce((a, b) => shifted(a, b, 1))
      return points.reduce((s, t) => s + plainTableLoss(n, t), 0) + 0.5 * 3 * norm2(total) ** 2
    }
    const composed = gradientPenalty({ on: 'embedding', epsilon: 3 })(
      fgm({ on: 'embedding', epsilon: 0.5, mode })(textLoss),
    )
    const [value, slope] = valueAndGrad((m: TextModel) => composed(m, batch, training))(model)
    expect(await value.item()).toBeCloseTo(plain(net), 12)
    for (const name of ['w1', 'w2'] as const)
      for (const [i, row] of (await rows(slope[name])).entries())
        for (const [j, v] of row.entries()) {
          const at = (h: number): number =>
            plain({ ...net, [name]: net[name].map((r, a) => r.map((w, b) => (a === i && b === j ? w + h : w))) })
          expect(v).toBeCloseTo((at(1e-5) - at(-1e-5)) / 2e-5, 7)
        }
  })

  test('of a loss that is itself perturbed', async () => {
    const { model, table, net, batch } = await text()
    const inner = (t: Matrix): number => {
      const g = tableGradient(net, t)
      return plainTableLoss(net, shifted(t, g, 0.5 / norm2(g)))
    }
    const loss = gradientPenalty({ on: 'embedding' })(
      fgm({ on: 'embedding', epsilon: 0.5, mode: 'replace', throughAttack: true })(textLoss),
    )
    let squared = 0
    table.forEach((row, i) =>
      row.forEach((_, j) => {
        const at = (h: number): number => inner(table.map((r, a) => r.map((v, b) => (a === i && b === j ? v + h : v))))
        squared += ((at(1e-5) - at(-1e-5)) / 2e-5) ** 2
      }),
    )
    expect(await loss(model, batch, training).item()).toBeCloseTo(inner(table) + squared / 2, 8)
  })
})

describe('trainer.use', () => {
  const make = async (): Promise<{
    trainer: Trainer<TextModel>
    data: ReturnType<typeof dataset>
    model: TextModel
  }> => {
    const { model } = await text()
    const data = dataset({
      ids: { dtype: 'int32', data: Int32Array.from(ids.flat()), shape: [examples, time] },
      label: { dtype: 'int32', data: Int32Array.from(labels), shape: [examples] },
    })
    return { model, data, trainer: new Trainer({ model, loss: textLoss, optimizer: adam({ learningRate: 0.01 }) }) }
  }
  const weights = async (model: TextModel): Promise<number[]> =>
    (await Promise.all(leaves(model).map(async l => [...(await l.data())]))).flat()

  test('trains with what the method makes of the loss', async () => {
    const [one, other] = [await make(), await make()]
    one.trainer.use(fgm({ on: 'embedding', epsilon: 0.5 })).use(gradientPenalty({ on: 'embedding' }))
    const loss = gradientPenalty({ on: 'embedding' })(fgm({ on: 'embedding', epsilon: 0.5 })(textLoss))
    const direct = new Trainer({ model: other.model, loss, optimizer: adam({ learningRate: 0.01 }) })
    await one.trainer.fit(one.data, { epochs: 3, batchSize: 2 })
    await direct.fit(other.data, { epochs: 3, batchSize: 2 })
    expect(await weights(one.model)).toEqual(await weights(other.model))
  })

  test('refuses what is no method', async () => {
    const { trainer } = await make()
    expect(() => trainer.use((() => 1) as never)).toThrow('use: expects a method, a function from loss to loss')
    expect(() => trainer.use({} as never)).toThrow('use: expects a method, a function from loss to loss')
  })
})

/** Every method and every attack that the command line names, on a task of features and on one of words. */

import { random, setDevice } from 'saddlepoint'
import { dataset } from 'saddlepoint/data'
import { TextCNN } from 'saddlepoint/models'
import { Linear, type Loss, Sequential } from 'saddlepoint/nn'
import { sgd } from 'saddlepoint/optim'
import { Trainer } from 'saddlepoint/train'
import { beforeAll, describe, expect, test } from 'vitest'
import { attack, attackNames } from '../../src/cli/attacks.js'
import { methodNames, methodOf, parseNamed } from '../../src/cli/named.js'
import { checked, modelOf, type Task, type TaskModule, type Threat } from '../../src/cli/task.js'

beforeAll(async () => {
  await setDevice('wasm', { threads: 1 })
})

const n = 8
const label = { dtype: 'int32', shape: [n], data: Int32Array.from({ length: n }, (_, i) => i % 4) } as const
const points = dataset({
  x: { dtype: 'float32', shape: [n, 5], data: Float32Array.from({ length: 5 * n }, (_, i) => 0.5 + 0.4 * Math.sin(i)) },
  weight: { dtype: 'float32', shape: [n], data: new Float32Array(n).fill(1) },
  label,
})
const texts = dataset({
  ids: { dtype: 'int32', shape: [n, 5], data: Int32Array.from({ length: 5 * n }, (_, i) => (i * 7) % 11) },
  label,
})
const features = (threat: Threat = { epsilon: 0.2, clipMin: 0, clipMax: 1, features: ['x'] }): Task => {
  const module: TaskModule<Sequential> = {
    model: key => new Sequential([new Linear(5, 6, { key }), x => x.tanh(), new Linear(6, 4, { key })]),
    logits: (model, { x, weight }) => model.apply(x).mul(weight.reshape([-1, 1])),
    ...{ train: points, test: points, threat },
  }
  return checked('features', module as TaskModule<unknown>)
}
const words = (): Task => {
  const module: TaskModule<TextCNN> = {
    model: key => new TextCNN({ vocabulary: 11, dim: 4, classes: 4, filters: 3, widths: [2], key }),
    logits: (model, { ids }, ctx) => model.apply(ids, ctx),
    ...{ train: texts, test: texts },
    threat: { epsilon: 0.2, norm: 'l2', on: 'embedding', scope: 'example' },
  }
  return checked('words', module as TaskModule<unknown>)
}

/** The mean loss of one epoch of training with a method. */
async function trained(task: Task, text: string): Promise<number> {
  const method: (loss: Loss<unknown>) => Loss<unknown> = methodOf(parseNamed(text), task)
  const trainer = new Trainer({
    model: await modelOf(task, 1),
    loss: task.loss,
    optimizer: sgd({ learningRate: 0.01 }),
  }).use(method)
  const { epochs } = await trainer.fit(task.train, { epochs: 1, batchSize: 4, shuffle: false })
  return epochs[0].train.loss
}

const onParameters = ['fgm', 'pgd', 'freeLB', 'gradientPenalty']
const ofFeatures = [
  ...['adversarialRegularization', 'freeTraining'],
  ...['inputGradientPenalty', 'jacobianPenalty', 'curvaturePenalty'],
]

describe('methods', () => {
  test.each(methodNames)('%s on features', async name => {
    if (onParameters.includes(name)) {
      expect(() => methodOf(parseNamed(name), features())).toThrow(`${name}: needs on`)
      // Of a parameter as it stands; freeLB is for vectors that are looked up.
      if (name !== 'freeLB') expect(await trained(features(), `${name}:on=layers.0.weight`)).toBeGreaterThan(0)
    } else expect(await trained(features(), name)).toBeGreaterThan(0)
  })

  test.each(methodNames)('%s on words', async name => {
    if (ofFeatures.includes(name)) await expect(trained(words(), name)).rejects.toThrow(`${name}: `)
    else expect(await trained(words(), name)).toBeGreaterThan(0)
  })

  test('the radius of the task counts, unless the options say another', async () => {
    const [small, large] = [features({ epsilon: 0.01 }), features({ epsilon: 1 })]
    const at = (task: Task, options = ''): Promise<number> =>
      trained(task, `adversarialTraining:randomStart=false${options}`)
    expect(await at(small)).toBeLessThan(await at(large))
    expect(await at(small, ',epsilon=1')).toBe(await at(large))
  })
})

describe('attacks', () => {
  const around = { seed: 1, onBatch: () => {}, signal: new AbortController().signal }
  const few: Readonly<Record<string, string>> = { carliniWagner: ':searches=2,steps=5', square: ':steps=5' }

  test.each(attackNames)('%s moves the features of the task alone, within its range', async name => {
    const task = features()
    const victim = { task, model: await modelOf(task, 1), data: task.test }
    const found = await attack(parseNamed(name + (few[name] ?? '')), victim, around)
    expect(found.accuracy).toBeLessThanOrEqual(1)
    const moved = found.data?.columns
    expect(moved?.weight.data).toEqual(points.columns.weight.data)
    expect(moved?.label.data).toEqual(label.data)
    for (const v of moved?.x.data ?? []) expect(Number(v) >= 0 && Number(v) <= 1).toBe(true)
  })

  test.each(attackNames)('%s on words', async name => {
    const task = words()
    const victim = { task, model: await modelOf(task, 1), data: task.test }
    const found = attack(parseNamed(name), victim, around)
    if (['fgsm', 'pgd', 'bim'].includes(name)) expect((await found).accuracy).toBeLessThanOrEqual(1)
    else await expect(found).rejects.toThrow(`${name}: perturbs features`)
  })
})

test('the seed decides on the first weights', async () => {
  const weights = async (seed: number) =>
    ((await modelOf(features(), seed)) as Sequential).apply(random.normal(random.key(0), [1, 5])).data()
  expect(await weights(1)).toEqual(await weights(1))
  expect(await weights(2)).not.toEqual(await weights(1))
})

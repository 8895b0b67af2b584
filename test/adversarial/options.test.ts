/** Options that would be ignored are errors: those that are misspelt, and those that contradict others. */

import { matmul, random, setDevice } from 'saddlepoint'
import * as adversarial from 'saddlepoint/adversarial'
import { dataset } from 'saddlepoint/data'
import { crossEntropy, Embedding, Linear, type Loss, Sequential } from 'saddlepoint/nn'
import { beforeAll, describe, expect, test } from 'vitest'
import { type Classifier, example, exampleLosses, meanLoss, rows } from './common.js'

beforeAll(async () => {
  await setDevice('reference')
})

const { model, batch, x, labels } = await example(1)
const key = random.key(2)
const logits: adversarial.Logits<Classifier> = (m, b) => matmul(matmul(b.x, m.w1).tanh(), m.w2)
const data = dataset({
  x: { dtype: 'float64', shape: [x.length, x[0].length], data: Float64Array.from(x.flat()) },
  label: { dtype: 'int32', shape: [labels.length], data: Int32Array.from(labels) },
})
const linear = new Sequential([new Linear(4, 3, { key, dtype: 'float64' })])

const {
  accuracyCurve,
  accuracyOn,
  adversarialRegularization,
  adversarialTraining,
  apgd,
  attackDataset,
  autoAttack,
  awp,
  bim,
  carliniWagner,
  catastrophicOverfitting,
  curvaturePenalty,
  deepFool,
  fab,
  fastTraining,
  fgm,
  fgsm,
  freeLB,
  freeTraining,
  gradientAlignment,
  gradientDeaths,
  gradientPenalty,
  hessianTrace,
  inputGradientPenalty,
  intervalBounds,
  jacobianPenalty,
  linearity,
  localLinearity,
  mart,
  mifgsm,
  perturbOnBatch,
  pgd,
  proximal,
  quantized,
  rDrop,
  robustAccuracy,
  sam,
  smart,
  smoothed,
  square,
  topEigenvalue,
  trades,
  transferMatrix,
  vat,
  wganGradientPenalty,
} = adversarial

type Call = (options: object) => unknown
/** Functions that take options in one way. */
const alike = <F>(functions: Readonly<Record<string, F>>, call: (f: F, options: object) => unknown) =>
  Object.fromEntries(Object.entries(functions).map(([name, f]) => [name, (more: object) => call(f, more)]))

/** How each function is called with more options. */
const calls: Readonly<Record<string, Call>> = {
  ...alike({ adversarialRegularization, inputGradientPenalty, curvaturePenalty, sam, awp }, (f: Call, more) => f(more)),
  ...alike({ adversarialTraining, fastTraining, freeTraining, gradientAlignment }, (f, more) =>
    f({ epsilon: 0.1, ...more }),
  ),
  ...alike({ fgm, freeLB, gradientPenalty }, (f, more) => f({ on: 'w1', ...more })),
  ...alike({ trades, mart, vat, smart }, (f, more) => f({ logits, epsilon: 0.1, ...more })),
  ...alike({ jacobianPenalty, proximal, rDrop }, (f, more) => f({ logits, ...more })),
  ...alike({ fgsm, pgd, bim, mifgsm }, (f, more) => f(meanLoss, model, batch, { epsilon: 0.1, ...more })),
  ...alike({ apgd, fab, square }, (f, more) => f(logits, model, batch, { epsilon: 0.1, key, steps: 1, ...more })),
  ...alike({ topEigenvalue, hessianTrace }, (f, more) => f(meanLoss, model, batch, { iterations: 1, ...more })),
  deepFool: more => deepFool(logits, model, batch, more),
  carliniWagner: more => {
    const least = { clipMin: -9, clipMax: 9, searches: 1, steps: 1 }
    return carliniWagner(logits, model, batch, { ...least, ...more })
  },
  'pgd on parameters': more => pgd({ on: 'w1', ...more }),
  perturbOnBatch: more => perturbOnBatch(meanLoss, model, batch, more),
  attackDataset: more => attackDataset(meanLoss, model, data, { epsilon: 0.1, steps: 1, ...more }),
  'attackDataset, how it runs': more => attackDataset(meanLoss, model, data, { epsilon: 0.1, steps: 1 }, more),
  gradientDeaths: more => gradientDeaths(meanLoss, model, batch, more),
  localLinearity: more => localLinearity({ losses: exampleLosses, epsilon: 0.1, ...more }),
  wganGradientPenalty: more => wganGradientPenalty({ critic: (_, s) => s, ...more }),
  robustAccuracy: more => robustAccuracy(meanLoss, { logits, epsilon: 0.1, ...more }),
  catastrophicOverfitting: more => catastrophicOverfitting(meanLoss, { epsilon: 0.1, ...more }),
  autoAttack: more => autoAttack(logits, model, data, { epsilon: 0.1, key, steps: 1, queries: 1, ...more }),
  accuracyOn: more => accuracyOn(logits, model, data, more),
  quantized: more => quantized(data, data, more),
  linearity: more => linearity(exampleLosses, model, batch, batch, more),
  intervalBounds: more => intervalBounds(linear, batch.x, { epsilon: 0.1, ...more }),
  smoothed: more => smoothed(logits, model, batch, { sigma: 1, key, selection: 1, samples: 1, ...more }),
  accuracyCurve: more => accuracyCurve(logits, meanLoss, model, data, [0.1], { steps: 1, ...more }),
  transferMatrix: more => transferMatrix(logits, meanLoss, [model], data, { epsilon: 0.1, steps: 1, ...more }),
}

describe('a misspelt option', () => {
  test.each(Object.entries(calls))('%s', async (_, call) => {
    await call({})
    await expect(async () => call({ epsilom: 0.3 })).rejects.toThrow("has no option 'epsilom'; it takes ")
  })
  test('no function that takes options is missing here', () => {
    const without = ['certified', 'project', 'steepest', 'uniformInBall', 'worstLogits']
    const functions = Object.entries(adversarial).flatMap(([name, f]) => (typeof f === 'function' ? [name] : []))
    expect(functions.filter(name => !(name in calls) && !without.includes(name))).toEqual([])
  })
  test('says what there is', () => {
    expect(() => sam({ roh: 0.1 } as never)).toThrow("sam: has no option 'roh'; it takes rho")
    expect(() => fgsm(meanLoss, model, batch, { epsilon: 0.1, steps: 3 } as never)).toThrow(
      "fgsm: has no option 'steps'; it takes ",
    )
    expect(() => catastrophicOverfitting(meanLoss, { epsilon: 0.1, randomStart: true } as never)).toThrow(
      "catastrophicOverfitting: has no option 'randomStart'",
    )
  })
})

describe('options that exclude each other', () => {
  type Text = { embedding: Embedding; out: Linear }
  const text: Text = {
    embedding: new Embedding(5, 3, { key, dtype: 'float64' }),
    out: new Linear(3, 2, { key, dtype: 'float64' }),
  }
  const loss: Loss<Text> = (m, b) => crossEntropy(m.out.apply(m.embedding.apply(b.ids).sum({ axis: 1 })), b.label)
  const lookedUp = {
    ids: random.randint(key, [5, 4], 0, 5),
    mask: random.randint(key, [5, 4], 0, 2),
    label: batch.label.mul(0),
  }
  const on = { on: 'embedding', epsilon: 0.1 }
  const run = (method: adversarial.Method) => () => method(loss)(text, lookedUp, { training: true, key })
  test('a padding mask of a whole table', () => {
    expect(run(fgm({ ...on, paddingMask: 'mask' }))).toThrow(
      "fgm: paddingMask leaves out vectors that are looked up, and scope 'matrix' takes the table as a whole; use scope 'example' or 'token'",
    )
    expect(() => gradientPenalty({ ...on, paddingMask: 'mask' })).toThrow("use reading 'occurrence'")
    run(gradientPenalty({ ...on, paddingMask: 'mask', reading: 'occurrence' }))()
    run(freeLB({ ...on, paddingMask: 'mask' }))()
  })
  test.each(['clipMin', 'clipMax', 'featureMask', 'features', 'labelKeys', 'sampleWeightKey'] as const)(
    '%s of parameters',
    name => {
      const value = {
        clipMin: 0,
        clipMax: 1,
        featureMask: 1,
        features: ['ids'],
        labelKeys: [],
        sampleWeightKey: 'mask',
      }
      expect(run(adversarialTraining({ ...on, [name]: value[name] }))).toThrow(
        `adversarialTraining: ${name} is for features of the batch, and on chooses parameters; leave out one of them`,
      )
    },
  )
  test('localLinearity of what is no example', () => {
    for (const scope of [undefined, 'matrix', 'token'] as const)
      expect(() => localLinearity({ ...on, scope, losses: loss })).toThrow("use scope 'example'")
    localLinearity({ ...on, scope: 'example', losses: loss })
  })
  test.each([{ scope: 'token' }, { paddingMask: 'x' }] as const)('%o of features', option =>
    expect(() =>
      adversarialTraining({ epsilon: 0.1, ...option })(meanLoss)(model, batch, { training: true, key }),
    ).toThrow('is about the vectors of an Embedding; choose it by on'),
  )
})

describe('random starts', () => {
  test.each([
    ['bim', bim, 0],
    ['mifgsm', mifgsm, 1],
  ] as const)('%s takes one, and is then pgd with its steps', async (_, attack, decay) => {
    const start = { epsilon: 0.3, randomStart: true, key }
    const found = await rows(attack(meanLoss, model, batch, start).adversarial.x)
    const rule = { ...start, steps: 10, stepSize: 0.03, decay }
    expect(found).toEqual(await rows(pgd(meanLoss, model, batch, rule).adversarial.x))
    expect(found).not.toEqual(await rows(attack(meanLoss, model, batch, { epsilon: 0.3 }).adversarial.x))
    expect(() => attack(meanLoss, model, batch, { epsilon: 0.3, randomStart: true })).toThrow('needs a random key')
  })
})

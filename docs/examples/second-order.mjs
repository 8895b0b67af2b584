// Penalties on derivatives beside PGD training: what robustness they buy, at what price, and how sharp the minimum is.
import { random } from 'saddlepoint'
import {
  accuracyOn,
  adversarialTraining,
  attackDataset,
  curvaturePenalty,
  gradientAlignment,
  hessianTrace,
  inputGradientPenalty,
  jacobianPenalty,
  topEigenvalue,
} from 'saddlepoint/adversarial'
import { tensorsOf } from 'saddlepoint/data'
import { digits, example, logits, loss, trained } from './shared.mjs'

const range = { clipMin: 0, clipMax: 1 }
const defaults = { train: 3000, test: 200, epochs: 4, epsilon: 0.1, steps: 20, iterations: 15 }
await example('second-order', 'Second-order penalties against PGD training on digits.', defaults, async options => {
  const { epsilon, steps, seed, iterations } = options
  const data = await digits(options)
  const methods = {
    plain: l => l,
    'input gradient': inputGradientPenalty({ weight: 0.5 }),
    Jacobian: jacobianPenalty({ logits, weight: 0.1 }),
    curvature: curvaturePenalty(),
    alignment: gradientAlignment({ epsilon, weight: 0.2, ...range }),
    'PGD-5': adversarialTraining({ epsilon, steps: 5, ...range }),
  }
  const rows = data.test.rows(Array.from({ length: Math.min(100, data.test.size) }, (_, i) => i))
  const batch = tensorsOf(rows)
  const table = []
  for (const [name, method] of Object.entries(methods)) {
    const { model, milliseconds } = await trained(name, data.train, options, method)
    const { data: attacked } = await attackDataset(loss, model, data.test, {
      epsilon,
      steps,
      ...range,
      randomStart: true,
      key: random.key(seed),
    })
    const { eigenvalue } = await topEigenvalue(loss, model, batch, { iterations })
    const { trace } = await hessianTrace(loss, model, batch, { iterations })
    table.push({
      method: name,
      clean: await accuracyOn(logits, model, data.test),
      [`PGD-${steps}`]: await accuracyOn(logits, model, attacked),
      'ms a step': milliseconds,
      'top eigenvalue': eigenvalue,
      trace,
    })
  }
  const figure = {
    title: `Robustness against cost, ε ${epsilon} (seed ${seed})`,
    data: {
      values: table.map(row => ({ method: row.method, milliseconds: row['ms a step'], accuracy: row[`PGD-${steps}`] })),
    },
    layer: [
      { mark: { type: 'point', filled: true, size: 80 } },
      { mark: { type: 'text', dy: -12 }, encoding: { text: { field: 'method' } } },
    ],
    encoding: {
      x: { field: 'milliseconds', type: 'quantitative', title: 'ms a training step' },
      y: { field: 'accuracy', type: 'quantitative', axis: { format: '%' }, title: `accuracy under PGD-${steps}` },
    },
  }
  return { table, figure }
})

// Honest evaluation. Networks trained plainly and by four methods, under attacks of growing radius, under each other's attacks, and
// under the ensemble, which says what makes its numbers doubtful.
import { random } from 'saddlepoint'
import {
  accuracyCurve,
  accuracyOn,
  adversarialTraining,
  autoAttack,
  fastTraining,
  trades,
  transferMatrix,
} from 'saddlepoint/adversarial'
import { digits, example, logits, loss, printTable, trained } from './shared.mjs'

const range = { clipMin: 0, clipMax: 1 }
const defaults = { train: 4000, test: 200, epochs: 4, epsilon: 0.2, steps: 20, queries: 500, targets: 3 }
await example('robustness', 'Accuracy against the radius, transfer, and the ensemble.', defaults, async options => {
  const { epsilon, steps, queries, targets, seed } = options
  const data = await digits(options)
  const ball = { epsilon, ...range }
  const methods = {
    plain: l => l,
    FGSM: adversarialTraining({ ...ball, steps: 1, stepSize: epsilon, randomStart: false }),
    fast: fastTraining(ball),
    PGD: adversarialTraining({ ...ball, steps: 5 }),
    TRADES: trades({ ...ball, logits, steps: 5 }),
  }
  const models = []
  for (const [name, method] of Object.entries(methods)) models.push(await trained(name, data.train, options, method))

  const table = []
  const points = []
  const epsilons = [0, 0.25, 0.5, 0.75, 1, 1.5, 2].map(f => Math.round(1000 * f * epsilon) / 1000)
  for (const { name, model, milliseconds } of models) {
    const curve = await accuracyCurve(logits, loss, model, data.test, epsilons, { steps, ...range })
    for (const point of curve) points.push({ model: name, epsilon: point.epsilon, accuracy: point.accuracy })
    const attacked = await autoAttack(logits, model, data.test, {
      ...ball,
      key: random.key(seed),
      steps: steps * 2,
      queries,
      targets,
    })
    for (const error of attacked.errors) console.log(`${name}: ${error}`)
    table.push({
      model: name,
      clean: await accuracyOn(logits, model, data.test),
      [`PGD-${steps}`]: curve[4].accuracy,
      AutoAttack: attacked.accuracies.at(-1).accuracy,
      'ms a step': milliseconds,
    })
  }
  const matrix = await transferMatrix(
    logits,
    loss,
    models.map(m => m.model),
    data.test,
    { ...ball, steps },
  )
  console.log(`\nAccuracy of the column's model on examples made from the row's:\n`)
  console.log(
    printTable(
      matrix.map((row, i) => ({ from: models[i].name, ...Object.fromEntries(row.map((a, j) => [models[j].name, a])) })),
    ),
  )
  const figure = {
    title: `Accuracy under PGD-${steps} (seed ${seed})`,
    data: { values: points },
    mark: { type: 'line', point: true },
    encoding: {
      x: { field: 'epsilon', type: 'quantitative', title: 'ε, linf' },
      y: { field: 'accuracy', type: 'quantitative', scale: { domain: [0, 1] }, axis: { format: '%' } },
      color: { field: 'model', type: 'nominal', sort: null },
    },
  }
  return { table, figure }
})

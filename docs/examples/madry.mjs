// A robust classifier of digits: PGD training in a ball that grows, then the ensemble on the first test images. The defaults are the
// run that docs/methods.md records.
import { random } from 'saddlepoint'
import { accuracyOn, adversarialTraining, autoAttack } from 'saddlepoint/adversarial'
import { Conv2d, Flatten, Linear, Sequential } from 'saddlepoint/nn'
import { adam } from 'saddlepoint/optim'
import { Trainer } from 'saddlepoint/train'
import { digits, example, logits, loss } from './shared.mjs'

const range = { clipMin: 0, clipMax: 1 }
const defaults = {
  train: 60000,
  test: 1000,
  epochs: 12,
  epsilon: 0.3,
  batch: 100,
  steps: 100,
  queries: 5000,
  targets: 9,
}
await example('madry', 'PGD training on digits, judged by the ensemble.', defaults, async options => {
  const { epochs, epsilon, batch, steps, queries, targets, seed } = options
  const data = await digits(options)
  const keys = random.split(random.key(seed), 4)
  const relu = x => x.relu()
  const model = new Sequential([
    new Conv2d(1, 16, 4, { stride: 2, padding: 1, key: keys.at(0) }),
    relu,
    new Conv2d(16, 32, 4, { stride: 2, padding: 1, key: keys.at(1) }),
    relu,
    new Flatten(),
    new Linear(32 * 7 * 7, 100, { key: keys.at(2) }),
    relu,
    new Linear(100, 10, { key: keys.at(3) }),
  ])

  // In the whole ball from the start, training stays at ln 10 for long.
  const perEpoch = Math.ceil(data.train.size / batch)
  const pgd = (radius, steps) => adversarialTraining({ epsilon: radius, steps, stepSize: radius / 3, ...range })
  const phases = [
    { name: 'plain', method: l => l, epochs: 1 },
    { name: 'a third of the ball', method: pgd(epsilon / 3, 4), epochs: 1 },
    { name: 'two thirds', method: pgd((2 * epsilon) / 3, 5), epochs: 1 },
    { name: 'the ball', method: pgd(epsilon, 7), epochs, last: 1e-4 },
  ]
  for (const { name, method, epochs, last = 1e-3 } of phases) {
    const rate = step => step.mul((last - 1e-3) / (epochs * perEpoch)).add(1e-3)
    const trainer = new Trainer({ model, loss, optimizer: adam({ learningRate: rate }), seed }).use(method)
    const onEpoch = ({ train, seconds }) =>
      console.log(`${name}: loss ${train.loss.toFixed(3)}, ${seconds.toFixed(0)} s`)
    await trainer.fit(data.train, { epochs, batchSize: batch, onEpoch })
  }

  const table = [{ attack: 'none', accuracy: await accuracyOn(logits, model, data.test) }]
  const judged = { epsilon, steps, queries, targets, key: random.key(seed + 1), ...range }
  const { errors } = await autoAttack(logits, model, data.test, {
    ...judged,
    onAttack: (attack, accuracy) => {
      console.log(`${attack}: ${(100 * accuracy).toFixed(1)} % left`)
      table.push({ attack, accuracy })
    },
  })
  for (const error of errors) console.log(error)
  const figure = {
    title: `Accuracy after each attack, ε ${epsilon} (seed ${seed})`,
    data: { values: table },
    mark: 'bar',
    encoding: {
      y: { field: 'attack', type: 'nominal', sort: null, title: null },
      x: { field: 'accuracy', type: 'quantitative', scale: { domain: [0, 1] }, axis: { format: '%' } },
    },
  }
  return { table, figure }
})

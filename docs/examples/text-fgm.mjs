// Adversarial training of a text classifier on its embedding: FGM in both modes and all three scopes, PGD, FreeLB and the gradient
// penalty in both readings, over several seeds: accuracy, price of a step, and accuracy when the looked-up vectors are attacked.
// WordNet's glosses by default; --folder DIR reads train.tsv and dev.tsv of TNEWS instead, character by character.
import { join } from 'node:path'
import { random } from 'saddlepoint'
import { fgm, freeLB, gradientPenalty, pgd, robustAccuracy } from 'saddlepoint/adversarial'
import { characters, dataset, padded, readClue, wordNet, words } from 'saddlepoint/data'
import { TextCNN } from 'saddlepoint/models'
import { accuracy, crossEntropy } from 'saddlepoint/nn'
import { adam } from 'saddlepoint/optim'
import { Trainer } from 'saddlepoint/train'
import { example } from './shared.mjs'

const on = 'embedding'
const methods = {
  baseline: l => l,
  'FGM, replace, matrix': fgm({ on, epsilon: 0.5, mode: 'replace' }),
  'FGM, accumulate, matrix': fgm({ on, epsilon: 0.5 }),
  'FGM, accumulate, example': fgm({ on, epsilon: 0.5, scope: 'example' }),
  'FGM, accumulate, token': fgm({ on, epsilon: 0.1, scope: 'token' }),
  'PGD-3, accumulate, matrix': pgd({ on }),
  FreeLB: freeLB({ on, steps: 3, stepSize: 0.1, start: 0.05 }),
  'gradient penalty, row': gradientPenalty({ on }),
  'gradient penalty, occurrence': gradientPenalty({ on, reading: 'occurrence' }),
}

const logits = (model, { ids, mask }, ctx) => model.apply(ids, ctx, mask)
const loss = (model, batch, ctx) => crossEntropy(logits(model, batch, ctx), batch.label)

const defaults = {
  train: 4000,
  test: 1000,
  epochs: 3,
  seeds: 2,
  length: 24,
  dim: 64,
  vocabulary: 8000,
  epsilon: 0.1,
  batch: 32,
  folder: undefined,
}
await example('text-fgm', 'Adversarial training on the embedding of a text CNN.', defaults, async options => {
  const { train, test, epochs, seeds, seed, length, dim, vocabulary, epsilon, batch, folder } = options
  const corpus = folder
    ? { train: await readClue(join(folder, 'train.tsv')), test: await readClue(join(folder, 'dev.tsv')) }
    : await wordNet()
  const some = shuffled(corpus.train, train, seed)
  const texts = corpus.train.texts.slice(0)
  const tokenizer = folder ? characters({ texts, maximumSize: vocabulary }) : words({ texts, maximumSize: vocabulary })
  const columns = set =>
    dataset({
      ...padded(set.texts, tokenizer, { length }),
      label: { dtype: 'int32', shape: [set.texts.length], data: Int32Array.from(set.labels) },
    })
  const [trainSet, testSet] = [columns(some), columns(shuffled(corpus.test, test, seed))]
  const classes = corpus.train.classes.length
  console.log(`${trainSet.size} and ${testSet.size} texts, ${classes} classes, ${tokenizer.size} tokens`)

  const attack = { logits, on, scope: 'example', norm: 'l2', epsilon, steps: 5 }
  const metrics = {
    accuracy: (model, batch, ctx) => accuracy(logits(model, batch, ctx), batch.label),
    robust: robustAccuracy(loss, attack),
  }
  const judge = model => new Trainer({ model, loss, optimizer: adam(), metrics })

  const table = []
  let plain
  for (const [name, method] of Object.entries(methods)) {
    const runs = []
    for (let run = 0; run < seeds; run++) {
      const model = new TextCNN({ vocabulary: tokenizer.size, dim, classes, filters: 64, key: random.key(seed + run) })
      const trainer = new Trainer({ model, loss, optimizer: adam({ learningRate: 1e-3 }), seed: seed + run }).use(
        method,
      )
      const { epochs: records } = await trainer.fit(trainSet, { epochs, batchSize: batch })
      runs.push({
        ...(await judge(model).evaluate(testSet, { batchSize: 250 })),
        milliseconds: (1000 * records.reduce((s, r) => s + r.seconds, 0)) / trainer.step,
      })
    }
    const mean = of => runs.reduce((s, r) => s + of(r), 0) / runs.length
    const average = mean(r => r.accuracy)
    const deviation = Math.sqrt(mean(r => (r.accuracy - average) ** 2) * (runs.length / Math.max(1, runs.length - 1)))
    const milliseconds = mean(r => r.milliseconds)
    plain ??= milliseconds
    table.push({
      method: name,
      accuracy: average,
      'standard error': deviation / Math.sqrt(runs.length),
      'under attack': mean(r => r.robust),
      'cost of a step': milliseconds / plain,
    })
    console.log(`${name}: ${(100 * average).toFixed(1)} %, ${milliseconds.toFixed(1)} ms a step`)
  }
  const values = table.flatMap(row => [
    { method: row.method, on: 'texts', accuracy: row.accuracy },
    { method: row.method, on: 'attacked vectors', accuracy: row['under attack'] },
  ])
  const figure = {
    title: `Accuracy over ${seeds} seeds from ${seed} on`,
    data: { values },
    mark: 'bar',
    encoding: {
      y: { field: 'method', type: 'nominal', sort: null, title: null },
      yOffset: { field: 'on', type: 'nominal', sort: null },
      x: { field: 'accuracy', type: 'quantitative', axis: { format: '%' } },
      color: { field: 'on', type: 'nominal', sort: null, title: null },
    },
  }
  return { table, figure }
})

/** `count` texts in an order of their own. */
function shuffled({ texts, labels }, count, seed) {
  const order = texts.map((_, i) => i)
  let state = seed + 1
  for (let i = order.length - 1; i > 0; i--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    const j = state % (i + 1)
    ;[order[i], order[j]] = [order[j], order[i]]
  }
  const chosen = order.slice(0, count)
  return { texts: chosen.map(i => texts[i]), labels: chosen.map(i => labels[i]) }
}

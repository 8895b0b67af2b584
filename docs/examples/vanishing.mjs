// The vanished gradient. A confident classifier is attacked towards a wrong class: under a loss that clips probabilities most
// gradients are exactly 0 and the attack fails, which looks like robustness. On logits it succeeds. Digits by default;
// --cifar FILE --weights FILE attacks the dogs of a CIFAR-10 batch towards airplanes, on a ResNet-20 (models.md names the weights).

import { random, tensor } from 'saddlepoint'
import { accuracyOn, attackDataset, gradientDeaths } from 'saddlepoint/adversarial'
import { cifar10Classes, dataset, imageDataset, readCifar10, readSafetensors, tensorsOf } from 'saddlepoint/data'
import { loadWeights, ResNet20, resNet20Names } from 'saddlepoint/models'
import { clippedCrossEntropyOfProbabilities, crossEntropy, dlrLoss, marginLoss } from 'saddlepoint/nn'
import { digits, example, logits, trained } from './shared.mjs'

const losses = {
  'clipped, of probabilities': (z, target) =>
    clippedCrossEntropyOfProbabilities(z.softmax(), target, { reduction: 'none' }),
  'cross-entropy of logits': (z, target) => crossEntropy(z, target, { reduction: 'none' }),
  margin: (z, target) => marginLoss(z, target, { reduction: 'none' }),
  // The loss of the label falls towards the target: lowered, like the others.
  'targeted DLR': (z, target, label) => dlrLoss(z, label, { targets: target, reduction: 'none' }).neg(),
}

const paths = { cifar: undefined, weights: undefined }
const defaults = { train: 4000, test: 100, epochs: 6, epsilon: 0.2, steps: 40, ...paths }
await example(
  'vanishing',
  'Targeted attacks under four losses, on a confident classifier.',
  defaults,
  async options => {
    const { epsilon, steps, seed } = options
    const { model, image, label, pairs } = options.cifar ? await dogs(options) : await everyDigit(options)
    console.log(`clean accuracy ${(100 * (await accuracyOn(logits, model, dataset({ image, label })))).toFixed(1)} %`)
    const shape = image.shape.slice(1)
    const size = shape.reduce((a, b) => a * b)
    const images = new Float32Array(pairs.length * size)
    for (const [k, { i }] of pairs.entries()) images.set(image.data.subarray(i * size, (i + 1) * size), k * size)
    const column = of => ({ dtype: 'int32', shape: [pairs.length], data: Int32Array.from(pairs, of) })
    const columns = { image: { dtype: 'float32', shape: [pairs.length, ...shape], data: images } }
    const targeted = dataset({ ...columns, label: column(p => p.target), truth: column(p => p.y) })

    const table = []
    for (const [name, of] of Object.entries(losses)) {
      const loss = (m, batch, ctx) => of(logits(m, batch, ctx), batch.label, batch.truth)
      const attack = async (steps, stepSize) => {
        const options = {
          epsilon,
          steps,
          stepSize,
          targeted: true,
          clipMin: 0,
          clipMax: 1,
          labelKeys: ['label', 'truth'],
        }
        const { data: moved, report } = await attackDataset(loss, model, targeted, options)
        // The label of a pair is its target.
        return { hits: await accuracyOn(logits, model, moved), zero: report.zero / report.gradients }
      }
      const [fgsm, pgd] = [await attack(1, epsilon), await attack(steps, epsilon / 10)]
      table.push({ loss: name, 'zero gradients': fgsm.zero, 'FGSM hits': fgsm.hits, [`PGD-${steps} hits`]: pgd.hits })
      if (name.startsWith('clipped')) {
        const batch = tensorsOf(targeted.rows(Array.from({ length: Math.min(256, pairs.length) }, (_, i) => i)))
        const { places, examples } = await gradientDeaths(loss, model, batch, { labelKeys: ['label', 'truth'] })
        for (const place of places)
          console.log(`${place.operation}: ${((100 * place.examples) / examples).toFixed(1)}% of ${examples} pairs`)
      }
    }
    const bars = table.flatMap(row => [
      { loss: row.loss, what: 'zero gradients', share: row['zero gradients'] },
      { loss: row.loss, what: `PGD-${steps} hits`, share: row[`PGD-${steps} hits`] },
    ])
    const figure = {
      title: `Targeted attacks, ε ${epsilon}, ${pairs.length} pairs (seed ${seed})`,
      data: { values: bars },
      mark: 'bar',
      encoding: {
        y: { field: 'loss', type: 'nominal', sort: null, title: null },
        yOffset: { field: 'what', type: 'nominal' },
        x: {
          field: 'share',
          type: 'quantitative',
          scale: { domain: [0, 1] },
          axis: { format: '%' },
          title: 'share of pairs',
        },
        color: { field: 'what', type: 'nominal', title: null },
      },
    }
    return { table, figure }
  },
)

/** Every digit with every wrong class as its target. */
async function everyDigit(options) {
  const data = await digits(options)
  const { model } = await trained('base', data.train, options)
  const { image, label } = data.test.columns
  const pairs = Array.from(label.data).flatMap((y, i) =>
    Array.from({ length: 9 }, (_, k) => ({ i, y, target: (y + k + 1) % 10 })),
  )
  return { model, image, label, pairs }
}

/** Dogs, which are to become airplanes. */
async function dogs({ cifar, weights, test }) {
  if (!weights) throw new Error('--cifar needs --weights, a safetensors file of the ResNet-20')
  const { tensors } = await readSafetensors(weights)
  const net = await loadWeights(new ResNet20({ key: random.key(0) }), tensors, resNet20Names, {
    ignore: /num_batches_tracked$/,
  })
  const [mean, deviation] = [tensor([0.485, 0.456, 0.406]), tensor([0.229, 0.224, 0.225])]
  const model = { net, apply: (image, ctx) => net.apply(image.sub(mean).div(deviation), ctx) }
  const [dog, airplane] = [cifar10Classes.indexOf('dog'), cifar10Classes.indexOf('airplane')]
  const all = imageDataset(await readCifar10(cifar))
  const rows = Array.from(all.columns.label.data)
    .flatMap((y, i) => (y === dog ? [i] : []))
    .slice(0, test)
  return { model, ...all.rows(rows), pairs: rows.map((_, i) => ({ i, y: dog, target: airplane })) }
}

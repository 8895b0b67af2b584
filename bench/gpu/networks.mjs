// The networks whose training steps are measured, as plain data that torch_peer.py builds as well, and as models and batches.
import { gelu, maxPool2d, random, relu, take, tanh, tensor } from 'saddlepoint'
import {
  Conv2d,
  crossEntropy,
  Embedding,
  Flatten,
  initializers,
  LayerNorm,
  Linear,
  MultiHeadAttention,
  Sequential,
} from 'saddlepoint/nn'

/** VGG16's convolutions ('same', 3x3) by their outputs; 0 halves the image. */
const vgg16 = [64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0]

function vggLayers(size, outputs, hidden, classes) {
  let inputs = 3
  const convolutions = outputs.flatMap(n => {
    if (n === 0) {
      size >>= 1
      return [['pool', 2]]
    }
    const layer = ['conv', inputs, n, 3, 'same']
    inputs = n
    return [layer, ['relu']]
  })
  const widths = [size * size * inputs, ...hidden]
  const linear = widths.slice(1).flatMap((n, i) => [['linear', widths[i], n], ['relu']])
  return [...convolutions, ['flatten'], ...linear, ['linear', widths.at(-1), classes]]
}

/** Small enough for a driver in software to compile in seconds. */
const small = {
  cnn: {
    kind: 'image',
    image: [6, 6, 1],
    classes: 4,
    layers: [['conv', 1, 3, 3, 'valid'], ['relu'], ['pool', 2], ['flatten'], ['linear', 12, 4]],
  },
  vgg16: { kind: 'image', image: [4, 4, 3], classes: 4, layers: vggLayers(4, [2, 0], [4], 4) },
  bert: {
    kind: 'bert',
    vocabulary: 20,
    positions: 6,
    length: 4,
    types: 2,
    dim: 8,
    heads: 2,
    inner: 12,
    blocks: 1,
    classes: 3,
    spread: 0.2,
  },
}

const full = {
  // The network of bench/step.mjs.
  cnn: {
    kind: 'image',
    image: [28, 28, 1],
    classes: 10,
    layers: [
      ['conv', 1, 32, 3, 'valid'],
      ['relu'],
      ['pool', 2],
      ['conv', 32, 64, 3, 'valid'],
      ['relu'],
      ['pool', 2],
      ['conv', 64, 64, 3, 'valid'],
      ['relu'],
      ['flatten'],
      ['linear', 576, 64],
      ['relu'],
      ['linear', 64, 10],
    ],
  },
  // On 96x96 images, with a classifier of 512-512-10 instead of the original 4096-4096-1000.
  vgg16: { kind: 'image', image: [96, 96, 3], classes: 10, layers: vggLayers(96, vgg16, [512, 512], 10) },
  // BERT-base with a pooler and a classifier; no dropout, so that two libraries can be compared.
  bert: {
    kind: 'bert',
    vocabulary: 30522,
    positions: 512,
    length: 128,
    types: 2,
    dim: 768,
    heads: 12,
    inner: 3072,
    blocks: 12,
    classes: 2,
    spread: 0.035,
  },
}

/** What the check of losses runs: the tutorial network itself, and a BERT whose attacks and penalties weigh in its loss. */
const checked = { cnn: full.cnn, bert: { ...small.bert, blocks: 2, spread: 0.5 } }

export const specs = { small, full, checked }

/** Batches to measure; those that matter most first. */
export const trained = smoke =>
  smoke
    ? [
        ['cnn', 4],
        ['vgg16', 2],
        ['bert', 2],
      ]
    : [
        ['cnn', 32],
        ['vgg16', 32],
        ['bert', 16],
        ['cnn', 256],
      ]

const modules = {
  conv: (key, [inputs, outputs, kernel, padding]) =>
    new Conv2d(inputs, outputs, kernel, { key, padding, initializer: initializers.heUniform }),
  linear: (key, [inputs, outputs]) => new Linear(inputs, outputs, { key }),
  pool:
    (_key, [window]) =>
    x =>
      maxPool2d(x, window),
  relu: () => relu,
  flatten: () => new Flatten(),
}

class Block {
  constructor({ dim, heads, inner }, key, initializer) {
    const linear = (i, inputs, outputs) => new Linear(inputs, outputs, { key: random.foldIn(key, i), initializer })
    this.attention = new MultiHeadAttention(dim, heads, { key: random.foldIn(key, 0), initializer })
    this.attentionNorm = new LayerNorm(dim, { epsilon: 1e-12 })
    this.up = linear(1, dim, inner)
    this.down = linear(2, inner, dim)
    this.outputNorm = new LayerNorm(dim, { epsilon: 1e-12 })
  }

  apply(x) {
    const y = this.attentionNorm.apply(x.add(this.attention.apply(x)))
    return this.outputNorm.apply(y.add(this.down.apply(gelu(this.up.apply(y)))))
  }
}

/** Devlin et al. 2018, arXiv:1810.04805: normalised after each sum, learned positions, token types, exact GELU. */
class Bert {
  constructor(spec, key) {
    const { vocabulary, positions, types, dim, blocks, classes, spread } = spec
    const initializer = initializers.uniform(-spread, spread)
    const of = i => ({ key: random.foldIn(key, i), initializer })
    this.word = new Embedding(vocabulary, dim, of(0))
    this.position = new Embedding(positions, dim, of(1))
    this.tokenType = new Embedding(types, dim, of(2))
    this.norm = new LayerNorm(dim, { epsilon: 1e-12 })
    this.blocks = Array.from({ length: blocks }, (_, i) => new Block(spec, random.foldIn(key, 5 + i), initializer))
    this.pooler = new Linear(dim, dim, of(3))
    this.classifier = new Linear(dim, classes, of(4))
  }

  /** @returns logits [n, classes] of ids and types [n, length] */
  apply({ ids, types }) {
    const positions = this.position.weight.at([0, ids.shape[1]])
    const x = this.word.apply(ids).add(positions).add(take(this.tokenType.weight, types))
    const y = this.blocks.reduce((y, block) => block.apply(y), this.norm.apply(x))
    return this.classifier.apply(tanh(this.pooler.apply(y.at('...', 0, [null, null]))))
  }
}

export function buildModel(spec, key = random.key(7)) {
  if (spec.kind === 'bert') return new Bert(spec, key)
  return new Sequential(spec.layers.map(([kind, ...sizes], i) => modules[kind](random.foldIn(key, i), sizes)))
}

/** A batch of n examples, the same on every device. */
export function buildBatch(spec, n) {
  const integers = (shape, below, factor) =>
    tensor(
      Int32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => (i * factor) % below),
      { shape },
    )
  const label = integers([n], spec.classes, 3)
  if (spec.kind === 'image') return { image: random.uniform(random.key(8), [n, ...spec.image]), label }
  const shape = [n, spec.length]
  return { ids: integers(shape, spec.vocabulary, 7919), types: integers(shape, spec.types, 1), label }
}

/** The mean loss of a batch. */
export const lossOf = spec => (model, batch) =>
  crossEntropy(spec.kind === 'bert' ? model.apply(batch) : model.apply(batch.image), batch.label)

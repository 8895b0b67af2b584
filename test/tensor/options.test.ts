/** Options that would be ignored are errors: those that are misspelt, and values where options are expected. */

import * as fc from 'fast-check'
import * as core from 'saddlepoint'
import * as check from 'saddlepoint/check'
import * as data from 'saddlepoint/data'
import * as models from 'saddlepoint/models'
import * as nn from 'saddlepoint/nn'
import * as optim from 'saddlepoint/optim'
import * as train from 'saddlepoint/train'
import { beforeAll, describe, expect, test } from 'vitest'

const { compile, grad, random, setDevice, sum, tensor } = core

beforeAll(async () => {
  await setDevice('reference')
})

const key = random.key(0)
const x = tensor([
  [1, 2],
  [3, 5],
])
const row = tensor([0, 1], { dtype: 'int32' })
const image = core.ones([1, 4, 4, 1])
const kernel = core.ones([1, 1, 1, 1])
const sequence = core.ones([1, 4, 1])
const table = data.dataset({ x: { dtype: 'float32', shape: [2], data: new Float32Array(2) } })
const tokenizer = data.characters({ vocabulary: ['a'] })
const loss = (model: core.Tensor) => sum(model)
const trained = { model: tensor([1, 2]), loss, optimizer: optim.adam() }
const { shapes, broadcastableShapes, tensors, indices, programs } = check.arbitraries(fc)

type Call = (more: object) => unknown
type Made = ((...args: unknown[]) => unknown) & (new (...args: unknown[]) => unknown)
/** Functions that are called in one way. */
const alike = <F>(functions: Readonly<Record<string, F>>, call: (f: F, more: object) => unknown) =>
  Object.fromEntries(Object.entries(functions).map(([name, f]) => [name, (more: object) => call(f, more)]))
const named = (module: object, names: string): Record<string, Made> =>
  Object.fromEntries(names.split(' ').map(name => [name, (module as Record<string, Made>)[name]]))

/** How each function is called with more options. Those of `early` need files, and throw before they look for them. */
const early: Readonly<Record<string, Call>> = {
  ...alike(named(data, 'cifar10 cifar100 stl10'), (f, more) => f({ folder: 'none', ...more })),
  ...alike(named(data, 'imdb mnist wordNet'), (f, more) => f({ folder: 'none', ...more })),
  ...alike(named(data, 'readClue readJsonLines readTrec imageFolder'), (f, more) => f('none', more)),
  readTable: more => data.readTable('none', { text: 'a', label: 'b', ...more }),
  wordPiece: more => data.wordPiece([], more),
  loadBertClassifier: more => models.loadBertClassifier('none', { classes: 2, key, ...more }),
  loadSentenceEncoder: more => models.loadSentenceEncoder({ folder: 'none', ...more }),
}
const calls: Readonly<Record<string, Call>> = {
  ...alike(
    named(
      core,
      'sum prod max min mean var variance std vectorNorm logsumexp any all argmax argmin argsort sort softmax logSoftmax trace diagonal',
    ),
    (f, more) => f(x, more),
  ),
  cumulativeSum: more => core.cumulativeSum(x, { axis: 0, ...more }),
  ...alike(named(core, 'topk repeat roll windows'), (f, more) => f(x, 1, more)),
  pad: more => core.pad(row, [[1, 1]], more),
  take: more => core.take(x, row, more),
  takeAlongAxis: more => core.takeAlongAxis(row, row, more),
  scatter: more => core.scatter(row, row, 1, more),
  cosineSimilarity: more => core.cosineSimilarity(x, x, more),
  scaledDotProductAttention: more => core.scaledDotProductAttention(x, x, x, more),
  ...alike(named(core, 'conv2d convTranspose2d depthwiseConv2d'), (f, more) => f(image, kernel, more)),
  ...alike(named(core, 'conv1d convTranspose1d'), (f, more) => f(sequence, core.ones([1, 1, 1]), more)),
  ...alike(named(core, 'maxPool2d avgPool2d'), (f, more) => f(image, 2, more)),
  ...alike(named(core, 'maxPool1d avgPool1d'), (f, more) => f(sequence, 2, more)),
  resize: more => core.resize(image, [2, 2], more),
  tensor: more => tensor([1], more),
  ...alike(named(random, 'uniform truncatedNormal'), (f, more) => f(key, [2], more)),
  ...alike(named(core, 'grad valueAndGrad vmap checkpoint compile'), (f, more) => f(loss, more)),
  setDevice: more => setDevice('reference', more),

  ...alike(named(nn, 'mse mae huber binaryCrossEntropy klDivergence cosineLoss hinge'), (f, more) => f(x, x, more)),
  ...alike(
    named(nn, 'crossEntropy marginLoss multiclassHinge accuracy clippedCrossEntropyOfProbabilities'),
    (f, more) => f(x, row, more),
  ),
  dlrLoss: more => nn.dlrLoss(core.ones([2, 4]), row, more),
  ...alike(named(nn, 'Linear Embedding'), (F, more) => new F(2, 2, { key, ...more })),
  ...alike(named(nn, 'Conv1d Conv2d ConvTranspose2d'), (F, more) => new F(1, 1, 1, { key, ...more })),
  DepthwiseConv2d: more => new nn.DepthwiseConv2d(1, 1, { key, ...more }),
  MultiHeadAttention: more => new nn.MultiHeadAttention(2, 1, { key, ...more }),
  'MultiHeadAttention.apply': more => new nn.MultiHeadAttention(2, 1, { key }).apply(x, nn.evaluation, more),
  ...alike(named(nn, 'LayerNorm RMSNorm BatchNorm MaxPool2d AvgPool2d Upsample'), (F, more) => new F(2, more)),
  GroupNorm: more => new nn.GroupNorm(1, 2, more),

  ...alike(named(optim, 'adam adamW'), (f, more) => f(more)),
  sgd: more => optim.sgd({ learningRate: 0.1, ...more }),
  cosine: more => optim.cosine(0.1, 10, more),

  Trainer: more => new train.Trainer({ ...trained, ...more }),
  fit: more => new train.Trainer(trained).fit(table, { epochs: 1, batchSize: 2, ...more }),
  'fit: earlyStop': more => {
    const earlyStop = { metric: 'loss', patience: 1, mode: 'min' as const, ...more }
    return new train.Trainer(trained).fit(table, { epochs: 1, batchSize: 2, earlyStop })
  },
  evaluate: more => new train.Trainer(trained).evaluate(table, { batchSize: 2, ...more }),

  ResNet20: more => new models.ResNet20({ key, widths: [1, 1, 1], ...more }),
  Vgg16: more => new models.Vgg16({ key, inputSize: 32, widths: [1, 1, 1, 1, 1], hidden: 1, ...more }),
  ...alike(
    named(models, 'TextCNN EmbeddingBag'),
    (F, more) => new F({ key, vocabulary: 3, dim: 2, classes: 2, ...more }),
  ),
  Bert: more => new models.Bert({ key, vocabulary: 3, dim: 2, layers: 1, heads: 1, ...more }),
  SentenceEncoder: more =>
    new models.SentenceEncoder({ key, vocabulary: 3, dim: 2, width: 2, heads: 1, paddingIndex: 0, ...more }),
  TransformerLayer: more => new models.TransformerLayer({ key, dim: 2, heads: 1, ...more }),
  TransformerEncoder: more => new models.TransformerEncoder(1, { key, dim: 2, heads: 1, ...more }),
  FeedForward: more => new models.FeedForward(2, 2, 2, 'relu', { key, ...more }),
  TextClassifier: more => {
    const encoder = new models.EmbeddingBag({ key, vocabulary: 3, dim: 2, classes: 2 })
    return new models.TextClassifier(encoder, { key, width: 2, classes: 2, ...more })
  },
  padIds: more => models.padIds([[1]], more),
  loadWeights: more =>
    models.loadWeights(
      { a: x },
      { a: { dtype: 'float32', shape: [2, 2], data: new Float32Array(4) } },
      [[/a/, 'a']],
      more,
    ),

  batches: more => data.batches(table, { batchSize: 1, ...more }),
  padded: more => data.padded(['a'], tokenizer, { length: 2, ...more }),
  paddedPairs: more => {
    const pairs = { ...tokenizer, encodePair: () => ({ ids: [0], types: [0] }) }
    return data.paddedPairs([['a', 'a']], pairs, { length: 2, ...more })
  },
  parseTable: more => data.parseTable('a,b\n1,2', { text: 'a', label: 'b', ...more }),
  parseJsonLines: more => data.parseJsonLines('{"sentence":"a","label":1}', more),
  parseClue: more => data.parseClue('{"sentence":"a","label":1}', more),
  parseTrec: more => data.parseTrec('HUM:ind who?', more),
  ...alike(named(data, 'characters words'), (f, more) => f({ vocabulary: ['a'], ...more })),
  unigram: more => data.unigram([['a', 0]], { reserved: 1, ...more }),

  checkGrads: more => check.checkGrads(loss, [tensor([1], { dtype: 'float64' })], more),
  checkDevices: more => check.checkDevices(loss, [x], { devices: ['reference', 'reference'], ...more }),
  ...alike({ shapes, broadcastableShapes, tensors, programs }, (f, more) => f(more)),
  indices: more => indices(2, more),
}

/** Demands that the call refuses an option, in its own name. */
const refused = async (name: string, call: Call): Promise<void> => {
  const op = name === 'var' ? 'variance' : name
  await expect(async () => call({ xyzzy: 1 })).rejects.toThrow(
    new RegExp(`^(random\\.)?${op}: has no option 'xyzzy'; it takes \\w+`),
  )
}

describe('a misspelt option', () => {
  test.each(Object.entries(calls))('%s', async (name, call) => {
    await call({})
    await refused(name, call)
  })
  test.each(Object.entries(early))('%s, before it reads', refused)

  test('no function or class that takes options is missing here', () => {
    const modules = { ...core, ...random, ...nn, ...optim, ...train, ...models, ...data, ...check }
    const takesOptions = (f: unknown): boolean => {
      if (typeof f !== 'function') return false
      const text = String(f)
      const parameters = text.startsWith('class') ? /constructor\(([^)]*)/.exec(text)?.[1] : /^[^{]*/.exec(text)?.[0]
      return /\b(options|layerOptions|given)\b/.test(parameters ?? '')
    }
    const found = Object.entries(modules).flatMap(([name, f]) => (takesOptions(f) ? [name] : []))
    expect(found.length).toBeGreaterThan(80)
    expect(found.filter(name => !(name in calls) && !(name in early))).toEqual([])
  })
})

describe('the options of the report that began this', () => {
  const linear = (more: object) => new nn.Linear(2, 2, { key, ...more })
  const fitted = () => new train.Trainer(trained).fit(table, undefined as never)
  const f = (x: core.Tensor) => sum(x)
  const cases: readonly (readonly [string, Call, string])[] = [
    [
      'tensor',
      () => tensor([1], 'float64' as never),
      "tensor: expects its options as an object, not 'float64'; it takes dtype, shape",
    ],
    [
      'adam(0.1)',
      () => optim.adam(0.1 as never),
      'adam: expects its options as an object, not 0.1; it takes learningRate, ',
    ],
    [
      'adam({ lr })',
      () => optim.adam({ lr: 0.1 } as never),
      "adam: has no option 'lr'; it takes learningRate, beta1, beta2, epsilon",
    ],
    ['adam({ weightDecay })', () => optim.adam({ weightDecay: 0.1 } as never), 'adam: has no weightDecay; adamW has'],
    ['sgd()', () => optim.sgd(undefined as never), 'sgd: expects its options as an object, not undefined; it takes '],
    [
      'crossEntropy',
      () => nn.crossEntropy(x, row, 'none' as never),
      "crossEntropy: expects its options as an object, not 'none'",
    ],
    ['mse', () => nn.mse(x, x, 'none' as never), "mse: expects its options as an object, not 'none'"],
    [
      'grad(f, 1)',
      () => grad(f, 1 as never),
      'grad: expects its options as an object, not 1; it takes argnums, hasAux',
    ],
    [
      'grad({ argnum })',
      () => grad(f, { argnum: 1 } as never),
      "grad: has no option 'argnum'; it takes argnums, hasAux",
    ],
    ['grad(f, null)', () => grad(f, null as never), 'grad: expects its options as an object, not null'],
    [
      'argnums',
      () => grad(f, { argnums: '0' as never }),
      'grad: argnums are the position of an argument or a list of them',
    ],
    ['compile', () => compile(f, { donated: [0] } as never), "compile: has no option 'donated'; it takes donate"],
    [
      'donate',
      () => compile(f, { donate: 0 as never }),
      'compile: donate is a list of positions of arguments, not number 0',
    ],
    [
      'checkpoint',
      () => core.checkpoint(f, null as never),
      'checkpoint: expects its options as an object, not null; it takes keep',
    ],
    ['Linear', () => linear({ bais: false }), "Linear: has no option 'bais'; it takes key, initializer, dtype, bias"],
    [
      'Trainer',
      () => new train.Trainer({ ...trained, clipnorm: 1 } as never),
      "Trainer: has no option 'clipnorm'; it takes model, ",
    ],
    [
      'Trainer()',
      () => new train.Trainer(undefined as never),
      'Trainer: expects its options as an object, not undefined',
    ],
    [
      'no optimizer',
      () => new train.Trainer({ model: x, loss } as never),
      'Trainer: optimizer must be one of saddlepoint/optim',
    ],
    ['fit(data)', fitted, 'fit: expects its options as an object, not undefined; it takes epochs, batchSize, '],
    [
      'batches(data)',
      () => data.batches(table, undefined as never),
      'batches: expects its options as an object, not undefined',
    ],
    [
      'padded',
      () => data.padded(['a'], tokenizer, undefined as never),
      'padded: expects its options as an object, not undefined',
    ],
    [
      'parseTable',
      () => data.parseTable('a', undefined as never),
      'parseTable: expects its options as an object, not undefined',
    ],
    [
      'cifar10()',
      () => data.cifar10(undefined as never),
      'cifar10: expects its options as an object, not undefined; it takes folder',
    ],
    ['stl10({})', () => data.stl10({} as never), 'stl10: folder undefined: needs the path of a folder'],
    ['setDevice({})', () => setDevice({} as never), 'setDevice: expects one of reference, wasm, webgpu, or a device'],
    [
      'setDevice, an option of another device',
      () => setDevice('wasm', { memoryLimit: 5 }),
      'setDevice: memoryLimit is an option of webgpu, and means nothing to wasm; leave it out',
    ],
    [
      'setDevice tune',
      () => setDevice('wasm', { tune: 'no' as never }),
      "setDevice: tune must be true or false, not 'no'",
    ],
    [
      "setDevice threads '2'",
      () => setDevice('wasm', { threads: '2' as never }),
      "setDevice: threads must be an integer from 1 to 64, not '2'",
    ],
    [
      'setDevice memoryLimit',
      () => setDevice('webgpu', { memoryLimit: 0 }),
      'setDevice: memoryLimit must be a number of bytes > 0, not 0',
    ],
    [
      'setDevice of a device, with options',
      async () => setDevice(await core.getDevice(), { threads: 1 }),
      'setDevice: threads is for a device that is named; this one has started already',
    ],
    [
      'setDevice thread',
      () => setDevice('wasm', { thread: 1 } as never),
      "setDevice: has no option 'thread'; it takes threads, ",
    ],
    [
      'flip',
      () => core.flip(x, { axis: 1 } as never),
      'flip: axes are an integer or a list of integers, not an object',
    ],
    [
      'squeeze',
      () => core.squeeze(x, {} as never),
      'squeeze: axes are an integer or a list of integers, not an object',
    ],
    [
      'sum axis',
      () => sum(x, { axis: 'all' as never }),
      'sum: axes are an integer or a list of integers, not string all',
    ],
    [
      'split',
      () => core.split(x, undefined as never),
      'split: expected a number of parts or a list of positions, not undefined',
    ],
    [
      'tensordot',
      () => core.tensordot(x, x, { axes: 1 } as never),
      'tensordot: axes are a number of them or a pair of lists',
    ],
    ['a tensor', () => sum(x, x as never), 'sum: expects its options as an object, not Tensor(float32[2,2] input)'],
  ]
  test.each(cases)('%s', (_, call, message) => expect(async () => call({})).rejects.toThrow(message))
})

test('random numbers take their dtype as normal does', () => {
  for (const draw of [random.normal, random.uniform, random.truncatedNormal])
    expect(draw(key, [2], 'float64').dtype).toBe('float64')
  expect(random.uniform(key, [2], { dtype: 'float64' }).dtype).toBe('float64')
  expect(() => random.uniform(key, [2], 'int8' as never)).toThrow('random.uniform: dtype must be one of ')
})

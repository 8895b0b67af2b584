// What is measured, as plain data that every side (saddlepoint.mjs, peers/*) builds for itself: shapes, seeds, settings.
// Numbers of bytes and operations are those that an item needs at least, whatever a kernel does.

const product = list => list.reduce((a, b) => a * b, 1)

/**
 * n numbers in [0, 1) of a seed: number i depends on seed and i alone, so that other languages draw them as vectors.
 * Mulberry32, Tommy Ettinger 2017.
 */
export function numbers(n, seed) {
  const data = new Float32Array(n)
  for (let i = 0; i < n; i++) {
    const s = (seed + Math.imul(i + 1, 0x6d2b79f5)) | 0
    let t = Math.imul(s ^ (s >>> 15), 1 | s)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    data[i] = ((t ^ (t >>> 14)) >>> 8) / 2 ** 24
  }
  return data
}

/** The values of an array { shape, seed, low, high } | { shape, fill } | { shape, seed, below }: the last are integers. */
export function valuesOf({ shape, seed, low, high, fill, below }) {
  const n = product(shape)
  if (fill !== undefined) return new Float32Array(n).fill(fill)
  const drawn = numbers(n, seed)
  return below === undefined
    ? drawn.map(x => low + (high - low) * x)
    : Int32Array.from(drawn, x => Math.floor(x * below))
}

/** A number that tells results apart, in any order of magnitude: the mean of |y| with weights 1 to 7 by turns. */
export function checksum(y) {
  let sum = 0
  for (let i = 0; i < y.length; i++) sum += Math.abs(y[i]) * (1 + (i % 7))
  return sum / y.length
}

const around = (seed, shape, high) => ({ shape, seed, low: -high, high })
const drawn = (seed, shape) => ({ shape, seed, low: 0, high: 1 })
const filled = (fill, shape) => ({ shape, fill })
const integers = (seed, shape, below) => ({ shape, seed, below })

/**
 * Weights of penalties make them as large as the loss, for the time does not depend on them and the agreement of losses
 * must notice a wrong derivative of second order.
 */

/** The tutorial's network; images [batch, 28, 28, 1], kernels [3, 3, inputs, outputs]. */
export const cnn = ({ batch = 32 } = {}) => ({
  kind: 'cnn',
  classes: 10,
  rate: 1e-3,
  attack: { stepSize: 0.2, multiplier: 0.2 },
  penalty: 1e5,
  parameters: {
    w1: around(1, [3, 3, 1, 32], 0.3),
    b1: filled(0, [32]),
    w2: around(3, [3, 3, 32, 64], 0.06),
    b2: filled(0, [64]),
    w3: around(5, [3, 3, 64, 64], 0.04),
    b3: filled(0, [64]),
    w4: around(7, [576, 64], 0.04),
    b4: filled(0, [64]),
    w5: around(9, [64, 10], 0.12),
    b5: filled(0, [10]),
  },
  inputs: { image: drawn(11, [batch, 28, 28, 1]), label: integers(12, [batch], 10) },
})

/**
 * The critic of a GAN, as gradient penalties have it, with classes: kernels [4, 4, inputs, outputs] that move by 2 over images
 * [batch, size, size, 3], and the mean of the pixels that are left.
 */
export const strided = ({ batch = 16, size = 32, widths = [64, 128, 256] } = {}) => {
  const layer = (outputs, i) => {
    const inputs = [3, ...widths][i]
    return [
      [`w${i + 1}`, around(2 * i + 1, [4, 4, inputs, outputs], Math.sqrt(3 / (16 * inputs)))],
      [`b${i + 1}`, filled(0, [outputs])],
    ]
  }
  return {
    kind: 'strided',
    depth: widths.length,
    classes: 10,
    rate: 1e-3,
    penalty: 1e3,
    parameters: {
      ...Object.fromEntries(widths.flatMap(layer)),
      weight: around(20, [widths.at(-1), 10], 0.3),
      bias: filled(0, [10]),
    },
    inputs: { image: drawn(11, [batch, size, size, 3]), label: integers(12, [batch], 10) },
  }
}

/**
 * Texts as the mean of their words' vectors, with one block of a transformer before the mean where `encoder` says so;
 * parameters that are `frozen` are perturbed but not trained.
 */
export const text = ({
  encoder = false,
  batch = 32,
  length = 64,
  vocabulary = 21128,
  dim = 128,
  heads = 4,
  inner = 512,
  frozen = [],
} = {}) => ({
  kind: 'text',
  encoder,
  frozen,
  classes: 15,
  rate: 1e-3,
  heads,
  attack: { stepSize: 1 },
  penalty: encoder ? 5 : 5e3,
  parameters: {
    embedding: around(1, [vocabulary, dim], 0.05),
    ...(encoder && {
      query: around(4, [dim, dim], 0.09),
      key: around(5, [dim, dim], 0.09),
      value: around(6, [dim, dim], 0.09),
      output: around(7, [dim, dim], 0.09),
      scale1: filled(1, [dim]),
      shift1: filled(0, [dim]),
      up: around(12, [dim, inner], 0.09),
      upBias: filled(0, [inner]),
      down: around(14, [inner, dim], 0.04),
      downBias: filled(0, [dim]),
      scale2: filled(1, [dim]),
      shift2: filled(0, [dim]),
    }),
    weight: around(2, [dim, 15], 0.1),
    bias: filled(0, [15]),
  },
  inputs: { ids: integers(16, [batch, length], vocabulary), label: integers(17, [batch], 15) },
})

/** `depth` linear layers with tanh between them: 2 · depth parameters. */
export const mlp = ({ depth = 5, width = 32, batch = 32 } = {}) => {
  const widths = [16, ...new Array(depth - 1).fill(width), 10]
  const layer = i => [
    [`w${i + 1}`, around(i + 1, [widths[i], widths[i + 1]], Math.sqrt(3 / widths[i]))],
    [`b${i + 1}`, filled(0, [widths[i + 1]])],
  ]
  return {
    kind: 'mlp',
    depth,
    classes: 10,
    rate: 1e-3,
    parameters: Object.fromEntries(Array.from({ length: depth }, (_, i) => layer(i)).flat()),
    inputs: { image: around(40, [batch, 16], 1), label: integers(41, [batch], 10) },
  }
}

const networks = {
  CNN: cnn(),
  'strided CNN': strided(),
  'text mean': text(),
  'text encoder': text({ encoder: true }),
  'MLP of 10 arrays': mlp(),
}
const variants = {
  CNN: ['forward', 'plain', 'FGSM', 'penalty'],
  'strided CNN': ['plain', 'penalty'],
  'text mean': ['plain', 'FGM', 'penalty'],
  'text encoder': ['plain', 'FGM', 'penalty'],
  'MLP of 10 arrays': ['plain'],
}

/** How many values of an item must agree before it is timed: the losses of the first steps. */
const checks = 3
/** Training steps with Adam (and one forward pass): { name, kind: 'step', network, variant, checks }. */
export const steps = Object.entries(networks).flatMap(([name, network]) =>
  variants[name].map(variant => ({
    name: `${name}, ${variant}`,
    kind: 'step',
    network,
    variant,
    checks: variant === 'forward' ? 1 : checks,
  })),
)

const array = (seed, shape) => around(seed, shape, 1)
const matmul = (name, a, b) => ({
  name,
  kind: 'matmul',
  inputs: [array(1, a), array(2, b)],
  flops: 2 * product(a) * b.at(-1),
})
const rows = [8192, 2048]
const pass = (name, kind, backward, moved) => ({
  name: `${name} ${rows.join('x')}, ${backward ? 'forward + backward' : 'forward'}`,
  kind,
  backward,
  // A sum that does not cancel has an answer that roundings leave alone.
  inputs: kind === 'sum' ? [drawn(3, rows)] : [3, ...(backward ? [4] : [])].map(seed => array(seed, rows)),
  bytes: 4 * moved * product(rows),
})

/** Single operations: { name, kind, inputs } with flops or bytes. */
export const micro = [
  ...[256, 512, 1024].map(n => matmul(`matmul ${n}`, [n, n], [n, n])),
  matmul('matmul 32x576 . 576x64', [32, 576], [576, 64]),
  matmul('matmul 12x128x64 . 12x64x128', [12, 128, 64], [12, 64, 128]),
  { ...matmul('matrix . vector 4096', [4096, 4096], [4096, 1]), flops: undefined, bytes: 4 * (4096 ** 2 + 8192) },
  { name: 'chain of 10, 4M', kind: 'chain', inputs: [drawn(3, [4_000_000])], bytes: 32e6 },
  pass('sum', 'sum', false, 1),
  pass('sum', 'sum', true, 2),
  pass('softmax', 'softmax', false, 2),
  pass('softmax', 'softmax', true, 3),
  pass('layer norm', 'layerNorm', false, 2),
  pass('layer norm', 'layerNorm', true, 3),
  { name: '1000 dependent additions', kind: 'dispatch', count: 1000, inputs: [drawn(3, [16])] },
]

/** A step whose work on the table is in proportion to the words that occur: nothing moves the other rows. */
export const sparseStep = {
  name: 'text mean, FGM, table frozen',
  kind: 'step',
  network: text({ frozen: ['embedding'] }),
  variant: 'FGM',
}

const step = (name, network, variant = 'plain') => ({ name, kind: 'step', network, variant })

const vocabularies = [4096, 16384, 65536, 262144]

/** How time grows: each family's items by their size; the slope is compared with that of operations and bytes. */
export const growth = [
  ['batch', 'CNN, plain', [8, 16, 32, 64, 128], batch => step('CNN', cnn({ batch }))],
  ['width', 'MLP of 5 layers', [64, 128, 256, 512, 1024], width => step('MLP', mlp({ width, batch: 128 }))],
  ['depth', 'MLP of width 128', [2, 4, 8, 16, 32], depth => step('MLP', mlp({ depth, width: 128 }))],
  [
    'length',
    'text encoder, 8 texts',
    [32, 64, 128, 256, 512],
    length => step('text', small({ length, encoder: true })),
  ],
  ['vocabulary', 'text mean, 8 texts', vocabularies, vocabulary => step('text', small({ vocabulary }))],
  [
    'vocabulary, frozen',
    'text mean, 8 texts, FGM, table frozen',
    vocabularies,
    vocabulary => step('text', small({ vocabulary, frozen: ['embedding'] }), 'FGM'),
  ],
  [
    'order',
    'derivative of an MLP of 5 layers',
    [1, 2, 3],
    order => ({ ...step('MLP', mlp({ width: 128 })), kind: 'order', order }),
  ],
].map(([family, what, sizes, item]) => ({ family, what, points: sizes.map(size => ({ size, item: item(size) })) }))

function small(sizes) {
  return text({ batch: 8, vocabulary: 2048, ...sizes })
}

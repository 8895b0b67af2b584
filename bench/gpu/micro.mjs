// Single operations. A case is plain data, which torch_peer.py reads as well: `kind` says what is computed, `section` where
// it is reported. Numbers of bytes and operations are those that the operation needs at least, whatever a kernel does.
import { compile, conv2d, matmul, realize, scatterAdd, softmax, take, tensor, vjp } from 'saddlepoint'
import { LayerNorm } from 'saddlepoint/nn'
import { disposeTree, leastMilliseconds, timed } from './measure.mjs'

const product = list => list.reduce((a, b) => a * b, 1)

/** Numbers in [-1, 1) that repeat after a prime number of them: a large array is made by copying. */
function numbers(n) {
  const data = new Float32Array(n)
  const period = Math.min(n, 65521)
  let state = 1
  for (let i = 0; i < period; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    data[i] = state / 2 ** 31 - 1
  }
  for (let have = period; have < n; have *= 2) data.copyWithin(have, 0, Math.min(have, n - have))
  return data
}
const drawn = (shape, dtype = 'float32') => {
  const x = tensor(numbers(product(shape)), { shape })
  return dtype === 'float32' ? x : x.astype(dtype)
}
/** Ids below n, scattered. */
const ids = (count, n) => tensor(Int32Array.from({ length: count }, (_, i) => (i * 7919) % n))

const extent = ({ size, kernel, stride }) => Math.floor((size + 2 * (kernel >> 1) - kernel) / stride) + 1

/** For each kind of case: its inputs, the operation on them, and what it costs (flops, and elements moved). */
const kinds = {
  matmul: ({ a, b, dtype }) => ({
    inputs: () => [drawn(a, dtype), drawn(b, dtype)],
    f: matmul,
    flops: 2 * product(a) * b.at(-1),
    elements: product(a) + product(b) + (product(a) / a.at(-1)) * b.at(-1),
  }),
  // Images [n, size, size, inputs], padded by half the kernel.
  conv: c => {
    const { n, size, inputs, outputs, kernel, stride, pass } = c
    const shapes = {
      x: [n, size, size, inputs],
      w: [kernel, kernel, inputs, outputs],
      y: [n, extent(c), extent(c), outputs],
    }
    const conv = (x, w) => conv2d(x, w, { stride, padding: kernel >> 1 })
    const passes = {
      forward: { takes: 'xw', f: conv },
      input: { takes: 'xwy', f: (x, w, y) => vjp(x => conv(x, w), x)[1](y)[0] },
      weight: { takes: 'xwy', f: (x, w, y) => vjp(w => conv(x, w), w)[1](y)[0] },
    }
    const { takes, f } = passes[pass]
    return {
      inputs: () => [...takes].map(name => drawn(shapes[name])),
      f,
      flops: 2 * product(shapes.y) * kernel * kernel * inputs,
      elements: product(shapes.x) + product(shapes.w) + product(shapes.y),
    }
  },
  // ops element-wise operations in a row, multiplications and additions by turns.
  chain: ({ n, ops }) => ({
    inputs: () => [drawn([n])],
    f: x => {
      let y = x
      for (let i = 0; i < ops; i++) y = i % 2 ? y.add(0.25 + i) : y.mul(1.5 + i)
      return y
    },
    flops: n * ops,
    elements: 2 * n,
  }),
  reduce: ({ shape, axis }) => ({
    inputs: () => [drawn(shape)],
    f: x => (axis === null ? x.sum() : x.sum({ axis })),
    flops: product(shape),
    elements: product(shape) + (axis === null ? 1 : shape[1 - axis]),
  }),
  softmax: ({ shape }) => ({
    inputs: () => [drawn(shape)],
    f: x => softmax(x),
    flops: 5 * product(shape),
    elements: 2 * product(shape),
  }),
  layernorm: ({ shape }) => ({
    inputs: () => [drawn(shape), new LayerNorm(shape[1])],
    f: (x, layer) => layer.apply(x),
    flops: 8 * product(shape),
    elements: 2 * product(shape),
  }),
  gather: ({ rows, dim, tokens }) => ({
    inputs: () => [drawn([rows, dim]), ids(tokens, rows)],
    f: take,
    flops: 0,
    elements: 2 * tokens * dim + tokens,
  }),
  // The gradient of a gather: zeros, and the tokens' rows added to them.
  scatter: ({ rows, dim, tokens }) => ({
    inputs: () => [drawn([tokens, dim]), ids(tokens, rows)],
    f: (updates, ids) => scatterAdd(ids, updates, rows),
    flops: tokens * dim,
    elements: tokens * dim + rows * dim + tokens,
  }),
  argsort: ({ n }) => ({ inputs: () => [drawn([n])], f: x => x.argsort(), flops: 0, elements: 2 * n }),
}

const named = (section, kind, name, fields) => ({ section, kind, name, ...fields })

function matmuls(smoke) {
  const dtypes = ['float32', 'float16']
  const square = (n, dtype) => named('matmul', 'matmul', `${n}x${n}x${n} ${dtype}`, { a: [n, n], b: [n, n], dtype })
  const times = (a, b) => named('matmul', 'matmul', `${a.join('x')} . ${b.join('x')}`, { a, b, dtype: 'float32' })
  if (smoke) return [...dtypes.map(d => square(16, d)), times([2, 8, 4], [2, 4, 8])]
  return [
    ...[1024, 4096, 2048, 512, 256, 8192].flatMap(n => dtypes.map(d => square(n, d))),
    // A batch through a linear layer; the scores, their use and the layers of BERT-base, 16 texts of 128 tokens.
    ...[1024, 4096].map(k => times([32, k], [k, k])),
    times([192, 128, 64], [192, 64, 128]),
    times([192, 128, 128], [192, 128, 64]),
    times([2048, 768], [768, 768]),
    times([2048, 768], [768, 3072]),
    times([768, 2048], [2048, 3072]),
  ]
}

/** Layers as [image size, inputs, outputs, kernel, stride]. */
const layers = {
  // VGG16 on 96x96: one layer of each shape.
  vgg: [
    [96, 3, 64, 3, 1],
    [96, 64, 64, 3, 1],
    [48, 64, 128, 3, 1],
    [48, 128, 128, 3, 1],
    [24, 128, 256, 3, 1],
    [24, 256, 256, 3, 1],
    [12, 256, 512, 3, 1],
    [12, 512, 512, 3, 1],
    [6, 512, 512, 3, 1],
  ],
  // ResNet-50 on 224x224: of each stage a 1x1, the 3x3, and what strides.
  resnet: [
    [224, 3, 64, 7, 2],
    [56, 64, 64, 3, 1],
    [56, 64, 256, 1, 1],
    [56, 256, 128, 1, 1],
    [56, 128, 128, 3, 2],
    [56, 256, 512, 1, 2],
    [28, 128, 128, 3, 1],
    [28, 128, 512, 1, 1],
    [14, 256, 256, 3, 1],
    [14, 1024, 256, 1, 1],
    [14, 256, 256, 3, 2],
    [7, 512, 512, 3, 1],
    [7, 2048, 512, 1, 1],
  ],
}

function convolutions(smoke) {
  const passes = ['forward', 'input', 'weight']
  const cases = (net, list, n) =>
    list.flatMap(([size, inputs, outputs, kernel, stride]) =>
      passes.map(pass => {
        const name = `${net} ${size}² ${inputs}>${outputs} ${kernel}x${kernel}${stride > 1 ? `/${stride}` : ''} ${pass}`
        return named('conv', 'conv', name, { n, size, inputs, outputs, kernel, stride, pass })
      }),
    )
  if (smoke) return cases('smoke', [[6, 2, 3, 3, 2]], 2)
  return [...cases('vgg', layers.vgg, 32), ...cases('resnet', layers.resnet, 32)]
}

const rest = smoke => {
  const million = smoke ? 1024 : 2 ** 20
  const side = smoke ? 32 : 8192
  const chain = (n, ops) => named('chain', 'chain', `${ops} ops, ${n} elements`, { n, ops })
  const reduce = (name, shape, axis) => named('reduce', 'reduce', `${shape.join('x')} ${name}`, { shape, axis })
  const along = (kind, shape) => named('normalise', kind, `${kind} ${shape.join('x')}`, { shape })
  const table = (kind, rows, dim, tokens) =>
    named('embedding', kind, `${kind} ${rows}x${dim}, ${tokens} tokens`, { rows, dim, tokens })
  const rows = smoke ? 1 : 64
  const tables = smoke
    ? [[50, 8, 16]]
    : [
        [30522, 768, 4096],
        [21128, 128, 2048],
      ]
  return [
    ...[4, 64].flatMap(n => [1, 10].map(ops => chain(n * million, ops))),
    reduce('rows', [side, side], 1),
    reduce('columns', [side, side], 0),
    reduce('all', [side, side], null),
    reduce('columns', [rows * 1568, rows], 0),
    along('softmax', [rows * 384, 2 * rows]),
    along('softmax', [side / 2, side]),
    along('layernorm', [rows * 32, rows * 12]),
    along('layernorm', [side * 2, side / 8]),
    ...tables.flatMap(t => ['gather', 'scatter'].map(kind => table(kind, ...t))),
    named('sort', 'argsort', `argsort of ${million}`, { n: million }),
  ]
}

/** All cases; within a section those that matter most come first. */
export const microCases = smoke => [...matmuls(smoke), ...convolutions(smoke), ...rest(smoke)]

/** Those that show what a device pays for its checks. */
export const checkedCases = smoke =>
  microCases(smoke).filter(c =>
    smoke
      ? ['16x16x16 float32', '10 ops, 4096 elements'].includes(c.name)
      : ['1024x1024x1024 float32', '4096x4096x4096 float32', '10 ops, 67108864 elements'].includes(c.name),
  )

/** GB/s, GFLOP/s, and the share of the ceilings (those of float32 for all dtypes): by kernel time, else by wall time. */
export function rates(c, { kernel, wall }, ceilings) {
  const { flops, elements } = kinds[c.kind](c)
  const bytes = elements * (c.dtype === 'float16' ? 2 : 4)
  const milliseconds = kernel ?? wall
  return {
    gigabytesPerSecond: bytes / milliseconds / 1e6,
    gigaflopsPerSecond: flops / milliseconds / 1e6,
    share: ceilings && leastMilliseconds({ bytes, flops }, ceilings) / milliseconds,
  }
}

/** The times of a case, and its rates. */
export async function measureMicro(device, ceilings, c, howOften) {
  const { inputs, f } = kinds[c.kind](c)
  const given = inputs()
  await realize(given)
  const run = compile(f)
  const times = await timed(device, () => run(...given), howOften)
  disposeTree(given)
  return { ...times, ...rates(c, times, ceilings) }
}

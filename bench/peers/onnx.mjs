// ONNX Runtime, native or in WebAssembly: inference of graphs that are written here as protocol buffers. The messages and
// their field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
import { checksum, valuesOf } from '../workloads.mjs'

function varint(n) {
  const out = []
  for (; n > 127; n = Math.floor(n / 128)) out.push((n % 128) | 0x80)
  return [...out, n]
}
const number = (field, n) => Buffer.from([...varint(field << 3), ...varint(n)])
const bytes = (field, ...parts) => {
  const body = Buffer.concat(parts.map(part => (typeof part === 'string' ? Buffer.from(part) : part)))
  return Buffer.concat([Buffer.from([...varint((field << 3) | 2), ...varint(body.length)]), body])
}
const float = 1
const valueInfo = (field, name, shape) => {
  const dims = bytes(2, ...shape.map(n => bytes(1, number(1, n))))
  return bytes(field, bytes(1, name), bytes(2, bytes(1, number(1, float), dims)))
}
const initializer = ([name, { shape, data }]) =>
  bytes(5, ...shape.map(n => number(1, n)), number(2, float), bytes(8, name), bytes(9, Buffer.from(data.buffer)))
const integers = 7
const attribute = ([name, list]) => bytes(5, bytes(1, name), ...list.map(n => number(8, n)), number(20, integers))
const node = ([op, inputs, output, attributes = {}]) =>
  bytes(
    1,
    ...inputs.map(name => bytes(1, name)),
    bytes(2, output),
    bytes(4, op),
    ...Object.entries(attributes).map(attribute),
  )

/** A model of opset 13 (IR 8): nodes [op, inputs, output, attributes]; its result is called y. */
const model = ({ nodes, constants = {}, inputs, output }) =>
  Buffer.concat([
    number(1, 8),
    bytes(8, number(2, 13)),
    bytes(
      7,
      ...nodes.map(node),
      bytes(2, 'graph'),
      ...Object.entries(constants).map(initializer),
      ...Object.entries(inputs).map(([name, { shape }]) => valueInfo(11, name, shape)),
      valueInfo(12, 'y', output),
    ),
  ])

const given = spec => ({ shape: spec.shape, data: valuesOf(spec) })
const scalars = numbers =>
  Object.fromEntries(Object.entries(numbers).map(([name, x]) => [name, { shape: [1], data: Float32Array.of(x) }]))

/** A row-major array with its axes in another order. */
function permuted({ shape, data }, axes) {
  const strides = shape.map((_, d) => shape.slice(d + 1).reduce((a, b) => a * b, 1))
  const sizes = axes.map(d => shape[d])
  const out = new Float32Array(data.length)
  const position = sizes.map(() => 0)
  let from = 0
  for (let i = 0; i < out.length; i++) {
    out[i] = data[from]
    for (let d = sizes.length - 1; d >= 0; d--) {
      from += strides[axes[d]]
      if (++position[d] < sizes[d]) break
      from -= sizes[d] * strides[axes[d]]
      position[d] = 0
    }
  }
  return { shape: sizes, data: out }
}

const operation = [
  ['Mul', ['x', 'stretch'], 'a'],
  ['Add', ['a', 'half'], 'b'],
  ['Tanh', ['b'], 'c'],
  ['Mul', ['c', 'x'], 'd'],
  ['Neg', ['d'], 'e'],
  ['Exp', ['e'], 'f'],
  ['Add', ['f', 'one'], 'g'],
  ['Sqrt', ['g'], 'h'],
  ['Sub', ['h', 'one'], 'i'],
  ['Relu', ['i'], 'j'],
  ['Sigmoid', ['j'], 'k'],
  ['Mul', ['k', 'two'], 'y'],
]
const graphs = {
  matmul({ inputs: [a, b] }) {
    const output = [...a.shape.slice(0, -1), b.shape.at(-1)]
    return { nodes: [['MatMul', ['a', 'b'], 'y']], inputs: { a: given(a), b: given(b) }, output }
  },
  chain: ({ inputs: [x] }) => ({
    nodes: operation,
    constants: scalars({ stretch: 1.01, half: 0.5, one: 1, two: 2 }),
    inputs: { x: given(x) },
    output: x.shape,
  }),
  softmax: ({ inputs: [x] }) => ({ nodes: [['Softmax', ['x'], 'y']], inputs: { x: given(x) }, output: x.shape }),
  cnn({ parameters, inputs: { image } }) {
    const p = Object.fromEntries(Object.entries(parameters).map(([name, spec]) => [name, given(spec)]))
    for (const name of ['w1', 'w2', 'w3']) p[name] = permuted(p[name], [3, 2, 0, 1])
    p.w4 = { shape: [576, 64], data: permuted({ ...p.w4, shape: [3, 3, 64, 64] }, [2, 0, 1, 3]).data }
    const pool = { kernel_shape: [2, 2], strides: [2, 2] }
    const nodes = [
      ['Conv', ['image', 'w1', 'b1'], 'c1', { kernel_shape: [3, 3] }],
      ['Relu', ['c1'], 'r1'],
      ['MaxPool', ['r1'], 'p1', pool],
      ['Conv', ['p1', 'w2', 'b2'], 'c2', { kernel_shape: [3, 3] }],
      ['Relu', ['c2'], 'r2'],
      ['MaxPool', ['r2'], 'p2', pool],
      ['Conv', ['p2', 'w3', 'b3'], 'c3', { kernel_shape: [3, 3] }],
      ['Relu', ['c3'], 'r3'],
      ['Flatten', ['r3'], 'flat'],
      ['Gemm', ['flat', 'w4', 'b4'], 'g4'],
      ['Relu', ['g4'], 'r4'],
      ['Gemm', ['r4', 'w5', 'b5'], 'y'],
    ]
    return {
      nodes,
      constants: p,
      inputs: { image: permuted(given(image), [0, 3, 1, 2]) },
      output: [image.shape[0], 10],
    }
  },
}

/** The side of one build of ONNX Runtime. */
export function onnxSide(ort, about, threads, options) {
  const prepare = async item => {
    const isForward = item.kind === 'step' && item.variant === 'forward'
    if ((!isForward && !graphs[item.kind]) || item.backward) throw new Error('inference only: no gradients')
    const graph = isForward ? graphs[item.network.kind](item.network) : graphs[item.kind](item)
    const session = await ort.InferenceSession.create(new Uint8Array(model(graph)), {
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      ...options,
    })
    const feeds = Object.fromEntries(
      Object.entries(graph.inputs).map(([name, { shape, data }]) => [name, new ort.Tensor('float32', data, shape)]),
    )
    const call = async () => (await session.run(feeds)).y.data
    return { call, check: async () => checksum(await call()), dispose: () => session.release() }
  }
  return { about, prepare }
}

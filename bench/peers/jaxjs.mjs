// jax-js with its wasm backend, steps compiled by its jit. It starts threads through the browser's Worker, which stands in
// here for Node's; relaxed SIMD is turned on as for saddlepoint. An array is consumed by what reads it: `ref` keeps it.
import v8 from 'node:v8'
import { Worker } from 'node:worker_threads'
import { checksum, valuesOf } from '../workloads.mjs'

// Node 20 has it behind a flag, which newer ones do not know.
if (process.versions.v8.startsWith('11.')) v8.setFlagsFromString('--experimental-wasm-relaxed-simd')

/** The browser's Worker of a blob URL, on a thread of Node. */
function installWorkers(threads) {
  const sources = new Map()
  const { Blob } = globalThis
  globalThis.Blob = class extends Blob {
    constructor(parts, options) {
      super(parts, options)
      this.source = parts.join('')
    }
  }
  const createObjectURL = URL.createObjectURL.bind(URL)
  URL.createObjectURL = blob => {
    const url = createObjectURL(blob)
    sources.set(url, blob.source)
    return url
  }
  const prelude = `const { parentPort } = require('node:worker_threads')
    globalThis.self = globalThis
    globalThis.postMessage = message => parentPort.postMessage(message)
    parentPort.on('message', data => self.onmessage({ data }))\n`
  globalThis.Worker = class {
    constructor(url) {
      this.worker = new Worker(prelude + sources.get(String(url)), { eval: true })
      this.worker.unref()
      this.worker.on('message', data => this.onmessage?.({ data }))
      this.worker.on('error', error => this.onerror?.(error))
    }
    postMessage(message) {
      this.worker.postMessage(message)
    }
    terminate() {
      this.worker.terminate()
    }
  }
  const navigator = { hardwareConcurrency: threads, userAgent: 'Node' }
  Object.defineProperty(globalThis, 'navigator', { value: navigator, configurable: true })
}

export async function open({ threads }) {
  if (threads > 1) installWorkers(threads)
  const jax = await import('@jax-js/jax')
  const { jit, grad, valueAndGrad, lax, nn, numpy: np, tree } = jax
  await jax.init('wasm')
  jax.defaultDevice('wasm')

  const arrayOf = spec => np.array(valuesOf(spec), { shape: spec.shape, ...(spec.below && { dtype: np.int32 }) })
  const arraysOf = specs => Object.fromEntries(Object.entries(specs).map(([name, spec]) => [name, arrayOf(spec)]))
  const mapped = (p, f) => Object.fromEntries(Object.keys(p).map(name => [name, f(name)]))
  const squares = x => np.square(x).sum()

  const functions = {
    matmul: () => np.matmul,
    chain: () => x => {
      const y = np.exp(np.negative(np.tanh(x.ref.mul(1.01).add(0.5)).mul(x)))
      return nn.sigmoid(nn.relu(np.sqrt(y.add(1)).sub(1))).mul(2)
    },
    sum: ({ backward }) => (backward ? grad(x => x.sum()) : x => x.sum()),
    softmax: ({ backward }) => pulled(x => nn.softmax(x, -1), backward),
    layerNorm: ({ backward }) => pulled(x => nn.standardize(x, -1), backward),
    dispatch: () => (y, x) => y.add(x),
  }
  const pulled = (f, backward) => (backward ? (x, cotangent) => grad(x => f(x).mul(cotangent).sum())(x) : f)

  function prepareMicro(item) {
    const inputs = item.inputs.map(arrayOf)
    const f = jit(functions[item.kind](item))
    const compute = async () => {
      if (item.kind !== 'dispatch') return f(...inputs.map(x => x.ref)).blockUntilReady()
      const [x] = inputs
      let y = x.ref
      for (let i = 0; i < item.count; i++) y = f(y, x.ref)
      return y.blockUntilReady()
    }
    return {
      call: async () => (await compute()).dispose(),
      check: async () => checksum(await (await compute()).data()),
      dispose: () => inputs.forEach(x => x.dispose()),
    }
  }

  const linear = (x, weight, bias) => np.dot(x, weight).add(bias)
  const normalise = (x, scale, shift) => nn.standardize(x, -1).mul(scale).add(shift)
  function encode(x, p, [batch, length], heads) {
    const split = (x, weight) => np.dot(x, weight).reshape([batch, length, heads, -1]).transpose([0, 2, 1, 3])
    const dim = x.shape.at(-1)
    const shape = x.shape
    const [q, k, v] = [split(x.ref, p.query), split(x.ref, p.key), split(x.ref, p.value)]
    const scores = nn.softmax(np.matmul(q, k.transpose([0, 1, 3, 2])).mul(Math.sqrt(heads / dim)), -1)
    const attended = np.matmul(scores, v).transpose([0, 2, 1, 3]).reshape(shape)
    const y = normalise(x.add(np.dot(attended, p.output)), p.scale1, p.shift1)
    const inner = nn.relu(linear(y.ref, p.up, p.upBias))
    return normalise(y.add(linear(inner, p.down, p.downBias)), p.scale2, p.shift2)
  }

  /** Images and kernels are turned to jax-js's layout before: see prepareStep. */
  const logits = {
    cnn: (p, { image }) => {
      const layer = (x, i) =>
        nn.relu(lax.convGeneralDilated(x, p[`w${i}`], [1, 1], 'VALID').add(p[`b${i}`].reshape([-1, 1, 1])))
      const pool = x => lax.reduceWindow(x, np.max, [2, 2], [2, 2])
      const features = layer(pool(layer(pool(layer(image, 1)), 2)), 3).reshape([-1, 576])
      return linear(nn.relu(linear(features, p.w4, p.b4)), p.w5, p.b5)
    },
    strided: (p, { image }, { depth }) => {
      const sides = [
        [1, 1],
        [1, 1],
      ]
      const layer = (x, i) => {
        const y = lax.convGeneralDilated(x, p[`w${i + 1}`], [2, 2], sides).add(p[`b${i + 1}`].reshape([-1, 1, 1]))
        return nn.leakyRelu(y, 0.2)
      }
      const features = Array.from({ length: depth }).reduce((x, _, i) => layer(x, i), image)
      return linear(np.mean(features, [2, 3]), p.weight, p.bias)
    },
    text: (p, { ids }, { encoder, heads, parameters, inputs }) => {
      const { shape } = inputs.ids
      const words = np.take(p.embedding, ids.reshape([-1]), 0)
      const features = encoder ? encode(words, p, shape, heads) : words
      return linear(np.mean(features.reshape([...shape, parameters.embedding.shape[1]]), 1), p.weight, p.bias)
    },
    mlp: (p, { image }, { depth }) =>
      Array.from({ length: depth }, (_, i) => i + 1).reduce((x, i) => {
        const y = linear(x, p[`w${i}`], p[`b${i}`])
        return i === depth ? y : np.tanh(y)
      }, image),
  }

  function build(network) {
    const p = arraysOf(network.parameters)
    const batch = arraysOf(network.inputs)
    if (network.kind === 'cnn') p.w4 = p.w4.reshape([3, 3, 64, 64]).transpose([2, 0, 1, 3]).reshape([576, 64])
    if (network.kind === 'cnn' || network.kind === 'strided') {
      for (const name of ['w1', 'w2', 'w3']) p[name] = p[name].transpose([3, 2, 0, 1])
      batch.image = batch.image.transpose([0, 3, 1, 2])
    }
    return { p, batch: { ...batch, label: nn.oneHot(batch.label, network.classes) } }
  }

  /** Adam on a tree of arrays. */
  function adam(p, slopes, { mean, square, t: before }, rate) {
    const [beta1, beta2] = [0.9, 0.999]
    const t = before.add(1)
    const correction = beta => np.subtract(1, np.exp(t.ref.mul(Math.log(beta))))
    const [c1, c2] = [correction(beta1), correction(beta2)]
    const m = mapped(p, k => mean[k].mul(beta1).add(slopes[k].ref.mul(1 - beta1)))
    const v = mapped(p, k => square[k].mul(beta2).add(np.square(slopes[k]).mul(1 - beta2)))
    const updated = mapped(p, k => {
      const root = np.sqrt(v[k].ref.div(c2.ref)).add(1e-8)
      return p[k].sub(m[k].ref.div(c1.ref).div(root).mul(rate))
    })
    c1.dispose()
    c2.dispose()
    return [updated, { mean: m, square: v, t }]
  }

  function prepareStep({ network, variant }) {
    const { p, batch } = build(network)
    const forward = (p, batch) => logits[network.kind](p, batch, network)
    if (variant === 'forward') {
      const f = jit((p, image) => forward(p, { image }))
      const call = () => f(tree.ref(p), batch.image.ref).data()
      return { call, check: async () => checksum(await call()) }
    }
    const loss = (p, { label, ...batch }) =>
      nn
        .logSoftmax(forward(p, batch))
        .mul(label)
        .sum()
        .mul(-1 / network.inputs.label.shape[0])
    const { attack, penalty } = network
    const penalised = (at, x) => {
      const [value, slope] = valueAndGrad(at)(x)
      return value.add(squares(slope).mul(penalty))
    }
    const ofImage = (p, { image, label }) => [x => loss(p, { image: x, label }), image]
    const ofEmbedding = (p, batch) => [embedding => loss({ ...p, embedding }, batch), p.embedding]
    const losses = {
      plain: loss,
      FGSM: (p, { image, label }) => {
        const [at] = ofImage(tree.ref(p), { image, label: label.ref })
        const moved = image.ref.add(np.sign(grad(at)(image.ref)).mul(attack.stepSize))
        const attacked = loss(tree.ref(p), { image: lax.stopGradient(moved), label: label.ref })
        return loss(p, { image, label }).add(attacked.mul(attack.multiplier))
      },
      FGM: (p, batch) => {
        const [at, embedding] = ofEmbedding(tree.ref(p), tree.ref(batch))
        const slope = grad(at)(embedding)
        const shift = slope.ref.mul(attack.stepSize).div(np.sqrt(squares(slope)).add(1e-12))
        const moved = p.embedding.ref.add(lax.stopGradient(shift))
        const attacked = loss({ ...tree.ref(p), embedding: moved }, tree.ref(batch))
        return loss(p, batch).add(attacked)
      },
      penalty: (p, batch) => penalised(...(network.kind === 'text' ? ofEmbedding : ofImage)(p, batch)),
    }
    // Its jit fails on the gradient of a gather ("routine primitive scatter input is not imm"): texts run eagerly.
    const compiled = network.kind === 'text' ? f => f : jit
    const step = compiled((p, state, batch) => {
      const [value, slopes] = valueAndGrad(p => losses[variant](p, batch))(tree.ref(p))
      return [...adam(p, slopes, state, network.rate), value]
    })
    const zeros = () => mapped(p, k => np.zeros(p[k].shape))
    let now = [p, { mean: zeros(), square: zeros(), t: np.array([0]) }]
    const call = async () => {
      const [params, state, value] = step(...now, tree.ref(batch))
      now = [params, state]
      await jax.blockUntilReady(params)
      await jax.blockUntilReady(state)
      const [number] = await value.data()
      return number
    }
    return { call, check: call }
  }

  return {
    about: '0.1.25, wasm with relaxed SIMD; jit, but not of texts',
    prepare: item => (item.kind === 'step' ? prepareStep(item) : prepareMicro(item)),
  }
}

// TensorFlow.js with its wasm backend, run eagerly as it always is. In Node that backend has one thread.
import { createRequire } from 'node:module'
import { dirname } from 'node:path'
import { checksum, valuesOf } from '../workloads.mjs'

const require = createRequire(import.meta.url)
const tf = require('@tensorflow/tfjs')
const backend = '@tensorflow/tfjs-backend-wasm'
require(backend).setWasmPaths(`${dirname(require.resolve(backend))}/`)

const tensorOf = spec => tf.tensor(valuesOf(spec), spec.shape, spec.below === undefined ? 'float32' : 'int32')
const mapped = (specs, f) => Object.fromEntries(Object.entries(specs).map(([name, spec]) => [name, f(spec)]))

/** A constant to every derivative. */
const held = tf.customGrad(x => ({ value: x.clone(), gradFunc: cotangent => tf.zerosLike(cotangent) }))

function layerNorm(x, scale, shift) {
  const centred = x.sub(x.mean(-1, true))
  const y = centred.div(centred.square().mean(-1, true).add(1e-5).sqrt())
  return scale ? y.mul(scale).add(shift) : y
}
/** f, or with a cotangent its pull. */
const pulled = f => (x, cotangent) => (cotangent ? tf.grad(f)(x, cotangent) : f(x))
const functions = {
  matmul: () => (a, b) => tf.matMul(a, b),
  chain: () => x => x.mul(1.01).add(0.5).tanh().mul(x).neg().exp().add(1).sqrt().sub(1).relu().sigmoid().mul(2),
  sum: ({ backward }) => (backward ? tf.grad(x => x.sum()) : x => x.sum()),
  softmax: () => pulled(x => tf.softmax(x)),
  layerNorm: () => pulled(x => layerNorm(x)),
  dispatch:
    ({ count }) =>
    x =>
      Array.from({ length: count }).reduce(y => y.add(x), x),
}

function prepareMicro(item) {
  const inputs = item.inputs.map(tensorOf)
  const f = functions[item.kind](item)
  const compute = () => tf.tidy(() => f(...inputs))
  const disposed = async use => {
    const y = compute()
    const result = await use(y)
    y.dispose()
    return result
  }
  return {
    call: () => disposed(() => undefined),
    check: () => disposed(async y => checksum(await y.data())),
    dispose: () => tf.dispose(inputs),
  }
}

const linear = (x, weight, bias) => tf.matMul(x, weight).add(bias)

function encode(x, p, [batch, length], heads) {
  const split = weight => tf.matMul(x, weight).reshape([batch, length, heads, -1]).transpose([0, 2, 1, 3])
  const [q, k, v] = [p.query, p.key, p.value].map(split)
  const scores = tf.softmax(tf.matMul(q, k, false, true).mul(1 / Math.sqrt(q.shape[3])))
  const attended = tf.matMul(scores, v).transpose([0, 2, 1, 3]).reshape(x.shape)
  const y = layerNorm(x.add(tf.matMul(attended, p.output)), p.scale1, p.shift1)
  return layerNorm(y.add(linear(linear(y, p.up, p.upBias).relu(), p.down, p.downBias)), p.scale2, p.shift2)
}

const logits = {
  cnn: (p, { image }) => {
    const layer = (x, i) => tf.conv2d(x, p[`w${i}`], 1, 'valid').add(p[`b${i}`]).relu()
    const pool = x => tf.maxPool(x, 2, 2, 'valid')
    const features = layer(pool(layer(pool(layer(image, 1)), 2)), 3)
    return linear(linear(features.reshape([-1, 576]), p.w4, p.b4).relu(), p.w5, p.b5)
  },
  strided: (p, { image }, { depth }) => {
    const layer = (x, i) => tf.leakyRelu(tf.conv2d(x, p[`w${i + 1}`], 2, 1).add(p[`b${i + 1}`]), 0.2)
    const features = Array.from({ length: depth }).reduce((x, _, i) => layer(x, i), image)
    return linear(features.mean([1, 2]), p.weight, p.bias)
  },
  text: (p, { ids }, { encoder, heads }) => {
    const words = tf.gather(p.embedding, ids.flatten())
    const features = encoder ? encode(words, p, ids.shape, heads) : words
    return linear(features.reshape([...ids.shape, -1]).mean(1), p.weight, p.bias)
  },
  mlp: (p, { image }, { depth }) =>
    Array.from({ length: depth }, (_, i) => i + 1).reduce((x, i) => {
      const y = linear(x, p[`w${i}`], p[`b${i}`])
      return i === depth ? y : y.tanh()
    }, image),
}

function prepareStep({ network, variant }) {
  const p = mapped(network.parameters, spec => tf.variable(tensorOf(spec)))
  const batch = mapped(network.inputs, tensorOf)
  const dispose = () => tf.dispose([p, batch])
  const forward = (p, batch) => logits[network.kind](p, batch, network)
  if (variant === 'forward') {
    const call = async () => {
      const y = tf.tidy(() => forward(p, batch))
      const data = await y.data()
      y.dispose()
      return data
    }
    return { call, check: async () => checksum(await call()), dispose }
  }
  const hot = tf.oneHot(batch.label, network.classes).toFloat()
  const loss = (p, batch) => tf.losses.softmaxCrossEntropy(hot, forward(p, batch))
  const { attack, penalty } = network
  const penalised = (at, x) => {
    const { value, grad } = tf.valueAndGrad(at)(x)
    return value.add(grad.square().sum().mul(penalty))
  }
  const ofEmbedding = embedding => loss({ ...p, embedding }, batch)
  const ofImage = image => loss(p, { ...batch, image })
  const losses = {
    plain: () => loss(p, batch),
    FGSM: () => {
      const moved = batch.image.add(tf.grad(ofImage)(batch.image).sign().mul(attack.stepSize))
      return ofImage(batch.image).add(ofImage(held(moved)).mul(attack.multiplier))
    },
    FGM: () => {
      const slope = tf.grad(ofEmbedding)(p.embedding)
      const shift = slope.mul(attack.stepSize).div(slope.norm().add(1e-12))
      return ofEmbedding(p.embedding).add(ofEmbedding(p.embedding.add(held(shift))))
    },
    penalty: () => (network.kind === 'text' ? penalised(ofEmbedding, p.embedding) : penalised(ofImage, batch.image)),
  }
  const optimizer = tf.train.adam(network.rate)
  const call = async () => {
    const value = optimizer.minimize(losses[variant], true, Object.values(p))
    const [number] = await value.data()
    value.dispose()
    return number
  }
  return { call, check: call, dispose }
}

export async function open() {
  await tf.setBackend('wasm')
  await tf.ready()
  return {
    about: `${tf.version.tfjs}, wasm, one thread`,
    threads: 1,
    prepare: item => (item.kind === 'step' ? prepareStep(item) : prepareMicro(item)),
  }
}

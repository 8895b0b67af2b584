// The networks of workloads.mjs in saddlepoint: parameters are a tree of named arrays, a loss is a function of them and the
// inputs, and a step is one Adam step on the loss, plain or robust.
import {
  conv2d,
  grad,
  leakyRelu,
  maxPool2d,
  moveaxis,
  scaledDotProductAttention,
  stopGradient,
  take,
  tensor,
  valueAndGrad,
} from 'saddlepoint'
import { adversarialRegularization } from 'saddlepoint/adversarial'
import { crossEntropy, LayerNorm } from 'saddlepoint/nn'
import { adam } from 'saddlepoint/optim'
import { valuesOf } from './workloads.mjs'

export const tensorOf = spec => tensor(valuesOf(spec), { shape: spec.shape })
export const tensorsOf = specs => Object.fromEntries(Object.entries(specs).map(([name, s]) => [name, tensorOf(s)]))

const linear = (x, weight, bias) => x.matmul(weight).add(bias)
const layerNorm = (x, weight, bias) => Object.assign(new LayerNorm(x.shape.at(-1)), { weight, bias }).apply(x)

/** x [batch, length, dim] through one block of a transformer, normalised after each sum. */
function encode(x, p, heads) {
  const split = y => moveaxis(y.reshape([...y.shape.slice(0, -1), heads, y.shape.at(-1) / heads]), -2, -3)
  const [q, k, v] = [p.query, p.key, p.value].map(weight => split(x.matmul(weight)))
  const attended = moveaxis(scaledDotProductAttention(q, k, v), -3, -2).reshape(x.shape)
  const y = layerNorm(x.add(attended.matmul(p.output)), p.scale1, p.shift1)
  return layerNorm(y.add(linear(linear(y, p.up, p.upBias).relu(), p.down, p.downBias)), p.scale2, p.shift2)
}

/** For each kind of network, the logits [batch, classes]. */
const logits = {
  cnn: (p, { image }) => {
    const layer = (x, i) => conv2d(x, p[`w${i}`]).add(p[`b${i}`]).relu()
    const features = layer(maxPool2d(layer(maxPool2d(layer(image, 1), 2), 2), 2), 3)
    return linear(linear(features.reshape([-1, 576]), p.w4, p.b4).relu(), p.w5, p.b5)
  },
  strided: (p, { image }, { depth }) => {
    const layer = (x, i) => leakyRelu(conv2d(x, p[`w${i + 1}`], { stride: 2, padding: 1 }).add(p[`b${i + 1}`]), 0.2)
    const features = Array.from({ length: depth }).reduce((x, _, i) => layer(x, i), image)
    return linear(features.mean({ axis: [1, 2] }), p.weight, p.bias)
  },
  text: (p, { ids }, { encoder, heads }) => {
    const words = take(p.embedding, ids)
    return linear((encoder ? encode(words, p, heads) : words).mean({ axis: 1 }), p.weight, p.bias)
  },
  mlp: (p, { image }, { depth }) =>
    Array.from({ length: depth }, (_, i) => i + 1).reduce((x, i) => {
      const y = linear(x, p[`w${i}`], p[`b${i}`])
      return i === depth ? y : y.tanh()
    }, image),
}

export const forward = network => (params, batch) => logits[network.kind](params, batch, network)
const lossOf = network => (params, batch) => crossEntropy(forward(network)(params, batch), batch.label)

/** L + penalty · ‖∂L/∂x‖², x the input or parameter of that name. */
const penalised = (at, x, penalty) => {
  const [value, slope] = valueAndGrad(at)(x)
  return value.add(slope.square().sum().mul(penalty))
}

/** For each variant, the loss that is minimised. */
const losses = {
  plain: lossOf,
  FGSM: network => adversarialRegularization({ ...network.attack, norm: 'linf' })(lossOf(network)),
  FGM: network => (params, batch) => {
    const at = embedding => lossOf(network)({ ...params, embedding }, batch)
    const [value, slope] = valueAndGrad(at)(params.embedding)
    const shift = slope.mul(slope.square().sum().sqrt().add(1e-12).reciprocal().mul(network.attack.stepSize))
    return value.add(at(params.embedding.add(stopGradient(shift))))
  },
  penalty: network => (params, batch) => {
    const loss = lossOf(network)
    return network.kind === 'text'
      ? penalised(embedding => loss({ ...params, embedding }, batch), params.embedding, network.penalty)
      : penalised(image => loss(params, { ...batch, image }), batch.image, network.penalty)
  },
}

/** The initial state of an item of kind 'step', its inputs, and (params, state, batch) -> { params, state, value }. */
export function buildStep({ network, variant }) {
  const optimizer = adam({ learningRate: network.rate })
  const isFrozen = ([name]) => network.frozen?.includes(name) ?? false
  const all = Object.entries(tensorsOf(network.parameters))
  const frozen = Object.fromEntries(all.filter(isFrozen))
  const params = Object.fromEntries(all.filter(entry => !isFrozen(entry)))
  const loss = losses[variant](network)
  const step = (params, state, batch) => {
    const [value, slopes] = valueAndGrad(p => loss({ ...frozen, ...p }, batch, { training: true }))(params)
    return { ...optimizer.update(slopes, state, params), value }
  }
  return { initial: { params, state: optimizer.init(params) }, batch: tensorsOf(network.inputs), step }
}

/** Σ of the logits differentiated `order` times in the direction v of the image: (params, batch, v) -> a number. */
export const directional =
  ({ network, order }) =>
  (params, batch, v) => {
    const f = image => forward(network)(params, { ...batch, image }).sum()
    const derived = g => x => grad(g)(x).mul(v).sum()
    return Array.from({ length: order }).reduce(derived, f)(batch.image)
  }

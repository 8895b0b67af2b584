// This library's side of the benchmark: prepares an item of workloads.mjs and hands out a function that runs it once.
import { compile, grad, leaves, matmul, realize, setDevice, softmax, vjp } from 'saddlepoint'
import { LayerNorm } from 'saddlepoint/nn'
import * as compiler from '../dist/internals.js'
import { countsOf } from './counting.mjs'
import { buildStep, directional, forward, tensorOf, tensorsOf } from './networks.mjs'
import { checksum } from './workloads.mjs'

/** f, or with a cotangent behind x the pull of it: forward and backward. */
const pulled = f => (x, cotangent) => (cotangent ? vjp(f, x)[1](cotangent)[0] : f(x))
/** For each kind of micro-benchmark, the function that is compiled. */
const functions = {
  matmul: () => matmul,
  chain: () => x => x.mul(1.01).add(0.5).tanh().mul(x).neg().exp().add(1).sqrt().sub(1).relu().sigmoid().mul(2),
  sum: ({ backward }) => (backward ? grad(x => x.sum()) : x => x.sum()),
  softmax: () => pulled(x => softmax(x)),
  layerNorm: () => pulled(x => new LayerNorm(x.shape.at(-1)).apply(x)),
  dispatch: () => (y, x) => y.add(x),
}

async function prepareMicro(item) {
  const inputs = item.inputs.map(tensorOf)
  await realize(inputs)
  const f = compile(functions[item.kind](item))
  const { count = 1 } = item
  const [x, ...rest] = inputs
  const compute = async () => {
    if (item.kind !== 'dispatch') return f(x, ...rest)
    let y = x
    for (let i = 0; i < count; i++) {
      const next = await f(y, x)
      if (y !== x) y.dispose()
      y = next
    }
    return y
  }
  return {
    call: async () => (await compute()).dispose(),
    check: async () => checksum(await (await compute()).data()),
  }
}

/** The numbers that the item's step makes, one a call: the loss of a step, the checksum of a forward pass. */
async function prepareStep(item) {
  if (item.variant === 'forward') return prepareForward(item)
  const { initial, batch, step } = buildStep(item)
  await realize(initial, batch)
  const compiled = compile(step, { donate: [0, 1] })
  let now = initial
  const call = async () => {
    const { value, ...next } = await compiled(now.params, now.state, batch)
    now = next
    const loss = await value.item()
    value.dispose()
    return loss
  }
  return {
    call,
    check: call,
    counts: () => countsOf(compiler, leaves(step(now.params, now.state, batch))),
  }
}

async function prepareForward({ network }) {
  const [params, batch] = [network.parameters, network.inputs].map(tensorsOf)
  await realize(params, batch)
  const compiled = compile(forward(network))
  const compute = async () => {
    const y = await compiled(params, batch)
    const data = await y.data()
    y.dispose()
    return data
  }
  return {
    call: compute,
    check: async () => checksum(await compute()),
    counts: () => countsOf(compiler, leaves(forward(network)(params, batch))),
  }
}

async function prepareOrder(item) {
  const [params, batch] = [item.network.parameters, item.network.inputs].map(tensorsOf)
  const direction = tensorOf({ ...item.network.inputs.image, seed: 77 })
  await realize(params, batch, direction)
  const f = directional(item)
  const compiled = compile(f)
  const call = async () => {
    const y = await compiled(params, batch, direction)
    const value = await y.item()
    y.dispose()
    return value
  }
  return { call, check: call, counts: () => countsOf(compiler, [f(params, batch, direction)]) }
}

export async function open({ threads }) {
  const device = await setDevice('wasm', { threads })
  return {
    about: device.description,
    prepare: item =>
      item.kind === 'step' ? prepareStep(item) : item.kind === 'order' ? prepareOrder(item) : prepareMicro(item),
  }
}

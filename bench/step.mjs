// One training step of the tutorial network (batch 32, Adam), plain, with adversarial regularisation and with an input
// gradient penalty: median milliseconds, compiled and not, and the share of building and planning the graph in it.
//   npm run build && node bench/step.mjs [--threads N]
import { cpus } from 'node:os'
import { compile, random, realize, setDevice, stats, tensor, valueAndGrad } from 'saddlepoint'
import { adversarialRegularization } from 'saddlepoint/adversarial'
import { Conv2d, crossEntropy, Flatten, Linear, MaxPool2d, Sequential } from 'saddlepoint/nn'
import { adam } from 'saddlepoint/optim'
import { argumentsOf, orComplain } from './arguments.mjs'
import { median } from './statistics.mjs'

/** The engine compiles its own code anew in the first hundred. */
const [warmUp, steps] = [100, 60]
const { values: options } = await argumentsOf('step', {
  usage: 'node bench/step.mjs [options]',
  about:
    'Milliseconds of a step of the tutorial network, compiled and not, and the share of building and planning in it.',
  options: { threads: { type: 'string', value: 'n', about: 'threads of the device, 1 to 64 (default: one per core)' } },
})
const threads = options.threads && Number(options.threads)
const device = await orComplain('step', () => setDevice('wasm', { threads }))
console.log(`Node ${process.version}, ${cpus()[0].model}, ${cpus().length} cores; ${device.description}`)

const relu = x => x.relu()
const keys = random.split(random.key(0), 5)
const model = new Sequential([
  new Conv2d(1, 32, 3, { key: keys.at(0) }),
  relu,
  new MaxPool2d(2),
  new Conv2d(32, 64, 3, { key: keys.at(1) }),
  relu,
  new MaxPool2d(2),
  new Conv2d(64, 64, 3, { key: keys.at(2) }),
  relu,
  new Flatten(),
  new Linear(576, 64, { key: keys.at(3) }),
  relu,
  new Linear(64, 10, { key: keys.at(4) }),
])
const batch = {
  image: random.uniform(random.key(1), [32, 28, 28, 1]),
  label: tensor(Int32Array.from({ length: 32 }, (_, i) => i % 10)),
}
await realize(model, batch)

const context = { training: true }
const clean = (model, { image, label }) => crossEntropy(model.apply(image, context), label)
const losses = {
  plain: clean,
  regularised: adversarialRegularization({ multiplier: 0.2, stepSize: 0.2, norm: 'linf' })(clean),
  penalised: (model, batch) => {
    const [value, slope] = valueAndGrad(image => clean(model, { ...batch, image }))(batch.image)
    return value.add(slope.square().sum().mul(0.1))
  },
}
const optimizer = adam({ learningRate: 1e-3 })

console.log('loss          compiled  uncompiled  building  planning  share of both, uncompiled   first step')
for (const [name, loss] of Object.entries(losses)) {
  const step = (params, state, batch) => {
    const [value, slopes] = valueAndGrad(m => loss(m, batch, context))(params)
    return { ...optimizer.update(slopes, state, params), value }
  }
  const initial = async () => {
    const state = { params: model, state: optimizer.init(model) }
    await realize(state)
    return state
  }
  const compiled = compile(step)
  let now = await initial()
  const began = performance.now()
  now = await compiled(now.params, now.state, batch)
  const first = performance.now() - began
  const times = { compiled: [], uncompiled: [], building: [], planning: [] }
  for (let i = 0; i < warmUp + steps; i++) {
    let start = performance.now()
    now = await compiled(now.params, now.state, batch)
    times.compiled.push(performance.now() - start)

    start = performance.now()
    const planned = stats.millisecondsPlanning
    const next = step(now.params, now.state, batch)
    const built = performance.now()
    await realize(next)
    times.uncompiled.push(performance.now() - start)
    times.building.push(built - start)
    times.planning.push(stats.millisecondsPlanning - planned)
    now = next
  }
  const [c, u, b, p] = ['compiled', 'uncompiled', 'building', 'planning'].map(k => median(times[k].slice(warmUp)))
  const cell = (n, width) => n.toFixed(2).padStart(width)
  console.log(
    `${name.padEnd(12)} ${cell(c, 6)} ms ${cell(u, 8)} ms ${cell(b, 6)} ms ${cell(p, 6)} ms ${cell((100 * (b + p)) / u, 18)} % ${first.toFixed(0).padStart(18)} ms`,
  )
}
await device.close()

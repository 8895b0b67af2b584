// Where the time of a training step goes: each kernel, and the step's wall time split into what was done in it.
//   npm run profile -- cnn-fgsm [--device wasm|webgpu|reference] [--threads n] [--steps n] [--compiled] [--trace file]
import { writeFileSync } from 'node:fs'
import { chromeTrace, compile, printProfile, profile, realize, setDevice, stats } from 'saddlepoint'
import { argumentsOf, checkFile, checkThreads, orComplain } from './arguments.mjs'
import { buildStep } from './networks.mjs'
import { cnn, mlp, strided, text } from './workloads.mjs'

const networks = {
  cnn: [cnn(), 'plain', 'FGSM', 'penalty'],
  strided: [strided(), 'plain', 'penalty'],
  'text-mean': [text({ encoder: false }), 'plain', 'FGM', 'penalty'],
  'text-encoder': [text({ encoder: true }), 'plain', 'FGM', 'penalty'],
  mlp: [mlp(), 'plain'],
}
const examples = Object.fromEntries(
  Object.entries(networks).flatMap(([name, [network, ...variants]]) =>
    variants.map(variant => [variant === 'plain' ? name : `${name}-${variant.toLowerCase()}`, { network, variant }]),
  ),
)

const settings = {
  device: { type: 'string', default: 'wasm', value: 'name', about: 'wasm, webgpu or reference' },
  threads: { type: 'string', value: 'n', about: 'threads of the device, 1 to 64 (default: one per core)' },
  steps: { type: 'string', default: '10', value: 'n', about: 'steps that are measured, after some to warm up' },
  compiled: { type: 'boolean', default: false, about: 'measures compile(step)' },
  trace: { type: 'string', value: 'file', about: 'writes all kernels there, for chrome://tracing or ui.perfetto.dev' },
}
const { values: options, positionals } = await argumentsOf('profile', {
  usage: 'npm run profile -- <example> [options]',
  about: `Where the time of a training step goes. Examples: ${Object.keys(examples).join(', ')}.`,
  options: settings,
  most: 1,
})
const [example] = positionals
const steps = Number(options.steps)
if (!(Number.isInteger(steps) && steps > 0)) {
  console.error(`profile: --steps must be an integer > 0, not ${options.steps}`)
  process.exit(2)
}
if (!Object.hasOwn(examples, example ?? '')) {
  console.error(`profile: ${example === undefined ? 'no example given' : `unknown example '${example}'`}; one of:`)
  for (const name of Object.keys(examples)) console.error(`  ${name}`)
  process.exit(2)
}
await orComplain('profile', () => {
  if (options.threads !== undefined) checkThreads([options.threads])
  if (options.trace !== undefined) checkFile('--trace', options.trace)
})
/** Warming up takes at least so many steps and so long: in the background an engine compiles anew what takes long. */
const least = options.device === 'reference' ? { steps: 1, milliseconds: 0 } : { steps: 3, milliseconds: 1500 }

const threads = options.threads === undefined ? {} : { threads: Number(options.threads) }
const device = await orComplain('profile', () => setDevice(options.device, threads))
const { initial, batch, step: plain } = buildStep(examples[example])
const step = options.compiled ? compile(plain) : plain
let { params, state } = initial
await realize(params, state, batch)

const split = { wall: 0, building: 0, planning: 0 }
async function advance() {
  const began = performance.now()
  const planned = stats.millisecondsPlanning
  const made = step(params, state, batch)
  if (!options.compiled) split.building += performance.now() - began
  const next = await made
  await realize(next)
  // What a device computes in the background ends before its result is read.
  await next.value.item()
  split.planning += stats.millisecondsPlanning - planned
  split.wall += performance.now() - began
  ;({ params, state } = next)
}
let warmUp = 0
const began = performance.now()
while (warmUp < least.steps || performance.now() - began < least.milliseconds) {
  await advance()
  warmUp++
}
for (const part of Object.keys(split)) split[part] = 0
const { profile: measured } = await profile(async () => {
  for (let i = 0; i < steps; i++) await advance()
})

console.log(printProfile(measured))
const sum = list => list.reduce((a, b) => a + b, 0)
const times = measured.kernels
const kernels = sum(times.map(k => k.milliseconds))
const waiting = ({ milliseconds, threads = [] }) =>
  sum(threads.map(t => (milliseconds - t.milliseconds) / threads.length))
const idle = sum(times.map(waiting))
// A step is one run: what lies between its kernels are barriers, or launches.
const between = sum(
  times.map((k, i) =>
    i % (times.length / steps) === 0 ? 0 : k.start - times[i - 1].start - times[i - 1].milliseconds,
  ),
)
const { wall, building, planning } = split
const parts = {
  'graph building': building,
  planning,
  kernels: kernels - idle,
  idle,
  'between kernels': between,
  'the rest': wall - building - planning - kernels - between,
}
console.log(`\n${example}, ms a step, mean of ${steps} after ${warmUp} to warm up: ${(wall / steps).toFixed(2)}`)
for (const [part, time] of Object.entries(parts))
  console.log(
    `${part.padEnd(15)} ${(time / steps).toFixed(3).padStart(10)} ${((100 * time) / wall).toFixed(1).padStart(6)} %`,
  )
if (options.trace) writeFileSync(options.trace, chromeTrace(measured))
await device.close()

// Measures a GPU with saddlepoint, and PyTorch on the same one: a line for each figure as it comes, all of them as JSON.
// README.md says how to run it; micro.mjs has single operations, steps.mjs training steps, torch_peer.py the peer.
import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { compile, namedLeaves, realize, setDevice } from 'saddlepoint'
import { effort } from './measure.mjs'
import { checkedCases, measureMicro, microCases, rates } from './micro.mjs'
import { buildBatch, buildModel, specs, trained } from './networks.mjs'
import { measureStep, robustLoss, settings, variants } from './steps.mjs'

const { values: options } = parseArgs({
  options: {
    device: { type: 'string', default: 'webgpu' },
    software: { type: 'boolean', default: false },
    smoke: { type: 'boolean', default: false },
    only: { type: 'string' },
    minutes: { type: 'string', default: '60' },
    json: { type: 'string' },
    python: { type: 'string', default: 'python3' },
    'torch-cpu': { type: 'boolean', default: false },
  },
})
const { smoke, software } = options
const only = options.only?.split(',')
const isWanted = section => !only || only.includes(section)
const howOften = effort(smoke)
const began = performance.now()
const minutesGone = () => (performance.now() - began) / 60_000

/** What a program prints, or null where it does not run. */
function output(command, ...args) {
  try {
    return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  } catch {
    return null
  }
}

const peerRuns =
  isWanted('torch') &&
  output(
    options.python,
    '-c',
    `import torch; assert ${options['torch-cpu'] ? 'True' : 'torch.cuda.is_available()'}`,
  ) !== null
/** The peer has the last two fifths of the time. */
const limit = Number(options.minutes) * (peerRuns ? 0.6 : 1)

const report = {
  date: new Date().toISOString(),
  options,
  node: process.version,
  cpu: `${cpus()[0].model}, ${cpus().length} cores`,
  saddlepoint: JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')).version,
  nvidia: output('nvidia-smi', '--query-gpu=name,driver_version,memory.total,clocks.max.sm', '--format=csv,noheader'),
  device: '',
  settings,
  ceilings: null,
  results: [],
  notStarted: [],
}
/** After each figure, so that a run that is ended leaves what it has. */
const save = () => options.json && writeFileSync(options.json, `${JSON.stringify(report, null, 1)}\n`)

const number = (value, digits) => (value == null ? '-' : value.toFixed(digits))
const columns = [
  ['kernel ms', r => number(r.kernel, 3)],
  ['wall ms', r => number(r.wall, 3)],
  ['GB/s', r => number(r.gigabytesPerSecond, 1)],
  ['GFLOP/s', r => number(r.gigaflopsPerSecond, 1)],
  ['ceiling', r => (r.share == null ? '-' : `${(100 * r.share).toFixed(0)}%`)],
  ['kernels', r => number(r.kernels, 0)],
  ['first ms', r => number(r.first, 0)],
  // Of a peer's row: its wall time to that of saddlepoint; above 1 saddlepoint is faster.
  ['peer', r => (r.ratio === undefined ? '' : `${number(r.ratio, 2)}x`)],
]
const line = (section, name, cells) =>
  console.log([section.padEnd(9), name.padEnd(46), ...cells.map(c => c.padStart(10))].join(' '))

function add(row) {
  report.results.push(row)
  save()
  if (row.error) line(row.section, row.name, [row.error.split('\n')[0]])
  else if (row.loss) line(row.section, row.name, [`the loss is ${row.loss}, in saddlepoint ${row.expected}`])
  else
    line(
      row.section,
      row.name,
      columns.map(([, cell]) => cell(row)),
    )
}

let device
async function open(extra = {}) {
  await device?.close()
  device = await setDevice(options.device, { ...(software && { software }), ...extra })
  // Also the ceilings: a device measures them before its first profile.
  if (device.ceilings) report.ceilings ??= await device.ceilings()
}

/** Runs f unless the time is over; an error becomes a row, and the rest gets a device that works. */
async function measured(section, name, f, extra) {
  if (minutesGone() > limit) return void report.notStarted.push(`${section}: ${name}`)
  try {
    add({ section, name, ...(await f()) })
  } catch (error) {
    add({ section, name, error: error instanceof Error ? error.message : String(error) })
    // Where that fails, the next measurement says so.
    await open(extra).catch(() => {})
  }
}

const nets = smoke ? specs.small : specs.full
const steps = trained(smoke).flatMap(([net, batchSize]) =>
  variants.map(variant => ({
    section: 'step',
    kind: 'step',
    name: `${net}, batch ${batchSize}, ${variant}`,
    spec: nets[net],
    variant,
    batchSize,
  })),
)
const cases = [...microCases(smoke), ...steps]

const measureCase = c =>
  c.kind === 'step' ? measureStep(device, c, howOften) : measureMicro(device, report.ceilings, c, howOften)

/** Weights, batches and losses of small networks, for the peer to compute the same. */
async function exportChecks(folder) {
  const checks = []
  for (const [net, spec] of Object.entries(specs.checked)) {
    const model = buildModel(spec)
    const batch = buildBatch(spec, 8)
    await realize(model, batch)
    const arrays = []
    for (const { name, tensor } of namedLeaves({ model, batch })) {
      const file = `${net}.${name}.bin`
      writeFileSync(join(folder, file), await tensor.data())
      arrays.push({ name, file, dtype: tensor.dtype, shape: tensor.shape })
    }
    const losses = {}
    for (const variant of variants)
      losses[variant] = await (await compile(robustLoss(spec, variant))(model, batch, { training: true })).item()
    checks.push({ net, spec, arrays, losses })
  }
  return checks
}

/** Starts PyTorch on the cases, in the order of sections, and takes its rows as they come. */
function runPeer(folder, checks) {
  const chosen = sections.filter(isWanted).flatMap(section => cases.filter(c => c.section === section))
  const script = fileURLToPath(new URL('torch_peer.py', import.meta.url))
  const seconds = Math.round(60 * (Number(options.minutes) - minutesGone()))
  const args = [script, '--folder', folder, '--limit', `${seconds}`, ...(options['torch-cpu'] ? ['--cpu'] : [])]
  // The last measurement may run past the limit, but not for ever.
  const peer = spawn(options.python, args, { stdio: ['pipe', 'pipe', 'inherit'], timeout: 1000 * (seconds + 120) })
  peer.stdin.on('error', () => {})
  peer.stdin.end(JSON.stringify({ howOften, settings, checks, cases: chosen }))
  createInterface({ input: peer.stdout }).on('line', text => {
    const { about, case: index, ...row } = JSON.parse(text)
    if (about) report.torch = about
    else add({ section: 'torch', ...row, ...(row.wall && compared(chosen[index], row)) })
  })
  return new Promise((resolve, reject) => {
    peer.on('error', reject)
    peer.on('close', (code, signal) =>
      code === 0 ? resolve() : reject(new Error(`torch_peer.py ended with ${code ?? signal}`)),
    )
  })
}

/** What a peer's row says of a case: rates, and its time to that of saddlepoint. */
function compared(c, row) {
  const own = report.results.find(r => r.section === c.section && r.name === c.name)
  const ratio = own?.wall && row.wall / own.wall
  return { ...(c.kind !== 'step' && rates(c, row, report.ceilings)), ratio }
}

const sections = ['matmul', 'step', 'trusted', 'conv', 'chain', 'normalise', 'embedding', 'reduce', 'sort']
await open()
report.device = device.description
console.log(`${device.description}; ${report.nvidia ?? 'no nvidia-smi'}; Node ${process.version}; ${report.cpu}`)
if (report.ceilings) {
  const { bytesPerSecond, flopsPerSecond } = report.ceilings
  console.log(
    `ceilings: ${(bytesPerSecond / 1e9).toFixed(1)} GB/s, ${(flopsPerSecond / 1e9).toFixed(1)} GFLOP/s (float32)`,
  )
}
line(
  'section',
  'name',
  columns.map(([title]) => title),
)

const folder = mkdtempSync(join(tmpdir(), 'saddlepoint-bench-'))
let checks = []
if (peerRuns) {
  try {
    checks = await exportChecks(folder)
  } catch (error) {
    add({ section: 'check', name: 'losses', error: String(error) })
    await open()
  }
}
for (const section of sections.filter(isWanted)) {
  // A fresh device has no memory from before.
  await open()
  if (section === 'trusted' && options.device === 'webgpu') {
    // The same with and without Dawn's checks, one after the other.
    for (const trusted of [false, true]) {
      await open({ trusted })
      for (const c of [...checkedCases(smoke), steps.find(s => s.variant === 'plain')])
        await measured(section, `${c.name}, ${trusted ? 'trusted' : 'checked'}`, () => measureCase(c), { trusted })
    }
  }
  for (const c of cases.filter(c => c.section === section))
    await measured(section, c.name, async () => {
      if (section === 'step' && !smoke) await open()
      return measureCase(c)
    })
}
await device.close()

if (peerRuns) {
  try {
    await runPeer(folder, checks)
  } catch (error) {
    add({ section: 'torch', name: 'peer', error: String(error) })
  }
}
rmSync(folder, { recursive: true })
if (report.notStarted.length) console.log(`not started for lack of time: ${report.notStarted.length} measurements`)
report.minutes = minutesGone()
save()

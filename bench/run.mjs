// The benchmark of the CPU: micro-benchmarks, training steps and growth, beside the peers that are installed. See README.md.
//   npm run bench -- --help
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { argumentsOf, checkFile, checkThreads, orComplain } from './arguments.mjs'
import { ceilings } from './ceilings.mjs'
import { growthTable, itemTable, startupTable, threadsOf, writeDocs } from './report.mjs'
import { findSides, hasBenchmark, peerNames, Side } from './sides.mjs'
import { boundOf, consensus, disagreement, median, paired, slope } from './statistics.mjs'
import { growth, micro, steps } from './workloads.mjs'

const sections = ['startup', 'micro', 'steps', 'growth']
const { values: options } = await argumentsOf('bench', {
  about: 'The benchmark of the CPU, beside the peers that are installed.',
  options: {
    only: { type: 'string', default: sections.join(), value: 'list', about: 'sections' },
    threads: {
      type: 'string',
      default: [...new Set([1, Math.min(2, cpus().length)])].join(),
      value: 'list',
      about: 'numbers of threads, each 1 to 64',
    },
    quick: { type: 'boolean', default: false, about: 'measures less often' },
    json: {
      type: 'string',
      default: fileURLToPath(new URL('../out/bench.json', import.meta.url)),
      value: 'file',
      about: 'where the figures go',
    },
    docs: { type: 'boolean', default: false, about: 'writes the tables into docs/performance.md' },
    peers: { type: 'string', value: 'list', about: `of ${peerNames.join(', ')} (default: those that are installed)` },
    python: {
      type: 'string',
      value: 'program',
      about: 'the Python that has PyTorch (default: the first of this machine)',
    },
  },
})
const chosen = options.only.split(',')
const threadCounts = options.threads.split(',').map(Number)
const wantedPeers = options.peers?.split(',')
await orComplain('bench', () => {
  const unknown = chosen.filter(name => !sections.includes(name))
  if (unknown.length) throw new Error(`--only: no section ${unknown.join(', ')}; there are ${sections.join(', ')}`)
  checkThreads(options.threads.split(','))
  const strangers = (wantedPeers ?? []).filter(name => !peerNames.includes(name))
  if (strangers.length)
    throw new Error(`--peers: no peer '${strangers.join("', '")}'; there are ${peerNames.join(', ')}`)
  if (chosen.includes('micro') && !hasBenchmark())
    throw new Error(
      'Benchmark.js is not installed: npm ci --prefix bench/peers --ignore-scripts, or --only steps,growth',
    )
  checkFile('--json', options.json)
})

/** Rounds of pairs, and the milliseconds of a side in each. */
const effort = options.quick ? { rounds: 3, milliseconds: 100, starts: 1 } : { rounds: 5, milliseconds: 300, starts: 5 }

const { own, ceiling, peers } = findSides(options.python)
const installed = peers.filter(({ name, command }) => command && (wantedPeers?.includes(name) ?? true))
const report = {
  cpu: cpus()[0].model,
  cores: cpus().length,
  node: process.version,
  date: new Date().toISOString().slice(0, 10),
  quick: options.quick,
  threads: threadCounts,
  about: {},
  ceilings: [],
  startup: [],
  items: [],
  growth: [],
}
const save = () => {
  mkdirSync(dirname(options.json), { recursive: true })
  writeFileSync(options.json, JSON.stringify(report, null, 1))
}

console.log(`${report.cpu}, ${report.cores} cores; Node ${report.node}`)
const missing = peers.filter(peer => !peer.command).map(peer => peer.name)
if (missing.length) console.log(`not installed: ${missing.join(', ')}`)
for (const threads of threadCounts) {
  const c = await ceilings(threads, options.quick ? 5 : 15)
  report.ceilings.push(c)
  const kind = c.relaxed ? 'fused multiply-add (relaxed SIMD)' : 'multiply + add'
  const [flops, bytes] = [c.flopsPerSecond, c.bytesPerSecond].map(n => (n / 1e9).toFixed(1))
  console.log(`ceilings, ${threadsOf(threads)}: ${flops} GFLOP/s ${kind}, copy ${bytes} GB/s`)
}

/** A side's process; undefined, and noted, where it does not start or has not so many threads. */
async function started(side, threads) {
  try {
    const one = await Side.start(side, threads)
    if (one.about) report.about[side.name] ??= one.about
    if (one.threads === threads) return one
    await one.stop()
  } catch (error) {
    if (side === own || side === ceiling) throw error
    report.about[side.name] ??= `does not start: ${error.message}`
  }
}

/** The sides on so many threads: the ceiling, ours, the peers. */
async function startSides(threads, wanted = installed) {
  const sides = []
  for (const side of [ceiling, own, ...wanted]) sides.push(await started(side, threads))
  return sides.filter(side => side !== undefined)
}

/** One round of a side, milliseconds of each call: Benchmark.js decides how many are enough unless `calls` says so. */
const roundOf = async (side, calls) =>
  (await (calls ? side.ask('round', { calls }) : side.ask('sample', { seconds: effort.milliseconds / 1000 }))).times

/** A call so long, in milliseconds, is measured alone and less often. */
const long = 2000

/** As many calls of a step as fill a round, after some that warm the code up; undefined leaves it to Benchmark.js. */
async function callsFor(side, item, last) {
  if (last > long) return 1
  if (item.kind !== 'step' && item.kind !== 'order') return undefined
  await side.ask('round', { calls: 2 })
  const { times } = await side.ask('round', { calls: 3 })
  return Math.max(2, Math.min(200, Math.round(effort.milliseconds / median(times))))
}

/** Ours and a peer by turns, A B A B. */
async function compare(ours, peer, item, calls, last) {
  const theirCalls = await callsFor(peer, item, last)
  const rounds = []
  for (let i = 0; i < (last > long ? 2 : effort.rounds); i++)
    rounds.push([await roundOf(ours, calls), await roundOf(peer, theirCalls)])
  return rounds
}

/** Prepares an item on all sides: their answers, or why there is none. What most agree on is right; PyTorch decides ties. */
async function answersOf(item, sides) {
  const answers = new Map()
  for (const side of sides)
    answers.set(side.name, await side.ask('prepare', { item }).catch(error => ({ cannot: error.message })))
  const order = new Set(['PyTorch', ...answers.keys()])
  const given = [...order].flatMap(name => (answers.get(name)?.values ? [answers.get(name).values] : []))
  const expected = given.length ? consensus(given) : []
  for (const answer of answers.values()) if (answer.values) answer.wrong = disagreement(answer.values, expected)
  return answers
}

/** Calls of a ceiling's task in a round. */
const ceilingCalls = 16

/** The share of the ceiling that an item reaches, both by turns. */
async function shareOfCeiling(ours, most, calls, row) {
  const { task, work } = boundOf(
    row,
    report.ceilings.find(c => c.threads === row.threads),
  )
  if (!work) return undefined
  const { values } = await most.ask('prepare', { item: { task } })
  const rounds = []
  for (let i = 0; i < effort.rounds; i++) {
    const { times } = await most.ask('round', { calls: ceilingCalls })
    rounds.push([await roundOf(ours, calls), times])
  }
  return work / values[0] / paired(rounds).ratio
}

async function measureItem(section, item, [most, ours, ...others], threads) {
  const sides = [ours, ...others]
  const answers = await answersOf(item, sides)
  const { first, last, counts, cannot, wrong } = answers.get(ours.name)
  const row = { section, name: item.name, threads, first, flops: item.flops, bytes: item.bytes, ...counts, peers: {} }
  row.wrong = cannot ?? wrong
  const calls = row.wrong ? 0 : await callsFor(ours, item, last)
  const times = []
  for (const peer of others) {
    const { cannot, wrong, last } = answers.get(peer.name)
    row.peers[peer.name] = { cannot, wrong }
    if (cannot || wrong || row.wrong) continue
    const rounds = await compare(ours, peer, item, calls, last)
    row.peers[peer.name] = paired(rounds)
    times.push(...rounds.flatMap(([a]) => a))
  }
  if (!times.length && !row.wrong) for (let i = 0; i < effort.rounds; i++) times.push(...(await roundOf(ours, calls)))
  row.ours = times.length ? median(times) : undefined
  if (!row.wrong) row.share = await shareOfCeiling(ours, most, calls, row)
  report.items.push(row)
  save()
  return row
}

/** Milliseconds that `import 'saddlepoint'` takes in a fresh process. */
function timeImport() {
  const code = "const start = performance.now(); await import('saddlepoint'); console.log(performance.now() - start)"
  const here = fileURLToPath(new URL('.', import.meta.url))
  return Number(execFileSync(process.execPath, ['--input-type=module', '-e', code], { cwd: here, encoding: 'utf8' }))
}

/** Fresh processes: milliseconds until the library is loaded, and of the tutorial network's first step. */
async function measureStartup(item) {
  for (const side of [own, ...installed]) {
    const runs = []
    for (let i = 0; i < effort.starts; i++) {
      const one = await started(side, 1)
      if (!one) break
      const first = await one.ask('prepare', { item }).then(
        reply => reply.first,
        () => undefined,
      )
      runs.push({ imported: side === own ? timeImport() : undefined, opened: one.opened, first })
      await one.stop()
    }
    if (!runs.length) continue
    const of = field => (runs[0][field] === undefined ? undefined : median(runs.map(run => run[field])))
    report.startup.push({ name: side.name, imported: of('imported'), opened: of('opened'), first: of('first') })
  }
}

async function measureGrowth() {
  const threads = Math.max(...threadCounts)
  const timeOf = async (side, item) => {
    const { counts, last } = await side.ask('prepare', { item })
    const calls = await callsFor(side, item, last)
    const times = []
    for (let i = 0; i < effort.rounds; i++) times.push(...(await side.ask('round', { calls })).times)
    return { ms: median(times), ...counts }
  }
  const side = await started(own, threads)
  const families = []
  for (const { family, what, points } of growth) {
    const measured = []
    for (const { size, item } of points) measured.push({ size, ...(await timeOf(side, item)) })
    families.push({ family, what, threads, points: measured })
  }
  await side.stop()
  const overThreads = []
  for (let n = 1; n <= Math.min(8, report.cores); n *= 2) {
    const side = await started(own, n)
    overThreads.push({ size: n, ...(await timeOf(side, steps[1])) })
    await side.stop()
  }
  families.push({ family: 'threads', what: steps[1].name, points: overThreads })
  report.growth = families.map(f => ({
    ...f,
    slopes: Object.fromEntries(['ms', 'flops', 'bytes'].map(y => [y, slope(f.points.map(p => [p.size, p[y]]))])),
  }))
  save()
}

const plain = steps.find(item => item.name === 'CNN, plain')
if (chosen.includes('startup')) {
  await measureStartup(plain)
  console.log(`\n${startupTable(report)}`)
}
for (const [section, items] of Object.entries({ micro, steps })) {
  if (!chosen.includes(section)) continue
  for (const threads of threadCounts) {
    const sides = await startSides(threads)
    for (const item of items) {
      const row = await measureItem(section, item, sides, threads)
      process.stderr.write(`${section}, ${threads}: ${row.name} ${row.wrong ?? `${row.ours.toFixed(2)} ms`}\n`)
    }
    for (const side of sides) await side.stop()
    console.log(`\n${itemTable(report, section, threads)}`)
  }
}
if (chosen.includes('growth')) {
  await measureGrowth()
  console.log(`\n${growthTable(report)}`)
}
for (const [name, about] of Object.entries(report.about)) console.log(`${name}: ${about}`)
save()
if (options.docs) await writeDocs(report)

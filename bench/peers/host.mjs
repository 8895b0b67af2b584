// A side in a process of its own: node host.mjs MODULE THREADS. Requests and replies are lines of JSON; the state of the
// item that was prepared last stays warm between requests. pytorch.py speaks the same.
//   prepare { item } -> { first, last, values, counts? }   round { calls } -> { times }   sample { seconds } -> { times }
import { createInterface } from 'node:readline'

const [module, threads] = process.argv.slice(2)
const reply = message => process.stdout.write(`${JSON.stringify(message)}\n`)
// Libraries may greet: stdout is for replies.
console.log = console.info = console.error

const start = performance.now()
let prepared

/** Benchmark.js on the item: seconds per call of each of its samples. */
async function sample(seconds) {
  const { default: Benchmark } = await import('benchmark')
  return new Promise((resolve, reject) => {
    const fail = error => reject(error instanceof Error ? error : new Error(String(error)))
    const options = {
      defer: true,
      maxTime: seconds,
      minTime: seconds / 10,
      minSamples: 5,
      fn: deferred => prepared.call().then(() => deferred.resolve(), fail),
      onComplete: ({ target }) => (target.error ? fail(target.error) : resolve(target.stats.sample.map(s => 1000 * s))),
    }
    new Benchmark(options).run({ async: true })
  })
}

async function timed(call) {
  const began = performance.now()
  const result = await call()
  return { result, ms: performance.now() - began }
}

const commands = {
  async prepare(side, { item }) {
    prepared?.dispose?.()
    prepared = undefined
    prepared = await side.prepare(item)
    // The first call, with all that is compiled or set up for it; a training step goes on to its next losses.
    const { result, ms: first } = await timed(prepared.check)
    const values = [result]
    let last = first
    while (values.length < (item.checks ?? 1)) {
      const check = await timed(prepared.check)
      values.push(check.result)
      last = check.ms
    }
    return { first, last, values, counts: prepared.counts?.() }
  },
  async round(_side, { calls }) {
    const times = []
    for (let i = 0; i < calls; i++) times.push((await timed(prepared.call)).ms)
    return { times }
  },
  async sample(_side, { seconds }) {
    return { times: await sample(seconds) }
  },
}

let side
try {
  const { open } = await import(module)
  side = await open({ threads: Number(threads) })
  reply({ opened: performance.now() - start, about: side.about, threads: side.threads ?? Number(threads) })
} catch (error) {
  reply({ error: String(error?.message ?? error) })
  process.exit(0)
}
for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...request } = JSON.parse(line)
  try {
    reply(await commands[command](side, request))
  } catch (error) {
    reply({ error: String(error?.message ?? error).split('\n')[0] })
  }
}
process.exit(0)

// The regression guard that does not time: what the compiler makes of each benchmark step, in test/project/counts.json.
//   npm run counts [-- --write]
import { existsSync, readFileSync, realpathSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { leaves, realize } from 'saddlepoint'
import { argumentsOf } from './arguments.mjs'
import { countsOf } from './counting.mjs'
import { buildStep, forward, tensorsOf } from './networks.mjs'
import { sparseStep, steps } from './workloads.mjs'

export const file = new URL('../test/project/counts.json', import.meta.url)
export const recorded = () => JSON.parse(readFileSync(file, 'utf8'))

/** The results of one run of an item, not computed. */
async function expressions(item) {
  if (item.variant === 'forward') {
    const [params, batch] = [item.network.parameters, item.network.inputs].map(tensorsOf)
    await realize(params, batch)
    return forward(item.network)(params, batch)
  }
  const { initial, batch, step } = buildStep(item)
  await realize(initial, batch)
  return step(initial.params, initial.state, batch)
}

/** The counts of every benchmark step, by name. */
export async function counts(compiler) {
  const all = {}
  for (const item of [...steps, sparseStep]) all[item.name] = countsOf(compiler, leaves(await expressions(item)))
  return all
}

/** A line for each count that differs: old and new. */
export function differences(old, now) {
  const names = [...new Set([...Object.keys(old), ...Object.keys(now)])]
  return names.flatMap(name => {
    if (!old[name] || !now[name]) return [`${name}: ${old[name] ? 'is gone' : 'is new'}`]
    return Object.keys(now[name]).flatMap(field =>
      old[name][field] === now[name][field] ? [] : [`${name}: ${field} ${old[name][field]} -> ${now[name][field]}`],
    )
  })
}

async function main(write) {
  const now = await counts(await import('../dist/internals.js'))
  console.table(now)
  if (write) writeFileSync(file, `${JSON.stringify(now, null, 2)}\n`)
  else for (const line of differences(recorded(), now)) console.log(line)
}

/** Whether Node was started with this file, perhaps by a link to it. */
const isStarted = ([, script = '']) => existsSync(script) && realpathSync(script) === fileURLToPath(import.meta.url)

if (isStarted(process.argv)) {
  const { values } = await argumentsOf('counts', {
    about: 'What the compiler makes of each benchmark step, and where that differs from test/project/counts.json.',
    options: { write: { type: 'boolean', default: false, about: 'writes the counts there instead' } },
  })
  await main(values.write)
}

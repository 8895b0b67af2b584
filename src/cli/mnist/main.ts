/**
 * Around the main job: reads the command line, makes sure that the results can be written before hours are spent on them,
 * prints, and writes the report.
 */

import { resolve } from 'node:path'
import { writeWhole } from '../../data/atomic.js'
import { type Mnist, mnist } from '../../data/mnist.js'
import type { Device } from '../../runtime/device.js'
import { exitCode, session } from '../session.js'
import { formatTable } from '../table.js'
import { parameters } from '../tasks/network.js'
import { checkFile, checkFolder } from '../writable.js'
import { runJob } from './job.js'
import {
  caveats,
  explanation,
  type Run,
  resultColumns,
  resultRows,
  settings as rowsOf,
  writeReport,
} from './report/index.js'
import { parseSettings, type Settings, stepsInWords } from './settings.js'

/** Runs the command and returns its exit code. */
export const main = (args: readonly string[]): Promise<number> => exitCode(run(args))

async function run(args: readonly string[]): Promise<void> {
  const settings = parseSettings(args)
  await checkFolder('--out', settings.out)
  if (settings.json !== undefined) await checkFile('--json', settings.json)
  const data = await mnist({ folder: settings.data })
  checkSize(settings, data)
  await session(settings, (device, signal) => work(settings, data, device, signal))
}

async function work(settings: Settings, data: Mnist, device: Device, signal: AbortSignal): Promise<void> {
  const { out, json } = settings
  const steps = stepsInWords(settings)
  const planned: Run = { ...settings, steps, device: device.name, threads: device.threads, secondsTotal: 0, models: [] }
  for (const [name, value] of rowsOf(planned)) if (name !== 'Time in all') console.log(`${name.padEnd(24)}${value}`)
  console.log(`${'Parameters'.padEnd(24)}${parameters.toLocaleString('en-US')}\n`)

  const notes: string[] = []
  const { run, curves, samples } = await runJob(settings, data, { device, signal, note: line => notes.push(line) })
  console.log(`\n${formatTable(resultColumns, resultRows(run))}\n`)
  for (const line of [explanation, ...caveats(run), ...notes]) console.log(`${line}\n`)
  if (json !== undefined) await writeWhole(json, `${JSON.stringify(resultsOf(run), null, 2)}\n`)
  const files = await writeReport(out, run, curves, samples)
  for (const file of [...files, ...(json === undefined ? [] : [json])]) console.log(`wrote ${resolve(file)}`)
}

/** What --json writes. */
export const resultsOf = ({ device, threads, seed, train, test, epochs, secondsTotal, models }: Run) => ({
  device,
  threads,
  seed,
  train,
  test,
  epochs,
  secondsTotal,
  models,
})

function checkSize({ train, test }: Settings, data: Mnist): void {
  for (const [name, asked, there] of [
    ['train', train, data.train.shape[0]],
    ['test', test, data.test.shape[0]],
  ] as const)
    if (asked > there) throw new Error(`--${name} ${asked}: there are ${there} such images; ask for at most ${there}`)
}

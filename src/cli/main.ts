/**
 * Around the main job: reads the command line, makes sure that the results can be written before hours are spent on them,
 * listens to Ctrl-C, prints, and writes the report. Exit codes: 0, 1 for a failure, 2 for a wrong command line, 130 for
 * Ctrl-C.
 */

import { existsSync, statSync } from 'node:fs'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { writeWhole } from '../data/atomic.js'
import { type Mnist, mnist } from '../data/mnist.js'
import { type Device, setDevice } from '../runtime/device.js'
import { Interrupted, runJob } from './job.js'
import { parameters } from './network.js'
import {
  caveats,
  explanation,
  formatTable,
  type Run,
  resultColumns,
  resultRows,
  settings as rowsOf,
  writeReport,
} from './report/index.js'
import { CommandLineEnd, parseSettings, type Settings } from './settings.js'

/** Runs the command and returns its exit code. */
export async function main(args: readonly string[]): Promise<number> {
  const stop = new AbortController()
  const onInterrupt = (): void => {
    console.error('\nstopping after this step; Ctrl-C again ends at once')
    stop.abort()
  }
  process.once('SIGINT', onInterrupt)
  let device: Device | undefined
  try {
    const settings = parseSettings(args)
    await checkWritable(settings)
    const data = await mnist({ folder: settings.data })
    checkSize(settings, data)
    device = await openDevice(settings)
    await work(settings, data, device, stop.signal)
    return 0
  } catch (error) {
    if (error instanceof CommandLineEnd) return error.exitCode
    const interrupted = error instanceof Interrupted
    console.error(`${interrupted ? '' : 'error: '}${error instanceof Error ? error.message : error}`)
    return interrupted ? 130 : 1
  } finally {
    process.removeListener('SIGINT', onInterrupt)
    await device?.close()
  }
}

/** The device asked for; where that is a GPU and there is none, the same device in software, with a word about it. */
async function openDevice({ device, threads }: Settings): Promise<Device> {
  try {
    return await setDevice(device, { threads })
  } catch (error) {
    if (device !== 'webgpu' || process.env.SADDLEPOINT_SOFTWARE === 'no') throw error
    console.error(`${error instanceof Error ? error.message : error}\n`)
    const software = await setDevice(device, { software: true })
    console.error('going on with a driver in software: many times slower than the device wasm\n')
    return software
  }
}

async function work(settings: Settings, data: Mnist, device: Device, signal: AbortSignal): Promise<void> {
  const { out, json } = settings
  const planned: Run = { ...settings, device: device.name, threads: device.threads, secondsTotal: 0, models: [] }
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

/** Finds out before training whether the results can be written after it. */
async function checkWritable({ out, json }: Settings): Promise<void> {
  const attempt = async (option: string, path: string, write: () => Promise<unknown>): Promise<void> => {
    try {
      await write()
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : cause
      throw new Error(`${option}: cannot write ${path}: ${why}: choose another place`, { cause })
    }
  }
  await attempt('--out', out, () => probe(out))
  if (json !== undefined)
    await attempt('--json', json, async () => {
      if (existsSync(json) && !statSync(json).isFile()) throw new Error('it is there, and no file')
      await probe(dirname(json))
    })
}

/** Makes a folder where it is missing, and a file in it, which it removes. */
async function probe(folder: string): Promise<void> {
  await makeFolder(folder)
  const file = join(folder, `.probe-${process.pid}`)
  await writeFile(file, '')
  await rm(file)
}

/** Makes a folder and those above it; mkdir's own `recursive` never returns where the kernel refuses, as in /proc. */
async function makeFolder(path: string): Promise<void> {
  if (existsSync(path)) return
  if (dirname(path) !== path) await makeFolder(dirname(path))
  await mkdir(path)
}

function checkSize({ train, test }: Settings, data: Mnist): void {
  for (const [name, asked, there] of [
    ['train', train, data.train.shape[0]],
    ['test', test, data.test.shape[0]],
  ] as const)
    if (asked > there) throw new Error(`--${name} ${asked}: there are ${there} such images; ask for at most ${there}`)
}

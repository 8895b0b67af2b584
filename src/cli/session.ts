/** What every command needs around its work: a device that is given back, an ear for Ctrl-C, and exit codes. */

import { CommanderError } from 'commander'
import { type Device, setDevice } from '../runtime/device.js'
import { saysNo } from '../runtime/environment.js'
import { type Progress, percentages } from '../train/progress.js'
import type { DeviceSettings } from './options.js'

/** A command was told to stop; the message says what is lost and what is kept. */
export class Interrupted extends Error {}

/** Runs a command on the device it asks for. The first Ctrl-C aborts the signal, the second one ends the process. */
export async function session<T>(
  settings: DeviceSettings,
  work: (device: Device, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const stop = new AbortController()
  const onInterrupt = (): void => {
    console.error('\nstopping after this step; Ctrl-C again ends at once')
    stop.abort()
  }
  process.once('SIGINT', onInterrupt)
  let device: Device | undefined
  try {
    device = await openDevice(settings)
    return await work(device, stop.signal)
  } finally {
    process.removeListener('SIGINT', onInterrupt)
    await device?.close()
  }
}

/** The device asked for; where that is a GPU and there is none, the same device in software, with a word about it. */
async function openDevice({ device, threads }: DeviceSettings): Promise<Device> {
  try {
    return await setDevice(device, { threads })
  } catch (error) {
    if (device !== 'webgpu' || saysNo('SADDLEPOINT_SOFTWARE')) throw error
    console.error(`${error instanceof Error ? error.message : error}\n`)
    const software = await setDevice(device, { software: true })
    console.error('going on with a driver in software: many times slower than the device wasm\n')
    return software
  }
}

/** The exit code of a command: 0, 1 for a failure, 2 for a wrong command line, 130 for Ctrl-C; an error is printed. */
export async function exitCode(command: Promise<unknown>): Promise<number> {
  try {
    await command
    return 0
  } catch (error) {
    // Commander has printed the text, which may be the help that was asked for.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
    const interrupted = error instanceof Interrupted
    console.error(`${interrupted ? '' : 'error: '}${error instanceof Error ? error.message : error}`)
    return interrupted ? 130 : 1
  }
}

/** One progress bar after another, each of a label and a share from 0 to 1. */
export function bars(): { update(label: string, share: number): void; stop(): void } {
  let current: { label: string; shown: Promise<Progress> } | undefined
  const stop = (): void => void current?.shown.then(bar => bar.stop())
  return {
    update(label, share) {
      if (current?.label !== label) {
        stop()
        current = { label, shown: percentages(label) }
      }
      void current.shown.then(bar => bar.update(Math.floor(100 * share)))
    },
    stop,
  }
}

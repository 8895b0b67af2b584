/**
 * Tensors that nobody holds any more give their memory back when the garbage collector finds them, and it does not know
 * how large they are. When much memory is in use, this asks it to look.
 */

import type { Device } from './device.js'

const firstLimit = 256 * 2 ** 20
const limits = new WeakMap<Device, number>()

/** Node's collector, which is reachable without a command-line flag; undefined elsewhere. */
async function collector(): Promise<(() => void) | undefined> {
  const { gc, process } = globalThis as { gc?: () => void; process?: { versions?: { node?: string } } }
  if (gc) return gc
  if (!process?.versions?.node) return undefined
  const [v8, vm] = await Promise.all([import('node:v8'), import('node:vm')])
  v8.setFlagsFromString('--expose-gc')
  return vm.runInNewContext('gc') as () => void
}

/** When the event loop last had a turn, as far as this file knows. */
let lastTurn = 0

/**
 * Gives the event loop a turn if it had none for a tenth of a second: a program that only awaits computations would
 * otherwise never run finalizers, timers or the handler of Ctrl-C.
 */
export async function takeTurn(): Promise<void> {
  if (performance.now() - lastTurn < 100) return
  await new Promise(resolve => setTimeout(resolve, 0))
  lastTurn = performance.now()
}

let collect: Promise<(() => void) | undefined> | undefined

/** Whether so much is in use that garbage should be looked for before more is allocated. */
export const isUnderPressure = (device: Device): boolean => device.bytesInUse > (limits.get(device) ?? firstLimit)

/** Collects garbage and lets the finalizers run; the next time is when twice as much as is left is in use. */
export async function relievePressure(device: Device): Promise<void> {
  collect ??= collector()
  const gc = await collect
  if (gc) {
    gc()
    // Finalizers run as tasks of their own.
    await new Promise(resolve => setTimeout(resolve, 0))
  }
  limits.set(device, Math.max(firstLimit, 2 * device.bytesInUse))
}

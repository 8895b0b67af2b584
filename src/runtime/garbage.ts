/**
 * Tensors that nobody holds any more give their memory back when the garbage collector finds them, and it does not know
 * how large they are. When much memory is in use, this asks it to look.
 */

import type { Device } from './device.js'
import { node } from './environment.js'
import { turn } from './turns.js'

const firstLimit = 256 * 2 ** 20
const limits = new WeakMap<Device, number>()

/** Node's collector, which is reachable without a command-line flag; undefined elsewhere. */
function collector(): (() => void) | undefined {
  const { gc } = globalThis as { gc?: () => void }
  if (gc) return gc
  if (!node) return undefined
  node.getBuiltinModule('v8').setFlagsFromString('--expose-gc')
  return node.getBuiltinModule('vm').runInNewContext('gc') as () => void
}

let collect: (() => void) | undefined

/** Whether so much is in use that garbage should be looked for before more is allocated. */
export const isUnderPressure = (device: Device): boolean => device.bytesInUse > (limits.get(device) ?? firstLimit)

/** Collects garbage and lets the finalizers run; the next time is when twice as much as is left is in use. */
export async function relievePressure(device: Device): Promise<void> {
  collect ??= collector()
  if (collect) {
    collect()
    // Finalizers run as tasks of their own, some turns later and not all at once.
    for (let quiet = 0; quiet < 3; ) {
      const before = device.bytesInUse
      await turn()
      quiet = device.bytesInUse === before ? quiet + 1 : 0
    }
  }
  limits.set(device, Math.max(firstLimit, 2 * device.bytesInUse))
}

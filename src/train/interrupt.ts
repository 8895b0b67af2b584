/** Requests to stop a long job at its next safe point. */

import { node } from '../runtime/environment.js'

export interface Interrupt {
  readonly requested: boolean
  /** Leaves signals alone again. */
  release(): void
}

/**
 * Watches for an abort and, if `sigint`, for the first Ctrl-C. The second one finds no handler and ends the process, as
 * it always does.
 */
export function interrupts(sigint: boolean, signal?: AbortSignal): Interrupt {
  let pressed = false
  const onSignal = (): void => {
    pressed = true
  }
  const listened = sigint ? node : undefined
  listened?.once('SIGINT', onSignal)
  return {
    get requested() {
      return pressed || signal?.aborted === true
    },
    release() {
      listened?.removeListener('SIGINT', onSignal)
    },
  }
}

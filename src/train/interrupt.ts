/** Requests to stop a long job at its next safe point. */

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
  const listens = sigint && typeof process !== 'undefined'
  if (listens) process.once('SIGINT', onSignal)
  return {
    get requested() {
      return pressed || signal?.aborted === true
    },
    release() {
      if (listens) process.removeListener('SIGINT', onSignal)
    },
  }
}

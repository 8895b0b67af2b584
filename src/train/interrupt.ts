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

/** Lets waiting events, Ctrl-C among them, be seen: a promise alone does not leave the current task. */
export const breathe = (): Promise<void> =>
  new Promise(resolve => {
    if (typeof setImmediate === 'function') setImmediate(resolve)
    else setTimeout(resolve)
  })

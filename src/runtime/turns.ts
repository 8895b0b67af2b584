/**
 * Turns of the event loop. A promise alone does not leave the current task, so a program that only awaits computations
 * has to give them.
 */

let last = 0

/** One turn: events that wait, Ctrl-C among them, are seen; timers and finalizers run. */
export const turn = (): Promise<void> =>
  new Promise(resolve => {
    const end = (): void => {
      last = performance.now()
      resolve()
    }
    if (typeof setImmediate === 'function') setImmediate(end)
    else setTimeout(end)
  })

/** Whether there was no turn for a tenth of a second. */
export const isTurnDue = (): boolean => performance.now() - last >= 100

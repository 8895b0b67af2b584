/**
 * Turns of the event loop. A promise alone does not leave the current task, so a program that only awaits computations
 * has to give them.
 */

/** One turn: events that wait, Ctrl-C among them, are seen; timers and finalizers run. */
export const turn = (): Promise<void> =>
  new Promise(resolve => {
    if (typeof setImmediate === 'function') setImmediate(resolve)
    else setTimeout(resolve)
  })

let last = 0

/** A turn, if there was none for a tenth of a second. */
export async function turnWhenDue(): Promise<void> {
  if (performance.now() - last < 100) return
  await turn()
  last = performance.now()
}

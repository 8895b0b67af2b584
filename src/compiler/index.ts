/** What the runtime asks of the compiler. It is loaded when something is first computed, not with the library. */

export { canonicalize } from './canonical.js'
export { printSchedule } from './kernel.js'
export { schedule } from './schedule.js'

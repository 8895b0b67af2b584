/** Checks of derivatives against finite differences, for those who write functions or rules of their own. */

import '../tensor/methods.js'

export { type CheckGradsOptions, checkGrads } from './grads.js'

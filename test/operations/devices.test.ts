/** Every operation and its gradients to order 3 on `wasm` against `reference`, in float32 and float64. */

import * as sp from 'saddlepoint'
import { afterAll } from 'vitest'
import { comparesOperations } from './parity.js'

const reference = await sp.setDevice('reference')
const wasm = await sp.setDevice('wasm', { threads: 1 })
afterAll(() => Promise.all([reference.close(), wasm.close()]))

comparesOperations(reference, wasm, { float64: { bound: 1e-12, order: 3 }, float32: { bound: 2e-5, order: 3 } })

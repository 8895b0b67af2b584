/**
 * Every operation and its gradients to order 3 on `webgpu` against `reference`; of float64, which it computes in
 * software, the values.
 */

import * as sp from 'saddlepoint'
import { afterAll } from 'vitest'
import { comparesOperations } from '../operations/parity.js'

const reference = await sp.setDevice('reference')
const webgpu = await sp.setDevice('webgpu', { software: true })
afterAll(() => Promise.all([reference.close(), webgpu.close()]))

comparesOperations(reference, webgpu, { float64: { bound: 1e-12, order: 0 }, float32: { bound: 2e-5, order: 3 } })

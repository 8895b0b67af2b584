/** What the engine that runs this has: instructions, and flags that turn them on. */

import { node } from '../../environment.js'
import { encodeModule, Func } from './assembler.js'

/** Whether an instruction exists: a module that uses it is valid. */
function supports(emit: (f: Func) => void): boolean {
  const f = new Func('probe', [])
  emit(f)
  const memory = { initial: 1, maximum: 1, shared: false }
  return WebAssembly.validate(encodeModule({ imports: [], functions: [f], exports: [], memory, globals: 0 }))
}

const zeros = new Uint8Array(16)
export const hasSimd = (): boolean => supports(f => f.v128(zeros).v128(zeros).op('f32x4.add', 'drop'))
export const hasRelaxedSimd = (): boolean =>
  supports(f => f.v128(zeros).v128(zeros).v128(zeros).op('f32x4.relaxed_madd', 'drop'))

const relaxedFlag = '--experimental-wasm-relaxed-simd'

/** Turns relaxed SIMD on where Node has it behind a flag; returns the flags that workers need too. */
export function enableRelaxedSimd(): string[] {
  if (hasRelaxedSimd() || !node) return []
  node.getBuiltinModule('v8').setFlagsFromString(relaxedFlag)
  return [relaxedFlag]
}

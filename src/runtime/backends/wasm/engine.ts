/** What the engine that runs this has: instructions, and flags that turn them on. */

import { node } from '../../environment.js'
import { encodeModule, Func } from './assembler.js'

/** A module that does nothing. */
const empty = { imports: [], functions: [], exports: [], memory: { initial: 1, maximum: 1, shared: false }, globals: 0 }

/** Whether an instruction exists: a module that uses it is valid. An engine may be without WebAssembly. */
function supports(emit: (f: Func) => void): boolean {
  if (typeof WebAssembly === 'undefined') return false
  const f = new Func('probe', [])
  emit(f)
  return WebAssembly.validate(encodeModule({ ...empty, functions: [f] }))
}

/** Whether modules may be compiled: a page's policy can forbid it. */
export function mayCompile(): boolean {
  try {
    new WebAssembly.Module(encodeModule(empty))
    return true
  } catch {
    return false
  }
}

const zeros = new Uint8Array(16)
export const hasSimd = (): boolean => supports(f => f.v128(zeros).v128(zeros).op('f32x4.add', 'drop'))
export const hasRelaxedSimd = (): boolean =>
  supports(f => f.v128(zeros).v128(zeros).v128(zeros).op('f32x4.relaxed_madd', 'drop'))

/** Whether this thread may wait for another asleep: a page's own may not. */
export function canSleep(): boolean {
  try {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 1)
    return true
  } catch {
    return false
  }
}

/** What code may use of an engine. */
export interface Features {
  /** Relaxed SIMD, hence a fused multiply-add. */
  readonly relaxed: boolean
  /** Whether the engine joins neighbouring vectors in pairs to some of 256 bits. */
  readonly paired: boolean
}

/** What relaxed SIMD is behind in Node 20, before version 12 of V8; the newest do not know the flag. */
const relaxedFlag = '--experimental-wasm-relaxed-simd'
const relaxedSince = 12
const pairingFlag = '--experimental-wasm-revectorize'
/** The first major version of V8 whose revectorization reaches the loops of this library: that of Node 24. */
const pairingSince = 13

/**
 * Turns on relaxed SIMD where Node has it behind a flag, and V8's revectorization if it is wanted; what there is then, and
 * the flags that workers need too.
 */
export function enableFeatures(revectorize: boolean): Features & { readonly flags: readonly string[] } {
  const flags: string[] = []
  const version = Number.parseInt(node?.versions.v8 ?? '', 10)
  if (version < relaxedSince && !hasRelaxedSimd()) flags.push(relaxedFlag)
  if (revectorize) {
    if (node?.arch !== 'x64' || version < pairingSince)
      throw new Error(
        'wasm: revectorize needs Node 24 or newer on a processor of x64; leave it out, or unset SADDLEPOINT_REVECTORIZE',
      )
    flags.push(pairingFlag)
  }
  for (const flag of flags) node?.getBuiltinModule('v8').setFlagsFromString(flag)
  return { relaxed: hasRelaxedSimd(), paired: revectorize, flags }
}

/**
 * Functions of numbers that the expansions of compiler/math do not reach. The host computes them in float64, element by
 * element; a module imports those that it uses.
 */

import type { FarOp } from '../../../compiler/expr.js'
import type { Import } from './assembler.js'

/** Runs in workers too, as text, like workerMain in threads.ts. */
export const farFunctions = (): Record<FarOp, (x: number, y: number) => number> => ({
  sinFar: Math.sin,
  cosFar: Math.cos,
  remainderFar(x, y) {
    return x % y
  },
})

const far = (name: FarOp, operands: number): Import => ({
  name,
  params: Array.from({ length: operands }, () => 'f64'),
  results: ['f64'],
})
export const farImports: Record<FarOp, Import> = {
  sinFar: far('sinFar', 1),
  cosFar: far('cosFar', 1),
  remainderFar: far('remainderFar', 2),
}

export const isFarOp = (op: string): op is FarOp => op in farImports

/**
 * Evaluates scalar expressions of x and y in JavaScript, each operation rounded to its type: what a device computes.
 */

import { axisIndex } from '../../src/compiler/affine.js'
import { type Expr, ExprTable, isOperation, type Operation, walkExprs } from '../../src/compiler/expr.js'
import type { Float } from '../../src/compiler/math/builder.js'
import { expandMath, type MathOp } from '../../src/compiler/math/expand.js'
import { roundEven } from '../../src/runtime/backends/reference/functions.js'
import { farFunctions, isFarOp } from '../../src/runtime/backends/wasm/far.js'

export type Fn = (x: number, y: number) => number

export interface Arithmetic {
  /** Whether fma rounds once. That of float32 is a float64 sum rounded: exact but for double rounding. */
  readonly fused: boolean
  /** Division of float32, if not rounded to nearest. */
  readonly divide?: Fn
  /**
   * Arithmetic on float32 that has NaN or infinite operands, divides by 0 or makes NaN: a compiler may assume that
   * there is none.
   */
  readonly undefined?: number
}

const bits = new DataView(new ArrayBuffer(8))
const write = {
  float32: (v: number) => bits.setFloat32(0, v),
  float64: (v: number) => bits.setFloat64(0, v),
  int32: (v: number) => bits.setInt32(0, v),
  int64: (v: bigint) => bits.setBigInt64(0, v),
}
const read = {
  float32: () => bits.getFloat32(0),
  float64: () => bits.getFloat64(0),
  int32: () => bits.getInt32(0),
  int64: () => bits.getBigInt64(0),
}

const round = (type: string, text: string): string =>
  type === 'float32'
    ? `Math.fround(${text})`
    : type === 'int32'
      ? `(${text}) | 0`
      : type === 'int64'
        ? `BigInt.asIntN(64, ${text})`
        : text

const infix: Partial<Record<Operation['op'], string>> = {
  ...{ add: '+', sub: '-', mul: '*', div: '/', and: '&', or: '|', xor: '^' },
  ...{ shiftLeft: '<<', shiftRight: '>>', less: '<', lessEqual: '<=', equal: '===' },
}
const calls: Partial<Record<Operation['op'], string>> = {
  ...{ abs: 'Math.abs', floor: 'Math.floor', trunc: 'Math.trunc', round: 'roundEven' },
}

const arithmetic = new Set<Operation['op']>(['add', 'sub', 'mul', 'div', 'fma'])

function operationText(e: Operation, options: Arithmetic): string {
  const text = plainText(e, options)
  if (options.undefined === undefined || e.type !== 'float32' || !arithmetic.has(e.op)) return text
  const operands = e.args.map(a => `Number.isFinite(e${a.id})`).join(' && ')
  const divides = e.op === 'div' ? `&& e${e.args[1].id} !== 0` : ''
  return `${operands} ${divides} && !Number.isNaN(${text}) ? ${text} : ${options.undefined}`
}

function plainText({ op, type, args }: Operation, { fused, divide }: Arithmetic): string {
  const [a, b, c] = args.map(e => `e${e.id}`)
  if (op === 'select') return `${a} ? ${b} : ${c}`
  if (op === 'bitcast') return `(write.${args[0].type}(${a}), read.${type}())`
  if (op === 'fma') return round(type, `${fused ? `${a} * ${b}` : round(type, `${a} * ${b}`)} + ${c}`)
  if (op === 'div' && divide && type === 'float32') return `divide(${a}, ${b})`
  if (op === 'neg') return `-${a}`
  if (op === 'not') return `!${a}`
  if (op === 'keep') return a
  if (op === 'cast' && args[0].type === 'int32') return round(type, a)
  if (calls[op]) return `${calls[op]}(${a})`
  if (isFarOp(op)) return round(type, `far.${op}(${[a, b].slice(0, args.length)})`)
  if (infix[op]) return round(type, `${a} ${infix[op]} ${b}`)
  throw new Error(`${op} of ${type} is not for SIMD`)
}

/** The expansion of a function of x and, where it has two operands, y. */
export function expansionOf(op: MathOp, type: Float): Expr {
  const exprs = new ExprTable()
  const [x, y] = [0, 1].map(buffer => exprs.load(buffer, type, axisIndex(0, 4), []))
  const binary = op === 'pow' || op === 'remainder'
  return expandMath(exprs.operation(op, type, ...(binary ? [x, y] : [x])), exprs)
}

/** An expression of loads from buffer 0, which are x, and buffer 1, which are y, as a function. */
export function evaluator(root: Expr, options: Arithmetic): Fn {
  const lines: string[] = []
  const text = (e: Expr): string => {
    if (isOperation(e)) return operationText(e, options)
    if (e.op === 'load') return e.buffer === 0 ? 'x' : 'y'
    if (e.op !== 'constant') throw new Error(e.op)
    return e.type === 'int64' ? `${BigInt(e.value)}n` : Object.is(e.value, -0) ? '-0' : round(e.type, String(e.value))
  }
  walkExprs([root], e => lines.push(`const e${e.id} = ${text(e)}`))
  const body = `return (x, y) => { ${lines.join('; ')}; return e${root.id} }`
  const make = new Function('write', 'read', 'far', 'roundEven', 'divide', body)
  return make(write, read, farFunctions(), roundEven, options.divide)
}

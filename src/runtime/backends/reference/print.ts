/** Prints a loop kernel as JavaScript in which all floats are float64: plain nested loops, one statement a value. */

import type { Atom, Condition, Index } from '../../../compiler/affine.js'
import { type Expr, isOperation, type Operation, reducedName, walkExprs } from '../../../compiler/expr.js'
import { bodiesOf, identityOf, type LoopKernel, type Total } from '../../../compiler/kernel.js'
import { type DType, isFloat } from '../../../graph/dtype.js'

const indexText = (index: Index): string => {
  const terms = index.terms.map(({ atom, factor }) => (factor === 1 ? atomText(atom) : `${factor} * ${atomText(atom)}`))
  if (index.constant !== 0 || terms.length === 0) terms.push(String(index.constant))
  return terms.length === 1 ? terms[0] : `(${terms.join(' + ')})`
}

function atomText(atom: Atom): string {
  switch (atom.kind) {
    case 'axis':
      return `i${atom.axis}`
    case 'value':
      return `e${atom.value.id}`
    case 'bounded':
      return indexText(atom.of)
    case 'quotient':
      return `Math.floor(${indexText(atom.of)} / ${atom.divisor})`
    case 'remainder':
      return `floorMod(${indexText(atom.of)}, ${atom.divisor})`
  }
}

const conditionText = (conditions: readonly Condition[]): string =>
  conditions.map(c => `${indexText(c.index)} >= ${c.low} && ${indexText(c.index)} < ${c.high}`).join(' && ')

/** An arithmetic result brought back into its type. */
function wrap(type: DType, text: string): string {
  return type === 'int32' ? `(${text}) | 0` : type === 'uint32' ? `(${text}) >>> 0` : text
}

const infix = { add: '+', sub: '-', and: '&', or: '|', xor: '^', shiftLeft: '<<' } as const
const calls = {
  abs: 'abs',
  sign: 'sign',
  sqrt: 'sqrt',
  exp: 'exp',
  expBelow0: 'exp',
  expm1: 'expm1',
  log: 'log',
  log1p: 'log1p',
  sin: 'sin',
  cos: 'cos',
  tanh: 'tanh',
  atan: 'atan',
  floor: 'floor',
  ceil: 'ceil',
  trunc: 'trunc',
  maximum: 'max',
  minimum: 'min',
} as const

function operationText({ op, type, args }: Operation): string {
  const [a, b, c] = args.map(e => `e${e.id}`)
  const from = args[0].type
  if (type === 'int64' || from === 'int64') throw new Error('reference: int64 is for the expansions of other devices')
  switch (op) {
    case 'neg':
      return wrap(type, `-${a}`)
    case 'not':
      return type === 'bool' ? `1 - ${a}` : wrap(type, `~${a}`)
    case 'round':
      return `roundEven(${a})`
    case 'erf':
      return `erf(${a})`
    case 'roundToHalf':
      return `roundToHalf(${a})`
    case 'pow':
      return `pow(${a}, ${b})`
    case 'mul':
      return isFloat(type) ? `${a} * ${b}` : wrap(type, `Math.imul(${a}, ${b})`)
    case 'div':
      return isFloat(type) ? `${a} / ${b}` : `${b} === 0 ? 0 : ${wrap(type, `Math.floor(${a} / ${b})`)}`
    case 'remainder':
      return isFloat(type) ? `floorMod(${a}, ${b})` : `${b} === 0 ? 0 : ${wrap(type, `floorMod(${a}, ${b})`)}`
    case 'shiftRight':
      return type === 'uint32' ? `${a} >>> ${b}` : `${a} >> ${b}`
    case 'less':
      return `${a} < ${b} ? 1 : 0`
    case 'lessEqual':
      return `${a} <= ${b} ? 1 : 0`
    case 'equal':
      return `${a} === ${b} ? 1 : 0`
    case 'select':
      return `${a} ? ${b} : ${c}`
    case 'sinFar':
    case 'cosFar':
    case 'remainderFar':
      throw new Error(`reference: ${op} is for the expansions of other devices`)
    case 'fma':
      return `${a} * ${b} + ${c}`
    case 'keep':
      return a
    case 'bitcast':
      return `bitcast(${a}, '${from}', '${type}')`
    case 'cast':
      if (type === 'bool') return `${a} !== 0 ? 1 : 0`
      if (type === 'float32') return `Math.fround(${a})`
      if (isFloat(type) || !isFloat(from)) return wrap(type, a)
      return type === 'int32' ? `toInteger(${a}, -2147483648, 2147483647)` : `toInteger(${a}, 0, 4294967295)`
    case 'add':
    case 'sub':
    case 'and':
    case 'or':
    case 'xor':
    case 'shiftLeft':
      return wrap(type, `${a} ${infix[op]} ${b}`)
    default:
      return wrap(type, `Math.${calls[op]}(${args.map(e => `e${e.id}`).join(', ')})`)
  }
}

function valueText(e: Expr): string {
  if (isOperation(e)) return operationText(e)
  switch (e.op) {
    case 'constant':
      return Object.is(e.value, -0) ? '-0' : String(e.value)
    case 'position':
      return indexText(e.index)
    case 'inside':
      return `${conditionText(e.conditions)} ? 1 : 0`
    case 'load': {
      const element = `b${e.buffer}[${indexText(e.index)}]`
      return e.conditions.length ? `${conditionText(e.conditions)} ? ${element} : 0` : element
    }
    case 'reduced':
      return reducedName(e.total)
  }
}

/** The statements that compute expressions, each value once. */
function statements(roots: readonly Expr[], skip: ReadonlySet<Expr>): { lines: string[]; seen: Set<Expr> } {
  const lines: string[] = []
  const seen = new Set(skip)
  walkExprs(roots, e => {
    if (seen.has(e)) return
    seen.add(e)
    lines.push(`const e${e.id} = ${valueText(e)}`)
  })
  return { lines, seen }
}

function combined({ op, type, body }: Total, reduced: string): string {
  const value = `e${body.id}`
  if (op === 'max') return `Math.max(${reduced}, ${value})`
  if (op === 'sum') return wrap(type, `${reduced} + ${value}`)
  return isFloat(type) ? `${reduced} * ${value}` : wrap(type, `Math.imul(${reduced}, ${value})`)
}

/** The body of a function of the buffers b0, b1, ... and of the helpers in functions.ts. */
export function printLoops(kernel: LoopKernel): string {
  const { axes, reduce, outputs } = kernel
  const open = (size: number, axis: number): string => `for (let i${axis} = 0; i${axis} < ${size}; i${axis}++) {`
  const lines: string[] = axes.map((size, axis) => open(size, axis))
  if (reduce) {
    lines.push(...reduce.totals.map((total, i) => `let ${reducedName(i)} = ${identityOf(total)}`))
    lines.push(...reduce.axes.map((size, i) => open(size, axes.length + i)))
    lines.push(...statements(bodiesOf(kernel), new Set()).lines)
    lines.push(...reduce.totals.map((total, i) => `${reducedName(i)} = ${combined(total, reducedName(i))}`))
    lines.push(...reduce.axes.map(() => '}'))
  }
  lines.push(
    ...statements(
      outputs.map(o => o.value),
      new Set(),
    ).lines,
  )
  const strides = axes.map((_, d) => axes.slice(d + 1).reduce((n, size) => n * size, 1))
  const position = axes.map((_, d) => `i${d} * ${strides[d]}`).join(' + ') || '0'
  for (const { buffer, value } of outputs) lines.push(`b${buffer}[${position}] = e${value.id}`)
  lines.push(...axes.map(() => '}'))
  return lines.join('\n')
}

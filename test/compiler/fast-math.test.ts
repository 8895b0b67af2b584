/** The float32 expansions of special functions under a hostile optimiser, with `keep` and without. */

import { describe, expect, it } from 'vitest'
import { axisIndex } from '../../src/compiler/affine.js'
import { type Expr, ExprTable, printExprs, walkExprs } from '../../src/compiler/expr.js'
import { type MathOp, mathOps } from '../../src/compiler/math/expand.js'
import { erf, floorMod } from '../../src/runtime/backends/reference/functions.js'
import { functions, operandsOf, type Row, stated, statedOnGpu } from '../numerics/functions.js'
import { ulps32 } from '../numerics/real.js'
import { rounded, sample, uniforms } from '../numerics/samples.js'
import { type Arithmetic, evaluator, expansionOf, type Fn } from '../numerics/scalar.js'
import { orders, reordered, simplified, unkept } from './fast-math.js'

const { exp, expm1, log, log1p, tanh, sin, cos, atan, pow } = Math
const host = { exp, expm1, log, log1p, tanh, erf, sin, cos, atan, pow }
type Measured = keyof typeof host
const measured = Object.keys(host) as Measured[]

const rowOf = (op: string): Row => functions.find(f => f.name === op) as Row

const words = new DataView(new ArrayBuffer(4))
/** a / b, two units in the last place beside the nearest number, in a direction that looks random: within 2.5 ULP. */
function divide(a: number, b: number): number {
  const quotient = Math.fround(a / b)
  if (!(Math.abs(quotient) > 2 ** -125 && Math.abs(quotient) < 2 ** 127)) return quotient
  words.setFloat32(0, quotient)
  const word = words.getInt32(0)
  words.setInt32(0, word + (Math.imul(word, 0x9e3779b1) < 0 ? 2 : -2))
  return words.getFloat32(0)
}

type Points = readonly { readonly x: number; readonly y: number; readonly want: number }[]
function pointsOf(op: Measured, count: number): Points {
  const operands = operandsOf(rowOf(op), 'float32')
  return Array.from({ length: count }, () => {
    const [x, wide] = operands.next().value as readonly [number, number]
    // Of exponents that suit float64, a seventh: the others overflow.
    const y = Math.fround(x < 0 ? Math.round(wide / 7) : wide / 7)
    return { x, y, want: host[op](x, y) }
  })
}
const worst = (f: Fn, points: Points): number =>
  points.reduce((most, { x, y, want }) => {
    const error = ulps32(f(x, y), want)
    return error <= most ? most : Number.isNaN(error) ? Infinity : error
  }, 0)

/** Quotients of any size, the divisor's bits all 1 now and then. */
function quotients(count: number): Points {
  const uniform = uniforms('remainder')
  const some = (): number => sample('float32', Math.floor(uniform() * 7), uniform)
  const pairs = Array.from({ length: count }, (_, i) => {
    const y = i % 4 === 0 ? 2 ** Math.round(uniform() * 20) * (1 - 2 ** -24) : some()
    const multiple = rounded('float32', Math.round(2 ** (uniform() * 30)) * y * (1 + (uniform() - 0.5) * 2 ** -20))
    return { x: i % 3 === 0 ? some() : i % 3 === 1 ? multiple : rounded('float32', y * 2 ** (uniform() * 60)), y }
  })
  // Where neither the quotient nor its product leaves the range.
  return pairs
    .filter(({ x, y }) => Math.abs(x) < 2 ** 126 && Math.abs(y) > 2 ** -100 && Math.abs(x / y) < 2 ** 126)
    .map(({ x, y }) => ({ x, y, want: rounded('float32', floorMod(x, y)) }))
}
const isExact = (f: Fn, points: Points): boolean => points.every(({ x, y, want }) => f(x, y) === want)

/** Both kinds of fma, in the order as written and in others. */
function* everyWay(root: Expr, options: Partial<Arithmetic> = {}): Generator<Fn> {
  for (const order of [undefined, ...Object.values(orders)])
    for (const fused of [false, true]) yield evaluator(order ? reordered(root, order) : root, { fused, ...options })
}

const keeps = (root: Expr): number => {
  let n = 0
  walkExprs([root], e => e.op === 'keep' && n++)
  return n
}

describe('the optimiser', () => {
  const exprs = new ExprTable()
  const [a, b] = [0, 1].map(buffer => exprs.load(buffer, 'float32', axisIndex(0, 4), []))
  const make = (op: 'add' | 'sub' | 'mul' | 'fma', ...args: Expr[]): Expr => exprs.operation(op, 'float32', ...args)
  const c = (value: number): Expr => exprs.constant(value, 'float32')
  const text = (e: Expr): string => printExprs([e]).texts[0]
  const rewritten = (e: Expr): string => text(simplified(e))

  it('reassociates, contracts and folds', () => {
    expect(rewritten(make('sub', make('add', a, b), b))).toBe(text(a))
    expect(rewritten(make('sub', a, make('sub', a, b)))).toBe(text(b))
    expect(rewritten(make('fma', a, c(2), make('fma', a, c(3), b)))).toBe(text(make('fma', c(5), a, b)))
    expect(rewritten(make('fma', a, b, make('mul', a, a)))).toBe(text(make('mul', a, make('add', b, a))))
    expect(rewritten(make('sub', make('add', a, c(7)), c(7)))).toBe(text(a))
    expect(rewritten(make('add', make('mul', a, b), b))).toBe(text(make('fma', a, b, b)))
    expect(rewritten(make('mul', make('mul', a, b), b))).toBe(text(make('mul', a, make('mul', b, b))))
    expect(rewritten(make('mul', a, c(0)))).toBe('0')
    expect(rewritten(make('add', a, c(0)))).toBe(text(a))
    expect(rewritten(exprs.operation('equal', 'bool', a, a))).toBe('1')
    expect(rewritten(exprs.operation('not', 'bool', exprs.operation('less', 'bool', a, b)))).toBe(
      text(exprs.operation('lessEqual', 'bool', b, a)),
    )
    const sum = make('add', a, make('sub', b, c(1)))
    expect(text(reordered(sum, orders['the last first']))).toBe(text(make('add', make('add', b, c(-1)), a)))
    expect(text(reordered(make('mul', make('add', a, c(1)), c(3)), orders['constants last']))).toBe(
      text(make('fma', c(3), a, c(3))),
    )
  })
  it('does not look through keep', () => {
    const kept = make('sub', exprs.operation('keep', 'float32', make('add', a, b)), b)
    expect(rewritten(kept)).toBe(text(kept))
    expect(rewritten(unkept(kept))).toBe(text(a))
  })
})

describe('float32 expansions on a GPU', () => {
  for (const op of measured) {
    const points = pointsOf(op, 4000)

    const bounds = [stated[op].float32, statedOnGpu[op]]
    it(`${op}: within ${bounds[0]} ULP simplified, ${bounds[1]} in any order and with division within 2.5`, () => {
      const root = simplified(expansionOf(op, 'float32'))
      for (const fused of [false, true])
        expect(worst(evaluator(root, { fused }), points)).toBeLessThanOrEqual(stated[op].float32)
      for (const f of everyWay(root, { divide })) expect(worst(f, points)).toBeLessThanOrEqual(statedOnGpu[op])
    })

    it(`${op}: wrong without keep`, () => {
      const root = simplified(unkept(expansionOf(op, 'float32')))
      for (const fused of [false, true])
        expect(worst(evaluator(root, { fused }), points)).toBeGreaterThan(stated[op].float32)
    })
  }

  const divided = quotients(6000)
  it('remainder: exact, also with division within 2.5 ULP', () => {
    const root = simplified(expansionOf('remainder', 'float32'))
    for (const f of [...everyWay(root), ...everyWay(root, { divide })]) expect(isExact(f, divided)).toBe(true)
  })

  it('every keep is needed', () => {
    for (const op of ['exp', 'expm1', 'log', 'log1p', 'erf', 'pow', 'remainder'] as const) {
      const root = expansionOf(op, 'float32')
      const points = op === 'remainder' ? divided : pointsOf(op, 4000)
      const bound = op === 'remainder' ? 0 : statedOnGpu[op]
      const fails = (k: number): boolean => {
        for (const f of everyWay(simplified(unkept(root, n => n === k)), { divide }))
          if (op === 'remainder' ? !isExact(f, points) : worst(f, points) > bound) return true
        return false
      }
      expect(
        [...Array(keeps(root)).keys()].filter(k => !fails(k)),
        op,
      ).toEqual([])
    }
  })

  // A NaN that is an operand, and -1 / ∞, are left to arithmetic.
  const arithmetic: Partial<Record<MathOp, readonly number[]>> = {
    exp: [NaN],
    expm1: [NaN],
    tanh: [NaN],
    erf: [NaN],
    atan: [NaN, Infinity, -Infinity],
  }
  for (const op of measured)
    it(`${op}: special values`, () => {
      const root = simplified(expansionOf(op, 'float32'))
      const { special, operands } = rowOf(op)
      const passes = (f: Fn, row: readonly number[]): boolean => {
        const [got, want] = [f(row[0], operands === 2 ? row[1] : 0), Math.fround(row[operands])]
        return Object.is(got, want) || (want !== 0 && Math.abs(got - want) <= 4e-7 * Math.abs(want))
      }
      for (const f of everyWay(root, { divide })) for (const row of special) expect(passes(f, row), `${row}`).toBe(true)
      for (const f of everyWay(root, { divide, undefined: 0.75 }))
        for (const row of special)
          expect(passes(f, row), `${row}, no infinities`).toBe(!arithmetic[op]?.some(x => Object.is(x, row[0])))
    })

  it('sign needs no keep', () => {
    expect(mathOps.filter(op => keeps(expansionOf(op, 'float32')) === 0)).toEqual(['sign'])
  })
})

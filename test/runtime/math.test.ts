/** The WebAssembly device's special functions, evaluated operation by operation, against exact references. */

import { describe, expect, it } from 'vitest'
import { axisIndex } from '../../src/compiler/affine.js'
import { type Expr, ExprTable, isOperation, type Operation, walkExprs } from '../../src/compiler/expr.js'
import { erf, floorMod } from '../../src/runtime/backends/reference/functions.js'
import { expandMath, type MathOp, mathOps } from '../../src/runtime/backends/wasm/math.js'
import type { Float } from '../../src/runtime/backends/wasm/math-builder.js'

// --- An evaluator that rounds every operation to its type -----------------------------------------------------------

type Fn = (x: number, y: number) => number

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
  ...{ shiftLeft: '<<', shiftRight: '>>', less: '<', equal: '===' },
}
const calls: Partial<Record<Operation['op'], string>> = { abs: 'abs', floor: 'floor', trunc: 'trunc' }

function operationText({ op, type, args }: Operation, fused: boolean): string {
  const [a, b, c] = args.map(e => `e${e.id}`)
  if (op === 'select') return `${a} ? ${b} : ${c}`
  if (op === 'bitcast') return `(write.${args[0].type}(${a}), read.${type}())`
  if (op === 'fma') return round(type, `${fused ? `${a} * ${b}` : round(type, `${a} * ${b}`)} + ${c}`)
  if (op === 'neg') return `-${a}`
  if (op === 'not') return `!${a}`
  if (calls[op]) return `Math.${calls[op]}(${a})`
  if (infix[op]) return round(type, `${a} ${infix[op]} ${b}`)
  throw new Error(`${op} of ${type} is not for SIMD`)
}

/** The expansion of a function as JavaScript. A fused float32 fma is a float64 sum rounded: exact but for double rounding. */
function compile(op: MathOp, type: Float, fused: boolean): Fn {
  const exprs = new ExprTable()
  const [x, y] = [0, 1].map(buffer => exprs.load(buffer, type, axisIndex(0, 4), []))
  const binary = op === 'pow' || op === 'remainder'
  const root = expandMath(exprs.operation(op, type, ...(binary ? [x, y] : [x])), exprs)
  const lines: string[] = []
  const text = (e: Expr): string => {
    if (isOperation(e)) return operationText(e, fused)
    if (e.op === 'load') return e.buffer === 0 ? 'x' : 'y'
    if (e.op !== 'constant') throw new Error(e.op)
    return e.type === 'int64' ? `${BigInt(e.value)}n` : Object.is(e.value, -0) ? '-0' : round(e.type, String(e.value))
  }
  walkExprs([root], e => lines.push(`const e${e.id} = ${text(e)}`))
  const make = new Function('write', 'read', `return (x, y) => { ${lines.join('; ')}; return e${root.id} }`)
  return make(write, read)
}

// --- References to about 150 bits: a real number m / 2^p ------------------------------------------------------------

interface Real {
  readonly m: bigint
  readonly p: number
}
const shift = (m: bigint, n: number): bigint => (n >= 0 ? m << BigInt(n) : m >> BigInt(-n))
const bitLength = (m: bigint): number => (m < 0n ? -m : m).toString(2).length
const exponent = (x: number): number => Math.floor(Math.log2(Math.abs(x)))
/** Bits after the point, for 160 significant ones. */
const precision = (x: number): number => 220 + Math.max(0, -exponent(x))

/** x * 2^p. */
function fixed(x: number, p: number): bigint {
  bits.setFloat64(0, x)
  const word = bits.getBigUint64(0)
  const e = Number((word >> 52n) & 0x7ffn)
  const m = (word & 0xfffffffffffffn) | (e ? 1n << 52n : 0n)
  return shift(x < 0 ? -m : m, Math.max(e, 1) - 1075 + p)
}
/** The sum of terms, each made from the one before, until they vanish. */
function series(first: bigint, next: (term: bigint, n: number) => bigint): bigint {
  let sum = 0n
  for (let term = first, n = 1; term !== 0n && term !== -1n; term = next(term, n++)) sum += term
  return sum
}
const constantBits = 1500
/** atan(1/k) or, with sign 1, atanh(1/k). */
function inverseSeries(k: bigint, sign: bigint): bigint {
  let power = (1n << BigInt(constantBits)) / k
  let sum = 0n
  for (let n = 1n; power !== 0n; n += 2n, power = (sign * power) / (k * k)) sum += power / n
  return sum
}
const pi = 16n * inverseSeries(5n, -1n) - 4n * inverseSeries(239n, -1n)
const ln2 = 2n * inverseSeries(3n, 1n)
function squareRoot(v: bigint): bigint {
  let r = 1n << BigInt((bitLength(v) + 1) >> 1)
  for (let next = (r + v / r) >> 1n; next < r; next = (r + v / r) >> 1n) r = next
  return r
}
const rootPi = squareRoot(pi << BigInt(constantBits))

function expOf(x: bigint, p: number): Real {
  const unit = shift(ln2, p - constantBits)
  const k = (2n * x + unit) / (2n * unit) - (2n * x + unit < 0n ? 1n : 0n)
  const r = x - ((ln2 * k) >> BigInt(constantBits - p))
  return { m: series(1n << BigInt(p), (t, n) => ((t * r) >> BigInt(p)) / BigInt(n)), p: p - Number(k) }
}
const less1 = ({ m, p }: Real): Real => ({ m: m - shift(1n, p), p })
function sinCos(x: bigint, p: number): [bigint, bigint] {
  const quarter = shift(pi, p - constantBits - 1)
  const n = (2n * x + quarter) / (2n * quarter) - (2n * x + quarter < 0n ? 1n : 0n)
  const r = x - ((pi * n) >> BigInt(constantBits + 1 - p))
  const z = (r * r) >> BigInt(p)
  const s = series(r, (t, i) => -((t * z) >> BigInt(p)) / BigInt(2 * i * (2 * i + 1)))
  const c = series(1n << BigInt(p), (t, i) => -((t * z) >> BigInt(p)) / BigInt(2 * i * (2 * i - 1)))
  return [
    [s, c],
    [c, -s],
    [-s, -c],
    [-c, s],
  ][Number(n & 3n)] as [bigint, bigint]
}
/** log v from an approximation y: y + log(v e^-y). */
function logFrom(v: Real, y: number, p: number): Real {
  const e = expOf(-fixed(y, p), p)
  const d = shift(v.m * e.m, p - v.p - e.p) - shift(1n, p)
  const s = (d << BigInt(p)) / (d + (2n << BigInt(p)))
  return { m: fixed(y, p) + 2n * s + (2n * s * s * s) / (3n << BigInt(2 * p)), p }
}
const logOf = (x: number): Real => logFrom({ m: fixed(x, 1100), p: 1100 }, Math.log(x), 300)

const exact = {
  exp: (x: number): Real => expOf(fixed(x, 300), 300),
  expm1: (x: number): Real => less1(expOf(fixed(x, precision(x)), precision(x))),
  log: logOf,
  log1p(x: number): Real {
    const p = precision(x)
    return x ** 2 === 0 ? { m: fixed(x, p), p } : logFrom({ m: fixed(x, p) + shift(1n, p), p }, Math.log1p(x), p)
  },
  tanh(x: number): Real {
    const p = precision(x)
    const e = less1(expOf(2n * fixed(Math.min(99, Math.max(-99, x)), p), p))
    return { m: (e.m << BigInt(p)) / (e.m + shift(2n, e.p)), p }
  },
  sin: (x: number): Real => ({ m: sinCos(fixed(x, precision(x)), precision(x))[0], p: precision(x) }),
  cos: (x: number): Real => ({ m: sinCos(fixed(x, precision(x)), precision(x))[1], p: precision(x) }),
  atan(x: number): Real {
    const p = precision(x)
    const [y, v] = [fixed(Math.atan(x), p), fixed(x, p)]
    const [s, c] = sinCos(y, p)
    const t = ((((v * c) >> BigInt(p)) - s) << BigInt(p)) / (c + ((v * s) >> BigInt(p)))
    return { m: y + t - (t * t * t) / (3n << BigInt(2 * p)), p }
  },
  erf(x: number): Real {
    const p = precision(x)
    const v = fixed(Math.min(7, Math.max(-7, x)), p)
    const z = (v * v) >> BigInt(p)
    const sum = series(v, (t, n) => ((2n * t * z) >> BigInt(p)) / BigInt(2 * n + 1))
    const e = expOf(-z, p)
    return { m: shift(2n * sum * e.m, constantBits - e.p) / rootPi, p }
  },
}
/** |x|^y; the larger of |log2 x| and 1 / |x - 1| is below 2^200. */
function powOf(x: number, y: number): Real {
  const { m, p } = logOf(Math.abs(x))
  const { m: r, p: q } = expOf((m * fixed(y, 1100)) >> 1100n, p)
  return { m: x < 0 && Math.abs(y % 2) === 1 ? -r : r, p: q }
}

/** The distance of a float64 from a real, in units of the real's last place. */
function ulps64(got: number, { m, p }: Real): number {
  if (Number.isNaN(got)) return Infinity
  const q = Math.max(p, 1100)
  const value = Number.isFinite(got) ? fixed(got, q) : shift(got > 0 ? 1n : -1n, 1024 + q)
  if (!Number.isFinite(got) && bitLength(m) - p > 1024) return got > 0 === m > 0n ? 0 : Infinity
  const distance = value - shift(m, q - p)
  const last = Math.max(bitLength(m) - p - 53, -1074)
  return Number(shift((distance < 0n ? -distance : distance) << 20n, -(q + last))) / 2 ** 20
}
function ulps32(got: number, real: number): number {
  if (Object.is(got, Math.fround(real)) && !(Math.abs(real) < 2 ** 128)) return 0
  const value = Number.isFinite(got) ? got : Math.sign(got) * 2 ** 128
  return Math.abs(value - real) / 2 ** Math.max(exponent(real) - 23, -149)
}

// --- Samples --------------------------------------------------------------------------------------------------------

let state = 88172645463325252n
function random64(): bigint {
  state ^= BigInt.asUintN(64, state << 13n)
  state ^= state >> 7n
  state ^= BigInt.asUintN(64, state << 17n)
  return state
}
const uniform = (): number => Number(random64() >> 11n) / 2 ** 53
const sign = (): number => (uniform() < 0.5 ? -1 : 1)
/** Every third has random bits; others are log-uniform near 1, or uniform below 100. */
function sample(type: Float, i: number): number {
  let x = sign() * (i % 3 === 1 ? 2 ** (uniform() * 20 - 12) : uniform() * (i % 2 ? 100 : 750))
  if (i % 3 === 0) {
    bits.setBigUint64(0, random64())
    x = type === 'float32' ? bits.getFloat32(0) : bits.getFloat64(0)
  }
  return type === 'float32' ? Math.fround(x) : x
}
const corners: Record<Float, readonly number[]> = {
  float32: [2 ** -149, 2 ** -126, 2 ** -126 - 2 ** -149, 2 ** 127 * (2 - 2 ** -23), 88.72284, 88.72283, -87.4, -103.9],
  float64: [
    ...[2 ** -1074, 2 ** -1022, 2 ** -1022 - 2 ** -1074, Number.MAX_VALUE, 709.782712893384, 709.7827128933841],
    ...[-745.13, -745.14, -708.5, 1 - 2 ** -53, 1 + 2 ** -52],
    // Close to multiples of pi / 2 (by continued fractions), where most of the angle cancels.
    ...[45.553093477052, 14461176.67027838, 28922353.34055676, 563416747700.2246, 205097628711448.4],
  ],
}

type Unary = keyof typeof exact
/** What the comments in math-*.ts state: the largest errors in ULP, fused or not, and up to where they hold. */
const bounds: Record<Unary, { float32: number; float64: number; domain?: Record<Float, number> }> = {
  exp: { float32: 1.1, float64: 1.1 },
  expm1: { float32: 1.8, float64: 1.7 },
  log: { float32: 1, float64: 0.9 },
  log1p: { float32: 1.6, float64: 1.5 },
  tanh: { float32: 1.6, float64: 1.6 },
  erf: { float32: 1.7, float64: 2 },
  sin: { float32: 1, float64: 1.5, domain: { float32: 2 ** 20, float64: 2 ** 50 } },
  cos: { float32: 1, float64: 1.5, domain: { float32: 2 ** 20, float64: 2 ** 50 } },
  atan: { float32: 1.5, float64: 1.5 },
}
const { exp, expm1, log, log1p, tanh, sin, cos, atan } = Math
const host: Record<Unary, (x: number) => number> = { exp, expm1, log, log1p, tanh, sin, cos, atan, erf }
const same = (a: number, b: number): boolean => Object.is(a, b)

describe('special functions in SIMD operations', () => {
  for (const op of Object.keys(bounds) as Unary[]) {
    const limit = bounds[op].domain ?? { float32: Infinity, float64: Infinity }

    for (const fused of [false, true])
      it(`${op} float32 ${fused ? 'fused' : 'unfused'}: within ${bounds[op].float32} ULP`, () => {
        const f = compile(op, 'float32', fused)
        let worst = { ulps: 0, x: 0 }
        const check = (x: number): void => {
          if (Math.abs(x) >= limit.float32) return
          const ulps = ulps32(f(x, 0), host[op](x))
          if (!(ulps <= worst.ulps)) worst = { ulps, x }
        }
        for (let i = 0; i < 80_000; i++) check(sample('float32', i))
        for (const c of corners.float32) [c, -c].map(Math.fround).forEach(check)
        expect(worst.ulps, `at ${worst.x}`).toBeLessThanOrEqual(bounds[op].float32)
      })

    it(`${op} float64: within ${bounds[op].float64} ULP`, () => {
      const f = compile(op, 'float64', false)
      let worst = { ulps: 0, x: 0 }
      const check = (x: number): void => {
        const real = host[op](x)
        // Beyond doubt: NaN, and what is far past overflow or underflow.
        if (Number.isNaN(real) || x === 0 || Math.abs(x) >= limit.float64) return
        if (op.startsWith('exp') && (x > 720 || x < -760)) return
        const ulps = ulps64(f(x, 0), exact[op](x))
        if (!(ulps <= worst.ulps)) worst = { ulps, x }
      }
      for (let i = 0; i < 6000; i++) check(sample('float64', i))
      for (const c of corners.float64) [c, -c].forEach(check)
      expect(worst.ulps, `at ${worst.x}`).toBeLessThanOrEqual(bounds[op].float64)
    })

    it(`${op}: zeros, infinities and NaN`, () => {
      for (const type of ['float32', 'float64'] as const) {
        const f = compile(op, type, false)
        for (const x of [
          0,
          -0,
          Infinity,
          -Infinity,
          NaN,
          ...(op === 'log' || op === 'log1p' ? [-1, -2, 1e30, -1e30] : []),
        ]) {
          const real = op === 'log1p' || op === 'log' || Math.abs(x) === 0 || !Number.isFinite(x) ? host[op](x) : NaN
          const want = type === 'float32' ? Math.fround(real) : real
          const got = f(x, 0)
          expect(Math.abs(got - want) <= 2e-7 * Math.abs(want) || same(got, want), `${op}(${x}) is ${got}`).toBe(true)
          if (want === 0) expect(got).toBe(want)
        }
      }
    })
  }

  it('sin and cos of more than 2^20 or 2^50 are NaN', () => {
    for (const [type, x] of [
      ['float32', 2 ** 21],
      ['float64', 1e300],
    ] as const) {
      expect(compile('sin', type, false)(x, 0)).toBeNaN()
      expect(compile('cos', type, false)(-x, 0)).toBeNaN()
    }
  })

  const exponents = (type: Float, i: number, range: number): [number, number] => {
    const rounded = (v: number): number => (type === 'float32' ? Math.fround(v) : v)
    const x = rounded(i % 2 ? 2 ** ((uniform() * 2 - 1) * (range - 2)) : 1 + (uniform() - 0.5) * 2 ** (-uniform() * 20))
    const y = ((uniform() * 2 - 1) * (range + 30)) / Math.log2(x)
    return i % 5 === 0 ? [-x, rounded(Math.round(y))] : [x, rounded(y)]
  }
  it('pow float32: within 1.3 ULP', () => {
    for (const fused of [false, true]) {
      const f = compile('pow', 'float32', fused)
      for (let i = 0; i < 30_000; i++) {
        const [x, y] = exponents('float32', i, 128)
        if (Number.isFinite(y)) expect(ulps32(f(x, y), x ** y), `${x} ** ${y}`).toBeLessThanOrEqual(1.3)
      }
    }
  })
  it('pow float64: within 1.3 ULP', () => {
    const f = compile('pow', 'float64', false)
    for (let i = 0; i < 4000; i++) {
      const [x, y] = exponents('float64', i, 1024)
      if (Number.isFinite(y)) expect(ulps64(f(x, y), powOf(x, y)), `${x} ** ${y}`).toBeLessThanOrEqual(1.3)
    }
  })
  it('pow: IEEE 754 at zeros, infinities, NaN and negative x', () => {
    const values = [0, -0, 1, -1, 2, -2, 0.5, -0.5, 3, -3, 1e30, -1e30, Infinity, -Infinity, NaN]
    for (const type of ['float32', 'float64'] as const) {
      const f = compile('pow', type, false)
      for (const x of values)
        for (const y of values) {
          // JavaScript has NaN for (+-1) ** +-Infinity where IEEE 754 has 1.
          const real = Math.abs(x) === 1 && Math.abs(y) === Infinity ? 1 : x ** y
          const want = type === 'float32' ? Math.fround(real) : real
          const got = f(type === 'float32' ? Math.fround(x) : x, y)
          const close = Number.isFinite(want) && want !== 0 && Math.abs(got / want - 1) < 1e-6
          expect(close || same(got, want), `${x} ** ${y} is ${got}, not ${want}`).toBe(true)
        }
    }
  })

  it('sign: keeps zeros and NaN', () => {
    for (const type of ['float32', 'float64'] as const) {
      const f = compile('sign', type, false)
      for (const x of [0, -0, 3, -3, Infinity, -Infinity, NaN, 2 ** -149]) expect(f(x, 0)).toBe(Math.sign(x))
    }
  })

  it('remainder: exact up to quotients of 2^48 and 2^104', () => {
    for (const type of ['float32', 'float64'] as const)
      for (const fused of type === 'float32' ? [false, true] : [false]) {
        const f = compile('remainder', type, fused)
        const rounded = (v: number): number => (type === 'float32' ? Math.fround(v) : v)
        const check = (x: number, y: number): void => {
          const want = rounded(floorMod(x, y))
          const got = f(x, y)
          expect(got === want || same(got, want), `${x} mod ${y} is ${got}, not ${want}`).toBe(true)
        }
        for (let i = 0; i < 4_000; i++) {
          const y = rounded(sign() * 2 ** (uniform() * 60 - 30))
          const x = i % 4 ? 2 ** (uniform() * (type === 'float32' ? 47 : 103)) * y : Math.round(uniform() * 1000) * y
          check(rounded(sign() * x), y)
        }
        for (const [x, y] of [
          [5, 3],
          [-5, 3],
          [5, -3],
          [-5, -3],
          [6, 3],
          [-6, 3],
          [1, 0],
          [Infinity, 2],
          [NaN, 1],
        ])
          check(x, y)
        for (const [x, y] of [
          [2, Infinity],
          [-2, Infinity],
          [2, -Infinity],
          [0, Infinity],
        ])
          check(x, y)
      }
  })

  it('expands a whole expression, each function once, and leaves the rest', () => {
    const exprs = new ExprTable()
    const x = exprs.load(0, 'float32', axisIndex(0, 4), [])
    const i = exprs.operation('cast', 'int32', x)
    expect(expandMath(x, exprs)).toBe(x)
    expect(expandMath(i, exprs)).toBe(i)
    const sign = exprs.operation('sign', 'int32', i)
    expect(expandMath(sign, exprs)).toBe(sign)
    const e = exprs.operation('exp', 'float32', x)
    const root = expandMath(exprs.operation('add', 'float32', e, exprs.operation('tanh', 'float32', e)), exprs)
    const left: string[] = []
    walkExprs([root], r => isOperation(r) && (mathOps as readonly string[]).includes(r.op) && left.push(r.op))
    expect(left).toEqual([])
    expect(isOperation(root) && root.args[0]).toBe(expandMath(e, exprs))
  })
})

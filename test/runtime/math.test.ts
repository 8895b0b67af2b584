/** The expansions of special functions, evaluated operation by operation, against exact references. */

import * as sp from 'saddlepoint'
import { describe, expect, it } from 'vitest'
import { axisIndex } from '../../src/compiler/affine.js'
import { ExprTable, isOperation, walkExprs } from '../../src/compiler/expr.js'
import type { Float } from '../../src/compiler/math/builder.js'
import { expandMath, type MathOp, mathOps } from '../../src/compiler/math/expand.js'
import { erf, floorMod } from '../../src/runtime/backends/reference/functions.js'
import { buildProgram } from '../../src/runtime/backends/wasm/program.js'
import { functions, stated } from '../numerics/functions.js'
import { ulps, ulps32 } from '../numerics/real.js'
import { hardPoints, rounded, sample, uniforms } from '../numerics/samples.js'
import { evaluator, expansionOf, type Fn } from '../numerics/scalar.js'

const compile = (op: MathOp, type: Float, fused: boolean): Fn => evaluator(expansionOf(op, type), { fused })

type Unary = 'exp' | 'expm1' | 'log' | 'log1p' | 'tanh' | 'erf' | 'sin' | 'cos' | 'atan'
const { exp, expm1, log, log1p, tanh, sin, cos, atan } = Math
const host: Record<Unary, (x: number) => number> = { exp, expm1, log, log1p, tanh, sin, cos, atan, erf }
const same = (a: number, b: number): boolean => Object.is(a, b)
const rowOf = (op: string): (typeof functions)[number] =>
  functions.find(f => f.name === op) as (typeof functions)[number]
const uniform = uniforms('math')
const sign = (): number => (uniform() < 0.5 ? -1 : 1)

describe('special functions in SIMD operations', () => {
  for (const op of Object.keys(host) as Unary[]) {
    const { exact, inside } = rowOf(op)

    for (const fused of [false, true])
      it(`${op} float32 ${fused ? 'fused' : 'unfused'}: within ${stated[op].float32} ULP`, () => {
        const f = compile(op, 'float32', fused)
        let worst = { ulps: 0, x: 0 }
        const check = (x: number): void => {
          const error = ulps32(f(x, 0), host[op](x))
          if (inside(x, 0) && !(error <= worst.ulps)) worst = { ulps: error, x }
        }
        for (let i = 0; i < 80_000; i++) check(sample('float32', i, uniform))
        hardPoints('float32').forEach(check)
        expect(worst.ulps, `at ${worst.x}`).toBeLessThanOrEqual(stated[op].float32)
      })

    it(`${op} float64: within ${stated[op].float64} ULP`, () => {
      const f = compile(op, 'float64', false)
      let worst = { ulps: 0, x: 0 }
      const check = (x: number): void => {
        const error = inside(x, 0) ? ulps(f(x, 0), exact(x, 0), 'float64') : 0
        if (!(error <= worst.ulps)) worst = { ulps: error, x }
      }
      for (let i = 0; i < 6000; i++) check(sample('float64', i, uniform))
      hardPoints('float64').forEach(check)
      expect(worst.ulps, `at ${worst.x}`).toBeLessThanOrEqual(stated[op].float64)
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

  const exponents = (type: Float, i: number, range: number): [number, number] => {
    const x = rounded(
      type,
      i % 2 ? 2 ** ((uniform() * 2 - 1) * (range - 2)) : 1 + (uniform() - 0.5) * 2 ** (-uniform() * 20),
    )
    const y = ((uniform() * 2 - 1) * (range + 30)) / Math.log2(x)
    return i % 5 === 0 ? [-x, rounded(type, Math.round(y))] : [x, rounded(type, y)]
  }
  it('pow float32: within 1.3 ULP', () => {
    for (const fused of [false, true]) {
      const f = compile('pow', 'float32', fused)
      for (let i = 0; i < 30_000; i++) {
        const [x, y] = exponents('float32', i, 128)
        if (Number.isFinite(y)) expect(ulps32(f(x, y), x ** y), `${x} ** ${y}`).toBeLessThanOrEqual(stated.pow.float32)
      }
    }
  })
  it('pow float64: within 1.5 ULP', () => {
    const f = compile('pow', 'float64', false)
    const { exact } = rowOf('pow')
    for (let i = 0; i < 4000; i++) {
      const [x, y] = exponents('float64', i, 1024)
      if (Number.isFinite(y))
        expect(ulps(f(x, y), exact(x, y), 'float64'), `${x} ** ${y}`).toBeLessThanOrEqual(stated.pow.float64)
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

  it('expBelow0: exp to the bit, of what is at most 0 and some way above', () => {
    for (const [type, most] of [
      ['float32', 43],
      ['float64', 350],
    ] as const)
      for (const fused of [false, true]) {
        const [f, g] = [compile('expBelow0', type, fused), compile('exp', type, fused)]
        const check = (x: number): void => {
          const [got, want] = [f(x, 0), g(x, 0)]
          if (!same(got, want)) expect(got, `of ${x}`).toBe(want)
        }
        for (let i = 0; i < 20_000; i++) {
          const x = sample(type, i, uniform)
          check(Math.abs(x) <= most ? x : -Math.abs(x))
          // Where the result is subnormal.
          check(rounded(type, -(type === 'float32' ? 87 : 708) - 40 * uniform()))
        }
        for (const x of [...hardPoints(type), 0, -0, -Infinity, NaN, most]) check(x > most ? -x : x)
        // Half-way between two powers of two, and next to it.
        for (let k = type === 'float32' ? -150 : -1075; k < 0; k++) {
          const [x, place] = [(k + 0.5) * Math.LN2, 2 ** (Math.floor(Math.log2(-k)) - (type === 'float32' ? 23 : 52))]
          for (let ulp = -3; ulp <= 3; ulp++) check(rounded(type, x + ulp * place))
        }
      }
  })

  it('sign: keeps zeros and NaN', () => {
    for (const type of ['float32', 'float64'] as const) {
      const f = compile('sign', type, false)
      for (const x of [0, -0, 3, -3, Infinity, -Infinity, NaN, 2 ** -149]) expect(f(x, 0)).toBe(Math.sign(x))
    }
  })

  it('remainder: exact for all quotients', () => {
    for (const type of ['float32', 'float64'] as const)
      for (const fused of type === 'float32' ? [false, true] : [false]) {
        const f = compile('remainder', type, fused)
        const check = (x: number, y: number): void => {
          const want = rounded(type, floorMod(x, y))
          const got = f(x, y)
          expect(got === want || same(got, want), `${x} mod ${y} is ${got}, not ${want}`).toBe(true)
        }
        for (let i = 0; i < 6_000; i++) {
          const y = sample(type, Math.floor(uniform() * 7), uniform)
          const near = i % 3 === 0 ? Math.round(uniform() * 1000) * y : y * 2 ** (uniform() * 120)
          const x = i % 3 === 1 ? sample(type, Math.floor(uniform() * 7), uniform) : sign() * rounded(type, near)
          check(x, y)
        }
        for (const x of [5, -5, 6, -6, 0, Infinity, -Infinity, NaN])
          for (const y of [3, -3, 0, Infinity, -Infinity, NaN]) check(x, y)
      }
  })

  for (const threads of [1, 2, 3])
    it(`numbers far beyond the expansions, ${threads} threads`, async () => {
      const device = await sp.setDevice('wasm', { threads })
      for (const [type, array] of [
        ['float32', Float32Array],
        ['float64', Float64Array],
      ] as const) {
        const values = new array(50_003).map((_, i) => (i % 5 ? sign() * 2 ** (20 + uniform() * 100) : i / 99))
        const x = sp.tensor(values)
        const results = await Promise.all([sp.sin(x), sp.cos(x), sp.remainder(x, 0.7)].map(y => y.data()))
        const seven = rounded(type, 0.7)
        values.forEach((v, i) => {
          const wanted = [Math.sin(v), Math.cos(v), floorMod(v, seven)]
          const tolerance = type === 'float32' ? 2e-7 : 4e-16
          results.forEach((r, k) => {
            if (!(Math.abs(r[i] - wanted[k]) <= tolerance)) expect(r[i], `function ${k} of ${v}`).toBe(wanted[k])
          })
        })
      }
      await device.close()
      await sp.setDevice('reference')
    })

  it('a module imports what the host computes only if it uses it', () => {
    const importsOf = (...ops: MathOp[]): string[] => {
      const exprs = new ExprTable()
      const x = exprs.load(0, 'float32', axisIndex(0, 4), [])
      const kernels = ops.map((op, i) => {
        const value = exprs.operation(op, 'float32', ...(op === 'remainder' ? [x, x] : [x]))
        return { kind: 'loop' as const, name: op, axes: [4], outputs: [{ buffer: i + 1, value }] }
      })
      const buffers = [0, ...ops].map(() => ({ dtype: 'float32' as const, size: 4, role: 'leaf' as const }))
      const memory = { initial: 1, maximum: 1, shared: false }
      const options = { threads: 1, relaxed: false, paired: false, memory }
      const { module } = buildProgram({ buffers, kernels, leaves: [], results: [] }, options)
      return WebAssembly.Module.imports(new WebAssembly.Module(module)).map(i => i.name)
    }
    expect(importsOf('exp', 'atan')).toEqual(['memory'])
    expect(importsOf('exp', 'sin', 'remainder', 'sin')).toEqual(['memory', 'sinFar', 'remainderFar'])
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

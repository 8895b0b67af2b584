/**
 * Random programs: what they call, that their derivatives pass, and that a wrong rule shrinks to the one call that
 * shows it.
 */

import fc from 'fast-check'
import * as sp from 'saddlepoint'
import * as check from 'saddlepoint/check'
import {
  arbitraries,
  checkDevices,
  checkGrads,
  GradientError,
  type Program,
  type ProgramOptions,
} from 'saddlepoint/check'
import { describe, expect, test } from 'vitest'
import { type Rule, rules } from '../../src/autodiff/rules.js'
import { smoothValues } from '../../src/check/eager.js'
import { programNames } from '../../src/check/programs.js'
import { type Primitive, topological } from '../../src/graph/node.js'
import { holds } from '../oracle/property.js'

const { programs } = arbitraries(fc)
const { astype, div, mul, neg, sin, stopGradient, sub } = sp

describe('derivatives of random programs', () => {
  test('to order 2', () =>
    holds(
      fc.asyncProperty(programs(), p => checkGrads(p.f, p.args)),
      15,
    ))
  test('to order 3', () =>
    holds(
      fc.asyncProperty(programs({ maxSteps: 5 }), p => checkGrads(p.f, p.args, { order: 3, modes: ['reverse'] })),
      4,
    ))
  test('in float32', () =>
    holds(
      fc.asyncProperty(programs({ maxSteps: 3 }), p =>
        checkGrads(
          p.f,
          p.args.map(x => astype(x, 'float32')),
        ),
      ),
      8,
    ))
  test.each(programNames())('of %s alone', op =>
    holds(
      fc.asyncProperty(programs({ ops: [op], maxSteps: 1 }), p => {
        expect(p.operations).toEqual([op])
        return checkGrads(p.f, p.args)
      }),
      1,
    ),
  )
})

test('every operation is public', () => {
  for (const op of programNames()) expect(sp, op).toHaveProperty(op)
})

test('devices agree on random programs and their gradients', () =>
  holds(
    fc.asyncProperty(programs(), p =>
      checkDevices(
        (...xs: sp.Tensor[]) => {
          const [y, pull] = sp.vjp(p.f, ...xs)
          // Beside a 1, for a gradient that is 0 up to rounding has no size of its own.
          return [y, sp.concat([sp.ones([1], 'float64'), ...pull(sp.onesLike(y)).map(sp.flatten)])]
        },
        p.args,
        { threads: 1 },
      ),
    ),
    20,
  ))

test('options that make no sense', () => {
  expect(() => programs({ ops: ['sine'] })).toThrow("programs: unknown operation 'sine'; one or more of neg")
  expect(() => programs({ ops: ['toString'] })).toThrow("programs: unknown operation 'toString'; one or more of neg")
  expect(() => programs({ maxSteps: 0 })).toThrow('programs: maxSteps must be 1 or more, not 0')
  expect(() => programs({ ops: [] })).toThrow('programs: ops is empty; one or more of neg')
})

/** Runs printed code as it stands, but on the modules under test. */
async function runCode(code: string): Promise<void> {
  const body = code
    .replace(/import (.*) from 'saddlepoint'\n/, 'const $1 = saddlepoint\n')
    .replace(/import (.*) from 'saddlepoint\/check'\n/, 'const $1 = check\n')
  await new Function('saddlepoint', 'check', `return (async () => {${body}})()`)(sp, check)
}

test('prints code that runs, and computes the same', () =>
  holds(
    fc.asyncProperty(programs(), async p => {
      const seen: Program[] = []
      const spy = {
        ...check,
        checkGrads: async (f: Program['f'], args: sp.Tensor[]) => void seen.push({ ...p, f, args }),
      }
      const body = `${p}`.replace(
        /import (.*) from '(.*)'\n/g,
        (_, names, from) => `const ${names} = modules['${from}']\n`,
      )
      await new Function('modules', `return (async () => {${body}})()`)({ saddlepoint: sp, 'saddlepoint/check': spy })
      const [{ f, args }] = seen
      expect(await f(...args).array()).toEqual(await p.f(...p.args).array())
      expect(`${p}`.match(/ {2}const y/g)).toHaveLength(p.operations.length)
    }),
    30,
  ))

/** The primitives that a program consists of, together with its derivatives below an order. */
function primitivesOf(program: Program | undefined, order: number): Primitive[] {
  if (!program) return []
  const derivative = (f: (xs: sp.Tensor[]) => sp.Tensor[], n: number): ((xs: sp.Tensor[]) => sp.Tensor[]) =>
    n === 0 ? f : derivative(xs => sp.vjp(f, xs)[1](f(xs).map(y => sp.onesLike(y)))[0], n - 1)
  const results = derivative(xs => [program.f(...xs)], order - 1)(program.args)
  return topological(results.map(t => t.node)).map(n => n.op)
}

test('prints no step that the result does not need', () => {
  for (const p of fc.sample(programs(), { numRuns: 100, seed: 2 })) {
    for (let i = 0; i < p.operations.length; i++)
      expect(`${p}`.split(new RegExp(`\\by${i}\\b`)).length).toBeGreaterThan(2)
    for (let i = 0; i < p.args.length; i++) expect(`${p}`.split(new RegExp(`\\bx${i}\\b`)).length).toBeGreaterThan(4)
  }
})

describe('steps are left out near kinks, ties, poles and jumps', () => {
  /** [an expression of x, arguments where it is smooth, arguments where it is not] */
  const rows: { readonly [name: string]: readonly [(x: sp.Tensor) => sp.Tensor, number[][], number[][]] } = {
    relu: [sp.relu, [[0.1, -1]], [[0.001, 1]]],
    abs: [sp.abs, [[0.1]], [[-0.001], [0]]],
    clip: [x => sp.clip(x, -1, 1), [[0.9, 1.1]], [[0.999], [-1.001]]],
    maximum: [x => sp.maximum(x, 0.5), [[0.4, 0.6]], [[0.5], [0.501]]],
    max: [sp.max, [[1, 1.1]], [[1, 1.001]]],
    'max by rows': [
      x => sp.max(sp.reshape(x, [2, 2]), { axis: 1 }),
      [[1, 2, 1, 2]],
      [
        [1, 1, 3, 4],
        [1, 2, 3, 3],
      ],
    ],
    'maxPool2d, padded': [
      x => sp.maxPool2d(sp.reshape(x, [1, 3, 1, 1]), [2, 1], { padding: 'same' }),
      [[1, 2, 3]],
      [[1, 1, 3]],
    ],
    sort: [sp.sort, [[3, 1, 2]], [[1, 2, 1.001]]],
    sqrt: [sp.sqrt, [[0.3]], [[0.1], [-1]]],
    log: [sp.log, [[0.3]], [[0.1], [-1]]],
    log1p: [sp.log1p, [[-0.7]], [[-0.9], [-2]]],
    reciprocal: [sp.reciprocal, [[0.3, -0.3]], [[0.1], [0]]],
    pow: [x => sp.pow(x, 1.5), [[0.3]], [[0.1], [-1]]],
    remainder: [x => sp.remainder(x, 1), [[0.3, -2.4]], [[1.001], [-2]]],
    round: [x => sp.mul(x, sp.round(x)), [[0.1, 1]], [[0.501], [-1.5]]],
    floor: [x => sp.mul(x, sp.floor(x)), [[0.5]], [[0.999], [2]]],
    'large values': [sp.exp, [[2]], [[2.1], [1000]]],
  }
  for (const [name, [f, good, bad]] of Object.entries(rows)) {
    test(name, () => {
      const fits = (x: number[]): boolean => smoothValues(f(sp.tensor(x, { dtype: 'float64' })).node, 8) !== undefined
      expect(good.map(fits)).toEqual(good.map(() => true))
      expect(bad.map(fits)).toEqual(bad.map(() => false))
    })
  }
})

describe('a wrong rule shrinks to one call', () => {
  /** What is wrong, the primitive, its rule, and the order that shows it, of programs of which operations. */
  const wrong = <P extends Primitive>(name: string, primitive: P, rule: Rule<P>, options: ProgramOptions = {}) => ({
    ...{ name, primitive, rule },
    options: { order: 1, ...options },
  })
  const { matmul, conv, gather, pow } = rules
  const minus = (g: sp.Tensor | null): sp.Tensor | null => g && neg(g)
  const plants = [
    wrong('sin', 'sin', ({ g }, x) => [mul(g, sin(x))]),
    wrong('sub, second operand', 'sub', ({ g }) => [g, g]),
    wrong('matmul, second operand', 'matmul', (c, ...xs) => [matmul(c, ...xs)[0], minus(matmul(c, ...xs)[1])]),
    wrong('conv, first operand', 'conv', (c, ...xs) => [minus(conv(c, ...xs)[0]), conv(c, ...xs)[1]]),
    wrong('gather', 'gather', (c, ...xs) => [minus(gather(c, ...xs)[0]), null]),
    wrong('pow, exponent', 'pow', (c, ...xs) => [pow(c, ...xs)[0], minus(pow(c, ...xs)[1])], {
      ops: ['sin', 'pow', 'mul', 'sum'],
    }),
    wrong('tanh at order 2', 'tanh', ({ g, y }) => [mul(g, sub(1, stopGradient(mul(y, y))))], { order: 2 }),
    wrong('div at order 2', 'div', ({ g, y }, _, b) => [div(g, b), neg(div(mul(g, stopGradient(y)), b))], { order: 2 }),
  ]
  for (const { name, primitive, rule, options } of plants) {
    test(name, async () => {
      const right = rules[primitive]
      const property = fc.asyncProperty(programs(options), p =>
        checkGrads(p.f, p.args, { order: options.order, modes: ['reverse'] }),
      )
      Object.assign(rules, { [primitive]: rule })
      try {
        const run = await fc.check(property, { seed: 5, numRuns: 1000 })
        expect(run.failed).toBe(true)
        const [program] = run.counterexample ?? []
        const text = `${program}`
        expect(program?.operations, text).toHaveLength(1)
        expect(primitivesOf(program, options.order), text).toContain(primitive)
        expect(run.errorInstance).toBeInstanceOf(GradientError)
        expect((run.errorInstance as GradientError).order).toBe(options.order)
        // What fast-check reports shows the code, and the seed and path that lead back to it.
        const { seed, counterexamplePath: path } = run
        expect(fc.defaultReportMessage(run)).toContain(text)
        expect(fc.defaultReportMessage(run)).toContain(`{ seed: ${seed}, path: "${path}"`)
        const replayed = await fc.check(property, { seed, path: path ?? '', endOnFailure: true })
        expect(`${replayed.counterexample?.[0]}`).toBe(text)
        await expect(runCode(text)).rejects.toThrow('checkGrads: argument')
        Object.assign(rules, { [primitive]: right })
        await runCode(text)
      } finally {
        Object.assign(rules, { [primitive]: right })
      }
    })
  }
})

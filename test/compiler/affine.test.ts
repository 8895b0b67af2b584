/** Index arithmetic: what is simplified has the value that it had, at every position of the loops. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type Atom,
  addIndex,
  axisIndex,
  constantIndex,
  divide,
  type Index,
  linearIndex,
  offsetIndex,
  printIndex,
  range,
  scaleIndex,
  unravel,
} from '../../src/compiler/affine.js'

const sizes = [6, 4, 8]

const valueOf = (index: Index, at: readonly number[]): number =>
  index.terms.reduce((sum, { atom, factor }) => sum + factor * atomOf(atom, at), index.constant)
function atomOf(atom: Atom, at: readonly number[]): number {
  if (atom.kind === 'axis') return at[atom.axis]
  if (atom.kind === 'value') throw new Error('no values here')
  const of = valueOf(atom.of, at)
  if (atom.kind === 'bounded') return of
  return atom.kind === 'quotient' ? Math.floor(of / atom.divisor) : of - atom.divisor * Math.floor(of / atom.divisor)
}
const positions = Array.from({ length: 6 * 4 * 8 }, (_, i) => [Math.floor(i / 32), Math.floor(i / 8) % 4, i % 8])

const { index } = fc.letrec<{ index: Index }>(tie => ({
  index: fc.oneof(
    { depthSize: 'small' },
    fc.nat(2).map(axis => axisIndex(axis, sizes[axis])),
    fc.integer({ min: -5, max: 20 }).map(constantIndex),
    fc.tuple(tie('index'), tie('index')).map(([a, b]) => addIndex(a, b)),
    fc.tuple(tie('index'), fc.integer({ min: -3, max: 16 })).map(([a, factor]) => scaleIndex(a, factor)),
    fc.tuple(tie('index'), fc.integer({ min: 1, max: 24 }), fc.boolean()).map(([a, divisor, whole]) => {
      const { quotient, remainder } = divide(a, divisor)
      return whole ? quotient : remainder
    }),
  ),
}))

test('quotients and remainders of any index', () => {
  fc.assert(
    fc.property(index, fc.integer({ min: 1, max: 24 }), (of, divisor) => {
      const { quotient, remainder } = divide(of, divisor)
      for (const at of positions) {
        const value = valueOf(of, at)
        const whole = Math.floor(value / divisor)
        const expected = [whole, value - divisor * whole]
        for (const [i, part] of [quotient, remainder].entries()) {
          const { low, high } = range(part)
          const got = valueOf(part, at)
          if (got !== expected[i] || got < low || got > high)
            throw new Error(
              `${printIndex(of)} by ${divisor} at ${at}: ${got}, not ${expected[i]}, of ${low} to ${high}`,
            )
        }
      }
    }),
    { numRuns: 300 },
  )
})

test('a position taken apart and put together again', () => {
  fc.assert(
    fc.property(fc.constantFrom([6, 32], [24, 8], [2, 3, 4, 8], [192], [12, 16], [3, 2, 32]), shape => {
      const position = linearIndex(
        sizes.map((size, axis) => axisIndex(axis, size)),
        sizes,
      )
      expect(linearIndex(unravel(position, shape), shape).key).toBe(position.key)
    }),
  )
})

describe('simplified', () => {
  const [i, j, k] = sizes.map((size, axis) => axisIndex(axis, size))
  const parts = (of: Index, divisor: number): string[] => Object.values(divide(of, divisor)).map(printIndex)
  const rows: readonly [string, Index, number, string[]][] = [
    ['what the divisor divides', addIndex(scaleIndex(i, 8), k), 8, ['i0', 'i2']],
    ['a factor in common', addIndex(scaleIndex(j, 8), k), 16, ['(i1 div 2)', '8*(i1 mod 2) + i2']],
    [
      'one among larger ones',
      addIndex(addIndex(scaleIndex(i, 32), scaleIndex(j, 8)), k),
      16,
      ['(i1 div 2) + 2*i0', '8*(i1 mod 2) + i2'],
    ],
    ['a factor of all', scaleIndex(j, 8), 16, ['(i1 div 2)', '8*(i1 mod 2)']],
    ['with a constant', offsetIndex(scaleIndex(j, 8), 3), 16, ['(i1 div 2)', '8*(i1 mod 2) + 3']],
    [
      'not where the rest may be negative',
      addIndex(scaleIndex(j, 8), scaleIndex(k, -1)),
      16,
      ['(8*i1 + -1*i2 div 16)', '(8*i1 + -1*i2 mod 16)'],
    ],
    [
      'not where the rest reaches the factor',
      addIndex(scaleIndex(j, 4), k),
      16,
      ['(4*i1 + i2 div 16)', '(4*i1 + i2 mod 16)'],
    ],
  ]
  test.each(rows)('%s', (_, of, divisor, expected) => expect(parts(of, divisor)).toEqual(expected))
})

/** Random programs on the device in use against the interpreter: the test of the scheduler, the lowering and the device. */

import fc from 'fast-check'
import { realize } from 'saddlepoint'
import { expect, test } from 'vitest'
import { expressions, moving, programs } from '../oracle/programs.js'
import { holds } from '../oracle/property.js'

/** The largest difference, relative where values are large; NaN and NaN are equal. */
function distance(got: ArrayLike<number>, expected: readonly number[]): number {
  let worst = got.length === expected.length ? 0 : Number.POSITIVE_INFINITY
  expected.forEach((e, i) => {
    const g = got[i]
    const same = g === e || (Number.isNaN(g) && Number.isNaN(e))
    const error = same ? 0 : Math.abs(g - e) / Math.max(1, Math.abs(e))
    worst = Math.max(worst, Number.isNaN(error) ? Number.POSITIVE_INFINITY : error)
  })
  return worst
}

const kinds: readonly [string, readonly string[] | undefined, number][] = [
  ['programs', undefined, 2000],
  ['movement chains', moving, 1000],
]
test.each(kinds)('random %s compute what the interpreter computes', { timeout: 600_000 }, async (_, names, runs) => {
  let [computed, cases] = [0, 0]
  await holds(
    fc.asyncProperty(programs, async program => {
      const { roots, values, text } = expressions(program, names)
      const expected = roots.map(r => values.of(r).data)
      computed += text.length
      cases++
      await realize(roots)
      for (const [i, root] of roots.entries()) {
        const got = await root.data()
        const error = distance(got, expected[i])
        if (!(error < 1e-9)) {
          throw new Error(
            `root ${i} [${root.shape}] differs by ${error}: got ${[...got]}, expected ${expected[i]}\n${text.join('\n')}`,
          )
        }
      }
    }),
    runs,
  )
  expect(computed).toBeGreaterThan(2 * cases)
})

import fc from 'fast-check'
import { realize } from 'saddlepoint'
import { test } from 'vitest'
import { expressions, moving, programs } from '../oracle/programs.js'
test('hunt', { timeout: 600_000 }, async () => {
  const found = new Map<string, string>()
  let n = 0
  for (const names of [undefined, moving]) for (const program of fc.sample(programs, { numRuns: 15000, seed: Date.now() & 0xffffff })) {
    n++
    const { roots, values, text } = expressions(program, names)
    const expected = roots.map(r => values.of(r).data)
    try {
      await realize(roots)
      for (const [i, root] of roots.entries()) {
        const got = await root.data()
        expected[i].forEach((e, k) => {
          const same = got[k] === e || (Number.isNaN(got[k]) && Number.isNaN(e))
          if (!same && !(Math.abs(got[k] - e) / Math.max(1, Math.abs(e)) < 1e-9)) throw new Error('differs')
        })
      }
    } catch (error) {
      const key = String(error).slice(0, 80)
      const old = found.get(key)
      const now = JSON.stringify(program) + '\n' + text.join('\n')
      if (!old || now.length < old.length) found.set(key, now)
    }
  }
  console.log(n, [...found].map(([k, v]) => k + '\n' + v).join('\n\n'))
})

import fc from 'fast-check'
import { realize, getDevice } from 'saddlepoint'
import { test } from 'vitest'
import { expressions, programs } from '../oracle/programs.js'
test('mem', { timeout: 600_000 }, async () => {
  let n = 0
  const t0 = performance.now()
  for (const program of fc.sample(programs, { numRuns: 12000, seed: 5 })) {
    const { roots } = expressions(program)
    await realize(roots)
    for (const root of roots) await root.data()
    if (++n % 2000 === 0) { const m = process.memoryUsage(); console.log(n, Math.round(performance.now() - t0), 'rss', m.rss >> 20, 'heap', m.heapUsed >> 20, 'ext', m.external >> 20, 'ab', m.arrayBuffers >> 20, 'dev', (await getDevice()).bytesInUse) }
  }
})

/** The derivatives of every operation against central differences in float64, at orders 1, 2 and 3. */

import fc from 'fast-check'
import { checkGrads } from 'saddlepoint/check'
import { describe, test } from 'vitest'
import { holds, Rng } from '../oracle/property.js'
import { files } from './catalog.js'

const differentiable = Object.entries(files).filter(([, catalog]) => Object.values(catalog).some(({ flat }) => !flat))

describe.each(differentiable)('%s', (_, catalog) => {
  for (const [name, { makes, flat }] of Object.entries(catalog)) {
    if (flat) continue
    test(name, async () => {
      for (const make of makes) {
        await holds(
          fc.asyncProperty(fc.nat(1e6), async seed => {
            const { f, args } = make(new Rng(seed))
            await checkGrads(f, [...args], { order: 3, tolerance: 2e-6, seed })
          }),
          2,
        )
      }
    })
  }
})

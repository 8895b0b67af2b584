/** vmap of every operation: the table of batching rules. */

import { describe, test } from 'vitest'
import { primitiveCases } from '../autodiff/primitive-cases.js'
import { Rng } from '../oracle/property.js'
import { expectBatched } from './batched.js'
import { files } from './catalog.js'

describe.each(Object.entries(files))('%s', (_, catalog) => {
  test.each(Object.entries(catalog))('%s', async (_, { makes, flat }) => {
    for (const make of makes) await expectBatched(make(new Rng(11)), flat !== undefined)
  })
})

describe('primitives', () => {
  test.each(Object.entries(primitiveCases))('%s', async (_, makes) => {
    for (const make of typeof makes === 'string' ? [] : makes) await expectBatched(make(new Rng(12)), false)
  })
})

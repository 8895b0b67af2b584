/** Tests that are rows: an expression, and the shape and values that other programs find for it. */

import type { Tensor } from 'saddlepoint'
import { expect, test } from 'vitest'
import { expectClose } from '../oracle/close.js'

/** [name, expression, shape, values in row-major order] */
export type ValueRow = readonly [string, () => Tensor, readonly number[], readonly number[]]

export const testValues = (rows: readonly ValueRow[]): void =>
  test.each(rows)('%s', async (_, make, shape, values) => {
    const x = make()
    expect(x.shape).toEqual(shape)
    await expectClose(x.flatten(), values)
  })

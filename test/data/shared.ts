/** Tests of real files that are not part of the project: they lie in the folder that SADDLEPOINT_DATA names. */

import { join } from 'node:path'
import { test } from 'vitest'

/** A test of FOLDER/NAME, which it gets; skipped, and said so in its name, where the variable is not set. */
export const sharedData =
  (name: string) =>
  (title: string, body: (folder: string) => Promise<void>): void => {
    const root = process.env.SADDLEPOINT_DATA
    if (root) test(title, () => body(join(root, name)))
    else test.skip(`${title} (SADDLEPOINT_DATA is not set)`, () => {})
  }

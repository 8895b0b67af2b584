/** Every public operation with cases of its use. */

import type { Catalog } from './cases.js'
import { contraction } from './catalog/contraction.js'
import { convolution } from './catalog/convolution.js'
import { create } from './catalog/create.js'
import { elementwise } from './catalog/elementwise.js'
import { indexing } from './catalog/indexing.js'
import { losses } from './catalog/losses.js'
import { movement } from './catalog/movement.js'
import { neural } from './catalog/neural.js'
import { order } from './catalog/order.js'
import { reduction } from './catalog/reduction.js'
import { slicing } from './catalog/slicing.js'

/** By the file of src that the operation stands in. */
export const files: Readonly<Record<string, Catalog>> = {
  elementwise,
  reduction,
  order,
  create,
  movement,
  slicing,
  indexing,
  contraction,
  convolution,
  neural,
  losses,
}
export const catalog: Catalog = Object.assign({}, ...Object.values(files))

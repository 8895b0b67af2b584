/** Rows of a data set as tensors: what a model and a loss take as a batch. */

import type { HostArray } from '../graph/dtype.js'
import { tensor } from '../tensor/create.js'
import type { Tensor } from '../tensor/tensor.js'

/** @example const batch = tensorsOf(data.rows([0, 1, 2])) */
export const tensorsOf = (rows: Readonly<Record<string, HostArray>>): Record<string, Tensor> =>
  Object.fromEntries(Object.entries(rows).map(([name, column]) => [name, tensor(column)]))

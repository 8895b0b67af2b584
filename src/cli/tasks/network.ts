/** The tutorial's network for digits. */

import { Conv2d } from '../../nn/conv.js'
import { Linear } from '../../nn/linear.js'
import { countParameters } from '../../nn/parameters.js'
import { Flatten, MaxPool2d } from '../../nn/pool.js'
import { Sequential } from '../../nn/sequential.js'
import { relu } from '../../tensor/elementwise.js'
import { split } from '../../tensor/random.js'
import { at } from '../../tensor/slicing.js'
import type { Tensor } from '../../tensor/tensor.js'

export const parameters = 93_322

/** Images [n, 28, 28, 1] to logits [n, 10]. */
export function network(key: Tensor): Sequential {
  const keys = split(key, 5)
  const made = new Sequential([
    new Conv2d(1, 32, 3, { key: at(keys, 0) }),
    relu,
    new MaxPool2d(2),
    new Conv2d(32, 64, 3, { key: at(keys, 1) }),
    relu,
    new MaxPool2d(2),
    new Conv2d(64, 64, 3, { key: at(keys, 2) }),
    relu,
    new Flatten(),
    new Linear(576, 64, { key: at(keys, 3) }),
    relu,
    new Linear(64, 10, { key: at(keys, 4) }),
  ])
  const count = countParameters(made)
  if (count !== parameters) throw new Error(`network: has ${count} parameters, the tutorial's has ${parameters}`)
  return made
}

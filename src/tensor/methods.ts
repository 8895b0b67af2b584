/** Every operation whose first operand is a tensor, as a method: `x.mul(y).sum()`. Importing this file installs them. */

import * as contraction from './contraction.js'
import * as convolution from './convolution.js'
import * as elementwise from './elementwise.js'
import * as indexing from './indexing.js'
import * as movement from './movement.js'
import * as neural from './neural.js'
import * as order from './order.js'
import * as reduction from './reduction.js'
import * as slicing from './slicing.js'
import { Tensor } from './tensor.js'

// The others begin with a condition, a list, a text or indices.
const {
  where: _where,
  concat: _concat,
  stack: _stack,
  einsum: _einsum,
  scatterAdd: _scatterAdd,
  ...methods
} = {
  ...elementwise,
  ...reduction,
  ...order,
  ...movement,
  ...slicing,
  ...indexing,
  ...contraction,
  ...convolution,
  ...neural,
}

type Method<F> = F extends (x: infer _X, ...rest: infer R) => infer T ? (...rest: R) => T : never
type Methods = { readonly [K in keyof typeof methods]: Method<(typeof methods)[K]> }

declare module './tensor.js' {
  interface Tensor extends Methods {}
}

for (const [name, operation] of Object.entries(methods)) {
  Object.defineProperty(Tensor.prototype, name, {
    value(this: Tensor, ...rest: unknown[]) {
      return (operation as (...args: unknown[]) => unknown)(this, ...rest)
    },
  })
}

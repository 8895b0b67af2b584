/** Every operation whose first operand is a tensor, as a method: `x.mul(y).sum()`. Importing this file installs them. */

import * as contraction from './contraction.js'
import * as elementwise from './elementwise.js'
import * as indexing from './indexing.js'
import * as movement from './movement.js'
import * as neural from './neural.js'
import * as reduction from './reduction.js'
import { Tensor } from './tensor.js'

const { align: _align, opposite: _opposite, where: _where, ...elementwiseMethods } = elementwise
const { concat: _concat, stack: _stack, padInterior: _padInterior, ...movementMethods } = movement
const { padSpatial: _padSpatial, ...contractionMethods } = contraction
const { safeSqrt: _safeSqrt, ...reductionMethods } = reduction
const { scatterAdd: _scatterAdd, ...indexingMethods } = indexing

const methods = {
  ...elementwiseMethods,
  ...movementMethods,
  ...contractionMethods,
  ...reductionMethods,
  ...indexingMethods,
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

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

const {
  align: _align,
  opposite: _opposite,
  safeSqrt: _safeSqrt,
  scaleFor: _scaleFor,
  where: _where,
  ...elementwiseMethods
} = elementwise
const {
  concat: _concat,
  stack: _stack,
  padInterior: _padInterior,
  expandTo: _expandTo,
  perAxis: _perAxis,
  ...movementMethods
} = movement
const { range: _range, unslice: _unslice, ...slicingMethods } = slicing
const { einsum: _einsum, ...contractionMethods } = contraction
const { padSpatial: _padSpatial, transposedConv: _transposedConv, ...convolutionMethods } = convolution
const { scatterAdd: _scatterAdd, ...indexingMethods } = indexing

const methods = {
  ...elementwiseMethods,
  ...movementMethods,
  ...slicingMethods,
  ...contractionMethods,
  ...convolutionMethods,
  ...reduction,
  ...indexingMethods,
  ...neural,
  ...order,
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

/** saddlepoint: tensors with gradients of any order. */

import './tensor/methods.js'

export * from './autodiff/custom.js'
export * from './autodiff/transforms.js'
export * from './autodiff/vmap.js'
export type { DType, HalfArray, HostArray, TypedArray } from './graph/dtype.js'
export type { Shape } from './graph/shape.js'
export { type Device, type DeviceName, type DeviceOptions, getDevice, setDevice } from './runtime/device.js'
export {
  type Ceilings,
  chromeTrace,
  type KernelTime,
  type Profile,
  printProfile,
  profile,
  type Span,
} from './runtime/profile.js'
export { stats } from './runtime/realize.js'
export * from './tensor/compile.js'
export * from './tensor/contraction.js'
export * from './tensor/convolution.js'
export * from './tensor/create.js'
export * from './tensor/elementwise.js'
export * from './tensor/indexing.js'
export * from './tensor/movement.js'
export * from './tensor/neural.js'
export * from './tensor/order.js'
export * as random from './tensor/random.js'
export * from './tensor/realize.js'
export * from './tensor/reduction.js'
export * from './tensor/slicing.js'
export { full, type NestedArray, Tensor, type TensorLike } from './tensor/tensor.js'
export { leaves, mapTree, type NamedLeaf, namedLeaves, replaceLeaves, zipTrees } from './tensor/tree.js'

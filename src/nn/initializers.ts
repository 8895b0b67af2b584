/** First values of weights: how they are distributed, by the papers' formulas. Which layer uses which is the layers' choice. */

import type { DType } from '../graph/dtype.js'
import { type Shape, sizeOf } from '../graph/shape.js'
import { zeros as zeroTensor } from '../tensor/create.js'
import { mul } from '../tensor/elementwise.js'
import * as random from '../tensor/random.js'
import type { Tensor } from '../tensor/tensor.js'

/** Values for a weight of a shape, from a key. */
export type Initializer = (key: Tensor, shape: Shape, dtype?: DType) => Tensor

/**
 * The number of inputs each output sees, and of outputs each input reaches: for [..., in, out] each times the receptive
 * field, the product of the leading axes (the kernel's height and width).
 */
export function fans(shape: Shape): { readonly fanIn: number; readonly fanOut: number } {
  if (shape.length < 2) return { fanIn: shape[0] ?? 1, fanOut: shape[0] ?? 1 }
  const field = sizeOf(shape.slice(0, -2))
  const [inputs, outputs] = shape.slice(-2)
  return { fanIn: field * inputs, fanOut: field * outputs }
}

type Fans = ReturnType<typeof fans>

/** Uniform on ±√(3·variance), which has that variance. */
const uniformOf =
  (variance: (fans: Fans) => number): Initializer =>
  (key, shape, dtype) => {
    const high = Math.sqrt(3 * variance(fans(shape)))
    return random.uniform(key, shape, { low: -high, high, dtype })
  }
const normalOf =
  (variance: (fans: Fans) => number): Initializer =>
  (key, shape, dtype) =>
    mul(random.normal(key, shape, dtype), Math.sqrt(variance(fans(shape))))

const glorot = ({ fanIn, fanOut }: Fans): number => 2 / (fanIn + fanOut)
const he = ({ fanIn }: Fans): number => 2 / fanIn
const lecun = ({ fanIn }: Fans): number => 1 / fanIn

/** Uniform on ±√(6 / (fanIn + fanOut)). Glorot and Bengio, AISTATS 2010, eq. 16 (also named after Xavier). */
export const glorotUniform = uniformOf(glorot)
/** Normal with variance 2 / (fanIn + fanOut). Glorot and Bengio 2010, eq. 12. */
export const glorotNormal = normalOf(glorot)
/** Uniform with variance 2 / fanIn, for layers before a relu. He et al., ICCV 2015, eq. 10 (also named after Kaiming). */
export const heUniform = uniformOf(he)
/** Normal with variance 2 / fanIn. He et al. 2015, eq. 10. */
export const heNormal = normalOf(he)
/** Uniform with variance 1 / fanIn. LeCun et al., "Efficient BackProp", 1998, eq. 16. */
export const lecunUniform = uniformOf(lecun)
/** Normal with variance 1 / fanIn. LeCun et al. 1998, eq. 16. */
export const lecunNormal = normalOf(lecun)

/** Uniform on [low, high). */
export const uniform =
  (low: number, high: number): Initializer =>
  (key, shape, dtype) =>
    random.uniform(key, shape, { low, high, dtype })

/** Normal with mean 0. */
export const normal =
  (deviation: number): Initializer =>
  (key, shape, dtype) =>
    mul(random.normal(key, shape, dtype), deviation)

/** Normal with mean 0, cut at two deviations: what is left has a deviation of 0.8796 times the one given. */
export const truncatedNormal =
  (deviation: number): Initializer =>
  (key, shape, dtype) =>
    mul(random.truncatedNormal(key, shape, { dtype }), deviation)

export const zeros: Initializer = (_key, shape, dtype) => zeroTensor(shape, dtype)

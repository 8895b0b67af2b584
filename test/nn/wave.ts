/** Numbers that any other program can make too: sin(step·(i + 1)) in row-major order. */

import { type Tensor, tensor } from 'saddlepoint'

export const wave = (step: number, ...shape: number[]): Tensor =>
  tensor(
    Float64Array.from({ length: shape.reduce((n, s) => n * s, 1) }, (_, i) => Math.sin(step * (i + 1))),
    { shape },
  )

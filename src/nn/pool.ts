/** Layers that shrink, enlarge or flatten images and have nothing to learn. */

import { knownOptions } from '../graph/options.js'
import { formatShape, sizeOf } from '../graph/shape.js'
import { avgPool2d, globalAvgPool2d, globalMaxPool2d, maxPool2d, type PoolOptions } from '../tensor/convolution.js'
import { reshape } from '../tensor/movement.js'
import { type ResizeOptions, resize } from '../tensor/neural.js'
import { poolNames, resizeNames } from '../tensor/options.js'
import type { Tensor } from '../tensor/tensor.js'
import { checkSizes, type Layer } from './layer.js'

type Window = number | readonly [number, number]

function checkWindow(layer: string, window: Window): void {
  const [height, width] = typeof window === 'number' ? [window, window] : window
  checkSizes(layer, { 'window height': height, 'window width': width })
}

/** A layer of windows; side by side unless a stride is given. */
abstract class Pool2d implements Layer {
  readonly window: Window
  readonly options: PoolOptions

  constructor(window: Window, options: PoolOptions = {}) {
    checkWindow(new.target.name, window)
    this.window = window
    this.options = knownOptions(new.target.name, options, poolNames)
  }

  abstract apply(x: Tensor): Tensor
}

/** The largest value of each window: [n, h, w, c] -> [n, oh, ow, c]. */
export class MaxPool2d extends Pool2d {
  apply(x: Tensor): Tensor {
    return maxPool2d(x, this.window, this.options)
  }
}

/** The mean of each window: [n, h, w, c] -> [n, oh, ow, c]. */
export class AvgPool2d extends Pool2d {
  apply(x: Tensor): Tensor {
    return avgPool2d(x, this.window, this.options)
  }
}

/** The mean of each channel: [n, h, w, c] -> [n, c]. */
export class GlobalAvgPool2d implements Layer {
  apply(x: Tensor): Tensor {
    return globalAvgPool2d(x)
  }
}

/** The largest value of each channel: [n, h, w, c] -> [n, c]. */
export class GlobalMaxPool2d implements Layer {
  apply(x: Tensor): Tensor {
    return globalMaxPool2d(x)
  }
}

/** Images enlarged by a whole factor: [n, h, w, c] -> [n, factor·h, factor·w, c]. */
export class Upsample implements Layer {
  readonly factor: number
  readonly options: ResizeOptions

  constructor(factor: number, options: ResizeOptions = {}) {
    checkSizes('Upsample', { factor })
    this.factor = factor
    this.options = knownOptions('Upsample', options, resizeNames)
  }

  apply(x: Tensor): Tensor {
    return resize(x, [x.shape[1] * this.factor, x.shape[2] * this.factor], this.options)
  }
}

/** [n, ...rest] -> [n, product of rest]. */
export class Flatten implements Layer {
  apply(x: Tensor): Tensor {
    if (x.ndim === 0) throw new Error(`Flatten: needs a batch axis, got ${formatShape(x.shape)}`)
    return reshape(x, [x.shape[0], sizeOf(x.shape.slice(1))])
  }
}

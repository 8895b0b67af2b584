/** Labelled images in memory: what readers of images give, and what training takes. Files are others' concern. */

import { type Dataset, dataset } from './dataset.js'

/** Images [n, height, width, channels] with values 0..1, and their labels [n]. */
export interface ImageSet {
  readonly images: Float32Array
  readonly shape: readonly [n: number, height: number, width: number, channels: number]
  readonly labels: Int32Array
}

/** The first `n` examples; shares memory with `set`. */
export function firstImages(set: ImageSet, n: number): ImageSet {
  const [size, ...image] = set.shape
  if (!Number.isInteger(n) || n < 0 || n > size) {
    throw new Error(`firstImages: ${n} examples of ${size}: ask for an integer from 0 to ${size}`)
  }
  const values = image.reduce((product, side) => product * side, n)
  return { images: set.images.subarray(0, values), shape: [n, ...image], labels: set.labels.subarray(0, n) }
}

/** The columns `image` [n, height, width, channels] and `label` [n], for training; shares memory with `set`. */
export const imageDataset = ({ images, shape, labels }: ImageSet): Dataset =>
  dataset({
    image: { dtype: 'float32', shape, data: images },
    label: { dtype: 'int32', shape: [shape[0]], data: labels },
  })

/** How a file lists the values of one channel: row after row of the image, or column after column. */
export type PlaneOrder = 'rows' | 'columns'

/** One square image of three planes of bytes, written channels-last with values 0..1. */
export function fromPlanes(planes: Uint8Array, side: number, order: PlaneOrder, to: Float32Array): void {
  const [down, across] = order === 'rows' ? [side, 1] : [1, side]
  let at = 0
  for (let y = 0; y < side; y++)
    for (let x = 0; x < side; x++)
      for (let c = 0; c < 3; c++) to[at++] = planes[c * side * side + y * down + x * across] / 255
}

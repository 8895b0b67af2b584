/**
 * STL-10 in its binary version: images of 96x96 in colour, channels last, and their labels.
 * Layout: images without a header, 27,648 bytes each, a plane each of red, green and blue, column by column; labels in a
 * file of their own, one byte 1..10 each. https://cs.stanford.edu/~acoates/stl10
 */

import type { Splits } from './dataset.js'
import { filesFor, folderOf } from './files.js'
import { fromPlanes, type ImageSet } from './images.js'

export const stl10Classes: readonly string[] = [
  ...['airplane', 'bird', 'car', 'cat', 'deer'],
  ...['dog', 'horse', 'monkey', 'ship', 'truck'],
]

const side = 96
const values = side * side * 3

/**
 * Parses a file of images and the file of their labels: images [n, 96, 96, 3], labels 0..9.
 * @param name what errors call the images, usually their path
 * @param labelsName what errors call the labels
 * @throws Error naming the byte offset, what was expected there and what was found
 */
export function parseStl10(
  bytes: Uint8Array,
  labelBytes: Uint8Array,
  name = 'STL-10 images',
  labelsName = 'STL-10 labels',
): ImageSet {
  const rest = bytes.length % values
  if (bytes.length === 0 || rest > 0) {
    const found = bytes.length === 0 ? 'an empty file' : `${rest} bytes: the file is truncated`
    throw new Error(
      `stl10: ${name}: at byte ${bytes.length - rest}: expected an image of ${values} bytes, found ${found}`,
    )
  }
  const n = bytes.length / values
  if (labelBytes.length !== n) {
    const found = `found ${labelBytes.length}: the two files belong to different sets`
    throw new Error(`stl10: ${labelsName}: at byte 0: expected ${n} labels, one for each image of ${name}, ${found}`)
  }
  const bad = labelBytes.findIndex(label => label < 1 || label > 10)
  if (bad >= 0)
    throw new Error(`stl10: ${labelsName}: at byte ${bad}: expected a label 1..10, found ${labelBytes[bad]}`)
  const images = new Float32Array(n * values)
  for (let i = 0; i < n; i++) {
    const [from, to] = [i * values, (i + 1) * values]
    fromPlanes(bytes.subarray(from, to), side, 'columns', images.subarray(from, to))
  }
  return { images, shape: [n, side, side, 3], labels: Int32Array.from(labelBytes, label => label - 1) }
}

/**
 * Reads STL-10 from a folder with `train_X.bin`, `train_y.bin`, `test_X.bin` and `test_y.bin`. Node only.
 * @throws Error naming the file, the byte offset and what was expected there
 */
export async function stl10(options: { readonly folder: string }): Promise<Splits<ImageSet>> {
  const folder = folderOf('stl10', options)
  const { join, read } = filesFor('stl10', 'fetch the bytes and give them to parseStl10')
  const load = async (part: 'train' | 'test') => {
    const [x, y] = ['X', 'y'].map(kind => join(folder, `${part}_${kind}.bin`))
    return parseStl10(await read(x), await read(y), x, y)
  }
  return { train: await load('train'), test: await load('test') }
}

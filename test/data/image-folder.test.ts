import { mkdir, mkdtemp, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { encode } from 'jpeg-js'
import { PNG } from 'pngjs'
import { describe, expect, test } from 'vitest'
import { imageFolder } from '../../src/data/image-folder.js'

type Pixel = readonly [number, number, number, number?]

/** An image whose pixels are given row by row. */
function picture(width: number, pixels: readonly Pixel[]): { width: number; height: number; data: Buffer } {
  const data = Buffer.from(pixels.flatMap(([r, g, b, opacity = 255]) => [r, g, b, opacity]))
  return { width, height: pixels.length / width, data }
}
function png(width: number, pixels: readonly Pixel[]): Buffer {
  const { height, data } = picture(width, pixels)
  const image = new PNG({ width, height })
  data.copy(image.data)
  return PNG.sync.write(image)
}

async function folder(files: Readonly<Record<string, Uint8Array>>): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), 'saddlepoint-images-'))
  for (const [name, bytes] of Object.entries(files)) {
    await mkdir(dirname(join(root, name)), { recursive: true })
    await writeFile(join(root, name), bytes)
  }
  return root
}

const grey: Pixel[] = [
  [0, 0, 0],
  [51, 51, 51],
]
const red: Pixel[] = [
  [255, 0, 0],
  [102, 51, 0],
]

describe('imageFolder', () => {
  test('reads PNG and JPEG, classes and files in the order of their names', async () => {
    const root = await folder({
      'dogs/b.png': png(2, red),
      'dogs/a.JPG': encode(picture(2, grey), 100).data,
      'cats/z.png': png(2, grey),
      'cats/.hidden': Uint8Array.of(1),
      'notes.txt': Uint8Array.of(1),
    })
    const set = await imageFolder(root)
    expect(set.classes).toEqual(['cats', 'dogs'])
    expect(set.paths).toEqual(['cats/z.png', 'dogs/a.JPG', 'dogs/b.png'].map(name => join(root, name)))
    expect(set.labels).toEqual(Int32Array.of(0, 1, 1))
    expect(set.shape).toEqual([3, 1, 2, 3])
    const [z, a, b] = [0, 6, 12].map(at => [...set.images.subarray(at, at + 6)])
    expect(z).toEqual([0, 0, 0, 0.2, 0.2, 0.2].map(Math.fround))
    a.forEach((value, i) => expect(Math.abs(value - z[i])).toBeLessThan(0.05))
    expect(b).toEqual([1, 0, 0, 0.4, 0.2, 0].map(Math.fround))
  })

  test('takes one channel of grey images, and four with opacity', async () => {
    const one = await imageFolder(await folder({ 'a/1.png': png(1, grey) }), { channels: 1 })
    expect([one.shape, [...one.images]]).toEqual([
      [1, 2, 1, 1],
      [0, Math.fround(0.2)],
    ])
    const half = await folder({ 'a/1.png': png(1, [[255, 0, 0, 51]]) })
    const four = await imageFolder(half, { channels: 4 })
    expect([four.shape, [...four.images]]).toEqual([
      [1, 1, 1, 4],
      [1, 0, 0, Math.fround(0.2)],
    ])
    await expect(imageFolder(half)).rejects.toThrow(
      /1\.png: the pixel at row 0, column 0 is transparent: pass channels: 4/,
    )
    const coloured = await folder({ 'a/1.png': png(2, [...grey, ...red]) })
    await expect(imageFolder(coloured, { channels: 1 })).rejects.toThrow(/pixel at row 1, column 0 is coloured/)
  })

  test('a class may be a link to a folder', async () => {
    const root = await folder({ 'dogs/1.png': png(1, red) })
    await symlink(join(root, 'dogs'), join(root, 'cats'))
    expect((await imageFolder(root)).classes).toEqual(['cats', 'dogs'])
  })

  test('labels follow the classes of another set', async () => {
    const root = await folder({ 'dogs/1.png': png(1, red) })
    const set = await imageFolder(root, { classes: ['dogs', 'cats'] })
    expect([set.labels, set.classes]).toEqual([Int32Array.of(0), ['dogs', 'cats']])
    expect((await imageFolder(root, { classes: ['cats', 'dogs'] })).labels).toEqual(Int32Array.of(1))
    await expect(imageFolder(root, { classes: ['cats'] })).rejects.toThrow("'dogs', which is none of the classes cats")
  })

  test.each<[string, Record<string, Uint8Array>, RegExp]>([
    ['no subfolder', { 'a.png': png(1, red) }, /holds no subfolders: it needs one for each class/],
    ['an empty class', { 'a/.keep': Uint8Array.of(), 'b/1.png': png(1, red) }, /a is empty: put images there/],
    ['another file', { 'a/1.webp': Uint8Array.of(82, 73, 70, 70) }, /1\.webp: at byte 0: expected a PNG or JPEG image/],
    ['an empty file', { 'a/1.png': Uint8Array.of() }, /1\.png: at byte 0: expected a PNG or JPEG/],
    [
      'two sizes',
      { 'a/1.png': png(2, red), 'b/2.png': png(1, red) },
      /2\.png: expected 1x2 \(height x width\) as in .+1\.png, found 2x1: bring all images to one size/,
    ],
    ['two heights', { 'a/1.png': png(2, red), 'a/2.png': png(2, [...red, ...red]) }, /expected 1x2 .+, found 2x2/],
    ['a cut PNG', { 'a/1.png': png(2, red).subarray(0, 50) }, /1\.png: cannot decode it \(.+\): is the file whole\?/],
    ['a cut JPEG', { 'a/1.jpg': encode(picture(2, red)).data.subarray(0, 300) }, /1\.jpg: cannot decode it \(.+\)/],
  ])('%s is refused with a clear error', async (_, files, message) => {
    await expect(imageFolder(await folder(files))).rejects.toThrow(message)
  })

  test('a missing folder is named', async () => {
    await expect(imageFolder('/nowhere/at/all')).rejects.toThrow('imageFolder: cannot read the folder /nowhere/at/all')
  })
})

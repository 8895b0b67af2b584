/**
 * A folder of images by class: each subfolder is a class, and its PNG and JPEG files, all of one size, are the examples.
 * They are decoded by the packages pngjs and jpeg-js, loaded where a file needs them. Node only.
 */

import { knownOptions, type Names } from '../graph/options.js'
import { demandPackage, filesFor } from './files.js'
import type { ImageSet } from './images.js'

export interface ImageFolder extends ImageSet {
  /** The names of the subfolders; a label is an index into them. */
  readonly classes: readonly string[]
  /** The path of each image, in order. */
  readonly paths: readonly string[]
}

export interface ImageFolderOptions {
  /** 3 (colour) by default; 1 needs grey images, 4 keeps the opacity. */
  readonly channels?: 1 | 3 | 4
  /** The classes in the order of their labels, as a training set had them; the sorted names of the subfolders by default. */
  readonly classes?: readonly string[]
}
const folderNames: Names<ImageFolderOptions> = { channels: true, classes: true }

interface Decoded {
  readonly width: number
  readonly height: number
  /** [height, width, 4], 0..255. */
  readonly data: Uint8Array
}

const imageFiles = () => filesFor('imageFolder', 'draw the images on a canvas and read its pixels')

/**
 * Reads FOLDER/CLASS/IMAGE.png, .jpg or .jpeg. Names that begin with a dot are passed over, and files beside the subfolders.
 * @throws Error naming the file where one is no image, has another size than the first, or has what `channels` would drop
 */
export async function imageFolder(folder: string, options: ImageFolderOptions = {}): Promise<ImageFolder> {
  const { channels = 3 } = knownOptions('imageFolder', options, folderNames)
  const found = (await list(folder)).filter(entry => !entry.isFile()).map(entry => entry.name)
  if (found.length === 0) throw new Error(`imageFolder: ${folder} holds no subfolders: it needs one for each class`)
  const { classes = found } = options
  const foreign = found.find(name => !classes.includes(name))
  if (foreign !== undefined)
    throw new Error(`imageFolder: ${folder} holds '${foreign}', which is none of the classes ${classes.join(', ')}`)

  const files = (await Promise.all(found.map(name => imagesOf(folder, name)))).flat()
  const labels = Int32Array.from(files, file => classes.indexOf(file.className))
  const paths = files.map(file => file.path)
  const first = await decode(paths[0])
  const { width, height } = first
  const images = new Float32Array(paths.length * height * width * channels)
  for (const [i, path] of paths.entries()) {
    const image = i === 0 ? first : await decode(path)
    if (image.width !== width || image.height !== height) {
      const sizes = `expected ${height}x${width} (height x width) as in ${paths[0]}, found ${image.height}x${image.width}`
      throw new Error(`imageFolder: ${path}: ${sizes}: bring all images to one size first`)
    }
    pick(image, channels, path, images.subarray(i * height * width * channels))
  }
  return { images, shape: [paths.length, height, width, channels], labels, classes, paths }
}

const list = async (folder: string) => (await imageFiles().list(folder)).filter(entry => !entry.name.startsWith('.'))

async function imagesOf(folder: string, className: string) {
  const { join } = imageFiles()
  const inside = join(folder, className)
  const names = (await list(inside)).map(entry => entry.name)
  if (names.length === 0) throw new Error(`imageFolder: ${inside} is empty: put images there, or remove it`)
  return names.map(name => ({ className, path: join(inside, name) }))
}

const signatures = { png: [0x89, 0x50, 0x4e, 0x47], jpeg: [0xff, 0xd8, 0xff] }

/** By content, since names may say anything. */
async function decode(path: string): Promise<Decoded> {
  const bytes = await imageFiles().read(path)
  const starts = (signature: readonly number[]) => signature.every((byte, i) => bytes[i] === byte)
  if (!starts(signatures.png) && !starts(signatures.jpeg))
    throw new Error(
      `imageFolder: ${path}: at byte 0: expected a PNG or JPEG image, found neither: convert or remove it`,
    )
  const decoder = starts(signatures.png) ? await png() : await jpeg()
  try {
    return decoder(bytes)
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new Error(`imageFolder: ${path}: cannot decode it (${why}): is the file whole?`, { cause })
  }
}

type Decoder = (bytes: Buffer) => Decoded

async function png(): Promise<Decoder> {
  const { PNG } = await demandPackage('imageFolder', 'pngjs')
  return bytes => PNG.sync.read(bytes)
}

async function jpeg(): Promise<Decoder> {
  const { decode } = await demandPackage('imageFolder', 'jpeg-js')
  return bytes => decode(bytes, { useTArray: true })
}

/** Writes the wanted channels of an image as 0..1. */
function pick({ width, height, data }: Decoded, channels: 1 | 3 | 4, path: string, to: Float32Array): void {
  const refuse = (pixel: number, what: string): never => {
    const where = `row ${Math.floor(pixel / width)}, column ${pixel % width}`
    throw new Error(`imageFolder: ${path}: the pixel at ${where} is ${what}`)
  }
  for (let pixel = 0; pixel < width * height; pixel++) {
    const at = 4 * pixel
    const grey = data[at] === data[at + 1] && data[at] === data[at + 2]
    if (channels < 4 && data[at + 3] < 255) refuse(pixel, 'transparent: pass channels: 4, or remove the opacity')
    if (channels === 1 && !grey) refuse(pixel, 'coloured: pass channels: 3, or make it grey')
    for (let c = 0; c < channels; c++) to[pixel * channels + c] = data[at + c] / 255
  }
}

/**
 * The idx format of MNIST and its family: bytes to typed arrays, from memory or from a file (plain or gzip).
 * What the numbers mean (images, labels) is left to mnist.ts.
 * Layout, big-endian: 0x00 0x00 type ndim, one uint32 a dimension, then the values in row-major order.
 */

import { demandNode } from '../runtime/environment.js'
import { countOf } from './host.js'

export type IdxType = 'ubyte' | 'byte' | 'short' | 'int' | 'float' | 'double'
export type IdxData = Uint8Array | Int8Array | Int16Array | Int32Array | Float32Array | Float64Array

/** A parsed idx array; `data` has its own memory and `shape`'s product many values. */
export interface IdxArray {
  readonly type: IdxType
  readonly shape: readonly number[]
  readonly data: IdxData
}

interface TypeRow {
  readonly type: IdxType
  readonly bytes: number
  readonly array: new (count: number) => IdxData
  readonly get: (view: DataView, at: number) => number
}

const types: ReadonlyMap<number, TypeRow> = new Map<number, TypeRow>([
  [0x08, { type: 'ubyte', bytes: 1, array: Uint8Array, get: (view, at) => view.getUint8(at) }],
  [0x09, { type: 'byte', bytes: 1, array: Int8Array, get: (view, at) => view.getInt8(at) }],
  [0x0b, { type: 'short', bytes: 2, array: Int16Array, get: (view, at) => view.getInt16(at) }],
  [0x0c, { type: 'int', bytes: 4, array: Int32Array, get: (view, at) => view.getInt32(at) }],
  [0x0d, { type: 'float', bytes: 4, array: Float32Array, get: (view, at) => view.getFloat32(at) }],
  [0x0e, { type: 'double', bytes: 8, array: Float64Array, get: (view, at) => view.getFloat64(at) }],
])

const hex = (byte: number): string => `0x${byte.toString(16).padStart(2, '0')}`

/**
 * Parses the bytes of an idx file.
 * @param name what errors call the data, usually its path
 * @throws Error naming the byte offset, what was expected there and what was found
 */
export function parseIdx(bytes: Uint8Array, name = 'idx data'): IdxArray {
  const fail = (offset: number, expected: string, found: string): never => {
    throw new Error(`idx: ${name}: at byte ${offset}: expected ${expected}, found ${found}`)
  }
  if (bytes.length === 0) return fail(0, 'an idx header', 'an empty file')
  if (bytes.length < 4) return fail(0, 'a header of at least 4 bytes', `only ${bytes.length}`)
  if (bytes[0] !== 0 || bytes[1] !== 0) {
    return fail(0, 'the idx magic 0x00 0x00', `${hex(bytes[0])} ${hex(bytes[1])}: not an idx file`)
  }
  const row = types.get(bytes[2])
  if (!row) return fail(2, 'a type code 0x08, 0x09, 0x0b, 0x0c, 0x0d or 0x0e', hex(bytes[2]))
  const rank = bytes[3]
  if (rank === 0) return fail(3, 'at least 1 dimension', '0')
  const start = 4 + 4 * rank
  if (bytes.length < start) {
    return fail(4, `${rank} dimensions (${4 * rank} bytes)`, `${bytes.length - 4} bytes: the file is truncated`)
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const shape = Array.from({ length: rank }, (_, i) => view.getUint32(4 + 4 * i))
  const count = countOf(shape)
  const [need, have] = [count * row.bytes, bytes.length - start]
  if (need !== have) {
    const why = have < need ? 'the file is truncated' : 'trailing bytes'
    return fail(start, `${need} bytes of data for ${row.type}[${shape}]`, `${have}: ${why}`)
  }
  const data = new row.array(count)
  if (data instanceof Uint8Array) data.set(bytes.subarray(start))
  else for (let i = 0; i < count; i++) data[i] = row.get(view, start + i * row.bytes)
  return { type: row.type, shape, data }
}

/**
 * Reads an idx file; gzip is recognised by its content, and where `path` does not exist `path`.gz is tried. Node only.
 * @throws Error naming the file, and for a malformed one the byte offset (of the unpacked data)
 */
export async function readIdx(path: string): Promise<IdxArray> {
  const node = demandNode('readIdx', 'fetch the bytes and give them to parseIdx')
  const { existsSync, promises } = node.getBuiltinModule('fs')
  const file = !existsSync(path) && existsSync(`${path}.gz`) ? `${path}.gz` : path
  const bytes = await promises.readFile(file).catch((cause: Error) => {
    const missing = 'code' in cause && cause.code === 'ENOENT'
    const why = missing ? `no such file (nor ${path}.gz): check the path, or download it` : cause.message
    throw new Error(`idx: ${path}: ${why}`, { cause })
  })
  return parseIdx(await unpacked(bytes, file, node), file)
}

async function unpacked(bytes: Uint8Array, file: string, node: NodeJS.Process): Promise<Uint8Array> {
  const packed = bytes[0] === 0x1f && bytes[1] === 0x8b
  if (!packed && bytes.length > 0 && file.endsWith('.gz')) {
    throw new Error(
      `idx: ${file}: at byte 0: expected the gzip magic 0x1f 0x8b, found ${[...bytes.subarray(0, 2)].map(hex).join(' ')}`,
    )
  }
  if (!packed) return bytes
  const gunzip = node.getBuiltinModule('util').promisify(node.getBuiltinModule('zlib').gunzip)
  return gunzip(bytes).catch((cause: Error) => {
    const what = `expected ${bytes.length} bytes of intact gzip data, found corrupt data`
    throw new Error(`idx: ${file}: from byte 0: ${what} (${cause.message}): download it again`, { cause })
  })
}

/**
 * The weights of TensorFlow.js models: the `weightsManifest` of a `model.json` with its shards, to named host arrays. The
 * topology beside it is not read.
 * Layout: the shards of a group are one run of bytes, in which its weights follow each other, little-endian.
 */

import { type DType, dtypes, type HostArray } from '../graph/dtype.js'
import { halfOfBits } from '../graph/half.js'
import { filesFor } from './files.js'
import { countOf, isSizes } from './host.js'

export interface TfjsWeight {
  readonly name: string
  readonly shape: readonly number[]
  readonly dtype: string
  /** How values are stored: float16, or scale·q + min of integers q. */
  readonly quantization?: { readonly dtype: string; readonly scale?: number; readonly min?: number }
}

export interface TfjsGroup {
  /** The files of the group's shards. */
  readonly paths: readonly string[]
  readonly weights: readonly TfjsWeight[]
}

interface StoredRow {
  readonly bytes: number
  readonly get: (view: DataView, at: number) => number
}

/** Without quantization, by the dtype of the weight. */
const plain: Readonly<Record<string, StoredRow & { readonly dtype: DType }>> = {
  float32: { bytes: 4, dtype: 'float32', get: (view, at) => view.getFloat32(at, true) },
  int32: { bytes: 4, dtype: 'int32', get: (view, at) => view.getInt32(at, true) },
  bool: { bytes: 1, dtype: 'bool', get: (view, at) => Number(view.getUint8(at) !== 0) },
}

/** With quantization, by its dtype. */
const quantized: Readonly<Record<string, StoredRow>> = {
  float16: { bytes: 2, get: (view, at) => halfOfBits(view.getUint16(at, true)) },
  uint16: { bytes: 2, get: (view, at) => view.getUint16(at, true) },
  uint8: { bytes: 1, get: (view, at) => view.getUint8(at) },
}

/** The row of a table, or an error that names what there is. */
function rowOf<T>(table: Readonly<Record<string, T>>, dtype: string, what: string): T {
  if (Object.hasOwn(table, dtype)) return table[dtype]
  throw new Error(`tfjs: ${what} '${dtype}': known are ${Object.keys(table).join(', ')}`)
}

/**
 * The named arrays of one group.
 *
 * @param bytes the group's shards, one after another.
 * @throws Error naming the weight whose dtype or shape is unknown, and if the bytes are not those that the weights need.
 */
export function decodeTfjsWeights(weights: readonly TfjsWeight[], bytes: Uint8Array): Record<string, HostArray> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let at = 0
  const arrays = weights.map(({ name, shape, dtype, quantization }): [string, HostArray] => {
    if (!isSizes(shape)) throw new Error(`tfjs: '${name}' has shape ${JSON.stringify(shape)}: expected a list of sizes`)
    const to = rowOf(plain, dtype, `'${name}' has dtype`)
    const from = quantization ? rowOf(quantized, quantization.dtype, `'${name}' is quantized as`) : to
    const { scale = 1, min = 0 } = quantization ?? {}
    const data = new dtypes[to.dtype].array(countOf(shape))
    if (at + data.length * from.bytes > bytes.length)
      throw new Error(
        `tfjs: '${name}' ${dtype}[${shape}] ends after the last of ${bytes.length} bytes: is a shard missing?`,
      )
    for (let i = 0; i < data.length; i++, at += from.bytes) {
      const value = from.get(view, at) * scale + min
      data[i] = to.dtype === 'int32' ? Math.round(value) : value
    }
    return [name, { dtype: to.dtype, shape, data }]
  })
  if (at !== bytes.length)
    throw new Error(`tfjs: ${bytes.length - at} bytes follow the last weight, which ends at ${at}`)
  return Object.fromEntries(arrays)
}

const isManifest = (value: unknown): value is readonly TfjsGroup[] =>
  Array.isArray(value) && value.every(group => Array.isArray(group?.paths) && Array.isArray(group?.weights))

/**
 * Reads the weights of a `model.json`, of layers models and graph models; its shards lie beside it. Node only.
 *
 * @throws Error naming the file that cannot be read or holds no manifest, and what `decodeTfjsWeights` throws.
 */
export async function readTfjsWeights(path: string): Promise<Record<string, HostArray>> {
  const { join, read } = filesFor('tfjs', 'fetch the shards and give their bytes to decodeTfjsWeights')
  const model = parsed(path, await read(path))
  const manifest = typeof model === 'object' && model !== null && 'weightsManifest' in model && model.weightsManifest
  if (!isManifest(manifest)) throw new Error(`tfjs: ${path} has no weightsManifest of groups { paths, weights }`)
  const arrays: Record<string, HostArray> = {}
  for (const { paths, weights } of manifest) {
    const shards = await Promise.all(paths.map(shard => read(join(path, '..', shard))))
    Object.assign(arrays, decodeTfjsWeights(weights, joined(shards)))
  }
  return arrays
}

function joined(shards: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(shards.reduce((n, shard) => n + shard.length, 0))
  let at = 0
  for (const shard of shards) {
    whole.set(shard, at)
    at += shard.length
  }
  return whole
}

function parsed(path: string, bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes))
  } catch (cause) {
    throw new Error(`tfjs: ${path} is not JSON: ${cause instanceof Error ? cause.message : cause}`, { cause })
  }
}

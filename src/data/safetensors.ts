/**
 * The safetensors format: named host arrays to bytes and back, and to files and back. Which tensor belongs where in a
 * model is left to others.
 * Layout: header length (uint64, little-endian), JSON header `{name: {dtype, shape, data_offsets}}`, then the data,
 * little-endian, without holes. https://huggingface.co/docs/safetensors
 */

import { type DType, dtypes, type HostArray } from '../graph/dtype.js'
import { bitsOfHalf, halfOfBits } from '../graph/half.js'
import { demandNode } from '../runtime/environment.js'
import { writeWhole } from './atomic.js'
import { filesFor } from './files.js'
import { checkHostArray, countOf, isSizes } from './host.js'

export interface Safetensors {
  readonly tensors: Record<string, HostArray>
  readonly metadata: Record<string, string>
}

interface StoredRow {
  readonly bytes: number
  /** What it becomes on the host. */
  readonly dtype: DType
  readonly get: (view: DataView, at: number) => number
}

const stored: Readonly<Record<string, StoredRow>> = {
  F64: { bytes: 8, dtype: 'float64', get: (view, at) => view.getFloat64(at, true) },
  F32: { bytes: 4, dtype: 'float32', get: (view, at) => view.getFloat32(at, true) },
  F16: { bytes: 2, dtype: 'float16', get: (view, at) => halfOfBits(view.getUint16(at, true)) },
  BF16: { bytes: 2, dtype: 'float32', get: (view, at) => fromBfloat(view.getUint16(at, true)) },
  I64: { bytes: 8, dtype: 'int32', get: (view, at) => Number(view.getBigInt64(at, true)) },
  I32: { bytes: 4, dtype: 'int32', get: (view, at) => view.getInt32(at, true) },
  U32: { bytes: 4, dtype: 'uint32', get: (view, at) => view.getUint32(at, true) },
  I16: { bytes: 2, dtype: 'int32', get: (view, at) => view.getInt16(at, true) },
  I8: { bytes: 1, dtype: 'int32', get: (view, at) => view.getInt8(at) },
  U8: { bytes: 1, dtype: 'int32', get: (view, at) => view.getUint8(at) },
  BOOL: { bytes: 1, dtype: 'bool', get: (view, at) => view.getUint8(at) },
}

const written: Readonly<Record<DType, { code: string; set: (view: DataView, at: number, value: number) => void }>> = {
  float64: { code: 'F64', set: (view, at, value) => view.setFloat64(at, value, true) },
  float16: { code: 'F16', set: (view, at, value) => view.setUint16(at, bitsOfHalf(value), true) },
  float32: { code: 'F32', set: (view, at, value) => view.setFloat32(at, value, true) },
  int32: { code: 'I32', set: (view, at, value) => view.setInt32(at, value, true) },
  uint32: { code: 'U32', set: (view, at, value) => view.setUint32(at, value, true) },
  bool: { code: 'BOOL', set: (view, at, value) => view.setUint8(at, value) },
}

const bytesOf = (dtype: DType): number => stored[written[dtype].code].bytes

/** Stored values that the host dtype cannot hold: the inclusive range of those it can. */
const ranges: Readonly<Record<string, readonly [number, number]>> = { I64: [-(2 ** 31), 2 ** 31 - 1], BOOL: [0, 1] }

/** As the reference implementation: a longer header is an attack or a mistake. */
const maxHeader = 100_000_000

/**
 * The bytes of a safetensors file. They depend on the names and values only, not on the order of the keys.
 * @throws Error for a name that is reserved, and for a dtype, shape and data that do not fit
 */
export function encodeSafetensors(
  tensors: Readonly<Record<string, HostArray>>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array<ArrayBuffer> {
  for (const [name, array] of Object.entries(tensors)) {
    if (name === '__metadata__') throw new Error("encodeSafetensors: '__metadata__' is reserved: rename that tensor")
    checkHostArray(`encodeSafetensors: '${name}'`, array)
  }
  // Widest dtype first keeps every tensor aligned to its own size.
  const entries = Object.entries(tensors).sort(
    ([a, x], [b, y]) => bytesOf(y.dtype) - bytesOf(x.dtype) || (a < b ? -1 : 1),
  )
  let end = 0
  const infos = entries.map(([name, { dtype, shape, data }]) => {
    const begin = end
    end += data.length * bytesOf(dtype)
    return { name, begin, info: { dtype: written[dtype].code, shape, data_offsets: [begin, end] } }
  })
  const head = Object.keys(metadata).length > 0 ? [['__metadata__', metadata]] : []
  const json = JSON.stringify(Object.fromEntries([...head, ...infos.map(({ name, info }) => [name, info])]))
  const text = new TextEncoder().encode(json)
  const start = 8 + Math.ceil(text.length / 8) * 8

  const bytes = new Uint8Array(start + end)
  const view = new DataView(bytes.buffer)
  view.setBigUint64(0, BigInt(start - 8), true)
  bytes.fill(0x20, 8, start)
  bytes.set(text, 8)
  entries.forEach(([, { dtype, data }], k) => {
    const { set } = written[dtype]
    const width = bytesOf(dtype)
    for (let i = 0; i < data.length; i++) set(view, start + infos[k].begin + i * width, data[i])
  })
  return bytes
}

/**
 * The tensors and metadata of a safetensors file. BF16 becomes float32; I64, I16, I8 and U8 become int32.
 * @param name what errors call the data, usually its path
 * @throws Error for every deviation from the format, before anything is allocated for it
 */
export function decodeSafetensors(bytes: Uint8Array, name = 'safetensors data'): Safetensors {
  const fail = (what: string): never => {
    throw new Error(`safetensors: ${name}: ${what}`)
  }
  if (bytes.length < 8) return fail(`truncated: expected 8 bytes of header length, found ${bytes.length}`)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const length = view.getBigUint64(0, true)
  if (length > BigInt(maxHeader)) return fail(`a header of ${length} bytes: at most ${maxHeader} are allowed`)
  const start = 8 + Number(length)
  if (start > bytes.length)
    return fail(`truncated: the header needs ${length} bytes, but only ${bytes.length - 8} follow`)

  const { infos, metadata } = parseHeader(bytes.subarray(8, start), fail)
  const sorted = [...infos].sort((a, b) => a.begin - b.begin || a.end - b.end)
  let end = 0
  for (const info of sorted) {
    if (info.begin !== end) {
      const what = info.begin < end ? 'overlaps the tensor before it' : 'leaves a hole'
      return fail(`'${info.name}' begins at ${info.begin} and ${what}, which ends at ${end}`)
    }
    end = info.end
  }
  const have = bytes.length - start
  if (have < end) return fail(`truncated: the header describes ${end} bytes of data, but only ${have} follow`)
  if (have > end) return fail(`${have - end} bytes follow the last tensor: the header describes ${end} of ${have}`)

  const tensors = infos.map(info => {
    const { row, shape } = info
    const [low, high] = ranges[info.code] ?? [-Infinity, Infinity]
    const data = new dtypes[row.dtype].array(countOf(shape))
    for (let i = 0; i < data.length; i++) {
      const value = row.get(view, start + info.begin + i * row.bytes)
      if (value < low || value > high) {
        return fail(`'${info.name}' (${info.code}) has ${value} at index ${i}: ${row.dtype} holds ${low} to ${high}`)
      }
      data[i] = value
    }
    return [info.name, { dtype: row.dtype, shape, data }] as const
  })
  return { tensors: Object.fromEntries(tensors), metadata }
}

interface Info {
  readonly name: string
  readonly code: string
  readonly row: StoredRow
  readonly shape: readonly number[]
  readonly begin: number
  readonly end: number
}

function parseHeader(bytes: Uint8Array, fail: (what: string) => never) {
  let header: unknown
  let text = ''
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    header = JSON.parse(text)
  } catch (cause) {
    return fail(`the header is not JSON (${cause instanceof Error ? cause.message : cause}): is it a safetensors file?`)
  }
  if (!isRecord(header)) return fail('the header is JSON, but not an object')
  const twice = duplicateKey(text)
  if (twice !== undefined) return fail(`the header has the key '${twice}' twice`)

  const { __metadata__: metadata = {}, ...rest } = header
  if (!isRecord(metadata)) return fail('__metadata__ is not an object')
  const strings = Object.entries(metadata).map(([key, value]) => {
    if (typeof value !== 'string') return fail(`__metadata__ '${key}' is not a string`)
    return [key, value] as const
  })
  const infos = Object.entries(rest).map(([name, info]) => parseInfo(name, info, fail))
  return { infos, metadata: Object.fromEntries(strings) }
}

function parseInfo(name: string, info: unknown, fail: (what: string) => never): Info {
  if (!isRecord(info)) return fail(`'${name}' is not an object`)
  const { dtype: code, shape, data_offsets: offsets } = info
  const known = typeof code === 'string' && Object.hasOwn(stored, code)
  if (!known) return fail(`'${name}' has dtype ${JSON.stringify(code)}: known are ${Object.keys(stored).join(', ')}`)
  if (!isSizes(shape)) return fail(`'${name}' has shape ${JSON.stringify(shape)}: expected an array of sizes`)
  if (!isSizes(offsets) || offsets.length !== 2 || offsets[0] > offsets[1]) {
    return fail(`'${name}' has data_offsets ${JSON.stringify(offsets)}: expected [begin, end] with begin <= end`)
  }
  const [begin, end] = offsets
  const row = stored[code]
  const need = countOf(shape) * row.bytes
  if (need !== end - begin) {
    return fail(`'${name}' ${code}[${shape}] needs ${need} bytes, but data_offsets [${offsets}] give ${end - begin}`)
  }
  return { name, code, row, shape, begin, end }
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** The first key that an object of this (valid) JSON text has twice: JSON.parse would keep the last one, silently. */
function duplicateKey(text: string): string | undefined {
  const open: Set<string>[] = []
  let last = ''
  for (let i = 0; i < text.length; i++) {
    if (text[i] === '"') {
      const begin = i
      while (text[++i] !== '"') if (text[i] === '\\') i++
      last = text.slice(begin, i + 1)
    } else if (text[i] === '{') open.push(new Set())
    else if (text[i] === '}') open.pop()
    else if (text[i] === ':') {
      const key = String(JSON.parse(last))
      const keys = open[open.length - 1]
      if (keys.has(key)) return key
      keys.add(key)
    }
  }
  return undefined
}

const scratch = new DataView(new ArrayBuffer(4))

/** bfloat16: the upper half of a float32. */
function fromBfloat(bits: number): number {
  scratch.setUint16(0, bits)
  return scratch.getFloat32(0)
}

/** Reads a safetensors file. Node only. */
export async function readSafetensors(path: string): Promise<Safetensors> {
  const bytes = await filesFor('readSafetensors', 'fetch the bytes and give them to decodeSafetensors').read(path)
  return decodeSafetensors(bytes, path)
}

/**
 * Writes a safetensors file in one piece: it appears whole under `path`, or the old file stays as it was. Node only.
 * @throws Error naming the path, for instance when the disk is full; nothing is left behind
 */
export async function writeSafetensors(
  path: string,
  tensors: Readonly<Record<string, HostArray>>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  demandNode('writeSafetensors', 'give the bytes of encodeSafetensors to a download or to storage')
  const bytes = encodeSafetensors(tensors, metadata)
  try {
    await writeWhole(path, bytes)
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new Error(`safetensors: cannot write ${path}: ${why}: what stood there before is untouched`, { cause })
  }
}

import fs, { mkdir, mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test, vi } from 'vitest'
import { decodeSafetensors, encodeSafetensors, readSafetensors, writeSafetensors } from '../../src/data/safetensors.js'
import { type DType, dtypes, type HostArray } from '../../src/graph/dtype.js'
import { halfOfBits } from '../../src/graph/half.js'

const host = (dtype: DType, shape: number[], values: number[]): HostArray => ({
  dtype,
  shape,
  data: new dtypes[dtype].array(values),
})

/** A file from its header, as text or as an object, and its data. */
function file(header: unknown, data: ArrayLike<number> = [], length?: bigint): Uint8Array {
  const text = new TextEncoder().encode(typeof header === 'string' ? header : JSON.stringify(header))
  const bytes = new Uint8Array(8 + text.length + data.length)
  new DataView(bytes.buffer).setBigUint64(0, length ?? BigInt(text.length), true)
  bytes.set(text, 8)
  bytes.set(data, 8 + text.length)
  return bytes
}
const one = (dtype: string, shape: unknown, offsets: unknown) => ({ a: { dtype, shape, data_offsets: offsets } })
const decodeOne = (dtype: string, data: number[], bytes: number) =>
  decodeSafetensors(file(one(dtype, [data.length / bytes], [0, data.length]), data)).tensors.a

describe('round trip', () => {
  const value = (dtype: DType): fc.Arbitrary<number> =>
    ({
      float16: fc.nat(0xffff).map(halfOfBits),
      float32: fc.float(),
      float64: fc.double(),
      int32: fc.integer(),
      uint32: fc.nat(2 ** 31).map(n => (n * 2) >>> 0),
      bool: fc.nat(1),
    })[dtype]
  const array = fc
    .tuple(
      fc.constantFrom<DType[]>('float16', 'float32', 'float64', 'int32', 'uint32', 'bool'),
      fc.array(fc.nat(3), { maxLength: 3 }),
    )
    .chain(([dtype, shape]) => {
      const n = shape.reduce((product, size) => product * size, 1)
      return fc.array(value(dtype), { minLength: n, maxLength: n }).map(values => host(dtype, shape, values))
    })
  const name = fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom('__proto__', '1', 'a"b\\', 'constructor'))
  const named = <T>(values: fc.Arbitrary<T>) =>
    fc
      .uniqueArray(fc.tuple(name, values), { selector: ([key]) => key, maxLength: 6 })
      .map(list => Object.fromEntries(list))

  test('gives back every tensor and the metadata, aligned', () => {
    fc.assert(
      fc.property(named(array), named(fc.string()), (tensors, metadata) => {
        const bytes = encodeSafetensors(tensors, metadata)
        expect(new DataView(bytes.buffer).getUint32(0, true) % 8).toBe(0)
        const back = decodeSafetensors(bytes)
        expect(Object.keys(back.tensors).sort()).toEqual(Object.keys(tensors).sort())
        for (const key of Object.keys(tensors)) expect(back.tensors[key]).toEqual(tensors[key])
        expect(Object.entries(back.metadata).sort()).toEqual(Object.entries(metadata).sort())
      }),
      { numRuns: 500 },
    )
  })

  test('the bytes are those of the format, whatever the order of the keys', () => {
    const a = host('bool', [1], [1])
    const b = host('int32', [2], [1, -2])
    const bytes = encodeSafetensors({ a, b }, { by: 'me' })
    expect(encodeSafetensors({ x: a, y: a })).toEqual(encodeSafetensors({ y: a, x: a }))
    const header =
      '{"__metadata__":{"by":"me"},"b":{"dtype":"I32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"BOOL","shape":[1],"data_offsets":[8,9]}}'
    const padded = header.padEnd(Math.ceil(header.length / 8) * 8)
    expect(bytes).toEqual(file(padded, [1, 0, 0, 0, 254, 255, 255, 255, 1]))
  })

  test('corruption of any byte gives an Error of its own or tensors of the declared size', () => {
    const good = encodeSafetensors(
      { w: host('float32', [2, 2], [1, 2, 3, 4]), k: host('bool', [3], [1, 0, 1]) },
      { a: 'b' },
    )
    const edits = fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 3 })
    fc.assert(
      fc.property(edits, fc.integer({ min: 0, max: good.length + 1 }), (changes, cut) => {
        const bytes = Uint8Array.from(good)
        for (const [at, byte] of changes) bytes[at] = byte
        try {
          const { tensors } = decodeSafetensors(cut > good.length ? bytes : bytes.subarray(0, cut))
          for (const { shape, data } of Object.values(tensors))
            expect(data).toHaveLength(shape.reduce((p, n) => p * n, 1))
        } catch (error) {
          expect(String(error)).toMatch(/^Error: safetensors: safetensors data: /)
        }
      }),
      { numRuns: 3000 },
    )
  })
})

describe('reading the other dtypes', () => {
  test('F16: normal, subnormal, signed zero, infinite, not a number', () => {
    const halves = [0x3c00, 0xc000, 0x7bff, 0x0001, 0x03ff, 0x8000, 0x7c00, 0xfc00, 0x7e00, 0x3555]
    const read = decodeOne(
      'F16',
      halves.flatMap(h => [h & 255, h >> 8]),
      2,
    )
    const expected = [1, -2, 65504, 2 ** -24, 1023 * 2 ** -24, -0, Infinity, -Infinity, NaN, 0.333251953125]
    expect(read).toEqual(host('float16', [10], expected))
    const bytes = encodeSafetensors({ a: read })
    const words = new DataView(bytes.buffer, bytes.length - 20)
    expect(halves.map((_, i) => words.getUint16(2 * i, true))).toEqual(halves)
  })
  test('BF16', () => {
    expect(decodeOne('BF16', [0x80, 0x3f, 0x49, 0xc0, 0x80, 0x7f], 2)).toEqual(
      host('float32', [3], [1, -3.140625, Infinity]),
    )
  })
  test('I64, I16, I8 and U8 become int32', () => {
    expect(decodeOne('I64', [255, 255, 255, 255, 255, 255, 255, 255], 8)).toEqual(host('int32', [1], [-1]))
    expect(decodeOne('I64', [255, 255, 255, 127, 0, 0, 0, 0], 8)).toEqual(host('int32', [1], [2 ** 31 - 1]))
    expect(decodeOne('I16', [254, 255], 2)).toEqual(host('int32', [1], [-2]))
    expect(decodeOne('I8', [128, 1], 1)).toEqual(host('int32', [2], [-128, 1]))
    expect(decodeOne('U8', [128, 255], 1)).toEqual(host('int32', [2], [128, 255]))
  })
  test('values that do not fit are refused', () => {
    expect(() => decodeOne('I64', [0, 0, 0, 128, 0, 0, 0, 0], 8)).toThrow(
      "'a' (I64) has 2147483648 at index 0: int32 holds",
    )
    expect(() => decodeOne('BOOL', [0, 2], 1)).toThrow("'a' (BOOL) has 2 at index 1: bool holds 0 to 1")
  })
})

describe('malformed files', () => {
  const two = (x: number[], y: number[]) => ({
    a: { dtype: 'U8', shape: [x[1] - x[0]], data_offsets: x },
    b: { dtype: 'U8', shape: [y[1] - y[0]], data_offsets: y },
  })
  test.each<[string, Uint8Array, string]>([
    ['empty', Uint8Array.of(), 'safetensors: m.st: truncated: expected 8 bytes of header length, found 0'],
    ['header too long', file('{}', [], 100n), 'truncated: the header needs 100 bytes, but only 2 follow'],
    ['header absurd', file('{}', [], 2n ** 63n), 'a header of 9223372036854775808 bytes: at most 100000000'],
    ['not JSON', file('{"a":'), 'the header is not JSON'],
    ['not UTF-8', file({}, [0xff], 3n), 'the header is not JSON'],
    [
      'not UTF-8 in a name',
      Uint8Array.of(7, 0, 0, 0, 0, 0, 0, 0, ...[0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]),
      'the header is not JSON',
    ],
    ['an array', file([]), 'the header is JSON, but not an object'],
    [
      'a name twice',
      file(
        '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\\u0061":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
        [7],
      ),
      "the key 'a' twice",
    ],
    [
      'a field twice',
      file('{"a":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}', [7]),
      "the key 'dtype' twice",
    ],
    ['not an info', file({ a: 3 }), "'a' is not an object"],
    ['unknown dtype', file(one('F8', [1], [0, 1]), [0]), `'a' has dtype "F8": known are F64, F32`],
    ['inherited dtype', file(one('toString', [1], [0, 1]), [0]), `'a' has dtype "toString"`],
    ['no dtype', file({ a: { shape: [1], data_offsets: [0, 1] } }, [0]), "'a' has dtype undefined"],
    ['negative size', file(one('U8', [-1, -1], [0, 1]), [0]), "'a' has shape [-1,-1]"],
    ['fractional size', file(one('F32', [0.5], [0, 2]), [0, 0]), "'a' has shape [0.5]"],
    ['no shape', file({ a: { dtype: 'U8', data_offsets: [0, 1] } }, [0]), "'a' has shape undefined"],
    ['offsets backwards', file(one('U8', [1], [1, 0]), [0]), "'a' has data_offsets [1,0]"],
    ['three offsets', file(one('U8', [1], [0, 1, 2]), [0]), "'a' has data_offsets [0,1,2]"],
    [
      'size mismatch',
      file(one('F32', [2], [0, 4]), [0, 0, 0, 0]),
      "'a' F32[2] needs 8 bytes, but data_offsets [0,4] give 4",
    ],
    [
      'huge shape',
      file(one('F32', [2 ** 40, 2 ** 40], [0, 4]), [0, 0, 0, 0]),
      "'a' F32[1099511627776,1099511627776] needs",
    ],
    [
      'huge and consistent',
      file(one('U8', [2 ** 50], [0, 2 ** 50]), [0]),
      'truncated: the header describes 1125899906842624 bytes of data, but only 1',
    ],
    [
      'overlap',
      file(two([0, 2], [1, 3]), [1, 2, 3]),
      "'b' begins at 1 and overlaps the tensor before it, which ends at 2",
    ],
    ['hole', file(two([0, 1], [2, 3]), [1, 2, 3]), "'b' begins at 2 and leaves a hole"],
    ['hole at the start', file(one('U8', [1], [1, 2]), [1, 2]), "'a' begins at 1 and leaves a hole"],
    [
      'truncated data',
      file(two([0, 1], [1, 3]), [1, 2]),
      'truncated: the header describes 3 bytes of data, but only 2',
    ],
    ['trailing data', file(two([0, 1], [1, 2]), [1, 2, 3]), '1 bytes follow the last tensor'],
    ['metadata an array', file({ __metadata__: [] }), '__metadata__ is not an object'],
    ['metadata a number', file({ __metadata__: { epoch: 3 } }), "__metadata__ 'epoch' is not a string"],
  ])('%s', (_, bytes, message) => {
    expect(() => decodeSafetensors(bytes, 'm.st')).toThrow(message)
  })

  test('encode refuses what it could not read back', () => {
    expect(() => encodeSafetensors({ w: host('float32', [3], [1, 2]) })).toThrow(
      "'w' of shape [3] needs 3 values, but has 2",
    )
    expect(() => encodeSafetensors({ __metadata__: host('bool', [1], [1]) })).toThrow("'__metadata__' is reserved")
    const refused = (change: object, message: string) =>
      expect(() => encodeSafetensors({ w: { ...host('float32', [2], [1, 2]), ...change } })).toThrow(
        `encodeSafetensors: 'w' ${message}`,
      )
    refused({ dtype: 'int8' }, "has dtype 'int8': known are bool, int32, uint32, float16, float32, float64")
    refused({ shape: [-2, -1] }, 'has shape [-2,-1]: sizes must be integers >= 0')
    refused({ shape: [0.5, 4] }, 'has shape [0.5,4]: sizes must be integers >= 0')
    refused({ dtype: 'int32' }, 'is int32, so its data must be Int32Array, not Float32Array')
  })
})

/** What the next write to an opened file does instead of writing everything. */
let sabotage: (() => Error) | undefined
/** What happened to the files that were opened, in order. */
let log: string[] = []
const logged =
  <A extends unknown[], R>(name: string, act: (...args: A) => R) =>
  (...args: A): R => {
    log.push(name)
    return act(...args)
  }
const { open, rename } = fs
vi.spyOn(fs, 'open').mockImplementation(async (...args) => {
  const handle = await open(...args)
  const failure = sabotage
  const { sync, close } = handle
  handle.sync = logged('sync', sync.bind(handle))
  handle.close = logged('close', close.bind(handle))
  if (failure) {
    handle.writeFile = async () => {
      await handle.write(new Uint8Array(3))
      throw failure()
    }
  }
  return handle
})
vi.spyOn(fs, 'rename').mockImplementation(logged('rename', rename))

describe('files', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'saddlepoint-safetensors-'))
  const tensors = { w: host('float32', [2], [1.5, -2]) }

  test('written, read back, and written over', async () => {
    const path = join(folder, 'model.safetensors')
    await writeSafetensors(path, { old: host('bool', [9], [1, 1, 1, 1, 1, 1, 1, 1, 1]) })
    log = []
    await writeSafetensors(path, tensors, { step: '3' })
    expect(log).toEqual(['sync', 'close', 'rename'])
    expect(await readSafetensors(path)).toEqual({ tensors, metadata: { step: '3' } })
    expect(await readdir(folder)).toEqual(['model.safetensors'])
  })

  test('a full disk leaves the old file and no other', async () => {
    const own = await mkdtemp(join(folder, 'full-'))
    const path = join(own, 'model.safetensors')
    await writeSafetensors(path, tensors)
    const before = await readFile(path)
    sabotage = () => new Error('ENOSPC: no space left on device, write')
    try {
      await expect(writeSafetensors(path, { w: host('float32', [1], [7]) })).rejects.toThrow(
        `safetensors: cannot write ${path}: ENOSPC: no space left on device, write: what stood there before is untouched`,
      )
    } finally {
      sabotage = undefined
    }
    expect(await readFile(path)).toEqual(before)
    expect(await readdir(own)).toEqual(['model.safetensors'])
  })

  test('a path that is a folder, and one in a missing folder, leave nothing', async () => {
    const own = await mkdtemp(join(folder, 'dir-'))
    await mkdir(join(own, 'taken'))
    await writeFile(join(own, 'taken', 'inside'), 'x')
    await expect(writeSafetensors(join(own, 'taken'), tensors)).rejects.toThrow('cannot write')
    await expect(writeSafetensors(join(own, 'missing', 'm'), tensors)).rejects.toThrow('ENOENT')
    await expect(writeSafetensors(join(own, 'taken', 'inside', 'm'), tensors)).rejects.toThrow(
      /^safetensors: cannot write .+ENOTDIR/,
    )
    expect(await readdir(own)).toEqual(['taken'])
  })

  test('reading names the path', async () => {
    const path = join(folder, 'nowhere')
    await expect(readSafetensors(path)).rejects.toThrow(`readSafetensors: cannot read ${path}: ENOENT`)
    await writeFile(path, 'hello world')
    await expect(readSafetensors(path)).rejects.toThrow(`safetensors: ${path}: a header of`)
  })
})

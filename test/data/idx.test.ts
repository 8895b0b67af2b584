import { mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseIdx, readIdx } from '../../src/data/idx.js'

const idx = (code: number, shape: number[], data: number[]): Uint8Array =>
  Uint8Array.from([0, 0, code, shape.length, ...shape.flatMap(n => [n >>> 24, n >>> 16, n >>> 8, n]), ...data])

describe('parseIdx', () => {
  test('reads every type, big-endian', () => {
    const read = (code: number, data: number[], n = 1) => parseIdx(idx(code, [n], data))
    expect(read(0x08, [0, 255], 2)).toEqual({ type: 'ubyte', shape: [2], data: Uint8Array.of(0, 255) })
    expect(read(0x09, [127, 255], 2)).toEqual({ type: 'byte', shape: [2], data: Int8Array.of(127, -1) })
    expect(read(0x0b, [1, 2])).toEqual({ type: 'short', shape: [1], data: Int16Array.of(258) })
    expect(read(0x0c, [255, 255, 255, 254])).toEqual({ type: 'int', shape: [1], data: Int32Array.of(-2) })
    expect(read(0x0d, [0xc0, 0x20, 0, 0])).toEqual({ type: 'float', shape: [1], data: Float32Array.of(-2.5) })
    expect(read(0x0e, [0x3f, 0xf8, 0, 0, 0, 0, 0, 0])).toEqual({
      type: 'double',
      shape: [1],
      data: Float64Array.of(1.5),
    })
  })

  test('reads several dimensions, from the middle of a buffer, into memory of its own', () => {
    const bytes = idx(8, [2, 3], [1, 2, 3, 4, 5, 6])
    const around = new Uint8Array(bytes.length + 10)
    around.set(bytes, 5)
    const array = parseIdx(around.subarray(5, 5 + bytes.length))
    around.fill(99)
    expect(array).toEqual({ type: 'ubyte', shape: [2, 3], data: Uint8Array.of(1, 2, 3, 4, 5, 6) })
  })

  test('a size of 0 gives no data', () => {
    expect(parseIdx(idx(8, [0xffffffff, 0], [])).data).toHaveLength(0)
    expect(parseIdx(idx(8, [...Array(40).fill(0xffffffff), 0], [])).data).toHaveLength(0)
  })

  test.each([
    ['empty', Uint8Array.of(), 'idx: a.idx: at byte 0: expected an idx header, found an empty file'],
    ['three bytes', Uint8Array.of(0, 0, 8), 'at byte 0: expected a header of at least 4 bytes, found only 3'],
    ['a PNG', Uint8Array.of(0x89, 0x50, 0x4e, 0x47), 'at byte 0: expected the idx magic 0x00 0x00, found 0x89 0x50'],
    ['second byte', Uint8Array.of(0, 1, 8, 1), 'expected the idx magic 0x00 0x00, found 0x00 0x01'],
    ['unknown type', idx(0x0a, [1], [0]), 'at byte 2: expected a type code'],
    ['no dimension', Uint8Array.of(0, 0, 8, 0), 'at byte 3: expected at least 1 dimension, found 0'],
    ['cut header', idx(8, [2, 3], []).subarray(0, 9), 'at byte 4: expected 2 dimensions (8 bytes), found 5 bytes'],
    [
      'truncated',
      idx(8, [2, 3], [1, 2, 3, 4, 5]),
      'at byte 12: expected 6 bytes of data for ubyte[2,3], found 5: the file is truncated',
    ],
    ['trailing', idx(8, [2], [1, 2, 3]), 'at byte 8: expected 2 bytes of data for ubyte[2], found 3: trailing bytes'],
    ['huge sizes', idx(0x0e, Array(40).fill(0xffffffff), []), 'the file is truncated'],
  ])('%s is refused with a clear error', (_, bytes, message) => {
    expect(() => parseIdx(bytes, 'a.idx')).toThrow(message)
  })

  test('corruption gives an Error of its own or data of the declared size', () => {
    const sane = fc.record({
      code: fc.constantFrom(8, 9, 11, 12, 13, 14),
      n: fc.nat(4),
      extra: fc.uint8Array({ maxLength: 40 }),
    })
    const changes = fc.array(fc.tuple(fc.nat(20), fc.nat(255)), { maxLength: 3 })
    fc.assert(
      fc.property(sane, changes, fc.nat(60), ({ code, n, extra }, edits, cut) => {
        const bytes = idx(code, [n, 2], [...extra])
        for (const [at, value] of edits) if (at < bytes.length) bytes[at] = value
        try {
          const { shape, data } = parseIdx(bytes.subarray(0, cut))
          expect(data).toHaveLength(shape.reduce((product, size) => product * size, 1))
        } catch (error) {
          expect(error).toBeInstanceOf(Error)
          expect(String(error)).toMatch(/^Error: idx: idx data: at byte \d+: expected .+, found .+/)
        }
      }),
      { numRuns: 2000 },
    )
  })
})

describe('readIdx', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'saddlepoint-idx-'))
  const put = async (name: string, bytes: Uint8Array) => {
    await writeFile(join(folder, name), bytes)
    return join(folder, name)
  }
  const good = idx(8, [3], [7, 8, 9])

  test('reads plain files, gzip files by content, and path.gz where path is missing', async () => {
    const expected = parseIdx(good)
    expect(await readIdx(await put('plain', good))).toEqual(expected)
    expect(await readIdx(await put('packed', gzipSync(good)))).toEqual(expected)
    await put('only.gz', gzipSync(good))
    expect(await readIdx(join(folder, 'only'))).toEqual(expected)
  })

  test('errors name the file', async () => {
    await expect(readIdx(join(folder, 'nowhere'))).rejects.toThrow(/nowhere: no such file \(nor .+nowhere\.gz\)/)
    await expect(readIdx(folder)).rejects.toThrow(`idx: ${folder}: EISDIR`)
    await expect(readIdx(await put('empty', Uint8Array.of()))).rejects.toThrow(/empty: at byte 0: .+ an empty file/)
    await expect(readIdx(await put('text.gz', Buffer.from('hello')))).rejects.toThrow(
      /text\.gz: .+gzip magic.+0x68 0x65/,
    )
  })

  test('a corrupt or cut gzip file is refused', async () => {
    const packed = gzipSync(good)
    const flipped = Uint8Array.from(packed, (byte, i) => (i === packed.length - 6 ? byte ^ 1 : byte))
    await expect(readIdx(await put('flipped', flipped))).rejects.toThrow(
      /flipped: from byte 0: .+ corrupt data \(incorrect/,
    )
    await expect(readIdx(await put('cut', packed.subarray(0, 20)))).rejects.toThrow(/cut: from byte 0: .+ corrupt data/)
  })
})

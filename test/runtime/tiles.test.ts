/** Tiles of matrix products: any tile gives the same bits, the choice among them, and the file that remembers it. */

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import * as sp from 'saddlepoint'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { canonicalize } from '../../src/compiler/canonical.js'
import { schedule } from '../../src/compiler/schedule.js'
import { asGemm, type Gemm } from '../../src/runtime/backends/wasm/gemm.js'
import { buildProgram } from '../../src/runtime/backends/wasm/program.js'
import { candidatesFor, chooseTile, type TimedTile } from '../../src/runtime/backends/wasm/tiles.js'
import { cachedTiles, cacheFile, cacheTiles } from '../../src/runtime/backends/wasm/tune.js'
import { expectInterpreted } from '../oracle/close.js'
import { interpret } from '../oracle/interpret.js'

let folder = ''
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'saddlepoint-tiles-'))
  vi.stubEnv('XDG_CACHE_HOME', folder)
})
afterEach(() => {
  vi.unstubAllEnvs()
  vi.restoreAllMocks()
  rmSync(folder, { recursive: true, force: true })
})

const x = (seed: number, shape: readonly number[], dtype: sp.DType = 'float32'): sp.Tensor => {
  const values = Float64Array.from({ length: shape.reduce((n, s) => n * s, 1) }, (_, i) => Math.cos(seed + i * i))
  return sp.tensor([...values], { dtype }).reshape([...shape])
}

/** Products with rows, columns and inner positions that are no multiples of a tile, with strides of all kinds. */
const products = (): Record<string, sp.Tensor> => ({
  small: sp.matmul(x(1, [7, 9]), x(2, [9, 5])),
  'several blocks': sp.matmul(x(3, [13, 401]), x(4, [401, 33])),
  'many rows': sp.matmul(x(5, [70, 31]), x(6, [31, 23])),
  batched: sp.matmul(x(7, [3, 10, 17]), x(8, [3, 17, 12])),
  transposed: sp.matmul(sp.permuteDims(x(9, [19, 11]), [1, 0]), sp.permuteDims(x(10, [21, 19]), [1, 0])),
  'transposed, packed in lines': sp.matmul(sp.permuteDims(x(35, [150, 37]), [1, 0]), x(36, [150, 65])),
  'transposed in a batch, packed in lines of float64': sp.matmul(
    sp.permuteDims(x(37, [2, 131, 21], 'float64'), [0, 2, 1]),
    x(38, [2, 131, 64], 'float64'),
  ),
  'fewer rows than a line has': sp.matmul(
    sp.permuteDims(sp.at(x(39, [130, 16]), [], [0, 5]), [1, 0]),
    x(40, [130, 64]),
  ),
  backwards: sp.matmul(sp.flip(x(11, [6, 18]), 1), sp.flip(x(12, [18, 20]), 0)),
  float64: sp.matmul(x(13, [11, 14], 'float64'), x(14, [14, 13], 'float64')),
  convolution: sp.conv2d(x(15, [2, 9, 8, 5]), x(16, [3, 3, 5, 6])),
  'tiles that go on in the next row of an image': sp.conv2d(x(17, [2, 5, 13, 4]), x(18, [3, 3, 4, 17])),
  'rows of an image shorter than a tile': sp.conv2d(x(19, [3, 6, 5, 4]), x(20, [3, 4, 4, 9])),
  'a strided convolution': sp.conv2d(x(21, [2, 7, 19, 4]), x(22, [2, 2, 4, 10]), { stride: 2 }),
  'rows backwards': sp.matmul(sp.flip(x(23, [14, 18]), 0), x(24, [18, 20])),
  'a computed left factor': sp.matmul(sp.tanh(x(27, [3, 11, 17])), x(28, [3, 17, 12])),
  'a computed, transposed left factor': sp.matmul(
    sp.permuteDims(sp.tanh(x(29, [3, 17, 11])), [0, 2, 1]),
    x(30, [3, 17, 12]),
  ),
  'a right factor that does not depend on the inner position': sp.matmul(
    x(31, [8, 16]),
    sp.broadcastTo(x(32, [1, 16]), [16, 16]),
  ),
  // Rows at 0, 1, 12, 13, 4, 5: the ends of a tile of six are as far apart as if they were even.
  'rows whose jumps cancel out': sp.conv2d(
    sp.at(sp.permuteDims(x(33, [8, 2, 3, 4]), [2, 1, 3, 0]), [], [], [0, 2]),
    x(34, [1, 1, 8, 9]),
  ),
  'rows alike': sp.matmul(sp.broadcastTo(x(25, [1, 18]), [14, 18]), x(26, [18, 20])),
})

const candidates = candidatesFor({ paired: false })

describe('any tile', () => {
  /** Products and code of a device that knows this tile only. */
  async function withTile(tile: TimedTile, threads: number): Promise<{ values: number[][]; code: string }> {
    for (const relaxed of [false, true]) cacheTiles([tile], { relaxed, paired: false })
    const device = await sp.setDevice('wasm', { threads, revectorize: false })
    try {
      const values = await Promise.all(Object.values(products()).map(async t => Array.from(await t.data())))
      return { values, code: (await sp.inspect(products()['many rows'])).code }
    } finally {
      await device.close()
    }
  }

  test('gives the same bits, near the exact product, on one thread and two', async () => {
    const results: { values: number[][]; code: string }[] = []
    for (const tile of candidates)
      for (const threads of [1, 2]) results.push(await withTile({ ...tile, speed: 1 }, threads))
    for (const { values } of results) expect(values).toEqual(results[0].values)
    Object.entries(products()).forEach(([name, t], i) => {
      const [exact] = interpret([t.node])
      const tolerance = t.dtype === 'float64' ? 1e-13 : 1e-4
      results[0].values[i].forEach((value, j) =>
        expect(Math.abs(value - Number(exact.data[j])), `${name}, element ${j}`).toBeLessThan(tolerance),
      )
    })
    expect(new Set(results.map(r => r.code)).size).toBeGreaterThanOrEqual(candidates.length)
  })
})

describe('a left factor', () => {
  const gemmOf = (t: sp.Tensor): Gemm => {
    const gemms = schedule(canonicalize([t.node])).kernels.flatMap(k =>
      k.kind === 'loop' ? (asGemm(k, [{ rows: 3, vectors: 3, speed: 1 }]) ?? []) : [],
    )
    expect(gemms.length).toBe(1)
    return gemms[0]
  }
  const transposed = (inner: number, rows: number, columns: number, dtype?: sp.DType): sp.Tensor =>
    sp.matmul(sp.permuteDims(x(1, [inner, rows], dtype), [1, 0]), x(2, [inner, columns], dtype))
  test('is read where it lies', () => {
    expect(gemmOf(sp.matmul(x(1, [64, 128]), x(2, [128, 64]))).left).toBeDefined()
    expect(gemmOf(sp.conv2d(x(1, [4, 9, 9, 16]), x(2, [3, 3, 16, 64]))).left).toBeDefined()
  })
  test('is packed, whole tiles to a line, where many inner positions have a line each', () => {
    const packed = gemmOf(transposed(128, 64, 64))
    expect(packed.left).toBeUndefined()
    expect(packed.rowsAside).toBe(15)
    expect(gemmOf(transposed(128, 64, 64, 'float64')).rowsAside).toBe(6)
    expect(gemmOf(transposed(128, 16, 64)).left).toBeUndefined()
  })
  test('not where lines are few, or shared, or serve few columns, nor are images', () => {
    expect(gemmOf(transposed(127, 64, 64)).left).toBeDefined()
    expect(gemmOf(transposed(128, 15, 64)).left).toBeDefined()
    expect(gemmOf(transposed(128, 64, 63)).left).toBeDefined()
    const images = x(1, [4, 9, 9, 16])
    const gradient = sp.grad((w: sp.Tensor) =>
      sp
        .conv2d(images, w)
        .mul(x(3, [4, 7, 7, 64]))
        .sum(),
    )(x(2, [3, 3, 16, 64]))
    expect(gemmOf(gradient).left).toBeDefined()
  })
  test('has no more rows side by side than it has', () => {
    expect(gemmOf(sp.matmul(sp.permuteDims(x(1, [128, 4]).tanh(), [1, 0]), x(2, [128, 64]))).rowsAside).toBe(6)
  })
  test('is packed once for all the products that it is in', async () => {
    await sp.setDevice('wasm')
    const lines = x(1, [256, 64])
    const transposed = sp.permuteDims(lines, [1, 0])
    const query = sp.matmul(transposed, x(2, [256, 64]))
    const key = sp.matmul(transposed, x(3, [256, 65]))
    // Much is computed in between, in memory that would be free, and the last product needs it.
    const weights = sp.softmax(sp.matmul(sp.softmax(query), key))
    const value = sp.matmul(transposed, sp.concat([weights, weights, weights, weights]))
    const backwards = sp.matmul(sp.permuteDims(sp.flip(lines, 1), [1, 0]), x(3, [256, 65]))
    const of = [query, value, backwards]
    const { steps } = buildProgram(schedule(canonicalize(of.map(t => t.node))), {
      threads: 1,
      relaxed: true,
      paired: false,
      memory: { initial: 1, maximum: 1, shared: false },
    })
    const packs = steps.flatMap(s => s.of ?? [s]).filter(s => s.part?.name === 'pack_left')
    // One for three products, one for the softmax, and one for the rows in another order.
    expect(packs.length).toBe(3)
    await expectInterpreted(of, 1e-5)
  })
  test('is another one in another type', async () => {
    await sp.setDevice('wasm')
    const product = (left: sp.Tensor): sp.Tensor => sp.matmul(left, x(5, [160, 64], left.dtype))
    type Choice = (dtype: sp.DType) => sp.Tensor
    const programs: ((chosen: Choice) => sp.Tensor[])[] = [
      chosen => [product(chosen('float32')), product(chosen('float64'))],
      chosen => [product(chosen('float64')), product(chosen('float32'))],
      // As integers that overflow, they differ in the results alone.
      chosen => (['int32', 'uint32'] as const).map(t => product(chosen(t).mul(chosen(t)).astype('float32'))),
    ]
    for (const program of programs) {
      const isLess = sp.less(x(4, [32, 160]), 0)
      const chosen: Choice = dtype => sp.where(isLess, sp.full([], 100_000, dtype), sp.full([], 70_000, dtype))
      await expectInterpreted(program(chosen))
    }
  })
})

describe('the tile for a product', () => {
  const tile = (rows: number, vectors: number, speed: number): TimedTile => ({ rows, vectors, speed })
  const tiles = [tile(4, 2, 40), tile(3, 3, 40), tile(2, 4, 40)]
  const cases: readonly [string, number, number, readonly number[]][] = [
    ['columns of three vectors', 99, 3, [3, 3]],
    ['columns of four', 98, 4, [2, 4]],
    ['a vector and a half', 100, 1.5, [4, 2]],
    ['two rows', 2, 64, [2, 4]],
  ]
  test.each(cases)('%s', (_, rows, vectors, expected) => {
    const { rows: height, vectors: width } = chooseTile(rows, vectors, tiles)
    expect([height, width]).toEqual(expected)
  })
  test('a faster one, unless it wastes more', () => {
    const wide = tile(2, 4, 50)
    expect(chooseTile(64, 64, [...tiles, wide])).toBe(wide)
    expect(chooseTile(64, 1, [...tiles, wide])).not.toBe(wide)
  })
})

test('every device of a process has the same tiles', async () => {
  const codes = []
  for (let i = 0; i < 3; i++) {
    const device = await sp.setDevice('wasm', { threads: 1 })
    codes.push((await sp.inspect(products()['many rows'])).code)
    await device.close()
  }
  expect(new Set(codes).size).toBe(1)
})

describe('the file of tiles', () => {
  const known: TimedTile = { rows: 5, vectors: 2, speed: 1e9 }
  const fused = { relaxed: true, paired: false }
  const write = (text: string): void => writeFileSync(cacheFile(), text)
  const machine = (): string => Object.keys(JSON.parse(readFileSync(cacheFile(), 'utf8')))[0]

  test('is found again, for its kind of instructions only', () => {
    const features = [fused, { relaxed: false, paired: false }, { relaxed: true, paired: true }]
    cacheTiles([known], fused)
    expect(features.map(cachedTiles)).toEqual([[known], undefined, undefined])
    for (const other of features.slice(1)) cacheTiles([{ ...known, rows: 2 }], other)
    expect(cachedTiles(fused)).toEqual([known])
  })
  test('is in the folder that XDG_CACHE_HOME names, if that is a whole path', () => {
    expect(cacheFile()).toBe(join(folder, 'saddlepoint', 'tiles.json'))
    vi.stubEnv('XDG_CACHE_HOME', 'relative')
    expect(cacheFile()).toMatch(/\.cache.saddlepoint.tiles\.json$/)
  })
  const broken: readonly [string, (machine: string) => string][] = [
    ['cut off', () => '{"a'],
    ['empty', () => ''],
    ['no object', () => '[1]'],
    ['of another machine', m => JSON.stringify({ [`${m}!`]: [known] })],
    ['without tiles', m => JSON.stringify({ [m]: [] })],
    ['with a number for a list', m => JSON.stringify({ [m]: 3 })],
    ['with a tile that lacks a field', m => JSON.stringify({ [m]: [{ rows: 4, speed: 1 }] })],
    ['with a monstrous tile', m => JSON.stringify({ [m]: [{ ...known, rows: 4000 }] })],
    ['with half a row', m => JSON.stringify({ [m]: [{ ...known, rows: 2.5 }] })],
    ['with a speed of nothing', m => JSON.stringify({ [m]: [{ ...known, speed: 0 }] })],
  ]
  test.each(broken)('%s changes nothing', (_, text) => {
    cacheTiles([known], fused)
    write(text(machine()))
    expect(cachedTiles(fused)).toBeUndefined()
    cacheTiles([known], fused)
    expect(cachedTiles(fused)).toEqual([known])
  })

  test('setDevice measures when asked to, once', async () => {
    const open = async (tune?: boolean): Promise<string> => {
      const device = await sp.setDevice('wasm', { threads: 1, tune, revectorize: false })
      await device.close()
      return device.description
    }
    expect(await open()).not.toContain('tuned')
    expect(existsSync(cacheFile())).toBe(false)
    expect(await open(true)).toContain('1 thread, tuned')
    const written = readFileSync(cacheFile(), 'utf8')
    const tiles: TimedTile[] = Object.values<TimedTile[]>(JSON.parse(written))[0]
    expect(tiles).toHaveLength(candidates.length)
    const speeds = tiles.map(t => t.speed)
    expect(speeds).toEqual([...speeds].sort((a, b) => b - a))
    await open(true)
    expect(readFileSync(cacheFile(), 'utf8')).toBe(written)
  })
  test('a folder that cannot be written is told of, and does no harm', async () => {
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => {})
    writeFileSync(dirname(cacheFile()), 'a file where the folder should be')
    const device = await sp.setDevice('wasm', { threads: 1, tune: true })
    expect(Array.from(await sp.matmul(x(1, [4, 4]), sp.eye(4)).data())).toEqual(Array.from(await x(1, [4, 4]).data()))
    await device.close()
    expect(warn.mock.calls).toEqual([
      [expect.stringContaining('tune: the answer could not be kept for later: Error: E')],
    ])
  })
})

/**
 * Measures which tiles are the fastest, once for a machine and an engine: the answer is kept in the user's cache folder,
 * where later processes find it. It is a hint. A file that is not there, not readable or not ours changes nothing.
 */

import { addIndex, axisIndex, scaleIndex } from '../../../compiler/affine.js'
import { ExprTable } from '../../../compiler/expr.js'
import type { Schedule } from '../../../compiler/kernel.js'
import { node } from '../../environment.js'
import { enableFeatures, type Features } from './engine.js'
import { Heap } from './heap.js'
import { buildProgram } from './program.js'
import { layout, tableWords } from './run.js'
import { candidatesFor, type Tile, type TimedTile } from './tiles.js'

/** The product that is timed: of whole tiles of every shape, with factors that the caches hold. */
const [rows, inner, columns] = [240, 256, 192]
const flops = 2 * rows * inner * columns

/** Turns through all candidates: the engine optimises the code meanwhile, and the best time of each counts. */
const turns = 24

/** c[i, j] = Σ a[i, k] b[k, j]. */
function productSchedule(): Schedule {
  const exprs = new ExprTable()
  const [i, j, k] = [rows, columns, inner].map((size, axis) => axisIndex(axis, size))
  const left = exprs.load(0, 'float32', addIndex(scaleIndex(i, inner), k), [])
  const right = exprs.load(1, 'float32', addIndex(scaleIndex(k, columns), j), [])
  const body = exprs.operation('mul', 'float32', left, right)
  const contraction = { left, right, batch: [], rows: [0], columns: [1] }
  return {
    buffers: [
      { dtype: 'float32', size: rows * inner, role: 'leaf' },
      { dtype: 'float32', size: inner * columns, role: 'leaf' },
      { dtype: 'float32', size: rows * columns, role: 'result' },
    ],
    kernels: [
      {
        kind: 'loop',
        name: 'product',
        axes: [rows, columns],
        reduce: { axes: [inner], totals: [{ op: 'sum', type: 'float32', body }], contraction },
        outputs: [{ buffer: 2, value: exprs.reduced('float32', [0, 1]) }],
      },
    ],
    leaves: [0, 1],
    results: [2],
  }
}

/** The speed of every candidate on one thread, in floating-point operations a second, the fastest first. */
function measureTiles(features: Features): TimedTile[] {
  const candidates = candidatesFor(features)
  const heap = new Heap(layout.reserved, false)
  const schedule = productSchedule()
  const runs = candidates.map(tile => runnerOf(schedule, tile, features, heap))
  const best = runs.map(() => Number.POSITIVE_INFINITY)
  for (let turn = 0; turn < turns; turn++)
    runs.forEach((run, c) => {
      const start = performance.now()
      run()
      best[c] = Math.min(best[c], performance.now() - start)
    })
  return candidates
    .map(({ rows, vectors }, c) => ({ rows, vectors, speed: (1000 * flops) / best[c] }))
    .sort((a, b) => b.speed - a.speed)
}

function runnerOf(schedule: Schedule, tile: Tile, features: Features, heap: Heap): () => void {
  const { memory, maximum } = heap
  const program = buildProgram(schedule, {
    ...features,
    threads: 1,
    tiles: [{ ...tile, speed: 1 }],
    memory: { initial: 1, maximum, shared: false },
  })
  const words = tableWords(program.buffers.length, program.steps.length, 1)
  const table = heap.allocate(4 * words.length)
  const addresses = program.buffers.map(({ size }) => heap.allocate(4 * size))
  new Uint32Array(memory.buffer, table, words.length).set(addresses)
  const env = { memory }
  const { run } = new WebAssembly.Instance(new WebAssembly.Module(program.module), { env }).exports
  return () => (run as (thread: number, table: number) => void)(0, table)
}

/** Of the code that is made for products: raised when speeds measured before say nothing any more. */
const generation = 2

/** Of one machine, one engine and the code: what the speeds depend on. */
function machine({ relaxed, paired }: Features): string {
  if (!node) return ''
  const [cpu] = node.getBuiltinModule('os').cpus()
  const { arch, versions } = node
  const used = [relaxed ? 'fused' : 'separate', ...(paired ? ['paired'] : [])]
  return [generation, versions.v8, arch, cpu?.model ?? '', ...used].join(', ')
}

/** Where the answers of this user are kept: machine -> tiles, as JSON. */
export function cacheFile(): string {
  if (!node) throw new Error('tune: only Node has a cache folder')
  const { isAbsolute, join } = node.getBuiltinModule('path')
  const { XDG_CACHE_HOME: chosen = '' } = node.env
  const folder = isAbsolute(chosen) ? chosen : join(node.getBuiltinModule('os').homedir(), '.cache')
  return join(folder, 'saddlepoint', 'tiles.json')
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** A tile that code can be made for: of a size that an engine compiles. */
function isTile(value: unknown): value is TimedTile {
  if (!isObject(value)) return false
  const { rows, vectors, speed } = value
  const within = (n: unknown, most: number): boolean =>
    Number.isInteger(n) && (n as number) >= 1 && (n as number) <= most
  return within(rows, 16) && within(vectors, 4) && Number.isFinite(speed) && (speed as number) > 0
}

/** What the file says, nothing where it cannot be read. */
function readCache(): Record<string, unknown> {
  if (!node) return {}
  try {
    const read: unknown = JSON.parse(node.getBuiltinModule('fs').readFileSync(cacheFile(), 'utf8'))
    return isObject(read) ? read : {}
  } catch {
    return {}
  }
}

/** The tiles that an earlier process measured here. */
export function cachedTiles(features: Features): readonly TimedTile[] | undefined {
  const { [machine(features)]: tiles } = readCache()
  return Array.isArray(tiles) && tiles.length > 0 && tiles.every(isTile) ? tiles : undefined
}

/**
 * Keeps tiles for later processes, in the file that it returns; outside Node nowhere. Throws what the file system does
 * where it cannot.
 */
export function cacheTiles(tiles: readonly TimedTile[], features: Features): string | undefined {
  if (!node) return undefined
  const fs = node.getBuiltinModule('fs')
  const file = cacheFile()
  fs.mkdirSync(node.getBuiltinModule('path').dirname(file), { recursive: true })
  // In one piece: another process may be reading, and a full disk leaves what was there.
  const draft = `${file}.${node.pid}`
  try {
    fs.writeFileSync(draft, JSON.stringify({ ...readCache(), [machine(features)]: tiles }, null, 1))
    fs.renameSync(draft, file)
    return file
  } finally {
    fs.rmSync(draft, { force: true })
  }
}

/** Measures the tiles and keeps the answer for later processes, where that is possible: `file` is where. */
export function tune(revectorize = false): { readonly tiles: readonly TimedTile[]; readonly file: string | undefined } {
  const features = enableFeatures(revectorize)
  const tiles = measureTiles(features)
  try {
    return { tiles, file: cacheTiles(tiles, features) }
  } catch (error) {
    console.warn(`tune: the answer could not be kept for later: ${error}`)
    return { tiles, file: undefined }
  }
}

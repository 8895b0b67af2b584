/** Matrix units (tensor cores), which multiply small matrices of float16 at once: subgroup matrices to WebGPU. */

import { addIndex, axisIndex, scaleIndex } from '../../../compiler/affine.js'
import { ExprTable } from '../../../compiler/expr.js'
import type { Schedule } from '../../../compiler/kernel.js'
import type { Device } from '../../device.js'
import type { Tile } from './contraction.js'
import { type Multiplying, upTo } from './factors.js'

/** What the threads of a subgroup multiply together: [m, k] float16 by [k, n] float16, added up in float32. */
export interface MatrixShape {
  readonly m: number
  readonly n: number
  readonly k: number
}

/** Tiles for matrix units: four subgroups of 32 threads compute a quarter each. */
export const matrixTile: Tile = { rows: 64, columns: 64, inner: 32, threadRows: 8, threadColumns: 4 }

/** Bytes of workgroup memory that such tiles and their results take. */
const tileBytes =
  2 * matrixTile.inner * (matrixTile.rows + matrixTile.columns) + 4 * matrixTile.rows * matrixTile.columns

export const matrixFeature = 'chromium-experimental-subgroup-matrix'

/** What an adapter says of its matrix units; types of WebGPU do not know it yet. */
interface MatrixConfig {
  readonly componentType: string
  readonly resultComponentType: string
  readonly M: number
  readonly N: number
  readonly K: number
}

/** The shape to use on a GPU, if it has matrix units that fit kernels/matrices.wgsl. */
export function matrixShapeOf({ features, limits, info }: GPUAdapter): MatrixShape | undefined {
  const { subgroupMatrixConfigs = [] } = info as { subgroupMatrixConfigs?: Iterable<MatrixConfig> }
  const needed = ['shader-f16', 'subgroups', matrixFeature]
  if (!needed.every(f => features.has(f)) || limits.maxComputeWorkgroupStorageSize < tileBytes) return undefined
  if (info.subgroupMinSize !== 32 || info.subgroupMaxSize !== 32) return undefined
  for (const { componentType, resultComponentType, M: m, N: n, K: k } of subgroupMatrixConfigs) {
    const fits = (matrixTile.rows / 2) % m === 0 && (matrixTile.columns / 2) % n === 0 && matrixTile.inner % k === 0
    if (componentType === 'f16' && resultComponentType === 'f32' && fits) return { m, n, k }
  }
  return undefined
}

/** How a subgroup multiplies its quarter of a tile. */
export function matrixCode({ m, n, k }: MatrixShape): Multiplying {
  const [rows, columns] = [upTo(matrixTile.rows / 2 / m), upTo(matrixTile.columns / 2 / n)]
  const load = (side: 'left' | 'right', i: number): string => {
    const [type, order, line, own, size] =
      side === 'left'
        ? [`${k}, ${m}`, 'col_major', 'tile_rows', 'own_row', m]
        : [`${n}, ${k}`, 'row_major', 'tile_columns', 'own_column', n]
    const matrix = `subgroupMatrixLoad<subgroup_matrix_${side}<f16, ${type}>, ${order}>`
    return `let ${side}_${i} = ${matrix}(&${side}_tile, k * ${line} + ${own} + ${i * size}u, ${line});`
  }
  const all = (text: (i: number, j: number) => string): string =>
    rows.flatMap(i => columns.map(j => text(i, j))).join('\n')
  const multiply = all(
    (i, j) => `sum_${i}_${j} = subgroupMatrixMultiplyAccumulate(left_${i}, right_${j}, sum_${i}_${j});`,
  )
  return {
    template: 'matrices',
    enables: ['f16', 'subgroups', 'chromium_experimental_subgroup_matrix'],
    store: (side, position, value) => `store_${side}(${position}, ${side}_vector, ${value});`,
    holes: {
      m,
      n,
      k,
      sums: all((i, j) => `var sum_${i}_${j}: subgroup_matrix_result<f32, ${n}, ${m}>;`),
      multiply: [...rows.map(i => load('left', i)), ...columns.map(j => load('right', j)), multiply].join('\n'),
      results: all((i, j) => {
        const place = `(own_row + ${i * m}u) * tile_columns + own_column + ${j * n}u`
        return `subgroupMatrixStore<row_major>(&results, ${place}, sum_${i}_${j}, tile_columns);`
      }),
    },
  }
}

/**
 * Whether a device multiplies matrices of small integers without an error, as it must in float16: what came of matrix
 * units whose driver means something else by them. No sizes are whole tiles.
 */
export async function multipliesExactly(device: Device): Promise<boolean> {
  const [rows, columns, inner] = [72, 68, 100]
  const exprs = new ExprTable()
  const [i, j, k] = [rows, columns, inner].map((size, a) => axisIndex(a, size))
  const left = exprs.load(0, 'float32', addIndex(scaleIndex(i, inner), k), [])
  const right = exprs.load(1, 'float32', addIndex(scaleIndex(k, columns), j), [])
  const [a, b] = [rows * inner, inner * columns].map((size, s) =>
    Float32Array.from({ length: size }, (_, x) => ((x * (7 + s) + (x >> 5)) % 17) - 8),
  )
  const schedule: Schedule = {
    buffers: [
      { dtype: 'float16', size: a.length, role: 'leaf' },
      { dtype: 'float16', size: b.length, role: 'leaf' },
      { dtype: 'float32', size: rows * columns, role: 'result' },
    ],
    kernels: [
      {
        kind: 'loop',
        name: 'trial of the matrix units',
        axes: [rows, columns],
        reduce: {
          axes: [inner],
          totals: [{ op: 'sum', type: 'float32', body: exprs.operation('mul', 'float32', left, right) }],
          contraction: { left, right, batch: [], rows: [0], columns: [1] },
        },
        outputs: [{ buffer: 2, value: exprs.reduced('float32', [0, 1]) }],
      },
    ],
    leaves: [0, 1],
    results: [2],
  }
  const buffers = [device.upload(a, 'float16'), device.upload(b, 'float16'), device.allocate('float32', rows * columns)]
  try {
    const program = device.compile(schedule)
    await program.ready
    program.run(buffers.slice(0, 2), buffers.slice(2))
    const got = await device.read(buffers[2])
    return got.every((value, at) => {
      const [row, column] = [Math.floor(at / columns), at % columns]
      let want = 0
      for (let x = 0; x < inner; x++) want += a[row * inner + x] * b[x * columns + column]
      return value === want
    })
  } catch {
    return false
  } finally {
    for (const buffer of buffers) device.free(buffer)
  }
}

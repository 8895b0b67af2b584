/**
 * Products on matrix units. No driver in software has any: what they do is written out in WGSL here, so that the software
 * driver runs the rest of the kernel as it is; whether the kernel is valid as it is, Dawn says on its empty backend.
 */

import type * as sp from 'saddlepoint'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { BufferSpec } from '../../src/compiler/kernel.js'
import { contractionStages, type Product } from '../../src/runtime/backends/webgpu/contraction.js'
import {
  type MatrixShape,
  matrixShapeOf,
  matrixTile,
  multipliesExactly,
} from '../../src/runtime/backends/webgpu/matrices.js'
import { makeStage, type Stage } from '../../src/runtime/backends/webgpu/stage.js'
import { onGpu } from './against-reference.js'
import { openJudge } from './empty.js'
import { openGpu, type Runner } from './gpu.js'
import { isExact, productKernel } from './product.js'

const shapes: readonly MatrixShape[] = [
  { m: 16, n: 16, k: 16 },
  { m: 16, n: 8, k: 16 },
  { m: 8, n: 8, k: 8 },
  { m: 8, n: 32, k: 16 },
]
const products: readonly Product[] = [
  { batch: 1, rows: 64, columns: 64, inner: 32 },
  { batch: 2, rows: 72, columns: 68, inner: 100 },
  { batch: 1, rows: 35, columns: 130, inner: 37 },
]

/** The stages of a product of two buffers, as the device with such units has them. */
function stagesOf(
  product: Product,
  dtypes: readonly [BufferSpec['dtype'], BufferSpec['dtype']],
  matrices?: MatrixShape,
): Stage[] {
  const { batch, rows, columns, inner } = product
  const buffers: BufferSpec[] = [
    { dtype: dtypes[0], size: batch * rows * inner, role: 'leaf' },
    { dtype: dtypes[1], size: batch * inner * columns, role: 'leaf' },
    { dtype: 'float32', size: batch * rows * columns, role: 'result' },
  ]
  const stages: Stage[] = []
  const storage = { half: true }
  const planned = contractionStages(productKernel(product, false), {
    storage,
    matrices,
    dtypeOf: b => buffers[b].dtype,
    scratch: (dtype, size) => buffers.push({ dtype, size, role: 'temporary' }) - 1,
    add: source => stages.push(makeStage(source, buffers, storage)),
  })
  expect(planned).toBe(true)
  return stages
}
const usesMatrices = (stages: readonly Stage[]): boolean => stages[0].code.includes('subgroupMatrixMultiplyAccumulate')

describe('the kernel', () => {
  /**
   * The kernel with what subgroups do written out. A matrix of factors is where it begins in workgroup memory and how far
   * apart its lines are; of one of results each of the 32 threads has its share.
   */
  function emulated(code: string): string {
    const [, n, m] = /subgroup_matrix_result<f32, (\d+), (\d+)>/.exec(code)?.map(Number) ?? []
    if (m === undefined) return code
    const k = Number(/subgroup_matrix_left<f16, (\d+)/.exec(code)?.[1])
    const elements: string[] = []
    const load = (_: string, side: string, columns: string, rows: string, order: string, tile: string): string => {
      expect([rows, columns].map(Number)).toEqual(side === 'left' ? [m, k] : [k, n])
      const [line, along] = order === 'row' ? ['row', 'column'] : ['column', 'row']
      elements.push(`fn ${side}_element(at: vec2u, row: u32, column: u32) -> f32 {
        return ${tile}[at.x + ${line} * at.y + ${along}];
      }`)
      return 'vec2u('
    }
    const plain = code
      .replace(/^enable .*$/gm, '')
      .replace(/,\s*@builtin\(subgroup_id\) subgroup: u32/, '')
      .replace('runtime_zero = workgroup.z;', 'let subgroup = thread / 32u; lane = thread % 32u;')
      .replace(/\bf16\b/g, 'f32')
      .replace(/subgroup_matrix_result<f32, \d+, \d+>/g, 'Sums')
      .replace(/subgroupMatrixLoad<subgroup_matrix_(left|right)<f32, (\d+), (\d+)>, (row|col)_major>\(&(\w+), /g, load)
      .replace(/subgroupMatrixMultiplyAccumulate\(/g, 'multiply(')
      .replace(/subgroupMatrixStore<row_major>\(&results, /g, 'store_matrix(')
    return `${plain}
      alias Sums = array<f32, ${(m * n) / 32}>;
      var<private> lane: u32;
      ${[...new Set(elements)].join('\n')}
      fn multiply(a: vec2u, b: vec2u, c: Sums) -> Sums {
        var sums = c;
        for (var i = 0u; i < ${(m * n) / 32}u; i++) {
          let at = i * 32u + lane;
          for (var k = 0u; k < ${k}u; k++) {
            sums[i] += left_element(a, at / ${n}u, k) * right_element(b, k, at % ${n}u);
          }
        }
        return sums;
      }
      fn store_matrix(offset: u32, matrix: Sums, stride: u32) {
        var sums = matrix;
        for (var i = 0u; i < ${(m * n) / 32}u; i++) {
          let at = i * 32u + lane;
          results[offset + at / ${n}u * stride + at % ${n}u] = sums[i];
        }
      }`
  }

  let gpu: Runner
  beforeAll(async () => void (gpu = await openGpu()))
  afterAll(() => gpu.close())

  test.each(shapes.flatMap(matrices => products.map(product => ({ matrices, product }))))(
    'multiplies $product by $matrices',
    async ({ matrices, product }) => {
      for (const [parts, transposed] of [
        [1, false],
        [1, true],
        [2, false],
      ] as const) {
        const plan = { tile: matrixTile, parts }
        expect(await isExact(gpu, product, transposed, { plan, matrices, change: emulated })).toBe(true)
      }
    },
  )

  test.each(shapes)('is valid for %o', async matrices => {
    const judge = await openJudge()
    try {
      for (const product of products) {
        const stages = stagesOf(product, ['float16', 'float16'], matrices)
        expect(usesMatrices(stages)).toBe(true)
        expect(await judge.messages(stages[0].code)).toEqual([])
      }
    } finally {
      judge.close()
    }
  })
})

describe('which products they are for', () => {
  const [matrices] = shapes
  const large: Product = { batch: 1, rows: 256, columns: 256, inner: 256 }
  test('those of float16', () => expect(usesMatrices(stagesOf(large, ['float16', 'float16'], matrices))).toBe(true))
  test('not of float32', () => expect(usesMatrices(stagesOf(large, ['float32', 'float32'], matrices))).toBe(false))
  test('nor of one of each', () => expect(usesMatrices(stagesOf(large, ['float16', 'float32'], matrices))).toBe(false))
  test('nor on a GPU without', () => expect(usesMatrices(stagesOf(large, ['float16', 'float16']))).toBe(false))
  test('nor where most of a tile would be thrown away', () =>
    expect(
      usesMatrices(stagesOf({ batch: 1, rows: 2000, columns: 4, inner: 64 }, ['float16', 'float16'], matrices)),
    ).toBe(false))
})

describe('which GPUs have units that fit', () => {
  const config = { componentType: 'f16', resultComponentType: 'f32', M: 16, N: 16, K: 16 }
  const adapter = {
    features: new Set(['shader-f16', 'subgroups', 'chromium-experimental-subgroup-matrix']),
    limits: { maxComputeWorkgroupStorageSize: 49152 },
    info: { subgroupMinSize: 32, subgroupMaxSize: 32, subgroupMatrixConfigs: [config] },
  }
  const shapeOf = (change: object): MatrixShape | undefined =>
    matrixShapeOf({ ...adapter, ...change } as unknown as GPUAdapter)
  test('one with a shape that divides tiles', () => {
    expect(shapeOf({})).toEqual({ m: 16, n: 16, k: 16 })
    const others = [
      { ...config, componentType: 'i8' },
      { ...config, resultComponentType: 'f16' },
      { ...config, N: 24 },
    ]
    expect(shapeOf({ info: { ...adapter.info, subgroupMatrixConfigs: [...others, { ...config, N: 8 }] } })).toEqual({
      m: 16,
      n: 8,
      k: 16,
    })
    expect(shapeOf({ info: { ...adapter.info, subgroupMatrixConfigs: others } })).toBeUndefined()
  })
  test.each<[string, object]>([
    ['no such feature', { features: new Set(['shader-f16', 'subgroups']) }],
    ['no float16', { features: new Set(['subgroups', 'chromium-experimental-subgroup-matrix']) }],
    ['little workgroup memory', { limits: { maxComputeWorkgroupStorageSize: 16384 } }],
    ['subgroups of other sizes', { info: { ...adapter.info, subgroupMaxSize: 64 } }],
    ['an older driver that does not say', { info: { subgroupMinSize: 32, subgroupMaxSize: 32 } }],
  ])('none: %s', (_, change) => expect(shapeOf(change)).toBeUndefined())
})

describe('the trial at the start', () => {
  test('passes where products are right', async () => expect(await multipliesExactly(await onGpu())).toBe(true))
  test('fails where one number is wrong', async () => {
    const device = await onGpu()
    const wrong = Object.create(device, {
      read: {
        value: async (b: Parameters<typeof device.read>[0]) => {
          const data = await device.read(b)
          data[70] += 1
          return data
        },
      },
    })
    expect(await multipliesExactly(bound(wrong, device))).toBe(false)
  })
  test('fails where the kernel does not compile', async () => {
    const device = await onGpu()
    const refusing = Object.create(device, {
      compile: { value: () => ({ ready: Promise.reject(new Error('refused')) }) },
    })
    expect(await multipliesExactly(bound(refusing, device))).toBe(false)
  })
  /** Methods of `changed` where it has its own, else of the device itself. */
  const bound = (changed: sp.Device, device: sp.Device): sp.Device =>
    new Proxy(device, {
      get: (_, name: keyof sp.Device) => {
        if (Object.hasOwn(changed, name)) return changed[name]
        const value = device[name]
        return typeof value === 'function' ? value.bind(device) : value
      },
    })
})

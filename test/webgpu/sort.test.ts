/** The sort and scatter kernels of the webgpu device, run stage by stage against plain JavaScript. */

import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { BufferSpec } from '../../src/compiler/kernel.js'
import type { DType } from '../../src/graph/dtype.js'
import type { Storage } from '../../src/runtime/backends/webgpu/print.js'
import { scatterStages } from '../../src/runtime/backends/webgpu/scatter.js'
import { argsortStages } from '../../src/runtime/backends/webgpu/sort.js'
import { makeStage, type StageList, type StageSource } from '../../src/runtime/backends/webgpu/stage.js'
import { holds, Rng } from '../oracle/property.js'
import { layouts, orderOfRows, sortable, valuesFor, type Words } from '../oracle/sorted.js'
import { openGpu } from './gpu.js'

let gpu: Awaited<ReturnType<typeof openGpu>>
beforeAll(async () => {
  gpu = await openGpu()
})
afterAll(() => gpu.close())

/** A schedule of one kernel; what it did not write yet holds rubbish. */
class Program implements StageList {
  readonly storage: Storage = { half: false }
  readonly #specs: BufferSpec[] = []
  readonly #data: Words[] = []
  readonly #stages: StageSource[] = []

  buffer(dtype: DType, data: Words): number {
    this.#data.push(data)
    return this.#specs.push({ dtype, size: data.length, role: 'temporary' }) - 1
  }
  scratch(dtype: DType, size: number): number {
    return this.buffer(dtype, new layouts[dtype](size).fill(77))
  }
  dtypeOf(buffer: number): DType {
    return this.#specs[buffer].dtype
  }
  add(stage: StageSource): void {
    this.#stages.push(stage)
  }
  get stageCount(): number {
    return this.#stages.length
  }
  async run(output: number): Promise<Words> {
    for (const source of this.#stages) {
      const { code, bindings, groups } = makeStage(source, this.#specs, this.storage)
      const arrays = await gpu.run(
        code,
        bindings.map(b => this.#data[b.buffer]),
        [...groups, 1],
      )
      bindings.forEach(({ buffer }, i) => (this.#data[buffer] = arrays[i]))
    }
    return this.#data[output]
  }
}

function argsort(type: DType, rows: number, values: Words): { program: Program; result: () => Promise<Words> } {
  const program = new Program()
  const input = program.buffer(type, values)
  const output = program.scratch('int32', values.length)
  argsortStages({ kind: 'argsort', name: 'argsort', type, rows, length: values.length / rows, input, output }, program)
  return { program, result: () => program.run(output) }
}

describe('argsort', () => {
  // Below, at and beyond whole tiles, and several merges of which the last has a partner that is short or missing.
  const lengths = [1, 2, 3, 255, 256, 257, 1000, 1024, 1025, 2048, 3000, 5000]
  for (const type of sortable) {
    test(`${type}, rows of ${lengths.join(', ')}`, async () => {
      const rng = new Rng(1)
      for (const length of lengths) {
        const values = valuesFor(type, 3 * length, rng)
        expect(Array.from(await argsort(type, 3, values).result()), `length ${length}`).toEqual(orderOfRows(3, values))
      }
    })
  }

  test('any rows, lengths and types', async () => {
    const shape = fc.oneof(
      fc.record({ rows: fc.integer({ min: 1, max: 700 }), length: fc.integer({ min: 1, max: 40 }) }),
      fc.record({ rows: fc.integer({ min: 1, max: 4 }), length: fc.integer({ min: 1, max: 9000 }) }),
    )
    const property = fc.asyncProperty(
      shape,
      fc.constantFrom(...sortable),
      fc.nat(),
      async ({ rows, length }, type, seed) => {
        const values = valuesFor(type, rows * length, new Rng(seed))
        expect(Array.from(await argsort(type, rows, values).result())).toEqual(orderOfRows(rows, values))
      },
    )
    await holds(property, 12)
  })

  test('NaN of every kind are equal and last', async () => {
    const single = new Float32Array(
      Uint32Array.of(0xffc00000, 0x7f800000, 0x7f800001, 0xff800000, 0x7fffffff, 0xffffffff, 0).buffer,
    )
    expect(Array.from(await argsort('float32', 1, single).result())).toEqual([3, 6, 1, 0, 2, 4, 5])
    const words = [
      0, 0xfff80000, 0, 0x7ff00000, 1, 0x7ff00000, 0, 0xfff00000, 0xffffffff, 0x7fffffff, 1, 0xfff00000, 0, 0,
    ]
    const double = new Float64Array(Uint32Array.from(words).buffer)
    expect(Array.from(await argsort('float64', 1, double).result())).toEqual([3, 6, 1, 0, 2, 4, 5])
  })

  test('a row that fits a tile takes one stage', () => {
    const stages = (length: number): number => argsort('float32', 5, new Float32Array(5 * length)).program.stageCount
    expect([1, 256, 1024, 1025, 2049, 4097].map(stages)).toEqual([1, 1, 1, 2, 3, 4])
  })
})

interface Scatter {
  readonly type: DType
  readonly rows: number
  readonly width: number
  readonly index: readonly number[]
  readonly updates: Words
}

async function scatterAdd({ type, rows, width, index, updates }: Scatter): Promise<Words> {
  const program = new Program()
  const buffers = {
    index: program.buffer('int32', Int32Array.from(index)),
    updates: program.buffer(type, updates),
    output: program.scratch(type, rows * width),
  }
  const shape = { type, rows, width, count: index.length }
  scatterStages({ kind: 'scatterAdd', name: 'scatter', ...shape, ...buffers }, program)
  return program.run(buffers.output)
}

/** Sums in the order of the indices; a typed array rounds, or wraps, after every addition. */
function sums({ type, rows, width, index, updates }: Scatter): Words {
  const out = new layouts[type](rows * width)
  index.forEach((row, i) => {
    if (row < 0 || row >= rows) return
    for (let j = 0; j < width; j++) out[row * width + j] += updates[i * width + j]
  })
  return out
}

const bytes = (values: Words): Buffer => Buffer.from(values.buffer, values.byteOffset, values.byteLength)

const summed = ['float32', 'float64', 'int32', 'uint32'] as const
/** Duplicates, rows without updates, and indices out of range on both sides. */
function scatterOf(type: DType, rows: number, count: number, width: number, rng: Rng): Scatter {
  const used = rng.int(1, rows)
  const index = Array.from({ length: count }, () =>
    rng.int(0, 9) === 0 ? rng.pick([-1, rows, rows + 5, -(2 ** 31), 2 ** 31 - 1]) : rng.int(0, used - 1),
  )
  const updates = new layouts[type](count * width)
  for (let i = 0; i < updates.length; i++) {
    const number = rng.normal() * 2 ** rng.int(-12, 12)
    updates[i] = type.startsWith('float') ? (rng.int(0, 9) === 0 ? -0 : number) : rng.uniform(-(2 ** 31), 2 ** 32)
  }
  return { type, rows, width, index, updates }
}

describe('scatter-add', () => {
  for (const type of summed) {
    test(`${type}: the bits of a sum in the order of the indices, twice`, async () => {
      const rng = new Rng(2)
      const check = async (rows: number, count: number, width: number): Promise<void> => {
        const scatter = scatterOf(type, rows, count, width, rng)
        const result = await scatterAdd(scatter)
        const message = `${rows} rows, ${count} indices, width ${width}`
        expect(bytes(result).equals(bytes(sums(scatter))), message).toBe(true)
        if (count === 2500)
          expect(bytes(await scatterAdd(scatter)).equals(bytes(result)), `${message} again`).toBe(true)
      }
      for (const width of [1, 3, 64, 300]) await check(7, 500, width)
      await check(1, 1, 1)
      await check(400, 100, 5)
      await check(50, 2500, 30)
    })
  }

  test('any sizes and types', async () => {
    const size = fc.record({
      rows: fc.integer({ min: 1, max: 300 }),
      count: fc.integer({ min: 1, max: 3000 }),
      width: fc.integer({ min: 1, max: 40 }),
    })
    const property = fc.asyncProperty(
      size,
      fc.constantFrom(...summed),
      fc.nat(),
      async ({ rows, count, width }, type, seed) => {
        const scatter = scatterOf(type, rows, count, width, new Rng(seed))
        expect(await scatterAdd(scatter)).toEqual(sums(scatter))
      },
    )
    await holds(property, 10)
  })

  test('float16 is summed in float32 and rounded once', async () => {
    const updates = Float32Array.of(2048, 2048, 1, 1, 2048, 1, 3, 65504, 15, 65504, 16, 2 ** -24)
    const index = [0, 1, 0, 0, 2, 1, 2, 3, 3, 4, 4, 5]
    const result = await scatterAdd({ type: 'float16', rows: 7, width: 1, index, updates })
    // 2051 lies between 2050 and 2052, 65519 and 65520 on either side of the last rounding to a finite number.
    // 2048 + 1 is a tie that goes to the even 2048.
    expect(Array.from(result)).toEqual([2050, 2048, 2052, 65504, Infinity, 2 ** -24, 0])
  })

  test('more workgroups than one dimension holds', async () => {
    const rows = 65535 * 256 + 300
    const index = [rows - 1, 5, rows - 1, rows - 300, rows]
    const result = await scatterAdd({ type: 'float32', rows, width: 1, index, updates: Float32Array.of(1, 2, 3, 4, 5) })
    expect([5, rows - 1, rows - 300].map(i => result[i])).toEqual([2, 4, 4])
    let total = 0
    for (const x of result) total += x
    expect(total).toBe(10)
  })
})

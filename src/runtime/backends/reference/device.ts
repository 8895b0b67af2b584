/**
 * The reference device: every kernel as plain JavaScript loops, every float in float64 whatever its dtype, rounded to
 * float32 only when it is read (or cast), to float16 where every device stores one. Slow and simple: the oracle that other
 * devices are compared with.
 */

import { costOf } from '../../../compiler/cost.js'
import type {
  ArgsortKernel,
  BufferSpec,
  FirstKernel,
  Kernel,
  ScatterKernel,
  Schedule,
} from '../../../compiler/kernel.js'
import { type DType, dtypes, isFloat, type TypedArray } from '../../../graph/dtype.js'
import type { Buffer, Device, Executable } from '../../device.js'
import type { Ceilings, KernelTime } from '../../profile.js'
import { measureCeilings } from './ceilings.js'
import * as functions from './functions.js'
import { printLoops } from './print.js'

/** Values as this device keeps them. */
type Values = Float64Array | Int32Array | Uint32Array | Uint8Array
interface ReferenceBuffer extends Buffer {
  readonly values: Values
}

const makeValues = (dtype: DType, size: number): Values =>
  isFloat(dtype)
    ? new Float64Array(size)
    : dtype === 'bool'
      ? new Uint8Array(size)
      : dtype === 'int32'
        ? new Int32Array(size)
        : new Uint32Array(size)

const bytesOf = ({ dtype }: BufferSpec): number => (isFloat(dtype) ? 8 : dtypes[dtype].bytes)

type Step = (buffers: readonly Values[]) => void

function compileKernel(kernel: Kernel): { step: Step; text: string } {
  switch (kernel.kind) {
    case 'loop': {
      const body = printLoops(kernel)
      const names = Object.keys(functions)
      const used = [...new Set(body.match(/\bb\d+\b/g) ?? [])]
      const text = `// ${kernel.name}\n${used.map(b => `const ${b} = buffers[${b.slice(1)}]`).join('\n')}\n${body}`
      const factory = new Function(...names, `'use strict'; return function (buffers) {\n${text}\n}`)
      return { step: factory(...Object.values(functions)), text }
    }
    case 'scatterAdd':
      return { step: buffers => scatterAdd(kernel, buffers), text: `// ${kernel.name}: see device.ts` }
    case 'firstIndex':
      return { step: buffers => firstIndex(kernel, buffers), text: `// ${kernel.name}: see device.ts` }
    case 'argsort':
      return { step: buffers => sortRows(kernel, buffers), text: `// ${kernel.name}: see device.ts` }
  }
}

function scatterAdd(
  { type, rows, count, width, index, updates, output }: ScatterKernel,
  buffers: readonly Values[],
): void {
  const out = buffers[output].fill(0)
  for (let i = 0; i < count; i++) {
    const row = buffers[index][i]
    if (row < 0 || row >= rows) continue
    for (let j = 0; j < width; j++) out[row * width + j] += buffers[updates][i * width + j]
  }
  if (type === 'float16') out.forEach((sum, i) => (out[i] = functions.roundToHalf(sum)))
}

function firstIndex({ rows, count, index, output }: FirstKernel, buffers: readonly Values[]): void {
  const out = buffers[output].fill(-1)
  for (let i = count - 1; i >= 0; i--) {
    const row = buffers[index][i]
    if (row >= 0 && row < rows) out[row] = i
  }
}

function sortRows({ rows, length, input, output }: ArgsortKernel, buffers: readonly Values[]): void {
  for (let r = 0; r < rows; r++) buffers[output].set(functions.argsort(buffers[input], r * length, length), r * length)
}

class ReferenceDevice implements Device {
  readonly name = 'reference'
  readonly threads = 1
  readonly description = 'float64 JavaScript'
  bytesInUse = 0
  #times: KernelTime[] | undefined
  #ceilings: Ceilings | undefined

  compile({ buffers, kernels, leaves, results }: Schedule): Executable {
    const compiled = kernels.map(compileKernel)
    return {
      run: (leafBuffers, resultBuffers) => {
        const values = buffers.map(b => (b.role === 'temporary' ? makeValues(b.dtype, b.size) : new Uint8Array(0)))
        leaves.forEach((b, i) => (values[b] = (leafBuffers[i] as ReferenceBuffer).values))
        results.forEach((b, i) => (values[b] = (resultBuffers[i] as ReferenceBuffer).values))
        for (const [i, { step }] of compiled.entries()) {
          const start = performance.now()
          step(values)
          const milliseconds = performance.now() - start
          this.#times?.push({ name: kernels[i].name, start, milliseconds, ...costOf(kernels[i], buffers, bytesOf) })
        }
      },
      print: () => compiled.map(c => c.text).join('\n\n'),
    }
  }

  startTiming(): () => Promise<readonly KernelTime[]> {
    if (this.#times) throw new Error('profile: another profile is under way on this device; await it first')
    const times: KernelTime[] = []
    this.#times = times
    return async () => {
      this.#times = undefined
      return times
    }
  }

  async ceilings(): Promise<Ceilings> {
    this.#ceilings ??= measureCeilings()
    return this.#ceilings
  }

  allocate(dtype: DType, size: number): ReferenceBuffer {
    const values = makeValues(dtype, size)
    this.bytesInUse += values.byteLength
    return { device: this, dtype, size, values }
  }

  upload(data: TypedArray, dtype: DType): Buffer {
    const buffer = this.allocate(dtype, data.length)
    buffer.values.set(data)
    return buffer
  }

  async read(buffer: Buffer): Promise<TypedArray> {
    return new dtypes[buffer.dtype].array((buffer as ReferenceBuffer).values)
  }

  free(buffer: Buffer): void {
    this.bytesInUse -= (buffer as ReferenceBuffer).values.byteLength
  }

  async close(): Promise<void> {}
  readonly closed = false
}

export const referenceDevice = (): Device => new ReferenceDevice()

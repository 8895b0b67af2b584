/**
 * The GPU device: programs of WGSL kernels over buffers of a pool. A run is one command buffer and one submit; pipelines,
 * bind groups and whole sequences of commands are kept, so a step like the last one creates nothing.
 */

import { printKernel, type Schedule } from '../../../compiler/kernel.js'
import { type DType, dtypes, type TypedArray } from '../../../graph/dtype.js'
import { type Buffer, type Device, type DeviceOptions, type Executable, OutOfMemory } from '../../device.js'
import type { Ceilings, KernelTime } from '../../profile.js'
import { type Gpu, openGpu } from './adapter.js'
import { measureCeilings } from './ceilings.js'
import { decode, encode } from './host.js'
import { multipliesExactly } from './matrices.js'
import { type Block, mebibytes, Pool } from './pool.js'
import { storageBytes } from './print.js'
import { buildProgram, type KernelStage, type Program, printProgram } from './program.js'
import type { Stage } from './stage.js'
import { capacity, Timer } from './timer.js'

interface GpuTensor extends Buffer {
  readonly block: Block
}

/** One dispatch with everything bound. */
interface Command {
  readonly pipeline: GPUComputePipeline
  readonly bindings: GPUBindGroup
  readonly stage: KernelStage
}

/** WebGPU's flags, which are globals in browsers only: GPUBufferUsage, GPUShaderStage and GPUMapMode. */
const [mapRead, copySource, copyTarget, uniform, storage, computeStage] = [0x1, 0x4, 0x8, 0x40, 0x80, 0x4]
const usage = {
  storage: storage | copySource | copyTarget,
  staging: mapRead | copyTarget,
  table: uniform | copyTarget,
} as const

/** Pipelines kept for programs to come. */
const maxPipelines = 4096
/** Sequences kept for each program; leaves and results come round in few combinations. */
const maxSequences = 32

/** Counts since the device was opened: what a test of steady state reads. */
export interface GpuCounts {
  pipelines: number
  bindGroups: number
  buffers: number
  submits: number
}

class WebGpuDevice implements Device {
  readonly name = 'webgpu'
  readonly threads = 1
  readonly maxBuffers: number
  readonly #gpu: Gpu
  readonly #device: GPUDevice
  readonly #pool: Pool
  readonly #staging: Pool
  readonly #layouts = new Map<string, GPUBindGroupLayout>()
  readonly #pipelines = new Map<string, Promise<GPUComputePipeline>>()
  /** Memory of temporaries, which all programs share: they run one after another. */
  #slots: (Block | undefined)[] = []
  readonly #tensors = new Set<GpuTensor>()
  readonly #counts: GpuCounts = { pipelines: 0, bindGroups: 0, buffers: 0, submits: 0 }
  #timer: Timer | undefined
  #ceilings: Promise<Ceilings> | undefined
  closed = false
  /** Why nothing can be computed any more. */
  #broken: string | undefined

  constructor(gpu: Gpu, { memoryLimit }: DeviceOptions) {
    this.#gpu = gpu
    this.#device = gpu.device
    this.maxBuffers = gpu.device.limits.maxStorageBuffersPerShaderStage
    this.#pool = new Pool(gpu.device, usage.storage, memoryLimit)
    this.#staging = new Pool(gpu.device, usage.staging)
    gpu.device.lost.then(({ reason, message }) => {
      if (!this.closed) this.#broken ??= `the device was lost (${reason || 'unknown'}: ${message})`
    })
    gpu.device.onuncapturederror = ({ error }) => {
      this.#broken ??= `the driver refused a command: ${error.message}`
    }
  }

  get description(): string {
    return this.#gpu.description
  }
  get bytesInUse(): number {
    return this.#pool.bytesInUse
  }
  get counts(): GpuCounts {
    return { ...this.#counts, buffers: this.#counts.buffers + this.#pool.created + this.#staging.created }
  }

  #demandWorking(): void {
    if (this.closed) throw new Error('webgpu: the device was closed; call setDevice again')
    if (this.#broken === undefined) return
    throw new Error(
      `webgpu: ${this.#broken}; its tensors are gone: call setDevice('webgpu') again and load a checkpoint, or build them anew`,
    )
  }

  compile(schedule: Schedule): Executable {
    this.#demandWorking()
    const program = buildProgram(schedule, { ...this.#gpu, maxBuffers: this.maxBuffers })
    const pipelines = program.stages.map(stage => this.#pipeline(stage))
    const tables = program.stages.map(stage => stage.instructions && this.#table(stage.instructions))
    const made: GPUComputePipeline[] = []
    const ready = Promise.all(pipelines).then(all => void made.push(...all))
    // Whoever runs the program sees the error.
    ready.catch(() => {})
    const sequences = new Map<string, readonly Command[]>()
    return {
      ready,
      reserve: () => this.#listing(() => this.#reserve(program)),
      run: (leaves, results) => {
        this.#demandWorking()
        const blocks = this.#blocksOf(program, schedule, leaves as GpuTensor[], results as GpuTensor[])
        const key = blocks.map(b => b.id).join()
        let sequence = sequences.get(key)
        if (!sequence) {
          if (sequences.size === maxSequences) sequences.clear()
          sequence = program.stages.map((stage, i) => this.#command(program, stage, made[i], blocks, tables[i]))
          sequences.set(key, sequence)
        }
        this.#submit(sequence)
      },
      print: () => printProgram(program),
    }
  }

  /** Makes the slots large enough for a program. */
  #reserve({ slots }: Program): void {
    slots.bytes.forEach((bytes, i) => {
      const have: Block | undefined = this.#slots[i]
      if (have && !have.failed && have.bytes >= bytes) return
      if (have) this.#pool.destroy(have)
      // Should the next line fail, no slot is in doubt.
      this.#slots[i] = undefined
      this.#slots[i] = this.#pool.acquire(bytes)
    })
  }

  /** The memory of each buffer of a program, whose slots are reserved. */
  #blocksOf(
    { buffers, slots }: Program,
    schedule: Schedule,
    leaves: readonly GpuTensor[],
    results: readonly GpuTensor[],
  ): Block[] {
    const blocks = new Array<Block>(buffers.length)
    slots.slotOf.forEach((slot, b) => {
      if (slot !== undefined) blocks[b] = this.#slots[slot] as Block
    })
    schedule.leaves.forEach((b, i) => (blocks[b] = leaves[i].block))
    schedule.results.forEach((b, i) => (blocks[b] = results[i].block))
    return blocks
  }

  #submit(sequence: readonly Command[]): void {
    const timer = this.#timer
    if (timer && sequence.length > capacity) {
      for (let i = 0; i < sequence.length; i += capacity) this.#submit(sequence.slice(i, i + capacity))
      return
    }
    if (timer && !timer.hasRoomFor(sequence.length)) timer.collect()
    const encoder = this.#device.createCommandEncoder()
    const shared = timer ? undefined : encoder.beginComputePass()
    for (const { pipeline, bindings, stage } of sequence) {
      const pass = shared ?? (timer as Timer).pass(encoder, stage)
      pass.setPipeline(pipeline)
      pass.setBindGroup(0, bindings)
      pass.dispatchWorkgroups(...stage.groups)
      if (!shared) pass.end()
    }
    shared?.end()
    this.#device.queue.submit([encoder.finish()])
    this.#counts.submits++
  }

  get startTiming(): Device['startTiming'] {
    if (!this.#gpu.timestamps) return undefined
    return () => {
      if (this.#timer) throw new Error('profile: another profile is under way on this device; await it first')
      this.#timer = new Timer(this.#device)
      return async (): Promise<readonly KernelTime[]> => {
        const timer = this.#timer
        this.#timer = undefined
        return timer ? timer.finish() : []
      }
    }
  }

  get ceilings(): Device['ceilings'] {
    if (!this.#gpu.timestamps) return undefined
    return () => {
      this.#ceilings ??= measureCeilings(this.#gpu)
      return this.#ceilings
    }
  }

  /** A uniform buffer of that content. */
  #table(content: Uint32Array<ArrayBuffer>): GPUBuffer {
    const table = this.#device.createBuffer({ size: content.byteLength, usage: usage.table })
    this.#counts.buffers++
    this.#device.queue.writeBuffer(table, 0, content)
    return table
  }

  #command(
    program: Program,
    stage: KernelStage,
    pipeline: GPUComputePipeline,
    blocks: readonly Block[],
    table: GPUBuffer | undefined,
  ): Command {
    const entries: GPUBindGroupEntry[] = stage.bindings.map(({ buffer }, binding) => {
      const { dtype, size } = program.buffers[buffer]
      const bytes = Math.max(4, size * storageBytes(dtype, this.#gpu))
      return { binding, resource: { buffer: blocks[buffer].handle, size: Math.ceil(bytes / 4) * 4 } }
    })
    if (table) entries.push({ binding: entries.length, resource: { buffer: table } })
    this.#counts.bindGroups++
    const bindings = this.#device.createBindGroup({ layout: this.#layout(stage), entries })
    return { pipeline, bindings, stage }
  }

  #layout({ bindings, instructions }: Stage): GPUBindGroupLayout {
    const types: GPUBufferBindingType[] = bindings.map(b => (b.written ? 'storage' : 'read-only-storage'))
    if (instructions) types.push('uniform')
    const key = types.join()
    let layout = this.#layouts.get(key)
    if (!layout) {
      layout = this.#device.createBindGroupLayout({
        entries: types.map((type, binding) => ({ binding, visibility: computeStage, buffer: { type } })),
      })
      this.#layouts.set(key, layout)
    }
    return layout
  }

  /** The pipeline of a stage; equal code is compiled once. */
  #pipeline(stage: KernelStage): Promise<GPUComputePipeline> {
    let pipeline = this.#pipelines.get(stage.code)
    if (!pipeline) {
      this.#counts.pipelines++
      // What is wrong with it is reported by the pipeline.
      this.#device.pushErrorScope('validation')
      const module = this.#device.createShaderModule({ code: stage.code, label: stage.name })
      this.#device.popErrorScope().catch(() => {})
      const layout = this.#device.createPipelineLayout({ bindGroupLayouts: [this.#layout(stage)] })
      pipeline = this.#device
        .createComputePipelineAsync({ label: stage.name, layout, compute: { module, entryPoint: 'main' } })
        .catch(async cause => {
          this.#pipelines.delete(stage.code)
          throw new Error(await explain(module, stage, cause), { cause })
        })
      this.#pipelines.set(stage.code, pipeline)
      // Maps keep the order of insertion: the first is the oldest. Programs keep those that they use.
      const [oldest] = this.#pipelines.keys()
      if (this.#pipelines.size > maxPipelines) this.#pipelines.delete(oldest)
    }
    return pipeline
  }

  allocate(dtype: DType, size: number): GpuTensor {
    this.#demandWorking()
    const block = this.#listing(() => this.#pool.acquire(size * storageBytes(dtype, this.#gpu)))
    const tensor = { device: this, dtype, size, block }
    this.#tensors.add(tensor)
    return tensor
  }

  /** f, whose error for want of memory then lists the largest tensors. */
  #listing<T>(f: () => T): T {
    try {
      return f()
    } catch (error) {
      throw error instanceof OutOfMemory ? this.#outOfMemory(error) : error
    }
  }

  /** Gives up what is not held by tensors, and says what is. */
  #outOfMemory({ message }: OutOfMemory): OutOfMemory {
    for (const slot of this.#slots) if (slot) this.#pool.destroy(slot)
    this.#slots = []
    this.#pool.drain()
    const largest = [...this.#tensors].sort((a, b) => b.block.bytes - a.block.bytes).slice(0, 5)
    const list = largest.map(t => `  ${mebibytes(t.block.bytes)} ${t.dtype}, ${t.size} elements`)
    return new OutOfMemory(
      `webgpu: out of memory: ${message}, beside ${mebibytes(this.bytesInUse)} in use; ` +
        `use a smaller batch, dispose of tensors, or checkpoint. The largest tensors:\n${list.join('\n')}`,
    )
  }

  upload(data: TypedArray, dtype: DType): Buffer {
    const tensor = this.allocate(dtype, data.length)
    const bytes = encode(data, dtype, this.#gpu)
    this.#device.queue.writeBuffer(tensor.block.handle, 0, bytes)
    return tensor
  }

  async read(buffer: Buffer): Promise<TypedArray> {
    this.#demandWorking()
    const { block, dtype, size } = buffer as GpuTensor
    if (size === 0) return new dtypes[dtype].array(0)
    const bytes = Math.ceil((size * storageBytes(dtype, this.#gpu)) / 4) * 4
    const staging = this.#staging.acquire(bytes)
    const encoder = this.#device.createCommandEncoder()
    encoder.copyBufferToBuffer(block.handle, 0, staging.handle, 0, bytes)
    this.#device.queue.submit([encoder.finish()])
    try {
      await staging.handle.mapAsync(mapRead, 0, bytes)
    } catch (cause) {
      this.#broken ??= cause instanceof Error ? cause.message : String(cause)
    }
    this.#demandWorking()
    const data = decode(staging.handle.getMappedRange(0, bytes), dtype, size, this.#gpu)
    staging.handle.unmap()
    this.#staging.release(staging)
    return data
  }

  free(buffer: Buffer): void {
    if (!this.#tensors.delete(buffer as GpuTensor)) return
    if (!this.closed) this.#pool.release((buffer as GpuTensor).block)
  }

  settle(): Promise<void> | undefined {
    return this.#pool.settle()?.catch(error => {
      throw error instanceof OutOfMemory ? this.#outOfMemory(error) : error
    })
  }

  lose(): void {
    this.#device.destroy()
  }

  async close(): Promise<void> {
    if (this.closed) return
    this.closed = true
    this.#device.destroy()
    await this.#device.lost
    this.#gpu.release()
  }
}

/** What is wrong with a shader: the compiler's words, the lines they are about, and the expressions they come from. */
async function explain(module: GPUShaderModule, stage: KernelStage, cause: unknown): Promise<string> {
  const { messages } = await module.getCompilationInfo()
  const lines = stage.code.split('\n')
  const found = messages
    .filter(m => m.type === 'error')
    .map(m => `  line ${m.lineNum}: ${m.message}\n    ${lines[m.lineNum - 1]?.trim() ?? ''}`)
  const words = found.length ? found : [`  ${cause instanceof Error ? cause.message : cause}`]
  return `webgpu: the kernel ${stage.name} does not compile:\n${words.join('\n')}\nIt computes:\n${stage.kernels.map(printKernel).join('\n')}`
}

/** The counts of a webgpu device, for tests and benchmarks. */
export const gpuCounts = (device: Device): GpuCounts => {
  if (device instanceof WebGpuDevice) return device.counts
  throw new Error(`gpuCounts: ${device.name} is no webgpu device`)
}

/** Loses the GPU as a driver that resets does: for tests of what happens then. */
export function loseGpu(device: Device): void {
  if (device instanceof WebGpuDevice) device.lose()
}

/** @throws if there is no GPU. */
export async function webgpuDevice(options: DeviceOptions): Promise<Device> {
  const gpu = await openGpu(options)
  const device = new WebGpuDevice(gpu, options)
  if (!gpu.matrices || (await multipliesExactly(device))) return device
  return new WebGpuDevice(
    { ...gpu, description: `${gpu.description} (not used: wrong results)`, matrices: undefined },
    options,
  )
}

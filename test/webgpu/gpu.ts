/** Runs a piece of WGSL by itself on the software driver: for tests of templates and helper functions. */

import { openGpu as openAdapter } from '../../src/runtime/backends/webgpu/adapter.js'

type Words = Float32Array | Float64Array | Int32Array | Uint32Array | BigInt64Array | BigUint64Array

export interface Runner {
  /** Runs `main`; the arrays are bound 0, 1, ... as read_write storage and come back as they are afterwards. */
  run<A extends readonly Words[]>(code: string, arrays: A, groups: readonly number[]): Promise<A>
  close(): void
}

const STORAGE = 0x80 | 0x4 | 0x8
const STAGING = 0x1 | 0x8

export async function openGpu(): Promise<Runner> {
  const gpu = await openAdapter({ software: true })
  const { device } = gpu
  const run = async <A extends readonly Words[]>(code: string, arrays: A, groups: readonly number[]): Promise<A> => {
    const module = device.createShaderModule({ code })
    const { messages } = await module.getCompilationInfo()
    const errors = messages.filter(m => m.type === 'error')
    if (errors.length)
      throw new Error(errors.map(m => `${m.lineNum}: ${m.message}\n  ${code.split('\n')[m.lineNum - 1]}`).join('\n'))
    const pipeline = await device.createComputePipelineAsync({ layout: 'auto', compute: { module } })
    const size = (a: Words): number => Math.max(16, Math.ceil(a.byteLength / 16) * 16)
    const buffers = arrays.map(a => {
      const buffer = device.createBuffer({ size: size(a), usage: STORAGE })
      device.queue.writeBuffer(buffer, 0, new Uint8Array(a.buffer, a.byteOffset, a.byteLength).slice())
      return buffer
    })
    const encoder = device.createCommandEncoder()
    const pass = encoder.beginComputePass()
    pass.setPipeline(pipeline)
    const entries = buffers.map((buffer, binding) => ({ binding, resource: { buffer } }))
    pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }))
    pass.dispatchWorkgroups(groups[0], groups[1], groups[2])
    pass.end()
    const staging = arrays.map((a, i) => {
      const copy = device.createBuffer({ size: size(a), usage: STAGING })
      encoder.copyBufferToBuffer(buffers[i], 0, copy, 0, size(a))
      return copy
    })
    device.queue.submit([encoder.finish()])
    await Promise.all(
      staging.map(async (copy, i) => {
        const a = arrays[i]
        await copy.mapAsync(1)
        const bytes = new Uint8Array(copy.getMappedRange()).slice(0, a.byteLength)
        new Uint8Array(a.buffer, a.byteOffset, a.byteLength).set(bytes)
        copy.destroy()
        buffers[i].destroy()
      }),
    )
    return arrays
  }
  return {
    run,
    close: () => {
      device.destroy()
      gpu.release()
    },
  }
}

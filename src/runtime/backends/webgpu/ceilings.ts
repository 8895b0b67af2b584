/** Measures what a GPU can do at most: bytes copied and fused multiply-adds made in a second (kernels/ceilings.wgsl). */

import type { Ceilings } from '../../profile.js'
import type { Gpu } from './adapter.js'
import { fill } from './stage.js'
import { templates } from './templates.js'
import { Timer } from './timer.js'

const threads = 256
const items = 4
const block = threads * items
/** 64 MiB in either direction where there is a GPU, less where a processor pretends to be one. */
const vectorsOf = ({ software }: Gpu): number => (software ? 2 ** 18 : 2 ** 22)
const rounds = 5

export async function measureCeilings(gpu: Gpu): Promise<Ceilings> {
  const { device } = gpu
  const vectors = vectorsOf(gpu)
  const steps = gpu.software ? 64 : 2048
  const groups = gpu.software ? 16 : 4096
  const code = fill(templates.ceilings, { threads, items, block, vectors, steps })
  const module = device.createShaderModule({ code })
  const [source, target] = [0, 1].map(() => device.createBuffer({ size: 16 * vectors, usage: 0x80 }))
  const timer = new Timer(device)
  const run = async (entryPoint: string, count: number, bytes: number, flops: number): Promise<void> => {
    const pipeline = await device.createComputePipelineAsync({ layout: 'auto', compute: { module, entryPoint } })
    const resources = [source, target].map((buffer, binding) => ({ binding, resource: { buffer } }))
    const bindings = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries: resources })
    for (let i = 0; i < rounds; i++) {
      const encoder = device.createCommandEncoder()
      const pass = timer.pass(encoder, { name: entryPoint, cost: { bytes, flops } })
      pass.setPipeline(pipeline)
      pass.setBindGroup(0, bindings)
      pass.dispatchWorkgroups(count)
      pass.end()
      device.queue.submit([encoder.finish()])
    }
  }
  await run('copy', vectors / block, 32 * vectors, 0)
  await run('peak', groups, 0, groups * threads * steps * 8 * 4 * 2)
  const times = await timer.finish()
  source.destroy()
  target.destroy()
  // The best round: the first ones warm up, and others may have the machine as well.
  const best = (name: string, of: 'bytes' | 'flops'): number =>
    Math.max(...times.filter(t => t.name === name).map(t => t[of] / (t.milliseconds / 1000)))
  return { bytesPerSecond: best('copy', 'bytes'), flopsPerSecond: best('peak', 'flops') }
}

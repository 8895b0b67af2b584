/** Finds a GPU: `navigator.gpu` in browsers, Dawn through the npm package webgpu in Node; asks for what it can do. */

import type { DeviceOptions } from '../../device.js'
import { importPackage, isNode, node } from '../../environment.js'
import { type MatrixShape, matrixFeature, matrixShapeOf } from './matrices.js'
import { withSwiftShader } from './swiftshader.js'

/** An open device, and what it was found to have. */
export interface Gpu {
  readonly device: GPUDevice
  readonly description: string
  /** Whether shaders may use f16. */
  readonly half: boolean
  /** What its matrix units multiply at once, if it has some. */
  readonly matrices?: MatrixShape
  /** Whether it is a processor that pretends to be a GPU. */
  readonly software: boolean
  /** Whether the time of each kernel can be measured. */
  readonly timestamps: boolean
  /** Lets go of what must live as long as the device. */
  release(): void
}

/** Limits worth having more of than WebGPU promises. */
const limits = [
  'maxStorageBuffersPerShaderStage',
  'maxStorageBufferBindingSize',
  'maxBufferSize',
  'maxComputeWorkgroupStorageSize',
] as const
const features = ['shader-f16', 'timestamp-query'] as const

/** Dawn frees its instance when this forgets it: until then devices work, and the process can end. */
const instances = new Set<GPU>()

/** A process that ends while a GPU works crashes, unless its device is gone before. */
const openDevices = new Set<GPUDevice>()
node?.once('exit', () => {
  for (const device of openDevices) device.destroy()
})

/** The options of Dawn, from its `create`. */
function dawnFlags({ trusted = false }: DeviceOptions): string[] {
  const on = [
    // Kernels write workgroup memory before they read it; SwiftShader takes seconds to compile the zeros.
    'disable_workgroup_init',
    // NVIDIA's f16 is hidden by default.
    'vulkan_enable_f16_on_nvidia',
    'allow_unsafe_apis',
    ...(trusted ? ['skip_validation', 'disable_robustness'] : []),
  ]
  return [`enable-dawn-features=${on}`, 'disable-dawn-features=timestamp_quantization']
}

async function dawn(): ReturnType<typeof importPackage<'webgpu'>> {
  try {
    return await importPackage('webgpu')
  } catch (cause) {
    const why = cause instanceof Error ? cause.message.split('\n')[0] : cause
    throw new Error(
      `setDevice: the device 'webgpu' needs the npm package webgpu in Node, which did not load (${why}); npm install webgpu, or use 'wasm'`,
      { cause },
    )
  }
}

const noAdapter = (where: string): Error =>
  new Error(
    `setDevice: no GPU was found: ${where}; use 'wasm', or { software: true } for a driver in software (slow, for tests)`,
  )

async function findAdapter(gpu: GPU, where: string): Promise<GPUAdapter> {
  let adapter: GPUAdapter | null
  try {
    adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' })
  } catch (cause) {
    throw new Error(`${noAdapter(where).message} (${cause instanceof Error ? cause.message : cause})`, { cause })
  }
  if (!adapter) throw noAdapter(where)
  return adapter
}

/** An adapter, and the Dawn instance that it belongs to in Node. */
async function open(options: DeviceOptions): Promise<{ adapter: GPUAdapter; instance?: GPU }> {
  if (!isNode) {
    if (options.software)
      throw new Error(
        'setDevice: { software: true } is for Node; in a browser the page gets the driver the browser chose',
      )
    const { gpu } = navigator
    if (!gpu)
      throw noAdapter('this browser has no navigator.gpu, or the page is not served securely (https or localhost)')
    return { adapter: await findAdapter(gpu, 'the browser gives no adapter') }
  }
  const { create } = await dawn()
  const find = async (): Promise<{ adapter: GPUAdapter; instance: GPU }> => {
    const instance = create(dawnFlags(options))
    const adapter = await findAdapter(instance, 'Dawn found no driver for Vulkan, Metal or Direct3D 12')
    instances.add(instance)
    return { adapter, instance }
  }
  return options.software ? withSwiftShader(find) : find()
}

function describe({ info }: GPUAdapter): string {
  const name = info.description || info.device || info.architecture || info.vendor
  return [name, info.vendor && !name.toLowerCase().includes(info.vendor) ? `(${info.vendor})` : ''].join(' ').trim()
}

/** @throws if there is no GPU, or its driver refuses. */
export async function openGpu(options: DeviceOptions): Promise<Gpu> {
  const { adapter, instance } = await open(options)
  const wanted = features.filter(f => adapter.features.has(f) && !(f === 'shader-f16' && options.half === false))
  const half = wanted.includes('shader-f16')
  const matrices = half ? matrixShapeOf(adapter) : undefined
  const device = await adapter.requestDevice({
    requiredFeatures: matrices ? [...wanted, 'subgroups', matrixFeature as GPUFeatureName] : wanted,
    requiredLimits: Object.fromEntries(limits.map(name => [name, adapter.limits[name]])),
  })
  openDevices.add(device)
  return {
    device,
    description: `WebGPU: ${describe(adapter)}${[...wanted, ...(matrices ? ['subgroup matrices'] : [])].map(f => `, ${f}`).join('')}`,
    half,
    matrices,
    software: adapter.info.isFallbackAdapter || /swiftshader|llvmpipe|lavapipe/i.test(adapter.info.description),
    timestamps: wanted.includes('timestamp-query'),
    release: () => {
      openDevices.delete(device)
      if (instance) instances.delete(instance)
    },
  }
}

/** What the runtime asks of a device, and which device is in use. */

import type { Schedule } from '../compiler/kernel.js'
import type { DType, TypedArray } from '../graph/dtype.js'
import { knownOptions, type Names } from '../graph/options.js'
import { environment, saysYes } from './environment.js'
import type { Ceilings, KernelTime } from './profile.js'

/** Values on a device. */
export interface Buffer {
  readonly device: Device
  readonly dtype: DType
  readonly size: number
}

/** A schedule turned into code: reads the leaves' buffers, writes the results'. */
export interface Executable {
  /** Resolves when the code can run, for a device that compiles while others work; rejects where it does not compile. */
  readonly ready?: Promise<void>
  /** Makes sure of memory for what lives during a run, where that may be short. */
  reserve?(): void
  run(leaves: readonly Buffer[], results: readonly Buffer[]): void
  /** The generated code, for people to read. */
  print(): string
}

export interface Device {
  readonly name: DeviceName
  /** Threads that compute. */
  readonly threads: number
  /** One line on what it runs on. */
  readonly description: string
  compile(schedule: Schedule): Executable
  allocate(dtype: DType, size: number): Buffer
  upload(data: TypedArray, dtype: DType): Buffer
  read(buffer: Buffer): Promise<TypedArray>
  free(buffer: Buffer): void
  /** Bytes that live buffers take. */
  readonly bytesInUse: number
  /** Distinct buffers that one kernel may touch; no limit where undefined. */
  readonly maxBuffers?: number
  /**
   * Whether all that was allocated can be had, on a device that learns of it later; undefined where nothing is in doubt.
   * @throws OutOfMemory
   */
  settle?(): Promise<void> | undefined
  /** From now on kernels are timed, until the function that this returns is called; a device that cannot lacks it. */
  startTiming?(): () => Promise<readonly KernelTime[]>
  /** What the device can do at most, measured on the first call. */
  ceilings?(): Promise<Ceilings>
  /** Ends threads and gives memory back; buffers on the device are lost. */
  close(): Promise<void>
}

/** Memory that cannot be had. The runtime collects garbage and tries once more. */
export class OutOfMemory extends Error {}

export const deviceNames = ['reference', 'wasm', 'webgpu'] as const
export type DeviceName = (typeof deviceNames)[number]

export interface DeviceOptions {
  /**
   * wasm: threads that compute, the calling one included. By default as many as the machine has cores, up to 16; in a
   * browser one, unless the page is cross-origin isolated.
   */
  threads?: number
  /**
   * wasm: measures which tiles of matrix products are the fastest here, in a third of a second, unless an earlier process
   * did. The answer stays in the user's cache folder, where later devices find it with and without this option; a browser
   * has none, and measures each time.
   */
  tune?: boolean
  /**
   * wasm: lets V8 join neighbouring vectors in pairs to some of 256 bits, an experiment of its own: products take half to
   * two thirds of the time. Node 24 or newer, on x64 with AVX2; the flag is the process's, and holds for all WebAssembly in
   * it. The environment variable SADDLEPOINT_REVECTORIZE sets the default.
   */
  revectorize?: boolean
  /** webgpu: a driver in software instead of a GPU: slow, for tests. Linux with the npm package @sparticuz/chromium. */
  software?: boolean
  /**
   * webgpu in Node: leaves out Dawn's checks of commands and of array bounds. Kernels here keep within their arrays;
   * bench/gpu measures what it gains.
   */
  trusted?: boolean
  /** webgpu: bytes that tensors may take in all; as much as the GPU gives by default. */
  memoryLimit?: number
  /** webgpu: false stores float16 as float32 even where the GPU has float16. */
  half?: boolean
}
const optionNames: Names<DeviceOptions> = {
  threads: true,
  tune: true,
  revectorize: true,
  software: true,
  trusted: true,
  memoryLimit: true,
  half: true,
}

const isDeviceName = (name: string): name is DeviceName => (deviceNames as readonly string[]).includes(name)

/** The options that are given. */
const defined = (options: DeviceOptions): DeviceOptions =>
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))

async function open(name: string, options: DeviceOptions): Promise<Device> {
  if (!isDeviceName(name)) throw new Error(`setDevice: unknown device '${name}'; one of ${deviceNames.join(', ')}`)
  const { threads, memoryLimit } = options
  if (memoryLimit !== undefined && !(memoryLimit > 0))
    throw new Error(`setDevice: memoryLimit must be a number of bytes > 0, not ${memoryLimit}`)
  if (threads !== undefined && (!Number.isInteger(threads) || threads < 1 || threads > 64)) {
    throw new Error(`setDevice: threads must be an integer from 1 to 64, not ${threads}`)
  }
  switch (name) {
    case 'reference':
      return (await import('./backends/reference/device.js')).referenceDevice()
    case 'wasm':
      return (await import('./backends/wasm/device.js')).wasmDevice({
        revectorize: saysYes('SADDLEPOINT_REVECTORIZE'),
        ...defined(options),
      })
    case 'webgpu':
      return (await import('./backends/webgpu/device.js')).webgpuDevice({
        software: saysYes('SADDLEPOINT_SOFTWARE'),
        ...defined(options),
      })
  }
}

let current: Promise<Device> | undefined

/**
 * Chooses the device for everything computed from now on: 'wasm' (the default), 'reference' (float64 JavaScript), 'webgpu',
 * or a device that an earlier call returned. Tensors move when they are next read. The environment variables
 * SADDLEPOINT_DEVICE and SADDLEPOINT_THREADS choose before the first call.
 *
 * @throws if the device is unknown or does not start; the device in use then stays.
 */
export async function setDevice(name: DeviceName | Device, options: DeviceOptions = {}): Promise<Device> {
  knownOptions('setDevice', options, optionNames)
  if (typeof name !== 'string' && typeof name?.compile !== 'function')
    throw new Error(`setDevice: expects one of ${deviceNames.join(', ')}, or a device that an earlier call returned`)
  const device = typeof name === 'string' ? await open(name, options) : name
  current = Promise.resolve(device)
  return device
}

/** The device in use, started at the first call. */
export function getDevice(): Promise<Device> {
  if (!current) {
    const threads = environment('SADDLEPOINT_THREADS')
    current = open(environment('SADDLEPOINT_DEVICE') ?? 'wasm', {
      ...(threads !== undefined && { threads: Number(threads) }),
    })
    current.catch(() => (current = undefined))
  }
  return current
}

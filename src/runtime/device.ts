/** What the runtime asks of a device, and which device is in use. */

import type { Schedule } from '../compiler/kernel.js'
import type { DType, TypedArray } from '../graph/dtype.js'
import { inWords, knownOptions, type Names } from '../graph/options.js'
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
  readonly closed: boolean
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

/** The only device that an option says something to; `threads` may be given to all. */
const ownerOf: { readonly [K in keyof DeviceOptions]: DeviceName } = {
  tune: 'wasm',
  revectorize: 'wasm',
  software: 'webgpu',
  trusted: 'webgpu',
  memoryLimit: 'webgpu',
  half: 'webgpu',
}

function demandDeviceName(what: string, name: string): asserts name is DeviceName {
  if (!(deviceNames as readonly string[]).includes(name))
    throw new Error(`${what}: unknown device '${name}'; one of ${deviceNames.join(', ')}`)
}

function demandThreads(what: string, threads: unknown): void {
  if (!(Number.isInteger(threads) && (threads as number) >= 1 && (threads as number) <= 64))
    throw new Error(`${what} must be an integer from 1 to 64, not ${inWords(threads)}`)
}

function checkOptions(device: DeviceName, options: DeviceOptions): void {
  for (const [name, value] of Object.entries(options) as [keyof DeviceOptions, unknown][]) {
    const owner = ownerOf[name] ?? device
    if (owner !== device)
      throw new Error(`setDevice: ${name} is an option of ${owner}, and means nothing to ${device}; leave it out`)
    if (name === 'threads') demandThreads('setDevice: threads', value)
    else if (name === 'memoryLimit') {
      if (!(typeof value === 'number' && value > 0))
        throw new Error(`setDevice: memoryLimit must be a number of bytes > 0, not ${inWords(value)}`)
    } else if (typeof value !== 'boolean')
      throw new Error(`setDevice: ${name} must be true or false, not ${inWords(value)}`)
  }
}

/** The options that are given. */
const defined = (options: DeviceOptions): DeviceOptions =>
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))

async function open(name: DeviceName, options: DeviceOptions): Promise<Device> {
  switch (name) {
    case 'reference':
      return (await import('./backends/reference/device.js')).referenceDevice()
    case 'wasm':
      return (await import('./backends/wasm/device.js')).wasmDevice({
        revectorize: saysYes('SADDLEPOINT_REVECTORIZE'),
        ...options,
      })
    case 'webgpu':
      return (await import('./backends/webgpu/device.js')).webgpuDevice({
        software: saysYes('SADDLEPOINT_SOFTWARE'),
        ...options,
      })
  }
}

let current: Promise<Device> | undefined

/**
 * Chooses the device for everything computed from now on: 'wasm' (the default), 'reference' (float64 JavaScript), 'webgpu',
 * or a device that an earlier call returned. Tensors move when they are next read. The environment variables
 * SADDLEPOINT_DEVICE and SADDLEPOINT_THREADS choose before the first call.
 *
 * @throws if the device is unknown, was closed or does not start, or an option is not one of its; the device in use then
 * stays.
 */
export async function setDevice(name: DeviceName | Device, options: DeviceOptions = {}): Promise<Device> {
  const given = defined(knownOptions('setDevice', options, optionNames))
  const device = typeof name === 'string' ? await openNamed(name, given) : demandDevice(name, given)
  current = Promise.resolve(device)
  return device
}

function openNamed(name: string, options: DeviceOptions): Promise<Device> {
  demandDeviceName('setDevice', name)
  checkOptions(name, options)
  return open(name, options)
}

/** A device that is open, to be used as it is. */
function demandDevice(device: Device, options: DeviceOptions): Device {
  if (typeof device?.compile !== 'function' || typeof device.close !== 'function')
    throw new Error(`setDevice: expects one of ${deviceNames.join(', ')}, or a device that an earlier call returned`)
  if (device.closed) throw new Error(`setDevice: this device was closed; setDevice('${device.name}') starts another`)
  const [option] = Object.keys(options)
  if (option) throw new Error(`setDevice: ${option} is for a device that is named; this one has started already`)
  return device
}

/** The device in use, started at the first call. */
export function getDevice(): Promise<Device> {
  if (!current) {
    const opening = openChosen()
    current = opening
    opening.catch(() => {
      if (current === opening) current = undefined
    })
  }
  return current
}

/** The device that the environment chooses. */
async function openChosen(): Promise<Device> {
  const name = environment('SADDLEPOINT_DEVICE') ?? 'wasm'
  demandDeviceName('SADDLEPOINT_DEVICE', name)
  const text = environment('SADDLEPOINT_THREADS')
  if (text === undefined) return open(name, {})
  const threads = Number(text)
  demandThreads('SADDLEPOINT_THREADS', Number.isNaN(threads) ? text : threads)
  return open(name, { threads })
}

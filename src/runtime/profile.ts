/** Where the time of a computation goes: each kernel's time, with the bytes and operations that it has to account for. */

import { getDevice } from './device.js'

export interface Span {
  /** Milliseconds since the first kernel began, and how long it took. */
  readonly start: number
  readonly milliseconds: number
}

export interface KernelTime extends Span {
  /** What its schedule calls it; a part that a device computes by itself, as packing, is `kernel: part`. */
  readonly name: string
  /** What each thread did of it, on a device with threads; 0 ms where it had no part. */
  readonly threads?: readonly Span[]
  /** Bytes that it must move and floating-point operations that it makes, counted from its schedule. */
  readonly bytes: number
  readonly flops: number
}

/** What a device can do at most, as measured on it. */
export interface Ceilings {
  readonly bytesPerSecond: number
  readonly flopsPerSecond: number
}

export interface Profile {
  readonly device: string
  readonly kernels: readonly KernelTime[]
  readonly ceilings: Ceilings
}

/**
 * Runs f with every kernel timed on the device in use. A webgpu device needs the feature timestamp-query.
 *
 * @throws if the device cannot time kernels.
 * @example const { profile: p } = await profile(() => step(model, batch)); console.log(printProfile(p))
 */
export async function profile<T>(f: () => T | Promise<T>): Promise<{ result: T; profile: Profile }> {
  if (typeof f !== 'function') throw new Error(`profile: expects a function that computes, not ${typeof f}`)
  const device = await getDevice()
  if (!device.startTiming || !device.ceilings)
    throw new Error(
      `profile: the device ${device.name} does not time kernels; use a webgpu device with timestamp-query`,
    )
  const ceilings = await device.ceilings()
  const stop = device.startTiming()
  let kernels: readonly KernelTime[] = []
  try {
    const result = await f()
    kernels = await stop()
    return { result, profile: { device: device.description, kernels: fromZero(kernels), ceilings } }
  } catch (error) {
    await stop()
    throw error
  }
}

function fromZero(kernels: readonly KernelTime[]): KernelTime[] {
  const first = Math.min(...kernels.map(k => k.start))
  const moved = <T extends Span>(span: T): T => ({ ...span, start: span.start - first })
  return kernels.map(k => ({ ...moved(k), ...(k.threads && { threads: k.threads.map(moved) }) }))
}

/** A kernel's share of what the device can do: of its bandwidth or of its arithmetic, whichever limits the kernel. */
export const fractionOfCeiling = ({ milliseconds, bytes, flops }: KernelTime, ceilings: Ceilings): number =>
  Math.max(bytes / ceilings.bytesPerSecond, flops / ceilings.flopsPerSecond) / (milliseconds / 1000)

/** Milliseconds that each thread computed in these kernels; the rest of their time it waited for others. */
function busyTimes(kernels: readonly KernelTime[]): number[] {
  const busy = new Array<number>(kernels[0]?.threads?.length ?? 0).fill(0)
  for (const k of kernels) k.threads?.forEach((span, t) => (busy[t] += span.milliseconds))
  return busy
}

function demandProfile(name: string, given: Profile): void {
  if (!Array.isArray(given?.kernels))
    throw new Error(
      `${name}: expects the \`profile\` that profile(f) resolves to, not ${typeof given}; { result, profile } holds it`,
    )
}

/**
 * A table of the kernels, equal names together, the longest first. Where there are threads, it says what share of a
 * kernel's time they computed, and how busy each was in all; the rest they waited for each other.
 *
 * @throws if given something else than a profile.
 */
export function printProfile(measured: Profile): string {
  demandProfile('printProfile', measured)
  const { device, kernels, ceilings } = measured
  const total = kernels.reduce((n, k) => n + k.milliseconds, 0)
  const groups = new Map<string, KernelTime[]>()
  for (const k of kernels) {
    const group = groups.get(k.name)
    if (group) group.push(k)
    else groups.set(k.name, [k])
  }
  const rows = [...groups].map(([name, group]) => {
    const of = (key: 'milliseconds' | 'bytes' | 'flops'): number => group.reduce((n, k) => n + k[key], 0)
    const times = busyTimes(group)
    const busy = times.reduce((n, t) => n + t, 0) / times.length
    return {
      name,
      count: group.length,
      busy,
      start: 0,
      milliseconds: of('milliseconds'),
      bytes: of('bytes'),
      flops: of('flops'),
    }
  })
  rows.sort((a, b) => b.milliseconds - a.milliseconds)
  const busy = busyTimes(kernels)
  const percent = (part: number, whole: number): string => ((100 * part) / whole).toFixed(0)
  const lines = rows.map(k => {
    const seconds = k.milliseconds / 1000
    return [
      k.name.padEnd(36),
      String(k.count).padStart(5),
      k.milliseconds.toFixed(3).padStart(10),
      `${((100 * k.milliseconds) / total).toFixed(1)}%`.padStart(7),
      (k.bytes / seconds / 1e9).toFixed(1).padStart(9),
      (k.flops / seconds / 1e9).toFixed(1).padStart(9),
      `${(100 * fractionOfCeiling(k, ceilings)).toFixed(0)}%`.padStart(8),
      ...(busy.length > 0 ? [`${percent(k.busy, k.milliseconds)}%`.padStart(5)] : []),
    ].join(' ')
  })
  return [
    `${device}: ${total.toFixed(3)} ms in ${kernels.length} kernels`,
    `ceilings: ${(ceilings.bytesPerSecond / 1e9).toFixed(1)} GB/s, ${(ceilings.flopsPerSecond / 1e9).toFixed(1)} GFLOP/s`,
    `${'kernel'.padEnd(36)} count         ms   share      GB/s   GFLOP/s  ceiling${busy.length > 0 ? '  busy' : ''}`,
    ...lines,
    ...busy.map((time, t) => `thread ${t}: ${percent(time, total)} % busy`),
  ].join('\n')
}

/**
 * The profile as a file for chrome://tracing and Perfetto (the Trace Event Format).
 *
 * @throws if given something else than a profile.
 */
export function chromeTrace(measured: Profile): string {
  demandProfile('chromeTrace', measured)
  const { device, kernels } = measured
  return JSON.stringify({
    traceEvents: [
      { ph: 'M', pid: 0, name: 'process_name', args: { name: device } },
      ...kernels.flatMap(({ name, bytes, flops, threads, ...whole }) =>
        (threads ?? [whole]).flatMap(({ start, milliseconds }, tid) =>
          milliseconds > 0
            ? { ph: 'X', pid: 0, tid, name, ts: start * 1000, dur: milliseconds * 1000, args: { bytes, flops } }
            : [],
        ),
      ),
    ],
  })
}

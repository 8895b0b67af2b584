// The time of a call: on the host's clock, waited for by reading one element, and on the GPU's, kernel by kernel.
import { leaves, profile } from 'saddlepoint'

export const median = list => [...list].sort((a, b) => a - b)[list.length >> 1]

/** Waits for everything submitted so far, by reading an element of what comes last. */
export const finish = t => (t.size === 1 ? t : t.flatten().at(0)).item()

/** Gives a tree's memory back at once. */
export const disposeTree = tree => leaves(tree).forEach(t => t.dispose())

/** How often: `samples` medians-to-be, each of as many calls as fit into `seconds` / samples. */
export const effort = smoke => (smoke ? { samples: 1, seconds: 0 } : { samples: 5, seconds: 0.5 })

/**
 * Milliseconds of call(), which returns a tensor: `first` with what is compiled for it, `wall` the median of several, and
 * `kernel` the sum of the GPU's timestamps with the kernels themselves (null on a device without a clock).
 */
export async function timed(device, call, { samples, seconds }) {
  const stopwatch = async calls => {
    const start = performance.now()
    let last
    for (let i = 0; i < calls; i++) {
      last?.dispose()
      last = await call()
    }
    await finish(last)
    last.dispose()
    return (performance.now() - start) / calls
  }
  const first = await stopwatch(1)
  const one = await stopwatch(1)
  const calls = Math.max(1, Math.min(100, Math.round((1000 * seconds) / samples / one)))
  // What takes seconds is measured less often.
  const rounds = one > 1000 ? Math.min(2, samples) : samples
  const walls = []
  for (let i = 0; i < rounds; i++) walls.push(await stopwatch(calls))
  return { first, wall: median(walls), calls: calls * rounds, ...(await kernelsOf(device, call, rounds)) }
}

async function kernelsOf(device, call, rounds) {
  if (!device.startTiming) return { kernel: null, kernels: null, share: null, top: null }
  const runs = []
  for (let i = 0; i < Math.min(3, rounds); i++) {
    const run = await profile(call)
    run.result.dispose()
    runs.push(run.profile)
  }
  const total = ({ kernels }) => kernels.reduce((ms, k) => ms + k.milliseconds, 0)
  const { kernels, ceilings } = runs.sort((a, b) => total(a) - total(b))[runs.length >> 1]
  const kernel = total({ kernels })
  const least = kernels.reduce((ms, k) => ms + leastMilliseconds(k, ceilings), 0)
  return { kernel, kernels: kernels.length, share: least / kernel, top: longest(kernels, ceilings) }
}

/** What the ceilings allow at best. */
export const leastMilliseconds = ({ bytes, flops }, { bytesPerSecond, flopsPerSecond }) =>
  1000 * Math.max(bytes / bytesPerSecond, flops / flopsPerSecond)

/** The kernels that take longest, equal names together: where to look first. */
function longest(kernels, ceilings, count = 10) {
  const groups = new Map()
  for (const k of kernels) {
    const group = groups.get(k.name) ?? { name: k.name, count: 0, milliseconds: 0, least: 0 }
    group.count++
    group.milliseconds += k.milliseconds
    group.least += leastMilliseconds(k, ceilings)
    groups.set(k.name, group)
  }
  return [...groups.values()]
    .sort((a, b) => b.milliseconds - a.milliseconds)
    .slice(0, count)
    .map(({ least, ...group }) => ({ ...group, share: least / group.milliseconds }))
}

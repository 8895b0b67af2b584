/** Where the time goes on the CPU: the schedule's kernels, what each thread did of them, and nothing left behind. */

import * as sp from 'saddlepoint'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { canonicalize } from '../../src/compiler/canonical.js'
import { costOf } from '../../src/compiler/cost.js'
import { schedule } from '../../src/compiler/schedule.js'
import { dtypes } from '../../src/graph/dtype.js'

/** Products, an epilogue, reductions, a sort, a scatter, random numbers and steps too small to share. */
function program(): sp.Tensor[] {
  const x = sp.random.uniform(sp.random.key(1), [200, 200])
  const order = sp.argsort(x)
  const loss = (w: sp.Tensor): sp.Tensor => sp.matmul(x, w).add(1).relu().softmax().mul(x).sum().log()
  const rows = sp.grad((table: sp.Tensor) =>
    sp
      .take(table, order.slice([0, 0], [4, 9]))
      .square()
      .sum(),
  )
  return [sp.valueAndGrad(loss)(x.mul(2).sub(1)), rows(x), order].flat()
}

/** The kernels that the tensors take, as a schedule counts them. */
function scheduled(tensors: readonly sp.Tensor[], bytesOf: (dtype: sp.DType) => number): Counted[] {
  const { kernels, buffers } = schedule(canonicalize(tensors.map(t => t.node)))
  return kernels.map(k => ({ name: k.name, ...costOf(k, buffers, spec => bytesOf(spec.dtype)) }))
}

async function profiled(make: () => sp.Tensor[]): Promise<{ results: sp.Tensor[]; profile: sp.Profile; wall: number }> {
  let wall = 0
  const { result, profile } = await sp.profile(async () => {
    const start = performance.now()
    const tensors = make()
    await sp.realize(tensors)
    wall = performance.now() - start
    return tensors
  })
  return { results: result, profile, wall }
}

type Counted = Pick<sp.KernelTime, 'name' | 'bytes' | 'flops'>
const isPart = ({ name }: sp.KernelTime): boolean => name.includes(': ')
const wholes = ({ kernels }: sp.Profile): Counted[] =>
  kernels.filter(k => !isPart(k)).map(({ name, bytes, flops }) => ({ name, bytes, flops }))

/** Kernels whose rows went together are one entry, `a + b`, with the sum of what both cost. */
function expectCounted(found: readonly Counted[], expected: readonly Counted[]): void {
  let k = 0
  for (const { name, bytes, flops } of found) {
    const together = expected.slice(k, k + name.split(' + ').length)
    expect(name).toBe(together.map(e => e.name).join(' + '))
    expect([bytes, flops]).toEqual([sumOf(together, 'bytes'), sumOf(together, 'flops')])
    k += together.length
  }
  expect(k).toBe(expected.length)
}
const sumOf = (list: readonly Counted[], key: 'bytes' | 'flops'): number => list.reduce((n, one) => n + one[key], 0)
const endOf = ({ start, milliseconds }: sp.Span): number => start + milliseconds
/** Rounding of sums of milliseconds. */
const tiny = 1e-6

describe.each([1, 2, 3])('wasm with %d threads', threads => {
  let device: sp.Device
  beforeAll(async () => {
    device = await sp.setDevice('wasm', { threads })
  })
  afterAll(() => device.close())

  test('kernels and their costs are the schedule’s, run after run; packing is told apart', async () => {
    const expected = scheduled(program(), dtype => dtypes[dtype].bytes)
    const { profile } = await profiled(program)
    expectCounted(wholes(profile), expected)
    expect(wholes(profile).some(k => k.name.startsWith('max + exp + sum'))).toBe(true)
    const parts = profile.kernels.filter(isPart)
    expect(parts.length).toBeGreaterThan(0)
    for (const { name, bytes, flops } of parts) {
      expect(name).toMatch(/^\w+: \w+$/)
      expect(expected.map(k => k.name)).toContain(name.split(': ')[0])
      expect(bytes).toBeGreaterThan(0)
      expect(flops).toBe(0)
    }
    expectCounted(wholes((await profiled(program)).profile), expected)
  })

  test('times are positive, in order, and no more than what passed', async () => {
    const { profile, wall } = await profiled(program)
    const { kernels } = profile
    expect(kernels[0].start).toBe(0)
    for (const [i, k] of kernels.entries()) {
      expect(k.milliseconds).toBeGreaterThan(0)
      if (i > 0) expect(k.start).toBeGreaterThanOrEqual(endOf(kernels[i - 1]) - tiny)
    }
    expect(endOf(kernels[kernels.length - 1])).toBeLessThan(wall)
  })

  test('every thread has its part of what is shared; all lie within the kernel', async () => {
    const { kernels } = (await profiled(program)).profile
    const busy = new Array<number>(threads).fill(0)
    for (const { start, milliseconds, threads: spans = [] } of kernels) {
      expect(spans).toHaveLength(threads)
      spans.forEach((span, t) => {
        busy[t] += span.milliseconds
        expect(span.start).toBeGreaterThanOrEqual(start)
        expect(endOf(span)).toBeLessThanOrEqual(endOf({ start, milliseconds }) + tiny)
        if (span.milliseconds === 0) expect(t).toBeGreaterThan(0)
      })
    }
    for (const b of busy) expect(b).toBeGreaterThan(0)
  })

  test('what one run noted is not seen in the next', async () => {
    const x = sp.ones([1_000_000])
    const { kernels } = (await profiled(() => [x.exp()])).profile
    expect(kernels[0].threads?.filter(s => s.milliseconds > 0)).toHaveLength(threads)
    const both = await sp.profile(async () => [await x.exp().data(), await sp.argsort(sp.tensor([3, 1, 2])).data()])
    const spans = both.profile.kernels[1].threads ?? []
    expect(spans.map(s => s.milliseconds > 0)).toEqual(spans.map((_, t) => t === 0))
  })

  test('results are the same bits as without', async () => {
    const plain = program()
    await sp.realize(plain)
    const { results } = await profiled(program)
    for (const [i, t] of results.entries()) expect(await t.data()).toEqual(await plain[i].data())
  })

  test('a plan that was never profiled before and one that was run plainly before', async () => {
    const x = sp.tensor([3, 1, 2])
    const f = (n: number): Promise<sp.TypedArray> => x.mul(n).sum({ keepdims: true }).data()
    await f(5)
    const { result, profile } = await sp.profile(async () => [await f(5), await f(5), await x.mul(7).add(1).data()])
    expect(result.map(r => [...r])).toEqual([[30], [30], [22, 8, 15]])
    expect(profile.kernels).toHaveLength(3)
  })

  test('timing takes no memory that it keeps, and ends where f throws', async () => {
    // A device of its own, on which all that takes memory is held: garbage is collected at no known time.
    const fresh = await sp.setDevice('wasm', { threads })
    const x = sp.tensor(new Float32Array(1000))
    const held = [x]
    const run = async (inside: () => void): Promise<void> => {
      const t = x.add(1)
      held.push(t)
      await sp.realize(t)
      inside()
    }
    const growth = async (
      work: (inside: () => void) => Promise<unknown>,
    ): Promise<{ during: number; after: number }> => {
      const before = fresh.bytesInUse
      let during = 0
      await work(() => (during = fresh.bytesInUse - before))
      return { during, after: fresh.bytesInUse - before }
    }
    try {
      await run(() => {})
      const plain = await growth(run)
      const timed = await growth(inside => sp.profile(() => run(inside)))
      expect(timed.during).toBeGreaterThan(plain.during)
      expect(timed.after).toBe(plain.after)

      const failing = sp.profile(async () => {
        await run(() => {})
        throw new Error('on purpose')
      })
      await expect(failing).rejects.toThrow('on purpose')
      expect(await growth(run)).toEqual(plain)
      expect((await sp.profile(() => run(() => {}))).profile.kernels).toHaveLength(1)
      expect(held).toHaveLength(7)
    } finally {
      await sp.setDevice(device)
      await fresh.close()
    }
  })

  test('one profile at a time', async () => {
    const first = sp.profile(() => sp.ones([3]).add(1).data())
    await expect(sp.profile(() => 1)).rejects.toThrow('profile: another profile is under way')
    await first
  })

  test('no kernel is ten times as fast as the ceilings, which are measured once', async () => {
    const x = sp.random.uniform(sp.random.key(2), [512, 512])
    await sp.realize(x)
    const { kernels, ceilings } = (await profiled(() => [sp.matmul(x, x)])).profile
    const [product] = kernels.filter(k => k.flops > 0)
    expect(product.flops).toBe(2 * 512 ** 3)
    expect(product.flops / (product.milliseconds / 1000)).toBeLessThan(10 * ceilings.flopsPerSecond)
    expect(ceilings.bytesPerSecond).toBeGreaterThan(1e7)
    expect(await device.ceilings?.()).toBe(ceilings)
  })
})

test('the reference times its kernels on the host', async () => {
  await sp.setDevice('reference')
  const expected = scheduled(program(), dtype => (dtype.startsWith('float') ? 8 : dtypes[dtype].bytes))
  const { profile, wall } = await profiled(program)
  expect(wholes(profile)).toEqual(expected)
  for (const k of profile.kernels) {
    expect(k.milliseconds).toBeGreaterThan(0)
    expect(endOf(k)).toBeLessThan(wall)
  }
  expect(sp.printProfile(profile)).not.toContain('busy')
  const { bytesPerSecond, flopsPerSecond } = profile.ceilings
  expect(Math.min(bytesPerSecond, flopsPerSecond)).toBeGreaterThan(1e6)
})

test('the table and the trace of a device with threads', () => {
  const [bytes, flops] = [4e6, 8e9]
  const measured: sp.Profile = {
    device: 'a CPU',
    kernels: [
      {
        name: 'matmul',
        ...{ bytes, flops, start: 0, milliseconds: 3 },
        threads: [
          { start: 0, milliseconds: 3 },
          { start: 1, milliseconds: 1.5 },
        ],
      },
      {
        name: 'sum',
        ...{ bytes, flops, start: 4, milliseconds: 1 },
        threads: [
          { start: 4, milliseconds: 1 },
          { start: 4, milliseconds: 0 },
        ],
      },
    ],
    ceilings: { bytesPerSecond: 1e10, flopsPerSecond: 1e11 },
  }
  expect(sp.printProfile(measured).split('\n').slice(-2)).toEqual(['thread 0: 100 % busy', 'thread 1: 38 % busy'])
  const { traceEvents } = JSON.parse(sp.chromeTrace(measured)) as { traceEvents: Record<string, unknown>[] }
  const event = (name: string, tid: number, ts: number, dur: number): object => ({
    ...{ ph: 'X', pid: 0, tid, name, ts, dur },
    args: { bytes, flops },
  })
  expect(traceEvents.slice(1)).toEqual([
    event('matmul', 0, 0, 3000),
    event('matmul', 1, 1000, 1500),
    event('sum', 0, 4000, 1000),
  ])
})

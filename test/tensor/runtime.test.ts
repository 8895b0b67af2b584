/** How expressions live: shared nodes, cached plans, compiled functions, donation, disposal and updates in place. */

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import * as sp from 'saddlepoint'
import { BatchNorm } from 'saddlepoint/nn'
import { describe, expect, test, vi } from 'vitest'
import { upcomingId } from '../../src/graph/node.js'
import { build } from '../../src/tensor/tensor.js'

type Tensor = sp.Tensor
const t = (values: sp.NestedArray): Tensor => sp.tensor(values, { dtype: 'float64' })

async function collectGarbage(): Promise<void> {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  for (let i = 0; i < 3; i++) {
    await new Promise(resolve => setTimeout(resolve))
    collect()
  }
}

describe('hash-consing', () => {
  const x = t([
    [1, 2],
    [3, 4],
  ])
  test('equal expressions are the same node', () => {
    const f = (): Tensor => sp.sum(sp.mul(sp.exp(x), sp.permuteDims(x, [1, 0])), { axis: 0 })
    const first = f()
    const before = upcomingId()
    expect(f().node).toBe(first.node)
    expect(upcomingId()).toBe(before)
  })
  test('attributes tell expressions apart', () => {
    expect(sp.sum(x, { axis: 0, keepdims: true }).node).not.toBe(sp.sum(x, { axis: 1, keepdims: true }).node)
    expect(sp.full([2], 0).node).not.toBe(sp.full([2], -0).node)
    expect(sp.full([2], 1).node).not.toBe(sp.full([2], 1, 'float64').node)
    expect(sp.full([1], Number.NaN).node).toBe(sp.full([1], Number.NaN).node)
  })
  test('leaves, variables and barriers are never shared', () => {
    expect(t([1]).node).not.toBe(t([1]).node)
    for (const op of ['variable', 'barrier'] as const) expect(build(op, [x], {}).node).not.toBe(build(op, [x], {}).node)
  })
  test('exact rewrites', () => {
    expect(sp.mul(x, 1).node).toBe(x.node)
    expect(sp.add(x, 0).node).toBe(x.node)
    expect(sp.sub(x, 0).node).toBe(x.node)
    expect(sp.div(x, 1).node).toBe(x.node)
    expect(sp.neg(sp.neg(x)).node).toBe(x.node)
    expect(sp.permuteDims(sp.permuteDims(x, [1, 0]), [1, 0]).node).toBe(x.node)
    expect(sp.reshape(sp.flatten(x), [2, 2]).node).toBe(x.node)
    expect(sp.mul(x, 0).node.op).toBe('mul')
    expect(sp.add(sp.full([2], 2), 3).node.attrs).toMatchObject({ value: 5 })
    expect(sp.sum(sp.zeros([0, 3]), { axis: 1, keepdims: true }).shape).toEqual([0, 1])
  })
})

describe('plans', () => {
  const loss = (w: Tensor, x: Tensor): Tensor => sp.sum(sp.square(sp.tanh(sp.matmul(x, w))))

  test('a second step of the same structure compiles nothing', async () => {
    let w = t([[1], [2]])
    const counts: number[] = []
    for (let i = 0; i < 4; i++) {
      const x = t([
        [i, 1],
        [2, i],
      ])
      w = sp.sub(w, sp.mul(sp.grad(loss)(w, x), 0.1))
      await w.realize()
      counts.push(sp.stats.plansCompiled)
    }
    expect(counts.slice(1)).toEqual(counts.slice(1).map(() => counts[0]))
  })

  test('another shape, dtype or constant is another plan', async () => {
    const compiled = async (make: () => Tensor): Promise<number> => {
      const before = sp.stats.plansCompiled
      await make().data()
      return sp.stats.plansCompiled - before
    }
    const f = (x: Tensor, c = 2.125): Tensor => sp.add(sp.mul(x, c), 0.375)
    expect(await compiled(() => f(t([1, 2, 3])))).toBe(1)
    expect(await compiled(() => f(t([4, 5, 6])))).toBe(0)
    expect(await compiled(() => f(t([4, 5])))).toBe(1)
    expect(await compiled(() => f(sp.tensor([1, 2, 3])))).toBe(1)
    expect(await compiled(() => f(t([1, 2, 3]), 2.5))).toBe(1)
  })

  test('which operands are the same leaf is part of the structure', async () => {
    const [a, b] = [t([1, 2]), t([10, 20])]
    expect(await sp.sub(a, b).array()).toEqual([-9, -18])
    expect(await sp.sub(a, a).array()).toEqual([0, 0])
    expect(await sp.sub(b, a).array()).toEqual([9, 18])
  })

  test('values once computed are not computed again', async () => {
    const x = t([1, 2])
    const y = sp.exp(x)
    await y.realize()
    const runs = sp.stats.runs
    await y.data()
    await sp.realize(y, x)
    expect(sp.stats.runs).toBe(runs)
    expect((await sp.inspect(sp.mul(y, 2))).graph).not.toContain('exp')
  })

  test('several trees in one run', async () => {
    const runs = sp.stats.runs
    const x = t([1, 2])
    const tree = { a: sp.mul(x, 2), b: [sp.sum(x)] }
    await sp.realize(tree, sp.mul(x, 3))
    expect(sp.stats.runs).toBe(runs + 1)
    expect([await tree.a.array(), await tree.b[0].item()]).toEqual([[2, 4], 3])
  })

  test('a result that is a leaf, a constant or twice the same', async () => {
    const x = t([1, 2])
    const tree = [sp.stopGradient(x), sp.zeros([2]), sp.add(x, 1), sp.add(x, 1), build('barrier', [x], {})]
    await sp.realize(tree)
    expect(await Promise.all(tree.map(y => y.array()))).toEqual([
      [1, 2],
      [0, 0],
      [2, 3],
      [2, 3],
      [1, 2],
    ])
  })

  test('a chain of thousands of operations, a sum of hundreds of leaves', async () => {
    const one = t([1])
    let x = t([0])
    for (let i = 0; i < 3000; i++) x = sp.add(x, one)
    expect(await x.array()).toEqual([3000])
    const many = Array.from({ length: 300 }, (_, i) => t([i]))
    expect(await many.reduce((a, b) => sp.add(a, b)).array()).toEqual([44850])
    expect(await sp.sum(sp.concat(many)).item()).toBe(44850)
  })

  test('inspect prints graph, schedule and code', async () => {
    const text = await sp.inspect({ y: sp.sum(sp.mul(t([1, 2]), 3)) })
    expect(text.graph).toContain('mul')
    expect(text.schedule).toContain('reduced = sum')
    expect(text.code.length).toBeGreaterThan(10)
  })
})

describe('compile', () => {
  const step = (w: Tensor, x: Tensor): { w: Tensor; loss: Tensor; note: string } => {
    const loss = (w: Tensor): Tensor => sp.sum(sp.square(sp.matmul(x, w)))
    return { w: sp.sub(w, sp.mul(sp.grad(loss)(w), 0.125)), loss: loss(w), note: 'kept' }
  }

  test('gives what the function gives, as computed tensors', async () => {
    const [w, x] = [
      t([[1], [2]]),
      t([
        [1, 0],
        [1, 1],
      ]),
    ]
    const compiled = await sp.compile(step)(w, x)
    const plain = step(w, x)
    expect(await compiled.w.array()).toEqual(await plain.w.array())
    expect(await compiled.loss.item()).toBe(await plain.loss.item())
    expect(compiled.note).toBe('kept')
    expect(compiled.w.node.op).toBe('input')
  })

  test('the second call builds no nodes but its results, and compiles nothing', async () => {
    let calls = 0
    const compiled = sp.compile((w: Tensor, x: Tensor) => {
      calls++
      return step(w, x)
    })
    let { w } = await compiled(
      t([[1], [2]]),
      t([
        [1, 0],
        [1, 1],
      ]),
    )
    const x = t([
      [3, 0],
      [1, 2],
    ])
    const [plans, ids] = [sp.stats.plansCompiled, upcomingId()]
    for (let i = 0; i < 3; i++) w = (await compiled(w, x)).w
    expect(calls).toBe(1)
    expect(sp.stats.plansCompiled).toBe(plans)
    // Two results a call.
    expect(upcomingId()).toBe(ids + 6)
  })

  test('traces again for other shapes, numbers and functions', async () => {
    const f = sp.compile((x: Tensor, c: number, g: (x: Tensor) => Tensor) => sp.mul(g(x), c))
    const double = (x: Tensor): Tensor => sp.mul(x, 2)
    const triple = (x: Tensor): Tensor => sp.mul(x, 3)
    const x = t([1, 2])
    expect(await (await f(x, 10, double)).array()).toEqual([20, 40])
    expect(await (await f(x, 10, triple)).array()).toEqual([30, 60])
    expect(await (await f(t([1]), 10, double)).array()).toEqual([20])
    const { POSITIVE_INFINITY: inf } = Number
    expect(await (await f(x, inf, double)).array()).toEqual([inf, inf])
    expect(await (await f(x, -inf, double)).array()).toEqual([-inf, -inf])
    expect(await (await f(x, Number.NaN, double)).array()).toEqual([Number.NaN, Number.NaN])
  })

  test('arguments that are expressions are computed first', async () => {
    const f = sp.compile((x: Tensor) => sp.mul(x, 2))
    expect(await (await f(sp.add(t([1]), 1))).array()).toEqual([4])
    expect(await (await f(sp.zeros([1], 'float64'))).array()).toEqual([0])
  })

  test('arguments and captured tensors may be results', async () => {
    const captured = t([5])
    const f = sp.compile((x: Tensor) => [x, captured, sp.add(captured, x)])
    expect(await Promise.all((await f(t([1]))).map(y => y.array()))).toEqual([[1], [5], [6]])
    const identity = sp.compile((x: Tensor) => x)
    expect(await (await identity(t([3]))).array()).toEqual([3])
  })

  test('a captured tensor that is assigned to later is an error, not the old value', async () => {
    const w = sp.tensor([1, 2])
    await w.realize()
    const f = sp.compile((x: Tensor) => sp.mul(x, w))
    expect(await (await f(sp.ones([2]))).array()).toEqual([1, 2])
    w.assign(sp.tensor([3, 4]))
    await expect(f(sp.ones([2]))).rejects.toThrow('captured has been assigned to since; pass it as an argument')
  })

  test('also where it was one number, of which the expression keeps no trace', async () => {
    const x = sp.ones([2])
    const uses: readonly ((x: Tensor, c: Tensor) => unknown)[] = [
      (x, c) => sp.add(x, c),
      (x, c) => sp.mul(x, sp.add(c, 1)),
      (x, c) => sp.mul(x.astype('float64'), c.astype('float64')),
      (x, c) => [x, c],
      (x, c) => sp.grad((m: { c: Tensor }) => x.add(m.c).square().sum())({ c }),
      (x, c) => sp.vmap((row: Tensor) => row.add(c))(x.reshape([1, 2])),
    ]
    for (const use of uses) {
      const [c, equal] = [sp.zeros([2]), sp.zeros([2])]
      const f = sp.compile((x: Tensor) => use(x, c))
      await f(x)
      // Another tensor of the same number is no concern of it, nor that its values are there now.
      equal.assign(sp.ones([2]))
      await c.realize()
      await f(x)
      // Another one number is found when the function is traced anew; numbers that would be an argument are refused.
      c.assign(sp.ones([2]))
      const [now, then] = [await f(x), use(x, c)].map(t => sp.leaves(t))
      expect(await Promise.all(now.map(t => t.array()))).toEqual(await Promise.all(then.map(t => t.array())))
      c.assign(sp.tensor([3, 4]))
      for (const _ of [1, 2]) await expect(f(x)).rejects.toThrow('captured has been assigned to since')
    }
  })

  test('but not where the results do not depend on it', async () => {
    const [c, x] = [sp.zeros([2]), sp.ones([2])]
    let traced = 0
    const f = sp.compile((x: Tensor) => {
      traced++
      sp.mul(c, 2)
      return x.add(1)
    })
    for (const value of [0, 1, 2]) {
      expect(await (await f(x)).array()).toEqual([2, 2])
      expect(await (await f(x)).array()).toEqual([2, 2])
      c.assign(sp.full([2], value))
    }
    expect(traced).toBe(3)
    const norm = new BatchNorm(2)
    const normed = sp.compile((x: Tensor) => norm.apply(x, { training: true, update() {} }))
    await normed(sp.ones([3, 2]))
    norm.state.mean.assign(sp.ones([2]))
    expect(await (await normed(sp.ones([3, 2]))).array()).toEqual(Array(3).fill([0, 0]))
  })

  test('a captured expression is computed once, and assigning to it later is an error', async () => {
    const w = sp.mul(sp.tensor([1, 2]), 3)
    const f = sp.compile((x: Tensor) => sp.mul(x, w))
    expect(await (await f(sp.ones([2]))).array()).toEqual([3, 6])
    expect(w.node.op).toBe('input')
    w.assign(sp.add(w, 10))
    await expect(f(sp.ones([2]))).rejects.toThrow('captured has been assigned to since')
  })

  test('fields of any name tell traces apart', async () => {
    class Scale {
      readonly class: number
      constructor(by: number) {
        this.class = by
      }
    }
    const f = sp.compile((m: Scale | { toJSON: () => string; by: number }, x: Tensor) =>
      sp.mul(x, 'by' in m ? m.by : m.class),
    )
    const x = sp.tensor([1])
    const toJSON = (): string => 'same'
    const scales = [new Scale(2), new Scale(7), { toJSON, by: 3 }, { toJSON, by: 4 }]
    for (const [i, by] of [2, 7, 3, 4].entries()) expect(await (await f(scales[i], x)).item()).toBe(by)
  })

  test('each set of traits is traced once, however calls alternate', async () => {
    let traced = 0
    const f = sp.compile((x: Tensor, rest?: unknown) => {
      traced++
      return [sp.mul(x, 2), typeof rest]
    })
    // A function that makes its arguments anew, so that nothing is the same but by value.
    const calls: (() => [Tensor, unknown?])[] = [
      () => [sp.ones([2])],
      () => [sp.ones([3])],
      () => [sp.ones([2, 1])],
      () => [sp.ones([2], 'float64')],
      () => [sp.ones([2]), undefined],
      () => [sp.ones([2]), null],
      () => [sp.ones([2]), 0],
      () => [sp.ones([2]), -0],
      () => [sp.ones([2]), '0'],
      () => [sp.ones([2]), Number.NaN],
      () => [sp.ones([2]), []],
      () => [sp.ones([2]), [[]]],
      () => [sp.ones([2]), {}],
      () => [sp.ones([2]), Object.create(null)],
      () => [sp.ones([2]), { a: 1, b: 2 }],
      () => [sp.ones([2]), { b: 2, a: 1 }],
      () => [sp.ones([2]), { a: 1, c: 2 }],
      () => [sp.ones([2]), [1, 2]],
      () => [sp.ones([2]), [[1], 2]],
      () => [sp.ones([2]), [[1, 2]]],
      () => [sp.ones([2]), sp.ones([2])],
      () => [sp.ones([2]), [{ a: 'x' }, { b: 1, c: 2 }]],
      () => [sp.ones([2]), [{ a: { b: 'c' }, x: 1 }, 2]],
      () => [sp.ones([2]), Uint8Array.of(1, 2)],
      () => [sp.ones([2]), Int8Array.of(1, 2)],
      () => [sp.ones([2]), Float32Array.of(1, 2)],
      () => [sp.ones([2]), Float32Array.of(1, 3)],
      () => [sp.ones([2]), Float64Array.of(1, 2)],
      () => [sp.ones([2]), new DataView(Uint8Array.of(1).buffer)],
      () => [sp.ones([2]), new DataView(Uint8Array.of(2).buffer)],
    ]
    for (const [i, call] of calls.entries()) {
      await f(...call())
      expect(traced, String(call)).toBe(i + 1)
    }
    for (const call of [...calls, ...calls.toReversed()]) await f(...call())
    expect(traced).toBe(calls.length)
  })

  test('what the caller writes into an array of numbers afterwards is another trace', async () => {
    const f = sp.compile((x: Tensor, by: Float32Array | number[]) => sp.mul(x, by[1]))
    for (const by of [Float32Array.of(2, 3), [2, 3]]) {
      expect(await (await f(t([1]), by)).item()).toBe(3)
      by[1] = 5
      expect(await (await f(t([1]), by)).item()).toBe(5)
    }
    // Longer than the engine lets a list of arguments be.
    expect(await (await f(t([1]), new Float32Array(1e6).fill(7))).item()).toBe(7)
    expect(await (await f(t([1]), new Array<number>(3e5).fill(8))).item()).toBe(8)
  })

  test('functions among the arguments are not held', async () => {
    const f = sp.compile((x: Tensor, g: (x: Tensor) => Tensor) => g(x))
    const refs: WeakRef<object>[] = []
    for (let i = 0; i < 20; i++) {
      const g = (x: Tensor): Tensor => sp.mul(x, i)
      refs.push(new WeakRef(g))
      expect(await (await f(t([1]), g)).item()).toBe(i)
    }
    await collectGarbage()
    // The last may be in a register still.
    expect(refs.filter(ref => ref.deref()).length).toBeLessThan(5)
    expect(await (await f(t([2]), x => sp.neg(x))).item()).toBe(-2)
  })

  test('numbers that change with each call are compiled anew, are told of once, and do not pile up', async () => {
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => {})
    let traced = 0
    const f = sp.compile((x: Tensor, by: number) => {
      traced++
      return sp.mul(x, by)
    })
    for (let i = 0; i < 270; i++) expect(await (await f(t([2]), i)).item()).toBe(2 * i)
    expect(traced).toBe(270)
    await f(t([2]), 269)
    expect(traced).toBe(270)
    await f(t([2]), 0)
    expect(traced).toBe(271)
    expect(warn.mock.calls.map(([text]) => text as string)).toEqual([expect.stringContaining('pass a tensor')])
    warn.mockRestore()
  })

  test('a device that nobody uses any more is garbage, with all that was compiled for it', async () => {
    const own = await sp.getDevice()
    const f = sp.compile((x: Tensor) => sp.exp(x))
    const used = async (): Promise<WeakRef<object>> => {
      const device = await sp.setDevice('reference')
      await f(t([1, 2]))
      await sp.add(t([1]), 2).data()
      await sp.setDevice(own)
      return new WeakRef(device)
    }
    const refs = [await used(), await used(), await used()]
    await f(t([1]))
    await collectGarbage()
    // The last may be in a register still.
    expect(refs.filter(ref => ref.deref()).length).toBeLessThan(2)
  })

  test('a compiled function inside of another is an error with a reason, and nothing fails later', async () => {
    const inner = sp.compile((x: Tensor) => sp.mul(x, 2))
    const outer = sp.compile((x: Tensor) => inner(x))
    await expect(outer(t([1]))).rejects.toThrow('returned a promise')
    await new Promise(resolve => setTimeout(resolve, 10))
    expect(await (await inner(t([1]))).item()).toBe(2)
  })

  test('first calls at the same time, and a change of the device, trace again and go on', async () => {
    let traced = 0
    const f = sp.compile((x: Tensor) => {
      traced++
      return sp.mul(x, 3)
    })
    const own = await sp.getDevice()
    const all = await Promise.all([1, 2, 3].map(async i => (await f(t([i]))).item()))
    expect(all).toEqual([3, 6, 9])
    const first = traced
    expect(await (await f(t([4]))).item()).toBe(12)
    expect(traced).toBe(first)
    try {
      await sp.setDevice('reference')
      expect(await (await f(t([5]))).item()).toBe(15)
      expect(await (await f(t([6]))).item()).toBe(18)
      expect(traced).toBe(first + 1)
    } finally {
      await sp.setDevice(own)
    }
    expect(await (await f(t([7]))).item()).toBe(21)
  })

  test('arguments of another class are another trace', async () => {
    class Max {
      readonly window = 2
      apply(x: Tensor): Tensor {
        return sp.max(x)
      }
    }
    class Mean extends Max {
      override apply(x: Tensor): Tensor {
        return sp.mean(x)
      }
    }
    const f = sp.compile((m: Max, x: Tensor) => m.apply(x))
    const x = sp.tensor([1, 2, 6])
    expect(await (await f(new Max(), x)).item()).toBe(6)
    expect(await (await f(new Mean(), x)).item()).toBe(3)
  })

  test('a derivative rule that nobody asks for reads nothing', async () => {
    const w = sp.tensor([1, 2])
    await w.realize()
    const y = sp.checkpoint((x: Tensor) => sp.mul(x, 2))(w)
    const held = sp.add(y, 1)
    await y.realize()
    w.dispose()
    expect(await held.array()).toEqual([3, 5])
  })

  test('constants that a function makes are its own, though an argument that is assigned to was equal', async () => {
    const model = { w: sp.ones([1]), bias: sp.zeros([3]) }
    const step = sp.compile((m: typeof model) => sp.add(sp.mul(sp.zeros([3]), m.w), m.bias))
    await step(model)
    model.bias.assign(sp.ones([3]))
    expect(await (await step(model)).array()).toEqual([1, 1, 1])
    const captured = sp.zeros([3], 'float64')
    const stale = sp.compile((x: Tensor) => sp.mul(x, captured))
    await stale(t([1, 2, 3]))
    captured.assign(sp.tensor([1, 2, 3], { dtype: 'float64' }))
    await expect(stale(t([1, 2, 3]))).rejects.toThrow('captured has been assigned to')
  })

  test('donated arguments are gone, with a reason', async () => {
    const f = sp.compile((w: Tensor, x: Tensor) => ({ w: sp.add(w, x), x }), { donate: [0, 1] })
    const [w, x] = [t([1]), t([2])]
    const result = await f(w, x)
    expect(await result.w.array()).toEqual([3])
    expect(await result.x.array()).toEqual([2])
    await expect(w.data()).rejects.toThrow('donated')
    await expect(sp.add(w, 1).data()).rejects.toThrow('donated')
    await expect(f(w, x)).rejects.toThrow('donated')
  })
})

describe('disposal and updates', () => {
  test('a disposed tensor is an error to read, and its memory is given back', async () => {
    const device = await sp.getDevice()
    const x = await sp.mul(t(new Array(1000).fill(1)), 2).realize()
    const bytes = device.bytesInUse
    x.dispose()
    expect(device.bytesInUse).toBeLessThanOrEqual(bytes - 8000)
    await expect(x.data()).rejects.toThrow('disposed')
    await expect(sp.add(x, 1).data()).rejects.toThrow('build the expression again')
    x.dispose()
    expect(device.bytesInUse).toBeLessThanOrEqual(bytes - 8000)
  })

  test('what another tensor may stand for too stays, though equal expressions share a node', async () => {
    const [a, b] = [sp.zeros([3]), sp.zeros([3])]
    await sp.realize([a, b])
    a.dispose()
    await expect(a.data()).rejects.toThrow('disposed')
    expect(await b.array()).toEqual([0, 0, 0])
    // Parameters and moments that begin alike, of which one is consumed.
    const update = sp.compile((p: Tensor, m: Tensor) => [sp.sub(p, 1), sp.add(m, 1)], { donate: [0] })
    const [p, m] = [sp.zeros([2]), sp.zeros([2])]
    await sp.realize([p, m])
    expect(await (await update(p, m))[1].array()).toEqual([1, 1])
    expect(await m.array()).toEqual([0, 0])
    await expect(p.data()).rejects.toThrow('donated')
    const x = await t([1, 2]).realize()
    // What a compiled function captured and hands through is not the caller's alone.
    const through = sp.compile(() => x)
    ;(await through()).dispose()
    expect(await (await through()).array()).toEqual([1, 2])
  })

  test('using disposes at the end of the block', async () => {
    const kept = await t([1]).realize()
    {
      const handle: Disposable = kept
      handle[Symbol.dispose]()
    }
    await expect(kept.data()).rejects.toThrow('disposed')
  })

  test('assign replaces what the handle stands for; expressions built before keep the old value', async () => {
    const w = t([1, 2])
    const before = sp.mul(w, 10)
    w.assign(sp.add(w, 1))
    const after = sp.mul(w, 10)
    expect(await w.array()).toEqual([2, 3])
    expect(await before.array()).toEqual([10, 20])
    expect(await after.array()).toEqual([20, 30])
  })

  test('an expression of a value that was consumed is an error', async () => {
    const w = t([1, 2])
    const stale = sp.mul(w, 10)
    const update = sp.compile((w: Tensor) => sp.add(w, 1), { donate: [0] })
    const old = w.node
    w.assign(await update(w))
    expect(w.node).not.toBe(old)
    expect(await w.array()).toEqual([2, 3])
    await expect(stale.data()).rejects.toThrow('donated')
  })

  test('memory stays flat over many steps', async () => {
    const device = await sp.getDevice()
    const w = t([1, 2])
    const step = sp.compile((w: Tensor) => sp.mul(w, 0.5), { donate: [0] })
    w.assign(await step(w))
    const bytes = device.bytesInUse
    for (let i = 0; i < 200; i++) w.assign(await step(w))
    expect(device.bytesInUse).toBeLessThanOrEqual(bytes)
  })

  test('data is a copy', async () => {
    const x = t([1, 2])
    ;(await x.data())[0] = 99
    expect(await x.array()).toEqual([1, 2])
    const source = new Float64Array([1, 2])
    const y = sp.tensor(source)
    source[0] = 99
    expect(await y.array()).toEqual([1, 2])
  })
})

describe('trees', () => {
  const tree = { b: [sp.tensor([1]), 'x'], a: { c: sp.tensor(2) }, n: null, f: 3 } as const
  test('names and order', () => {
    expect(sp.namedLeaves(tree).map(l => l.name)).toEqual(['b.0', 'a.c'])
    const [x] = sp.leaves(tree)
    expect(sp.namedLeaves({ '': { b: x, '': x }, c: { '': x } }).map(l => l.name)).toEqual(['b', '', 'c.'])
    expect(sp.leaves(sp.tensor(1)).length).toBe(1)
    expect(sp.leaves([new Float32Array(3), null, undefined, 5]).length).toBe(0)
  })
  test('what cannot be walked is named', () => {
    expect(() => sp.leaves({ a: { m: new Map([['w', sp.tensor(1)]]) } })).toThrow("a Map at 'a.m' cannot be walked")
    const self: Record<string, unknown> = { w: sp.tensor(1) }
    self.self = self
    expect(() => sp.leaves(self)).toThrow('self.self.self')
    expect(() => sp.mapTree(self, t => t)).toThrow('cannot contain itself')
  })
  test('mapTree, zipTrees, replaceLeaves', async () => {
    const doubled = sp.zipTrees((x, y) => sp.add(x, y), tree, tree)
    expect(await doubled.a.c.item()).toBe(4)
    expect(doubled.b[1]).toBe('x')
    expect(doubled.n).toBeNull()
    const names: string[] = []
    sp.mapTree(tree, (x, name) => {
      names.push(name)
      return x
    })
    expect(names).toEqual(['b.0', 'a.c'])
    expect(await sp.replaceLeaves(tree, [sp.tensor(7), sp.tensor(8)]).a.c.item()).toBe(8)
  })
})

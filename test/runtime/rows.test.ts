/** Loops that go through rows together on wasm, and long sums in parts: which they are, and that values stay right. */

import * as sp from 'saddlepoint'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { canonicalize } from '../../src/compiler/canonical.js'
import { schedule } from '../../src/compiler/schedule.js'
import { reachBytes } from '../../src/runtime/backends/wasm/elements.js'
import { Heap } from '../../src/runtime/backends/wasm/heap.js'
import { buildProgram, type Program } from '../../src/runtime/backends/wasm/program.js'
import { expectInterpreted } from '../oracle/close.js'

const programOf = (t: sp.Tensor, paired = false): Program =>
  buildProgram(schedule(canonicalize([t.node])), {
    threads: 2,
    relaxed: false,
    paired,
    memory: { initial: 1, maximum: 1, shared: true },
  })
const stepsOf = (t: sp.Tensor): string[] =>
  programOf(t).steps.map(s => (s.of ?? [s]).map(one => one.part?.name ?? one.kernel.name).join(' + '))

const x = (...shape: number[]): sp.Tensor =>
  sp.tensor(
    Float32Array.from({ length: shape.reduce((n, s) => n * s, 1) }, (_, i) => Math.cos(i * i)),
    { shape },
  )
const mean = (t: sp.Tensor): sp.Tensor => t.mean({ axis: -1, keepdims: true })
const centred = (t: sp.Tensor): sp.Tensor => t.sub(mean(t))

describe('steps', () => {
  const rows: readonly [string, sp.Tensor, readonly string[]][] = [
    ['softmax', sp.softmax(x(64, 48)), ['max + exp + sum + mul']],
    ['row lengths that are no multiple of a vector', sp.softmax(x(64, 37)), ['max + exp + sum + mul']],
    ['few rows', sp.softmax(x(8, 512)), ['max', 'exp', 'sum', 'mul']],
    [
      'what needs other rows',
      sp.softmax(sp.softmax(x(64, 48)), { axis: 0 }),
      ['max + exp + sum + mul', 'max', 'exp', 'sum', 'mul'],
    ],
  ]
  test.each(rows)('%s', (_, t, expected) => expect(stepsOf(t)).toEqual(expected))
  test('long sums, along memory and across it', () => {
    expect(stepsOf(x(40000).sum({ keepdims: true }))).toEqual(['sum', 'result'])
    expect(stepsOf(x(1000, 64).sum({ axis: 0, keepdims: true }))).toEqual(['sum', 'result'])
    expect(stepsOf(x(100, 64).sum({ axis: 0, keepdims: true }))).toEqual(['sum'])
    expect(stepsOf(x(100, 1024).sum({ axis: 0, keepdims: true }))).toEqual(['sum', 'result'])
  })
  test('a sum of rows less a number each goes along memory: it needs no parts', () => {
    const rows = x(64, 3000)
    const steps = stepsOf(
      rows
        .sub(rows.max({ axis: 1, keepdims: true }))
        .exp()
        .sum({ axis: 1, keepdims: true }),
    )
    expect(steps).toEqual(['max + sum'])
  })
})

test('what lies far across memory is read in blocks of columns, one loop more', () => {
  const loops = (t: sp.Tensor): number => programOf(t.mul(2)).functions[0].print().split('loop\n').length - 1
  const blocks = loops(x(192, 96).matrixTranspose())
  expect(loops(x(192, 16, 96).permuteDims([1, 0, 2]))).toBe(blocks - 1)
  // Few columns, and such as the first cache holds.
  expect(loops(x(16, 1000).matrixTranspose())).toBe(blocks - 1)
  expect(loops(x(48, 64).matrixTranspose())).toBe(blocks - 1)
})

test('what only the rows of a group know has memory for a block of them', () => {
  const { buffers, stored, local, steps } = programOf(sp.softmax(x(4096, 64)))
  // Threads share large chunks; blocks of 128 KiB stay in the cache.
  expect(steps[0].chunk).toBe(512)
  const block = Math.floor(2 ** 17 / (4 * (3 * 64 + 2)))
  // The maxima and the sums; the exponentials lie where the result will.
  expect(local.map(l => buffers[l.buffer].size)).toEqual([4096, 4096])
  expect(buffers.filter((b, i) => b.role === 'temporary' && stored[i].size === 0).map(b => b.size)).toEqual([4096 * 64])
  for (const { buffer, stride } of local) {
    const bytes = (4 * block * buffers[buffer].size) / 4096
    expect(stride).toBeGreaterThanOrEqual(bytes)
    expect(stride).toBeLessThan(bytes + 256)
    expect(4 * stored[buffer].size).toBe(2 * stride)
  }
})

describe('the next block comes into the cache', () => {
  /** Offsets of the bytes that each function touches. */
  const touched = (t: sp.Tensor, paired = false): string[] =>
    programOf(t, paired).functions.flatMap(f => {
      const offsets = [...f.print().matchAll(/i32\.load8_u offset=(\d+)\s+drop/g)].map(m => m[1])
      return offsets.length ? [`${f.name.replace(/_\d+$/, '')} ${offsets.join(' ')}`] : []
    })
  // Blocks are of 2^17 bytes: x, the exponentials, the result, and a maximum and a sum for each row.
  const softmaxBlock = Math.floor(2 ** 17 / (4 * (3 * 64 + 2))) * 4 * 64
  test('while the second to read it computes', () => {
    expect(touched(sp.softmax(x(4096, 64)))).toEqual([`exp ${softmaxBlock}`])
  })
  test('a line for each, where vectors side by side span several', () => {
    expect(touched(sp.softmax(x(4096, 64)), true)).toEqual([`exp ${softmaxBlock} ${softmaxBlock + 64}`])
  })
  test('not what is in the cache anyway, and not rows in another order', () => {
    expect(touched(sp.softmax(x(512, 64)))).toEqual([])
    expect(touched(sp.softmax(sp.flip(x(4096, 64), [0])))).toEqual([])
  })
  test('memory reaches so far', () => {
    for (const bytes of [1, 100_000, 2 ** 20, 3 * 2 ** 20 - 2000]) {
      const heap = new Heap(1024, false)
      for (let i = 0; i < 20; i++) {
        const end = heap.allocate(bytes) + bytes
        expect(end + reachBytes).toBeLessThanOrEqual(heap.memory.buffer.byteLength)
      }
    }
    expect(softmaxBlock).toBeLessThanOrEqual(reachBytes)
  })
})

test('a program without a step worth sharing wakes nobody', () => {
  expect(programOf(x(10).add(1).sum()).threads).toBe(1)
  expect(programOf(sp.softmax(x(4096, 64))).threads).toBe(2)
})

describe.each([1, 2, 3])('values with %d threads', threads => {
  let device: sp.Device
  beforeAll(async () => {
    device = await sp.setDevice('wasm', { threads })
  })
  afterAll(() => device.close())
  const programs: readonly [string, () => sp.Tensor][] = [
    ['softmax', () => sp.softmax(x(129, 33))],
    ['after a product', () => sp.softmax(sp.matmul(x(4096, 8), x(8, 48)).tanh())],
    ['many rows', () => sp.softmax(x(5000, 40))],
    ['softmax of softmax', () => sp.softmax(sp.softmax(x(64, 48)), { axis: 0 })],
    [
      'normalised',
      () =>
        centred(x(96, 40)).mul(
          mean(centred(x(96, 40)).square())
            .add(1e-5)
            .rsqrt(),
        ),
    ],
    ['reversed rows', () => sp.flip(sp.softmax(x(64, 32)), [0]).add(1)],
    ['shifted by one row', () => sp.at(sp.softmax(x(64, 32)).exp(), [1, 64])],
    ['gradient of softmax', () => sp.grad((t: sp.Tensor) => sp.softmax(t).mul(x(80, 24)).sum())(x(80, 24))],
    [
      'gradient of softmax of long rows, of which few are a block',
      () => sp.grad((t: sp.Tensor) => sp.softmax(t).square().mul(x(64, 3000)).sum())(x(64, 3000)),
    ],
    ['variance of softmax, whose rows are many blocks', () => sp.variance(sp.softmax(x(2000, 64)), { axis: -1 })],
    [
      'spread of what is normalised',
      () => sp.std(centred(x(2000, 64)).div(sp.std(x(2000, 64), { axis: -1, keepdims: true })), { axis: -1 }),
    ],
    [
      'gradient of softmax of softmax',
      () => sp.grad((t: sp.Tensor) => sp.softmax(sp.softmax(t)).mul(x(2000, 64)).sum())(x(2000, 64)),
    ],
    [
      'chosen in each row',
      () => sp.takeAlongAxis(sp.logSoftmax(x(64, 10)), sp.argmax(x(64, 10), { axis: 1, keepdims: true })),
    ],
    ['halves of rows', () => sp.softmax(x(32, 64)).reshape([64, 32]).sum({ axis: 1 })],
    ['columns', () => x(1000, 65).sum({ axis: 0 })],
    ['wide columns', () => x(70, 1101).sum({ axis: 0 })],
    ['a matrix times a vector', () => sp.matmul(x(39, 4099), x(4099))],
    ['squared distances from a vector', () => x(9, 2050).sub(x(2050)).square().sum({ axis: 1 }).sqrt()],
    ['a vector times a matrix', () => sp.matmul(x(300), x(300, 1031))],
    ['product along memory', () => x(3, 33000).sign().prod({ axis: 1 })],
    ['maximum of many', () => x(70000).max()],
  ]
  test.each(programs)('%s', (_, make) => expectInterpreted(make()))
})

test.each(['float32', 'float64'] as const)('the largest of %s is NaN wherever one is', async dtype => {
  await sp.setDevice('wasm')
  const n = 37
  const holes = sp.where(sp.eye(n, n, 'bool'), Number.NaN, x(n, n).astype(dtype))
  for (const axis of [0, 1]) {
    const largest = await holes.max({ axis }).array()
    expect(largest).toEqual(new Array(n).fill(Number.NaN))
    // One row or column without.
    const wider = sp.concat([holes, sp.full([n, n], -Infinity, dtype)], 1 - axis)
    const some = await wider.max({ axis }).array()
    expect(some).toEqual([...new Array(n).fill(Number.NaN), ...new Array(n).fill(-Infinity)])
  }
})

test('the largest of zeros is 0 if one of them is, as maximum has it', async () => {
  await sp.setDevice('wasm')
  const n = 37
  for (const dtype of ['float32', 'float64'] as const)
    for (const axis of [0, 1]) {
      // One 0 in each row and column, and in a second matrix none.
      const zeros = sp.where(sp.eye(n, n, 'bool'), sp.full([n, n], 0, dtype), -0)
      const both = sp.concat([zeros, sp.full([n, n], -0, dtype)], 1 - axis)
      const signs = await both.max({ axis }).reciprocal().array()
      expect(signs).toEqual([...new Array(n).fill(Infinity), ...new Array(n).fill(-Infinity)])
    }
})

describe('the largest among what rows and columns may hold', () => {
  const kinds: readonly (readonly [string, readonly (number | '-NaN')[], number])[] = [
    ['NaN with a sign', [1, '-NaN', 2], Number.NaN],
    ['NaN with a sign among negative numbers', [-1, '-NaN', -2], Number.NaN],
    ['NaN among negative numbers', [-3, Number.NaN, -1], Number.NaN],
    ['both infinities', [Infinity, -Infinity, 1], Infinity],
    ['both infinities in one lane', [-Infinity, 0, 0, 0, Infinity], Infinity],
    ['a sum beyond the largest number', [-3e38, -3e38, -2e38], -2e38],
    ['0 and negative numbers', [-1, 0, -2], 0],
    ['-0 and negative numbers', [-1, -0, -2], -0],
    ['-0 and 0', [-0, 0, -0, -1], 0],
    ['negative numbers', [-3, -1e-30, -2], -1e-30],
  ]
  const [lines, marked] = [5, [2, 4]]
  /** The same after so many operations that nothing is done in haste. */
  const dear = (t: sp.Tensor): sp.Tensor => {
    for (let i = 0; i < 12; i++) t = sp.maximum(t, -Infinity)
    return t
  }
  test('is sought in haste in rows of cheap elements that fill their vectors', () => {
    const isHasty = (t: sp.Tensor): boolean => programOf(t).functions.some(f => f.print().includes('any_true'))
    const t = x(64, 48)
    const largest = [t, t.add(1), t.astype('float64')].map(t => t.max({ axis: 1 }))
    expect(largest.map(isHasty)).toEqual([true, true, true])
    const others = [
      t.max({ axis: 0 }),
      dear(t).max({ axis: 1 }),
      t.max({ axis: 1 }).astype('float64'),
      t.sum({ axis: 1 }),
    ]
    expect(others.map(isHasty)).toEqual([false, false, false, false])
  })
  test.each(kinds)('%s', async (_, start, want) => {
    await sp.setDevice('wasm', { threads: 1 })
    const wanted = Array.from({ length: lines }, (_, line) => (marked.includes(line) ? Math.fround(want) : 1))
    for (const length of [7, 37, 2111])
      for (const axis of [0, 1]) {
        // Lines of 1 and -Infinity, of which two hold the values, first or last, and -Infinity beside them.
        const data = new Float32Array(lines * length)
        const bits = new Uint32Array(data.buffer)
        const at = (line: number, i: number): number => (axis === 1 ? line * length + i : i * lines + line)
        for (let line = 0; line < lines; line++)
          for (let i = 0; i < length; i++) data[at(line, i)] = i > 0 || marked.includes(line) ? -Infinity : 1
        for (const [i, value] of start.entries())
          for (const [line, from] of [
            [marked[0], 0],
            [marked[1], length - start.length],
          ]) {
            if (value === '-NaN') bits[at(line, from + i)] = 0xffc00000
            else data[at(line, from + i)] = value
          }
        const x = sp.tensor(data, { shape: axis === 1 ? [lines, length] : [length, lines] })
        expect(await x.max({ axis }).array()).toEqual(wanted)
        // Beside other totals of the same loops, and where rows share what they are multiplied by.
        const [beside, sizes, count] = [
          x.max({ axis }),
          x.abs().max({ axis }),
          sp.isnan(x).astype('float32').sum({ axis }),
        ]
        await sp.realize(beside, sizes, count)
        expect(await beside.array()).toEqual(wanted)
        expect(await sizes.array()).toEqual(wanted.map(w => (Number.isNaN(w) ? w : Infinity)))
        expect(await count.array()).toEqual(wanted.map(w => (Number.isNaN(w) ? 1 : 0)))
        const ones = sp.tensor(new Float32Array(length).fill(1))
        if (axis === 1) expect(await x.mul(ones).max({ axis }).array()).toEqual(wanted)
        // In a kernel with 64 bits, in float64 itself, and where the elements cost more than haste saves.
        expect(await x.max({ axis }).astype('float64').array()).toEqual(wanted)
        expect(await x.astype('float64').max({ axis }).array()).toEqual(wanted)
        expect(await dear(x).max({ axis }).array()).toEqual(wanted)
      }
  })
})

describe('the largest of what has no sign', () => {
  type Unary = (t: sp.Tensor) => sp.Tensor
  const unsigned: readonly [string, Unary][] = [
    ['relu', t => sp.relu(t)],
    ['x above 0, else 0', t => sp.where(sp.lessEqual(t, 0), 0, t)],
    ['|x|', t => t.abs()],
    ['x²', t => t.square()],
    ['the root of |x|', t => t.abs().sqrt()],
    ['|x| + 1', t => t.abs().add(1)],
    ['|x| / x²', t => t.abs().div(t.square())],
    ['|x| times x²', t => t.abs().mul(t.square())],
    ['x or 0', t => sp.maximum(t, 0)],
    ['the smaller of |x| and 1', t => sp.minimum(t.abs(), 1)],
    ['|x| where x is below 1, else 1', t => sp.where(sp.less(t, 1), t.abs(), 1)],
  ]
  const others: readonly [string, Unary][] = [
    ['x', t => t],
    ['-|x|', t => t.abs().neg()],
    ['|x| - 1', t => t.abs().sub(1)],
    ['x times |x|', t => t.mul(t.abs())],
    ['|x| / x', t => t.abs().div(t)],
    ['the smaller of |x| and x', t => sp.minimum(t.abs(), t)],
    ['the root of x', t => t.sqrt()],
    ['0 where x is below 0, else x, which may be -0', t => sp.where(sp.less(t, 0), 0, t)],
    ['0 where 0 <= x, else x', t => sp.where(sp.lessEqual(0, t), 0, t)],
    ['0 where x <= -1, else x', t => sp.where(sp.lessEqual(t, -1), 0, t)],
    ['0 where -x <= 0, else x', t => sp.where(sp.lessEqual(t.neg(), 0), 0, t)],
    ['0 where x <= 0, else -x', t => sp.where(sp.lessEqual(t, 0), 0, t.neg())],
    ['-0 where x <= 0, else x', t => sp.where(sp.lessEqual(t, 0), -0, t)],
    ['-1 where x <= 0, else x', t => sp.where(sp.lessEqual(t, 0), -1, t)],
  ]
  const values = Float32Array.of(1, -1, 0, -0, Infinity, -Infinity, 3e38, -3e38, 1e-45, NaN, NaN)
  const bits = new Uint32Array(values.buffer)
  bits[values.length - 1] = 0xffc00000
  const names = (data: Iterable<number | bigint>): string[] =>
    Array.from(data, v => (Number.isNaN(Number(v)) ? 'NaN' : Object.is(v, -0) ? '-0' : String(v)))
  /** Each value in a line of another one, of lengths that fill no vector, one, and many with some left over. */
  const pairs = async (f: Unary): Promise<void> => {
    await sp.setDevice('wasm', { threads: 1 })
    const n = values.length
    const each = await f(sp.tensor(values)).data()
    const wanted = Array.from({ length: n * n }, (_, i) =>
      Math.max(Number(each[Math.floor(i / n)]), Number(each[i % n])),
    )
    for (const length of [2, 9, 41]) {
      const lines = Uint32Array.from({ length: n * n * length }, (_, i) => {
        const line = Math.floor(i / length)
        return bits[i % length === 1 ? line % n : Math.floor(line / n)]
      })
      const rows = sp.tensor(new Float32Array(lines.buffer), { shape: [n * n, length] })
      const columns = rows.permuteDims([1, 0])
      await sp.realize(rows, columns)
      for (const [axis, t] of [columns, rows].entries())
        expect(names(await f(t).max({ axis }).data())).toEqual(names(wanted))
    }
  }
  const isOneInstruction = (f: Unary): boolean =>
    programOf(f(x(64, 48)).max({ axis: 0 })).functions.every(code => !code.print().includes('i32x4.max_s'))
  test.each(unsigned)('one instruction: %s', async (_, f) => {
    expect(isOneInstruction(f)).toBe(true)
    await pairs(f)
  })
  test('each operation is looked at once, however often it is read', () => {
    let t: Unary = x => x.abs()
    for (let i = 0; i < 40; i++) {
      const half = t
      t = x => {
        const y = half(x)
        return y.add(y)
      }
    }
    expect(isOneInstruction(t)).toBe(true)
  })
  test.each(others)('three: %s', async (_, f) => {
    expect(isOneInstruction(f)).toBe(false)
    await pairs(f)
  })
})

test('a sum of a million equal terms keeps its digits', async () => {
  await sp.setDevice('wasm')
  const sum = await sp.tensor(new Float32Array(1e6).fill(0.1)).sum().item()
  expect(Math.abs(sum / 1e5 - 1)).toBeLessThan(2e-5)
})

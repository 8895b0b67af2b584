/** Loops that go through rows together on wasm, and long sums in parts: which they are, and that values stay right. */

import * as sp from 'saddlepoint'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { canonicalize } from '../../src/compiler/canonical.js'
import { schedule } from '../../src/compiler/schedule.js'
import { buildProgram, type Program } from '../../src/runtime/backends/wasm/program.js'
import { expectInterpreted } from '../oracle/close.js'

const programOf = (t: sp.Tensor): Program =>
  buildProgram(schedule(canonicalize([t.node])), {
    threads: 2,
    relaxed: false,
    paired: false,
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

test('what only the rows of a group know has memory for a chunk of them', () => {
  const { buffers, stored, local, steps } = programOf(sp.softmax(x(4096, 64)))
  const [{ chunk }] = steps
  expect(chunk).toBeLessThan(1000)
  // The maxima and the sums; the exponentials lie where the result will.
  expect(local.map(l => buffers[l.buffer].size)).toEqual([4096, 4096])
  expect(buffers.filter((b, i) => b.role === 'temporary' && stored[i].size === 0).map(b => b.size)).toEqual([4096 * 64])
  for (const { buffer, stride } of local) {
    expect(stride).toBeGreaterThanOrEqual((4 * chunk * buffers[buffer].size) / 4096)
    expect(4 * stored[buffer].size).toBe(2 * stride)
  }
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

test('a sum of a million equal terms keeps its digits', async () => {
  await sp.setDevice('wasm')
  const sum = await sp.tensor(new Float32Array(1e6).fill(0.1)).sum().item()
  expect(Math.abs(sum / 1e5 - 1)).toBeLessThan(2e-5)
})

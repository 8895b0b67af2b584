/** checkDevices: what it calls equal, what it reports, and that it leaves the device in use as it was. */

import * as sp from 'saddlepoint'
import { checkDevices } from 'saddlepoint/check'
import { describe, expect, test } from 'vitest'

type Tensor = sp.Tensor
const message = (check: Promise<void>): Promise<string> => check.then(() => 'no error', String)

/** A function that returns other values on every call: the devices differ by what is asked for. */
const differing = (...results: sp.Tensor[]): (() => Tensor) => {
  let call = 0
  return () => results[call++]
}
const both = (a: sp.NestedArray, b: sp.NestedArray, dtype: sp.DType): (() => Tensor) =>
  differing(sp.tensor(a, { dtype }), sp.tensor(b, { dtype }))

test('lets a program pass, with trees and integers', () =>
  checkDevices(
    (model: { w: Tensor; ids: Tensor }, scale: number) => ({
      y: sp.softmax(sp.mul(sp.take(model.w, model.ids), scale)),
      order: sp.argsort(model.w),
      large: sp.greater(model.w, 0),
    }),
    [{ w: sp.random.normal(sp.random.key(1), [5, 3]), ids: sp.tensor([4, 0], { dtype: 'int32' }) }, 2],
    { ulps: 16, threads: 2 },
  ))
test('lets NaN and infinities be equal, and nothing else equal them', async () => {
  const special = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0]
  await checkDevices((x: Tensor) => sp.mul(x, 2), [sp.tensor(special)], { ulps: 0 })
  const far = [1, Number.MAX_VALUE, -Number.MAX_VALUE, Number.NaN]
  for (const [k, value] of far.entries()) {
    const report = await message(checkDevices(both(special, special.with(k, value), 'float64'), []))
    expect(report).toContain(`result[${k}]: ${special[k]} on reference, ${value} on wasm: Infinity ULP`)
  }
})

describe('reports', () => {
  const rows: readonly [string, () => Tensor | { loss: Tensor }, readonly string[]][] = [
    [
      'the position',
      both(
        [
          [1, 2],
          [3, 4],
        ],
        [
          [1, 2],
          [3.5, 4],
        ],
        'float64',
      ),
      ['result[1,0]: 3 on reference, 3.5 on wasm'],
    ],
    [
      'no position for one number',
      both(1, 2, 'float32'),
      ['result: 1 on reference, 2 on wasm: 8.39e+6 ULP', 'allowed 64'],
    ],
    ['units of float32', both([4, 1], [4, 1 + 2 ** -14], 'float32'), ['result[1]', ': 128 ULP']],
    ['units of float64', both([4, 1], [4, 1 + 2 ** -40], 'float64'), ['result[1]', ': 1.02e+3 ULP']],
    [
      'integers that differ by one',
      both([7, 8], [7, 9], 'int32'),
      ['result[1]: 8 on reference, 9 on wasm: int32 must be equal'],
    ],
    ['bools', both([true, true], [true, false], 'bool'), ['result[1]: 1 on reference, 0 on wasm: bool must be equal']],
  ]
  for (const [name, f, fragments] of rows) {
    test(name, async () => {
      const report = await message(checkDevices(f, []))
      for (const fragment of fragments) expect(report).toContain(fragment)
    })
  }
  test('the name of the result', async () => {
    const f = both(1, 2, 'float32')
    expect(await message(checkDevices(() => ({ step: [{ loss: f() }] }), []))).toContain('result step.0.loss: 1 on')
  })
  test('nothing below the bound', () => checkDevices(both([4, 1], [4, 1 + 2 ** -15], 'float32'), []))
  test('wrong options', async () => {
    expect(await message(checkDevices(() => sp.ones([1]), [], { devices: ['wasm'] }))).toContain('two devices')
    expect(await message(checkDevices(() => sp.ones([1]), [], { ulps: -1 }))).toContain('ulps')
    expect(await message(checkDevices(() => sp.ones([1]), [], { threads: 0 }))).toContain('threads')
  })
})

describe('leaves behind', () => {
  test('the device in use before, also after failures', async () => {
    const before = await sp.setDevice('wasm', { threads: 1 })
    await checkDevices((x: Tensor) => sp.exp(x), [sp.ones([3])])
    expect(await sp.getDevice()).toBe(before)
    await message(checkDevices(both(1, 2, 'float32'), []))
    expect(await sp.getDevice()).toBe(before)
    const fails = (): Tensor => {
      throw new Error('in the function')
    }
    expect(await message(checkDevices(fails, []))).toContain('in the function')
    expect(await sp.getDevice()).toBe(before)
  })
  test('arguments, and what the function captured', async () => {
    const x = sp.tensor([1, 2])
    const captured = await sp.tensor([3, 4]).add(1).realize()
    await checkDevices((x: Tensor) => sp.mul(x, captured), [x])
    expect(await sp.mul(x, captured).array()).toEqual([4, 10])
  })
  test('a device that it was given, open', async () => {
    const device = await sp.setDevice('wasm', { threads: 1 })
    await checkDevices((x: Tensor) => sp.exp(x), [sp.ones([3])], { devices: [device, 'reference', 'wasm'], threads: 2 })
    expect(await sp.exp(sp.zeros([2])).array()).toEqual([1, 1])
  })
})

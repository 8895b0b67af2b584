/** checkGrads: what it lets pass, what it catches, and what it says then. */

import * as sp from 'saddlepoint'
import { checkGrads } from 'saddlepoint/check'
import { describe, expect, test } from 'vitest'

type Tensor = sp.Tensor
const t = (values: sp.NestedArray): Tensor => sp.tensor(values, { dtype: 'float64' })

/** sin, with a derivative that is wrong in the way named. */
const wrongSine = (wrong: (g: Tensor, x: Tensor) => Tensor): ((x: Tensor) => Tensor) =>
  sp.customVjp(
    (x: Tensor) => sp.sin(x),
    (g, _, x) => [wrong(g, x)],
  )

describe('lets right derivatives pass', () => {
  test('of scalars, at order 4', () => checkGrads((x: Tensor) => sp.exp(sp.sin(x)), [t(0.3)], { order: 4 }))
  test('of trees, with integers and numbers among the arguments', () =>
    checkGrads(
      (model: { w: Tensor; parts: Tensor[] }, ids: Tensor, power: number) => ({
        y: sp.pow(sp.add(sp.take(model.w, ids), model.parts[0]), power),
        n: sp.argmax(model.w),
      }),
      [{ w: t([1, 2, 3]), parts: [t(0.5)] }, sp.tensor([0, 2, 2], { dtype: 'int32' }), 3],
    ))
  test('of an argument that does not matter', () =>
    checkGrads((x: Tensor, _: Tensor) => sp.square(x), [t(2), t([1, 2])]))
  test('of expressions', () => checkGrads((x: Tensor) => sp.mul(x, x), [sp.add(t([1, 2]), 1)]))
})

describe('catches wrong ones', () => {
  const x = t([0.3, -0.8])
  const rows: readonly [string, () => Promise<void>, readonly string[]][] = [
    [
      'at order 1',
      () =>
        checkGrads(
          wrongSine((g, x) => sp.mul(g, sp.sin(x))),
          [x],
        ),
      ['argument 0', 'order 1 (reverse)', 'expected', 'got'],
    ],
    [
      'in forward mode',
      () =>
        checkGrads(
          wrongSine((g, x) => sp.mul(g, sp.sin(x))),
          [x],
          { modes: ['forward'] },
        ),
      ['order 1 (forward)'],
    ],
    [
      'at order 2, of a pull that detaches',
      () =>
        checkGrads(
          wrongSine((g, x) => sp.mul(g, sp.stopGradient(sp.cos(x)))),
          [x],
        ),
      ['order 2 (reverse, then reverse)'],
    ],
    [
      'at order 3',
      () =>
        checkGrads(
          wrongSine((g, x) => sp.mul(g, wrongCosine(x))),
          [x],
          { order: 3, modes: ['reverse'] },
        ),
      ['order 3 (reverse, then reverse, then reverse)'],
    ],
    [
      'by the name of the argument',
      () => checkGrads((m: { a: Tensor; b: Tensor }) => sp.mul(m.a, wrongSine(g => g)(m.b)), [{ a: t(1), b: t(2) }]),
      ['argument 0.b'],
    ],
    ['that are NaN', () => checkGrads((x: Tensor) => sp.sqrt(sp.mul(x, x)), [t([0, 1])]), ['got NaN']],
    [
      'beyond the tolerance',
      () =>
        checkGrads(
          wrongSine((g, x) => sp.mul(g, sp.mul(sp.cos(x), 1.0001))),
          [x],
        ),
      ['e-'],
    ],
  ]
  for (const [name, check, fragments] of rows) {
    test(name, async () => {
      const message = await check().then(() => 'no error', String)
      for (const fragment of fragments) expect(message).toContain(fragment)
    })
  }
  test('but not below it', () =>
    checkGrads(
      wrongSine((g, x) => sp.mul(g, sp.mul(sp.cos(x), 1.0001))),
      [x],
      { tolerance: 1e-3 },
    ))
})
/** cos whose own derivative is right and whose second is not. */
const wrongCosine = sp.customVjp(
  (x: Tensor) => sp.cos(x),
  (g, _, x) => [sp.mul(g, sp.neg(sp.stopGradient(sp.sin(x))))],
)

describe('demands', () => {
  const rows: readonly [string, () => Promise<void>, readonly string[]][] = [
    [
      'float64',
      () => checkGrads((m: { w: Tensor }) => m.w, [{ w: sp.ones([2]) }]),
      ['0.w', 'float32', "dtype: 'float64'"],
    ],
    ['something to differentiate', () => checkGrads((n: number) => sp.tensor(n), [1]), ['no float64 tensor']],
    ['a float result', () => checkGrads((x: Tensor) => sp.argsort(x), [t([1, 2])]), ['no float tensor']],
    ['a positive order', () => checkGrads((x: Tensor) => x, [t(1)], { order: 0 }), ['order', '0']],
    ['a positive step', () => checkGrads((x: Tensor) => x, [t(1)], { step: 0 }), ['step']],
  ]
  for (const [name, check, fragments] of rows) {
    test(name, async () => {
      const message = await check().then(() => 'no error', String)
      for (const fragment of fragments) expect(message).toContain(fragment)
    })
  }
})

/** checkGrads: what it lets pass, what it catches, and what it says then. */

import * as sp from 'saddlepoint'
import { checkGrads, GradientError } from 'saddlepoint/check'
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
  test('of functions that do not vary, but for rounding', async () => {
    await checkGrads((x: Tensor) => sp.sum(sp.sub(x, sp.mean(x))), [t([0.3, -0.8, 1.1])])
    await checkGrads((x: Tensor) => sp.sum(sp.softmax(x)), [t([0.3, -0.8, 1.1])])
    for (const x of [0.3, 0.7, -1.2, 2.9])
      await checkGrads((x: Tensor) => sp.sub(sp.add(sp.square(sp.sin(x)), sp.square(sp.cos(x))), 1), [t(x)])
  })
  test('of 0, where rounding leaves something of what cancels', () =>
    checkGrads(
      sp.customVjp(
        (x: Tensor) => sp.mul(x, 0),
        g => [sp.mul(g, 1e-15)],
      ),
      [t(1)],
    ))
  test('of 0, where the difference is not', async () => {
    for (const power of [3, 5]) await checkGrads((x: Tensor) => sp.pow(x, power), [t(0)], { order: 3 })
  })
  test('whose terms cancel', async () => {
    const x = t([1, 1])
    const cancelling = (x: Tensor): Tensor => sp.sub(sp.sin(x.at(0)), sp.sin(x.at(1)))
    await checkGrads(x => sp.mul(cancelling(x), cancelling(x)), [x], { order: 3 })
    await checkGrads((x: Tensor) => sp.sin(sp.mul(x, 1e-9)), [x])
  })
  test('of large values, whose differences have lost digits', () =>
    checkGrads((x: Tensor) => sp.sum(sp.square(x)), [t([1e6, 2e6])]))
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
    [
      'that are small',
      () => checkGrads((x: Tensor) => sp.mul(wrongSine(g => sp.mul(g, 42))(x), 1e-9), [t(0.3)]),
      ['order 1 (reverse)', 'e-10 by central differences'],
    ],
    [
      'that are small, with large ones in another argument',
      () => checkGrads((x: Tensor, y: Tensor) => sp.mul(sp.mul(wrongSine(g => sp.mul(g, 42))(x), 1e-6), y), [x, t(1)]),
      ['argument 0', 'order 1 (reverse)'],
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

describe('a report tells all', () => {
  /** x² y, whose derivative is off by 1 at one element of y, in the order and mode named. */
  const square = sp.customVjp(
    (x: Tensor, y: Tensor) => sp.mul(sp.square(x), y),
    (g, _, x, y) => [sp.mul(g, sp.mul(sp.mul(x, y), 2)), sp.mul(g, sp.add(sp.square(x), spike))],
  )
  const spike = t([
    [0, 0, 0],
    [0, 0, 1],
  ])
  const x = t([
    [1, 2, 3],
    [4, 5, 6],
  ])
  test('the argument, the worst element, order, modes, both values and the error', async () => {
    const model = { w: x, parts: [x] }
    const error = await checkGrads((m: typeof model) => sp.sum(square(m.w, m.parts[0])), [model], {
      modes: ['forward'],
    }).then(
      () => undefined,
      e => e,
    )
    expect(error).toBeInstanceOf(GradientError)
    expect(error.message).toMatch(
      /^checkGrads: argument 0\.parts\.0\[1,2\], order 1 \(forward\): expected \S+ by central differences, got \S+, error \S+ \(allowed 0\.000001\)$/,
    )
    const { name, argument, index, order, modes, expected, got, tolerance } = error
    expect({ name, argument, index, order, modes, tolerance }).toEqual({
      ...{ name: 'GradientError', argument: '0.parts.0', index: [1, 2], order: 1, modes: ['forward'], tolerance: 1e-6 },
    })
    // Both are multiples of the one cotangent: 36 and 37 times.
    expect(got / expected).toBeCloseTo(37 / 36)
    expect(error.error).toBeCloseTo(1 / 37, 8)
  })
  test('of one number, without an index; of an element among many that is not looked at, without one too', async () => {
    const message = (xs: Tensor, wrong: Tensor): Promise<string> =>
      checkGrads(
        wrongSine((g, x) => sp.mul(g, sp.add(sp.cos(x), wrong))),
        [xs],
      ).then(() => 'no error', String)
    expect(await message(t(0.3), t(1))).toContain('argument 0, order 1')
    expect(
      await message(sp.full([300], 1, 'float64'), sp.oneHot(sp.tensor(1, { dtype: 'int32' }), 300, 'float64')),
    ).toContain('argument 0 along a random direction, order 1')
  })
  test('of the element that is NaN', async () => {
    const message = await checkGrads((x: Tensor) => sp.sqrt(sp.mul(x, x)), [t([1, 0, 2])]).then(
      () => 'no error',
      String,
    )
    expect(message).toContain('argument 0[1], order 1 (reverse): expected')
    expect(message).toContain('got NaN, error Infinity')
  })
})

describe('steps and tolerance', () => {
  const functions = {
    sin: sp.sin,
    log: sp.log,
    sqrt: sp.sqrt,
    inverse: sp.reciprocal,
    cube: (x: Tensor) => sp.pow(x, 3),
  }
  for (const [name, f] of Object.entries(functions)) {
    test(`${name} of small and large values`, async () => {
      for (const scale of [1e-2, 1, 100, 1e4]) await checkGrads(f, [t([0.7, 1.3].map(v => v * scale))])
      for (const scale of [0.1, 1, 10]) await checkGrads(f, [sp.tensor([0.7, 1.3].map(v => v * scale))], { order: 3 })
    })
  }
  test('float32 shows an error of a percent, by itself and among float64', async () => {
    for (const x of [sp.tensor([0.3, -0.8]), t([0.3, -0.8])]) {
      const wrong = checkGrads(
        wrongSine((g, x) => sp.mul(g, sp.mul(sp.cos(x), 1.01))),
        [x],
      )
      await expect(wrong).rejects.toThrow(x.dtype === 'float32' ? '(allowed 0.003)' : '(allowed 0.000001)')
    }
    await checkGrads((x: Tensor, y: Tensor) => sp.sin(sp.astype(sp.mul(x, y), 'float32')), [t([0.3, -0.8]), t([2, 1])])
  })
})

describe('demands', () => {
  const rows: readonly [string, () => Promise<void>, readonly string[]][] = [
    ['something to differentiate', () => checkGrads((n: number) => sp.tensor(n), [1]), ['no float tensor']],
    [
      'a step that arguments can be moved by',
      () => checkGrads((m: { w: Tensor }) => m.w, [{ w: sp.tensor([1, 1e6]) }]),
      ['0.w', '1000000', '0.005', 'set step'],
    ],
    ['a float result', () => checkGrads((x: Tensor) => sp.argsort(x), [t([1, 2])]), ['no float tensor']],
    ['a positive order', () => checkGrads((x: Tensor) => x, [t(1)], { order: 0 }), ['order', '0']],
    [
      'room for a step',
      () => checkGrads(sp.log, [t([1e-9, 2e-9])]),
      ['Error: checkGrads: argument 0: the difference', 'NaN', 'domain', 'set step'],
    ],
    // Whoever writes JavaScript is not told so by the types.
    ['a list of arguments', () => checkGrads(sp.sin, Object(t(1))), ['args must be a list', '[x]']],
    ['known modes', () => checkGrads(sp.sin, [t(1)], { modes: Object(['fwd']) }), ["unknown mode 'fwd'", 'forward']],
    ['a positive step', () => checkGrads((x: Tensor) => x, [t(1)], { step: 0 }), ['step']],
  ]
  for (const [name, check, fragments] of rows) {
    test(name, async () => {
      const message = await check().then(() => 'no error', String)
      for (const fragment of fragments) expect(message).toContain(fragment)
    })
  }
})

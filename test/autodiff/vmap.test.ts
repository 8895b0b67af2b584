/** vmap beyond single operations (test/operations/batching.test.ts has those): axes, nesting, closures, derivatives, errors. */

import * as sp from 'saddlepoint'
import { describe, expect, test } from 'vitest'
import { expectClose } from '../oracle/close.js'
import { Rng } from '../oracle/property.js'

type Tensor = sp.Tensor
const rng = new Rng(3)
const normal = (...shape: number[]): Tensor =>
  sp.tensor(
    Float64Array.from({ length: shape.reduce((n, s) => n * s, 1) }, () => rng.normal()),
    { shape },
  )
/** The examples of a tensor along an axis. */
const each = (x: Tensor, axis = 0): Tensor[] => sp.split(x, x.shape[axis], axis).map(t => sp.squeeze(t, axis))
const byHand = (f: (x: Tensor) => Tensor, xs: Tensor, axis = 0): Tensor => sp.stack(each(xs, axis).map(f))

describe('axes', () => {
  const xs = normal(3, 4, 2)
  const f = (x: Tensor): Tensor => sp.mul(sp.softmax(x, { axis: 0 }), x)
  test.each([0, 1, 2, -1])('examples along axis %i', async axis => {
    await expectClose(sp.vmap(f, { inAxes: axis })(xs), byHand(f, xs, axis < 0 ? axis + 3 : axis))
  })
  test.each([0, 1, -1])('results along axis %i', async outAxis => {
    await expectClose(sp.vmap(f, { outAxis })(xs), sp.moveaxis(byHand(f, xs), 0, outAxis))
  })
  test('arguments that are shared, and trees', async () => {
    const model = { w: normal(2, 5), layers: [normal(5)] }
    const apply = (m: typeof model, x: Tensor): { y: Tensor; n: Tensor } => {
      const y = sp.add(sp.matmul(x, m.w), m.layers[0])
      return { y, n: sp.argmax(y, { axis: -1 }) }
    }
    const { y, n } = sp.vmap(apply, { inAxes: [null, 0] })(model, xs)
    await expectClose(
      y,
      byHand(x => apply(model, x).y, xs),
    )
    await expectClose(
      n,
      byHand(x => apply(model, x).n, xs),
    )
    // Models along the axis, one example.
    const models = { w: normal(3, 2, 5), layers: [normal(3, 5)] }
    const perModel = sp.vmap(apply, { inAxes: [0, null] })(models, sp.at(xs, 0))
    const first = apply({ w: sp.at(models.w, 1), layers: [sp.at(models.layers[0], 1)] }, sp.at(xs, 0))
    await expectClose(sp.at(perModel.y, 1), first.y)
  })
  test('what does not depend on the example is repeated', async () => {
    const shared = normal(2)
    await expectClose(sp.vmap((_: Tensor) => shared)(xs), sp.stack([shared, shared, shared]))
    await expectClose(sp.vmap((x: Tensor) => x)(xs), xs)
  })
  test('no examples', async () => {
    expect(sp.vmap((x: Tensor) => sp.matmul(x, normal(2, 3)))(sp.zeros([0, 4, 2], 'float64')).shape).toEqual([0, 4, 3])
    const shapeOf = (f: (...xs: Tensor[]) => Tensor, ...shapes: number[][]): readonly number[] =>
      sp.vmap(f)(...shapes.map(s => sp.zeros([0, ...s]))).shape
    expect(shapeOf((a, b) => sp.matmul(a, b), [2, 4, 3], [2, 3, 2])).toEqual([0, 2, 4, 2])
    expect(shapeOf(x => sp.conv2d(x, sp.ones([2, 2, 1, 3])), [2, 5, 5, 1])).toEqual([0, 2, 4, 4, 3])
    const intoRows = (x: Tensor): Tensor => sp.scatterAdd(sp.astype(x, 'int32'), sp.expandDims(x, 1), 7)
    expect(shapeOf(intoRows, [4])).toEqual([0, 7, 1])
  })
  test('a random key for each example', async () => {
    const keys = sp.random.split(sp.random.key(4), 3)
    const draw = (k: Tensor): Tensor => sp.random.normal(k, [5], 'float64')
    await expectClose(sp.vmap(draw)(keys), byHand(draw, keys))
  })
})

describe('nesting', () => {
  test('all pairs', async () => {
    const [a, b] = [normal(3, 4), normal(5, 4)]
    const dots = sp.vmap((x: Tensor) => sp.vmap((y: Tensor) => sp.sum(sp.mul(x, y)))(b))(a)
    await expectClose(dots, sp.matmul(a, sp.matrixTranspose(b)))
  })
  test('gradients inside, outside and in between', async () => {
    const [xs, w] = [normal(3, 4), normal(4, 4)]
    const loss = (v: Tensor, x: Tensor): Tensor => sp.sum(sp.tanh(sp.matmul(x, v)))
    const inputGradient = (v: Tensor, x: Tensor): Tensor => sp.grad((y: Tensor) => loss(v, y))(x)
    const penalty = (v: Tensor, batched: boolean): Tensor =>
      sp.sum(
        sp.square(
          batched
            ? sp.vmap(inputGradient, { inAxes: [null, 0] })(v, xs)
            : sp.stack(each(xs).map(x => inputGradient(v, x))),
        ),
      )
    await expectClose(sp.grad((v: Tensor) => penalty(v, true))(w), sp.grad((v: Tensor) => penalty(v, false))(w))
    const perExample = sp.vmap((x: Tensor) => sp.grad((v: Tensor) => sp.sum(sp.square(inputGradient(v, x))))(w))(xs)
    await expectClose(sp.sum(perExample, { axis: 0 }), sp.grad((v: Tensor) => penalty(v, false))(w))
  })
  test('gradients with respect to what is captured', async () => {
    const [xs, w] = [normal(3, 4), normal(4)]
    const f = (v: Tensor): Tensor => sp.sum(sp.vmap((x: Tensor) => sp.sin(sp.sum(sp.mul(x, v))))(xs))
    await expectClose(sp.grad(f)(w), sp.grad((v: Tensor) => sp.sum(sp.sin(sp.matmul(xs, v))))(w))
  })
})

describe('functions with a rule of their own', () => {
  const [xs, ids] = [
    normal(3, 4),
    sp.tensor(
      [
        [0, 2],
        [1, 1],
        [3, 0],
      ],
      { dtype: 'int32' },
    ),
  ]
  const scale = normal(3)
  const reversed = sp.customVjp(
    (x: Tensor, s: Tensor) => sp.mul(sp.exp(x), s),
    (g, y, x, s) => [sp.mul(sp.mul(g, y), sp.sin(x)), sp.sum(sp.mul(g, s))],
  )
  const g = (x: Tensor, s: Tensor, i: Tensor): Tensor => {
    const wrapped = sp.checkpoint((y: Tensor) => sp.tanh(sp.take(sp.mul(y, s), i)))
    return sp.grad((y: Tensor) => sp.add(sp.sum(reversed(y, s)), sp.sum(wrapped(y))))(x)
  }
  const second = (x: Tensor, s: Tensor, i: Tensor): Tensor => sp.grad((y: Tensor) => sp.sum(sp.square(g(y, s, i))))(x)
  for (const [order, f] of [g, second].entries()) {
    test.each([
      [true, true],
      [true, false],
      [false, true],
    ])(`order ${order + 1}; examples of x: %s, of the scale: %s`, async (ofX, ofScale) => {
      const at = (i: number): [Tensor, Tensor, Tensor] => [
        ofX ? sp.at(xs, i) : sp.at(xs, 0),
        ofScale ? sp.at(scale, i) : sp.at(scale, 0),
        sp.at(ids, i),
      ]
      const inAxes = [ofX ? 0 : null, ofScale ? 0 : null, 0]
      const got = sp.vmap(f, { inAxes })(ofX ? xs : sp.at(xs, 0), ofScale ? scale : sp.at(scale, 0), ids)
      await expectClose(got, sp.stack([0, 1, 2].map(i => f(...at(i)))))
    })
  }
  test('the gradient of a shared operand sums over the examples', async () => {
    const s = sp.at(scale, 0)
    const batched = (t: Tensor): Tensor => sp.sum(sp.vmap((x: Tensor) => sp.sum(reversed(x, t)))(xs))
    const looped = (t: Tensor): Tensor =>
      each(xs)
        .map(x => sp.sum(reversed(x, t)))
        .reduce((a, b) => sp.add(a, b))
    await expectClose(sp.grad(batched)(s), sp.grad(looped)(s))
  })
})

describe('per-example gradients', () => {
  test('of a model that wants batches', async () => {
    const model = { kernel: normal(3, 3, 2, 3), dense: normal(12, 2) }
    const [x, y] = [normal(4, 4, 4, 2), normal(4, 2)]
    const loss = (m: typeof model, images: Tensor, targets: Tensor): Tensor => {
      const z = sp.tanh(sp.conv2d(images, m.kernel))
      return sp.mean(sp.square(sp.sub(sp.matmul(sp.reshape(z, [z.shape[0], -1]), m.dense), targets)))
    }
    const got = sp.perExampleGrad(loss)(model, x, y)
    for (let i = 0; i < 4; i++) {
      const one = sp.grad(loss)(model, sp.at(x, [i, i + 1]), sp.at(y, [i, i + 1]))
      await expectClose(sp.at(got.kernel, i), one.kernel)
      await expectClose(sp.at(got.dense, i), one.dense)
    }
    const whole = sp.grad(loss)(model, x, y)
    await expectClose(sp.mean(got.kernel, { axis: 0 }), whole.kernel)
  })
})

describe('errors', () => {
  const x = normal(3, 4)
  const rows: readonly [string, () => unknown, readonly string[]][] = [
    [
      'different sizes',
      () => sp.vmap((a: Tensor, b: Tensor) => sp.add(a, b))(x, normal(2, 4)),
      ['argument 1', '[2,4]', '2', '3'],
    ],
    ['nothing to map over', () => sp.vmap((a: number) => sp.tensor(a))(3), ['no tensor', 'number 3']],
    ['all shared', () => sp.vmap((a: Tensor) => a, { inAxes: null })(x), ['no tensor to map over']],
    ['an axis that is not there', () => sp.vmap((a: Tensor) => a, { inAxes: 2 })(x), ['vmap', 'axis 2', 'rank 2']],
    [
      'too few axes',
      () => sp.vmap((a: Tensor, b: Tensor) => sp.add(a, b), { inAxes: [0] })(x, x),
      ['1 inAxes', '2 arguments'],
    ],
    ['an async function', () => sp.vmap(async (a: Tensor) => a)(x), ['promise', 'without async']],
    ['no function', () => sp.vmap(x as never), ['vmap', 'function']],
  ]
  test.each(rows)('%s', (_, f, fragments) => {
    for (const fragment of fragments) expect(f).toThrow(fragment)
  })
  test('values of one example do not exist', async () => {
    let inside: Tensor | undefined
    sp.vmap((a: Tensor) => (inside = sp.mul(a, 2)))(x)
    await expect(inside?.data()).rejects.toThrow(/one example inside vmap/)
  })
})

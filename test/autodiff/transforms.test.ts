/** grad, vjp, jvp, hvp, jacobian, hessian, customVjp and checkpoint: what they promise, starting with the nested penalty. */

import * as sp from 'saddlepoint'
import { checkGrads } from 'saddlepoint/check'
import { describe, expect, test } from 'vitest'
import { upcomingId } from '../../src/graph/node.js'
import { expectClose } from '../oracle/close.js'
import { Rng } from '../oracle/property.js'

type Tensor = sp.Tensor
const r = new Rng(7)
const t = (values: sp.NestedArray): Tensor => sp.tensor(values, { dtype: 'float64' })
const normal = (...shape: number[]): Tensor =>
  sp.tensor(
    Float64Array.from({ length: shape.reduce((n, s) => n * s, 1) }, () => r.normal()),
    { shape },
  )

/** ‖∂f(x, W)/∂x‖², the penalty whose gradient with respect to W other libraries lose. */
const penalty =
  <W>(f: (x: Tensor, w: W) => Tensor) =>
  (w: W, x: Tensor): Tensor =>
    sp.sum(sp.square(sp.grad(f)(x, w)))

describe('the gradient of ‖∂f(x,W)/∂x‖² with respect to W', () => {
  const x = normal(3, 4)
  const labels = sp.tensor([0, 2, 1], { dtype: 'int32' })
  const crossEntropy = (logits: Tensor): Tensor =>
    sp.neg(sp.sum(sp.mul(sp.logSoftmax(logits), sp.oneHot(labels, 3, 'float64'))))

  test('has a closed form for a quadratic', async () => {
    // f = ½ Σ (xW)²: ∂f/∂x = x W Wᵀ
    const w = normal(4, 2)
    const f = (x: Tensor, w: Tensor): Tensor => sp.mul(sp.sum(sp.square(sp.matmul(x, w))), 0.5)
    const g = x.matmul(w).matmul(w.matrixTranspose())
    // d/dW ‖x W Wᵀ‖² = 2 (xᵀ g W + gᵀ x W)
    const a = x.matrixTranspose().matmul(g)
    const expected = a.add(a.matrixTranspose()).matmul(w).mul(2)
    const got = sp.grad(penalty(f))(w, x)
    await expectClose(got, expected)
    expect(await sp.max(sp.abs(got)).item()).toBeGreaterThan(0.1)
  })

  test('one layer', async () => {
    const f = (x: Tensor, w: Tensor): Tensor => crossEntropy(sp.matmul(x, w))
    await checkGrads(penalty(f), [normal(4, 3), x], { order: 2 })
  })

  test('two layers with biases, as a tree', async () => {
    const w = { hidden: { w: normal(4, 5), b: normal(5) }, out: { w: normal(5, 3), b: normal(3) } }
    const f = (x: Tensor, { hidden, out }: typeof w): Tensor =>
      crossEntropy(sp.add(sp.matmul(sp.tanh(sp.add(sp.matmul(x, hidden.w), hidden.b)), out.w), out.b))
    await checkGrads(penalty(f), [w, x], { order: 2 })
    const g = sp.grad(penalty(f))(w, x)
    expect(await sp.max(sp.abs(g.hidden.w)).item()).toBeGreaterThan(1e-3)
  })

  test('softplus net with weights in a closure', async () => {
    const w = normal(4, 5)
    const v = normal(5)
    const loss = (w: Tensor, v: Tensor): Tensor =>
      sp.sum(sp.square(sp.grad((x: Tensor) => sp.sum(sp.matmul(sp.softplus(sp.matmul(x, w)), v)))(x)))
    await checkGrads(loss, [w, v], { order: 2 })
  })

  test('a convolution with pooling', async () => {
    const images = normal(2, 6, 6, 1)
    const f = (x: Tensor, w: Tensor): Tensor =>
      sp.sum(sp.square(sp.maxPool2d(sp.tanh(sp.conv2d(x, w, { padding: 'same' })), 2)))
    await checkGrads(penalty(f), [normal(3, 3, 1, 2), images], { order: 1 })
  })

  test('an embedding', async () => {
    const ids = sp.tensor(
      [
        [0, 2],
        [2, 2],
      ],
      { dtype: 'int32' },
    )
    const f = (table: Tensor, w: Tensor): Tensor => sp.sum(sp.tanh(sp.matmul(sp.take(table, ids), w)))
    await checkGrads(penalty(f), [normal(3, 2), normal(4, 3)], { order: 2 })
  })

  test('through an attack: the perturbation depends on W', async () => {
    const f = (x: Tensor, w: Tensor): Tensor =>
      crossEntropy(
        sp.matmul(
          sp.tanh(sp.matmul(x, w)),
          t([
            [1, 0, 1],
            [0, 2, 1],
            [1, 1, 0],
          ]),
        ),
      )
    const attacked = (w: Tensor, x: Tensor): Tensor => {
      const g = sp.grad(f)(x, w)
      return f(sp.add(x, sp.div(g, sp.vectorNorm(g, { axis: 1, keepdims: true }))), w)
    }
    await checkGrads(attacked, [normal(4, 3), x], { order: 2 })
  })
})

describe('nesting', () => {
  test('third derivatives of x⁵ and sin', async () => {
    const nth = (f: (x: Tensor) => Tensor, n: number): ((x: Tensor) => Tensor) => (n ? nth(sp.grad(f), n - 1) : f)
    await expectClose(nth(x => sp.pow(x, 5), 3)(t(2)), 240)
    await expectClose(nth(sp.sin, 3)(t(1)), -Math.cos(1))
    await expectClose(nth(x => sp.exp(sp.mul(x, 2)), 6)(t(0.5)), 64 * Math.E)
  })

  test('no perturbation confusion', async () => {
    // d/dx (x · d/dy (x + y)) = 1, not 2 (Siskind and Pearlmutter 2005).
    const f = (x: Tensor): Tensor => sp.mul(x, sp.grad((y: Tensor) => sp.add(x, y))(t(1)))
    expect(await sp.grad(f)(t(1)).item()).toBe(1)
    const g = (x: Tensor): Tensor => sp.mul(x, sp.jvp((y: Tensor) => sp.mul(x, y), [t(3)], [t(1)])[1])
    expect(await sp.grad(g)(t(5)).item()).toBe(10)
  })

  test('the same value inside and outside is two variables', async () => {
    const x = t(3)
    // d/dy (y · x) at y = x, x fixed.
    expect(
      await sp
        .grad((y: Tensor) => sp.mul(y, x))(x)
        .item(),
    ).toBe(3)
    // d/dx of x · d/dy(y²x)|y=x = x · 2x² -> 6x²
    const f = (x: Tensor): Tensor => sp.mul(x, sp.grad((y: Tensor) => sp.mul(sp.mul(y, y), x))(x))
    expect(await sp.grad(f)(x).item()).toBe(54)
  })

  test('a closure over what the argument was made from', async () => {
    const source = t([1, 2])
    const x = sp.mul(source, 2)
    expect(
      await sp
        .grad((y: Tensor) => sp.sum(sp.mul(y, sp.mul(source, x))))(x)
        .array(),
    ).toEqual([2, 8])
  })

  test('reverse over forward, forward over reverse, and forward over forward agree', async () => {
    const f = (x: Tensor): Tensor => sp.sum(sp.mul(sp.tanh(sp.matmul(x, x)), sp.sin(x)))
    const [x, v] = [normal(3, 3), normal(3, 3)]
    const hv = sp.hvp(f, x, v)
    await expectClose(sp.jvp(sp.grad(f), [x], [v])[1], hv)
    await expectClose(sp.grad((y: Tensor) => sp.jvp(f, [y], [v])[1])(x), hv)
    const second = sp.jvp((y: Tensor) => sp.jvp(f, [y], [v])[1], [x], [v])[1]
    await expectClose(second, sp.sum(sp.mul(v, hv)))
  })
})

describe('grad and valueAndGrad', () => {
  test('argnums tell equal arguments apart', async () => {
    const f = (a: Tensor, b: Tensor): Tensor => sp.sum(sp.mul(sp.square(a), b))
    const x = t([2, 3])
    const [da, db] = sp.grad(f, { argnums: [0, 1] })(x, x) as [Tensor, Tensor]
    expect(await da.array()).toEqual([8, 18])
    expect(await db.array()).toEqual([4, 9])
    expect(await sp.grad(f, { argnums: 1 })(x, x).array()).toEqual([4, 9])
  })

  test('trees in, trees out, with what is no tensor left alone', async () => {
    class Model {
      w = t([1, 2])
      rate = 3
      parts = [{ b: t(4) }, 'name'] as const
    }
    const model = new Model()
    const g = sp.grad((m: Model) => sp.mul(sp.sum(sp.square(m.w)), sp.mul(m.parts[0].b, m.rate)))(model)
    expect(g).toBeInstanceOf(Model)
    expect(await g.w.array()).toEqual([24, 48])
    expect(await g.parts[0].b.item()).toBe(15)
    expect([g.rate, g.parts[1]]).toEqual([3, 'name'])
    expect(await model.w.array()).toEqual([1, 2])
  })

  test('auxiliary outputs', async () => {
    const f = (x: Tensor): [Tensor, { twice: Tensor; note: string }] => [
      sp.sum(sp.square(x)),
      { twice: sp.mul(x, 2), note: 'aux' },
    ]
    const [[value, aux], gradient] = sp.valueAndGrad(f, { hasAux: true })(t([1, 2]))
    expect(await value.item()).toBe(5)
    expect(await aux.twice.array()).toEqual([2, 4])
    expect(aux.note).toBe('aux')
    expect(await gradient.array()).toEqual([2, 4])
    const [g, again] = sp.grad(f, { hasAux: true })(t([1, 2]))
    expect(await g.array()).toEqual([2, 4])
    expect(again.note).toBe('aux')
  })

  test('integer leaves of a model get zeros, and leaves that do not matter too', async () => {
    const model = { w: t([1]), steps: sp.tensor([3], { dtype: 'int32' }), unused: t([[1, 2]]) }
    const g = sp.grad((m: typeof model) => sp.sum(sp.mul(m.w, m.steps)))(model)
    expect([await g.w.array(), await g.steps.array(), await g.unused.array()]).toEqual([[3], [0], [[0, 0]]])
  })

  test('dtypes: the gradient has that of the argument', async () => {
    const f = (x: Tensor): Tensor => sp.sum(sp.astype(sp.square(x), 'float64'))
    expect(sp.grad(f)(sp.tensor([1, 2])).dtype).toBe('float32')
  })

  test('a gradient through size 0', async () => {
    const g = sp.grad((x: Tensor) => sp.add(sp.sum(sp.square(x)), 1))(sp.zeros([0, 3], 'float64'))
    expect(g.shape).toEqual([0, 3])
    expect(await g.array()).toEqual([])
  })
})

describe('vjp, jvp, linearize', () => {
  const f = (x: Tensor, tree: { y: Tensor }): { a: Tensor; b: Tensor[] } => ({
    a: sp.matmul(sp.sin(x), tree.y),
    b: [sp.sum(sp.mul(x, x)), sp.exp(tree.y)],
  })
  const args: [Tensor, { y: Tensor }] = [normal(2, 3), { y: normal(3, 2) }]
  const tangents: [Tensor, { y: Tensor }] = [normal(2, 3), { y: normal(3, 2) }]
  const dot = (a: unknown, b: unknown): Tensor =>
    sp
      .leaves(a)
      .map((x, i) => sp.sum(sp.mul(x, sp.leaves(b)[i])))
      .reduce((x, y) => sp.add(x, y))

  test('<J v, w> = <v, Jᵀ w>', async () => {
    const [value, pull] = sp.vjp(f, ...args)
    const w = sp.mapTree(value, x => normal(...x.shape))
    const [, pushed] = sp.jvp(f, args, tangents)
    await expectClose(dot(pushed, w), dot(tangents, pull(w)))
  })

  test('linearize pushes many tangents, linearly', async () => {
    const [value, push] = sp.linearize(f, ...args)
    const [direct, pushed] = sp.jvp(f, args, tangents)
    await expectClose(value.a, direct.a)
    await expectClose(push(...tangents).b[1], pushed.b[1])
    const twice = sp.mapTree(tangents, x => sp.mul(x, -2))
    await expectClose(push(...twice).a, sp.mul(pushed.a, -2))
  })

  test('a value that was read before the pull keeps its derivative', async () => {
    const x = t([1, 2, 3])
    const [y, pull] = sp.vjp((x: Tensor) => sp.exp(sp.mul(x, 2)), x)
    const values = await y.array()
    await expectClose(
      pull(sp.onesLike(y))[0],
      (values as number[]).map(v => 2 * v),
    )
  })

  test('even where the value is the argument itself', async () => {
    const [same, pull] = sp.vjp((x: Tensor) => x, t([1, 2]))
    await same.data()
    await expectClose(pull(t([4, 5]))[0], [4, 5])
  })

  test('jacobian and hessian', async () => {
    const w = normal(3, 2)
    const x = normal(3)
    await expectClose(sp.jacobian(x => sp.matmul(x, w))(x), sp.matrixTranspose(w))
    expect(sp.jacobian(x => sp.outer(x, x))(x).shape).toEqual([3, 3, 3])
    const g = (x: Tensor): Tensor =>
      sp.sum(sp.mul(sp.exp(x), sp.matmul(sp.sin(x), sp.matmul(w, sp.matrixTranspose(w)))))
    const h = sp.hessian(g)(x)
    await expectClose(h, sp.matrixTranspose(h))
    const v = normal(3)
    await expectClose(sp.hvp(g, x, v), sp.matmul(h, v))
  })

  test('the Hessian of logistic regression is Xᵀ diag(p(1-p)) X', async () => {
    const x = normal(6, 3)
    const y = t([0, 1, 1, 0, 1, 0])
    const w = normal(3)
    const loss = (w: Tensor): Tensor => {
      const z = sp.matmul(x, w)
      return sp.sum(sp.sub(sp.softplus(z), sp.mul(y, z)))
    }
    const p = sp.sigmoid(sp.matmul(x, w))
    const weighted = sp.mul(x, sp.expandDims(sp.mul(p, sp.sub(1, p)), 1))
    await expectClose(sp.hessian(loss)(w), sp.matmul(sp.matrixTranspose(x), weighted))
    await expectClose(sp.grad(loss)(w), sp.matmul(sp.sub(p, y), x))
  })
})

describe('customVjp', () => {
  test('straight-through: the derivative is the one given, to order 2', async () => {
    const round = sp.customVjp(
      (x: Tensor) => sp.round(x),
      g => [g],
    )
    const f = (x: Tensor): Tensor => sp.sum(sp.mul(round(x), sp.mul(x, x)))
    const x = t([1.4, 2.6])
    // d/dx r x² = x² + 2 r x; again: 2x + 2x + 2r
    await expectClose(sp.grad(f)(x), [1.4 ** 2 + 2 * 1.4, 2.6 ** 2 + 6 * 2.6])
    await expectClose(sp.hvp(f, x, t([1, 1])), [4 * 1.4 + 2, 4 * 2.6 + 6])
  })

  test('a cotangent has the dtype of its argument, and is a list of tensors', () => {
    const x = t([1, 2])
    const narrow = sp.customVjp(
      (y: Tensor) => sp.square(y),
      (g, _, y) => [sp.astype(sp.mul(g, y), 'float32')],
    )
    expect(sp.grad((y: Tensor) => sp.sum(narrow(y)))(x).dtype).toBe('float64')
    const wrong = (pulled: unknown) => () =>
      sp.grad((y: Tensor) =>
        sp.sum(
          sp.customVjp(
            (z: Tensor) => sp.square(z),
            () => pulled as Tensor[],
          )(y),
        ),
      )(x)
    expect(wrong([3])).toThrow(/customVjp.*number 3.*argument 0/)
    expect(wrong(x)).toThrow(/customVjp.*a tensor.*a list/)
  })

  test('null stops one argument, and the pull sees value and arguments', async () => {
    const f = sp.customVjp(
      (a: Tensor, b: Tensor) => sp.mul(a, b),
      (g, value, a, b) => [sp.mul(g, sp.add(sp.mul(b, 10), sp.sub(value, sp.mul(a, b)))), null],
    )
    const [da, db] = sp.grad((a: Tensor, b: Tensor) => f(a, b), { argnums: [0, 1] })(t(2), t(3)) as [Tensor, Tensor]
    expect([await da.item(), await db.item()]).toEqual([30, 0])
  })

  test('a rule of the right kind passes checkGrads, a wrong one does not', async () => {
    const good = sp.customVjp(
      (x: Tensor) => sp.exp(x),
      (g, y) => [sp.mul(g, y)],
    )
    const bad = sp.customVjp(
      (x: Tensor) => sp.exp(x),
      (g, y) => [sp.mul(g, sp.add(y, 0.01))],
    )
    // Order 2 of `good` needs y as a value: its derivative is that of exp.
    await checkGrads((x: Tensor) => good(x), [normal(3)], { order: 3 })
    await expect(checkGrads((x: Tensor) => bad(x), [normal(3)])).rejects.toThrow('order 1 (reverse)')
  })
})

describe('checkpoint', () => {
  const w = normal(3, 3)
  const layer = (x: Tensor): Tensor => sp.tanh(sp.matmul(sp.exp(sp.mul(x, 0.3)), w))
  const net = (f: (x: Tensor) => Tensor) => (x: Tensor) => sp.sum(sp.square(f(f(x))))
  const x = normal(2, 3)

  test('has the values and derivatives of the function, to order 3', async () => {
    const [plain, saved] = [net(layer), net(sp.checkpoint(layer))]
    await expectClose(saved(x), plain(x))
    await expectClose(sp.grad(saved)(x), sp.grad(plain)(x))
    const v = normal(2, 3)
    await expectClose(sp.hvp(saved, x, v), sp.hvp(plain, x, v))
    const third = (f: (x: Tensor) => Tensor): Tensor => sp.grad((y: Tensor) => sp.sum(sp.mul(sp.hvp(f, y, v), v)))(x)
    await expectClose(third(saved), third(plain))
    await checkGrads(saved, [x], { order: 2 })
  })

  test('differentiates closures', async () => {
    const loss = (w: Tensor, wrap: typeof sp.checkpoint | undefined): Tensor => {
      const f = (x: Tensor): Tensor => sp.tanh(sp.matmul(x, w))
      return sp.sum(sp.square((wrap ? sp.checkpoint(f) : f)(x)))
    }
    const plain = sp.grad((w: Tensor) => loss(w, undefined))(w)
    await expectClose(sp.grad((w: Tensor) => loss(w, sp.checkpoint))(w), plain)
    const pen = (wrap: boolean) => (w: Tensor) => {
      const f = (x: Tensor): Tensor => sp.sum(sp.tanh(sp.matmul(x, w)))
      return sp.sum(sp.square(sp.grad(wrap ? sp.checkpoint(f) : f)(x)))
    }
    await expectClose(sp.grad(pen(true))(w), sp.grad(pen(false))(w))
  })

  test('nests, and returns trees', async () => {
    const inner = sp.checkpoint(layer)
    const outer = sp.checkpoint((x: Tensor) => ({ y: inner(inner(x)), n: sp.argmax(x), x }))
    const f = (x: Tensor): Tensor => {
      const { y, x: same } = outer(x)
      return sp.sum(sp.mul(y, same))
    }
    const g = (x: Tensor): Tensor => sp.sum(sp.mul(layer(layer(x)), x))
    await expectClose(sp.grad(f)(x), sp.grad(g)(x))
    await expectClose(sp.hvp(f, x, x), sp.hvp(g, x, x))
  })

  const products = async (t: Tensor): Promise<number> =>
    (await sp.inspect(t)).schedule.split('(contraction)').length - 1

  test('computes again what it does not keep', async () => {
    // Forward: two products; backward: two, and with checkpoint the forward ones again (the second's result is not needed).
    const count = (f: (x: Tensor) => Tensor): Promise<number> => products(sp.grad(net(f))(x))
    const plain = await count(layer)
    const saved = await count(sp.checkpoint(layer))
    expect(plain).toBe(4)
    expect(saved).toBeGreaterThan(plain)
    expect(await count(sp.checkpoint(layer, { keep: 'contractions' }))).toBe(plain)
    expect(await count(sp.checkpoint(layer, { keep: v => v.op === 'matmul' && v.shape.length === 3 }))).toBe(plain)
    expect(await count(sp.checkpoint(layer, { keep: v => v.op === 'exp' }))).toBe(saved)
  })

  const policies: readonly sp.KeepPolicy[] = ['nothing', 'contractions', v => v.op === 'tanh', () => true]
  test.each(policies)('has all derivatives whatever it keeps: %s', async keep => {
    const [plain, saved] = [net(layer), net(sp.checkpoint(layer, { keep }))]
    const v = normal(2, 3)
    await expectClose(sp.grad(saved)(x), sp.grad(plain)(x))
    await expectClose(sp.hvp(saved, x, v), sp.hvp(plain, x, v))
    const third = (f: (x: Tensor) => Tensor): Tensor => sp.grad((y: Tensor) => sp.sum(sp.mul(sp.hvp(f, y, v), v)))(x)
    await expectClose(third(saved), third(plain))
    const pairs = normal(4, 2, 3)
    await expectClose(sp.vmap(sp.grad(saved))(pairs), sp.vmap(sp.grad(plain))(pairs))
  })

  test('of several results computes again once', async () => {
    const both = sp.checkpoint((x: Tensor) => {
      const h = layer(layer(x))
      return [sp.sin(h), sp.cos(h)]
    })
    const one = sp.checkpoint((x: Tensor) => sp.sin(layer(layer(x))))
    const loss = (x: Tensor): Tensor =>
      both(x)
        .map(y => sp.sum(y))
        .reduce((a, b) => sp.add(a, b))
    const single = await products(sp.grad((x: Tensor) => sp.sum(one(x)))(x))
    // Two cotangents pass back through each layer, by two products each at most.
    expect(await products(sp.grad(loss)(x))).toBeLessThanOrEqual(single + 2)
  })

  test('demands a policy that it knows', () => {
    expect(() => sp.checkpoint(layer, { keep: 'everything' as never })).toThrow(/nothing, contractions.*everything/)
  })
})

describe('stopGradient', () => {
  test('keeps the value and stops all orders', async () => {
    const f = (x: Tensor): Tensor => sp.sum(sp.mul(sp.stopGradient(sp.square(x)), x))
    expect(
      await sp
        .grad(f)(t([2, 3]))
        .array(),
    ).toEqual([4, 9])
    expect(
      await sp
        .hessian(f)(t([2, 3]))
        .array(),
    ).toEqual([
      [0, 0],
      [0, 0],
    ])
  })
})

test('each call has variables of its own, and old nodes are not touched', async () => {
  const x = t([1, 2])
  const f = (x: Tensor): Tensor => sp.sum(sp.square(x))
  const before = upcomingId()
  const [a, b] = [sp.grad(f)(x), sp.grad(f)(x)]
  expect(upcomingId()).toBeGreaterThan(before)
  expect(a.node).not.toBe(b.node)
  expect(await a.array()).toEqual(await b.array())
})

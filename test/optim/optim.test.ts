import { compile, grad, ones, realize, stats, type Tensor, tensor } from 'saddlepoint'
import {
  adam,
  adamW,
  clipByGlobalNorm,
  constant,
  cosine,
  exponential,
  globalNorm,
  linearWarmup,
  type Optimizer,
  type Schedule,
  sgd,
  stepDecay,
} from 'saddlepoint/optim'
import { describe, expect, test } from 'vitest'

const f64 = (values: number[]): Tensor => tensor(values, { dtype: 'float64' })
const numbers = async (t: Tensor): Promise<number[]> => Array.from(await t.data())

const start = [1, -2, 0.5]
/** The gradient of Σ p⁴/4 - p at p, written by hand. */
const slope = (p: number): number => p ** 3 - 1
const loss = ({ p }: { p: Tensor }): Tensor => p.pow(4).div(4).sub(p).sum()

/** Where the optimiser takes the start in some steps. */
async function descend(optimizer: Optimizer, steps: number): Promise<number[]> {
  let params = { p: f64(start) }
  let state = optimizer.init(params)
  for (let i = 0; i < steps; i++) {
    ;({ params, state } = optimizer.update(grad(loss)(params), state, params))
    await realize(params, state)
  }
  expect(await state.step.item()).toBe(steps)
  return numbers(params.p)
}

/** The same for one coordinate, by a recurrence `next(p, g, memory, t)` on numbers. */
function recur<S>(
  memory: () => S,
  next: (p: number, g: number, memory: S, t: number) => number,
  steps: number,
): number[] {
  return start.map(p => {
    const m = memory()
    for (let t = 1; t <= steps; t++) p = next(p, slope(p), m, t)
    return p
  })
}

function near(found: number[], expected: number[], relative = 1e-12): void {
  found.forEach((x, i) => {
    expect(Math.abs(x - expected[i]), `${found} is not ${expected}`).toBeLessThanOrEqual(
      relative * Math.abs(expected[i]),
    )
  })
}

describe('optimisers follow the recurrences of their papers', () => {
  test('sgd', async () => {
    near(
      await descend(sgd({ learningRate: 0.1 }), 7),
      recur(
        () => 0,
        (p, g) => p - 0.1 * g,
        7,
      ),
    )
    near(
      await descend(sgd({ learningRate: 0.1, weightDecay: 0.3 }), 7),
      recur(
        () => 0,
        (p, g) => p - 0.1 * (g + 0.3 * p),
        7,
      ),
    )
  })
  test.each([false, true])('sgd with momentum, nesterov %s', async nesterov => {
    const expected = recur(
      () => ({ v: 0 }),
      (p, g, m) => {
        const d = g + 0.01 * p
        m.v = 0.8 * m.v + d
        return p - 0.05 * (nesterov ? d + 0.8 * m.v : m.v)
      },
      9,
    )
    near(await descend(sgd({ learningRate: 0.05, momentum: 0.8, nesterov, weightDecay: 0.01 }), 9), expected)
  })
  test.each([0, 0.1])('adam and adamW, decay %d', async weightDecay => {
    const [rate, beta1, beta2, epsilon] = [0.02, 0.8, 0.95, 1e-3]
    const expected = recur(
      () => ({ m: 0, v: 0 }),
      (p, g, s, t) => {
        s.m = beta1 * s.m + (1 - beta1) * g
        s.v = beta2 * s.v + (1 - beta2) * g * g
        const step = s.m / (1 - beta1 ** t) / (Math.sqrt(s.v / (1 - beta2 ** t)) + epsilon)
        return p - rate * (step + weightDecay * p)
      },
      12,
    )
    const options = { learningRate: rate, beta1, beta2, epsilon }
    near(await descend(weightDecay ? adamW({ ...options, weightDecay }) : adam(options), 12), expected)
  })
  test('a schedule sees the steps from 0', async () => {
    const rate = (t: number): number => 0.5 / t
    const scheduled = await descend(sgd({ learningRate: step => step.add(1).pow(-1).mul(0.5) }), 4)
    near(
      scheduled,
      recur(
        () => 0,
        (p, g, _, t) => p - rate(t) * g,
        4,
      ),
      1e-6,
    )
  })
})

test('the bias correction keeps its digits in float32 at the first step of a slow average', async () => {
  const optimizer = adam({ learningRate: 1, beta1: 0, beta2: 0.9999999, epsilon: 0 })
  const params = { p: tensor([0]) }
  const { params: next } = optimizer.update({ p: tensor([3]) }, optimizer.init(params), params)
  expect((await numbers(next.p))[0]).toBeCloseTo(-1, 5)
})

test('state and integers pass unchanged, and take no memory', async () => {
  const params = { w: ones([4]), state: { mean: ones([4]) }, ids: tensor([1, 2], { dtype: 'int32' }) }
  const optimizer = adam()
  const before = optimizer.init(params)
  expect(before.moments.mean.state.mean.shape).toEqual([])
  const { params: after, state } = optimizer.update(params, before, params)
  expect(after.state.mean).toBe(params.state.mean)
  expect(after.ids).toBe(params.ids)
  expect(await numbers(after.w)).not.toEqual([1, 1, 1, 1])
  expect(state.moments.square.w.shape).toEqual([4])
})

test('inside compile the second step compiles nothing, schedule included', async () => {
  const optimizer = adam({ learningRate: cosine(0.1, 100, { warmup: 3 }) })
  const step = compile((params: { p: Tensor }, state: ReturnType<typeof optimizer.init<{ p: Tensor }>>) =>
    optimizer.update(grad(loss)(params), state, params),
  )
  let params = { p: f64(start) }
  let state = optimizer.init(params)
  await realize(params, state)
  ;({ params, state } = await step(params, state))
  const { plansCompiled } = stats
  for (let i = 0; i < 5; i++) ({ params, state } = await step(params, state))
  expect(stats.plansCompiled).toBe(plansCompiled)
  expect(await state.step.item()).toBe(6)
})

test('a gradient flows through an update, also where the gradient is zero', async () => {
  const optimizer = adam()
  const through = (w: Tensor): Tensor => {
    const params = { p: w }
    return optimizer.update({ p: w.mul(w) }, optimizer.init(params), params).params.p.sum()
  }
  expect((await numbers(grad(through)(f64([0, 2])))).every(Number.isFinite)).toBe(true)
})

describe('clipping', () => {
  const grads = { a: f64([3, 0]), b: [f64([-4])], state: { mean: f64([100]) }, ids: tensor([9], { dtype: 'int32' }) }
  test('the norm is over all parameters together', async () => {
    expect(await globalNorm(grads).item()).toBe(5)
    const clipped = clipByGlobalNorm(grads, 2)
    near(await numbers(clipped.a), [1.2, 0])
    near(await numbers(clipped.b[0]), [-1.6])
    expect(clipped.state.mean).toBe(grads.state.mean)
    near(await numbers(clipByGlobalNorm(grads, 6).a), [3, 0])
    expect(await numbers(clipByGlobalNorm({ a: f64([0]) }, 1).a)).toEqual([0])
  })
  test('wrong arguments are named', () => {
    expect(() => clipByGlobalNorm(grads, 0)).toThrow('clipByGlobalNorm: max must be a number > 0, not 0')
    expect(() => globalNorm({ n: 3 })).toThrow('globalNorm: the tree has no float tensors')
  })
})

describe('schedules', () => {
  const values = (schedule: Schedule, steps: number[]): Promise<number[]> =>
    Promise.all(steps.map(step => schedule(tensor(step)).item()))
  test.each<[string, Schedule, (t: number) => number]>([
    ['constant', constant(0.3), () => 0.3],
    ['linearWarmup', linearWarmup(0.4, 4), t => 0.4 * Math.min(1, (t + 1) / 4)],
    ['warmup of a schedule', linearWarmup(exponential(0.4, 0.5), 4), t => 0.4 * Math.min(1, (t + 1) / 4) * 0.5 ** t],
    ['cosine', cosine(1, 10, { final: 0.1 }), t => 0.1 + 0.45 * (1 + Math.cos((Math.PI * Math.min(t, 10)) / 10))],
    [
      'cosine with warmup',
      cosine(2, 10, { warmup: 4 }),
      t => (t < 4 ? (2 * (t + 1)) / 4 : 1 + Math.cos((Math.PI * Math.min(t - 4, 6)) / 6)),
    ],
    ['stepDecay', stepDecay(1, 3, 0.1), t => 0.1 ** Math.floor(t / 3)],
    ['exponential', exponential(2, 0.5, 4), t => 2 * 0.5 ** (t / 4)],
  ])('%s', async (_, schedule, expected) => {
    const steps = [0, 1, 2, 3, 4, 5, 6, 9, 10, 25]
    const found = await values(schedule, steps)
    steps.forEach((t, i) => {
      expect(Math.abs(found[i] - expected(t))).toBeLessThan(1e-6)
    })
  })
})

test('wrong options are named', () => {
  expect(() => sgd({ learningRate: -1 })).toThrow('sgd: learningRate: a rate is a finite number >= 0, not -1')
  // @ts-expect-error a rate is no string
  expect(() => sgd({ learningRate: '0.1' })).toThrow('sgd: learningRate must be a number or a schedule, not string')
  expect(() => sgd({ learningRate: 1, momentum: 1 })).toThrow('sgd: momentum must lie in [0, 1), not 1')
  expect(() => sgd({ learningRate: 1, nesterov: true })).toThrow('sgd: nesterov needs a momentum')
  expect(() => adam({ beta2: 1.5 })).toThrow('adam: beta2 must lie in [0, 1), not 1.5')
  expect(() => adamW({ weightDecay: Number.NaN })).toThrow('adamW: weightDecay')
  expect(() => cosine(1, 5, { warmup: 5 })).toThrow('cosine: a warmup of 5 leaves none of the 5 steps')
  expect(() => stepDecay(1, 0, 0.1)).toThrow('stepDecay: steps are counted by an integer >= 1, not 0')
  expect(() => exponential(Infinity, 0.1)).toThrow('exponential: a rate')
  expect(() => constant(-1)).toThrow('constant: a rate')
  expect(() => linearWarmup(1, 1.5)).toThrow('linearWarmup: steps')
  const optimizer = adam()
  const params = { p: ones([2]) }
  const state = optimizer.init(params)
  expect(() => optimizer.update([ones([2]), ones([2])], optimizer.init([ones([2])]), [ones([2])])).toThrow(
    'adam: 1 parameters, but gradients or state have 2 leaves',
  )
  expect(() => optimizer.update({ p: ones([1]) }, state, params)).toThrow(
    'adam: the gradient of p has shape [1], expected [2]',
  )
})

test('one tensor at two paths is an error that names both', () => {
  const w = tensor([1])
  expect(() => adam().init({ a: w, b: { c: w } })).toThrow(/adam: 'a' and 'b.c' are one tensor/)
})

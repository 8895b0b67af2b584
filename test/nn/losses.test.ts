import { grad, hessian, leaves, type Tensor, tensor } from 'saddlepoint'
import {
  accuracy,
  binaryCrossEntropy,
  type CrossEntropyOptions,
  cosineLoss,
  crossEntropy,
  dlrLoss,
  hinge,
  huber,
  klDivergence,
  type LossOptions,
  mae,
  marginLoss,
  mse,
  multiclassHinge,
} from 'saddlepoint/nn'
import { describe, expect, test } from 'vitest'
import { expectClose } from '../oracle/close.js'
import { wave } from './wave.js'

const f64 = (values: number[] | number[][]): Tensor => tensor(values, { dtype: 'float64' })
const ints = (values: number[]): Tensor => tensor(values, { dtype: 'int32' })
const numbers = async (t: Tensor): Promise<number[]> => Array.from(await t.data())

async function near(t: Tensor, expected: number[], relative = 1e-12): Promise<void> {
  const found = await numbers(t)
  expect(found.length).toBe(expected.length)
  found.forEach((x, i) => {
    expect(Math.abs(x - expected[i]), `${x} at ${i}, expected ${expected[i]}`).toBeLessThanOrEqual(
      relative * Math.abs(expected[i]) + 1e-300,
    )
  })
}

const softmaxOf = (z: number[]): number[] => {
  const top = Math.max(...z)
  const e = z.map(x => Math.exp(x - top))
  const total = e.reduce((a, b) => a + b)
  return e.map(x => x / total)
}
const sum = (xs: number[]): number => xs.reduce((a, b) => a + b, 0)

// methods.md, part 6: a confident classifier's probabilities of the classes.
const p = [
  2.9802322e-8, 3.9100647e-4, 8.3446503e-7, 7.8368187e-4, 3.361702e-5, 9.9810326e-1, 8.8602304e-5, 7.6818466e-4,
  5.9614644e-7, 9.8974469e-6,
]
const norm = (xs: number[]): number => Math.hypot(...xs)

describe('cross-entropy with classes', () => {
  test.each(['float64', 'float32'] as const)('keeps the gradient that a clipped loss loses, %s', async dtype => {
    const z = tensor([p.map(Math.log)], { dtype })
    const relative = dtype === 'float64' ? 2e-8 : 4e-7
    const target = (label: number) => (z: Tensor) => crossEntropy(z, ints([label]))
    await near(target(0)(z), [17.328859], 4e-8 + relative)
    const g = await numbers(grad(target(0))(z))
    expect(g[0]).toBeCloseTo(-0.99999997, 7)
    expect(Math.abs(g[1] / 3.909362e-4 - 1)).toBeLessThan(relative * 3 + 2e-7)
    expect(Math.abs(g[5] / 0.9979239 - 1)).toBeLessThan(5e-7)
    expect(Math.abs(norm(g) / 1.4127468 - 1)).toBeLessThan(5e-7)
    expect(Math.abs((await target(5)(z).item()) / 0.00207824 - 1)).toBeLessThan(3e-6)
    expect(Math.abs(norm(await numbers(grad(target(5))(z))) / 2.382401e-3 - 1)).toBeLessThan(1e-6)
  })

  test('the gradient at the label is the sum over the others, not p - 1', async () => {
    const z = tensor([[0, 25, 1]], { dtype: 'float32' })
    const g = await numbers(grad((z: Tensor) => crossEntropy(z, ints([1])))(z))
    const expected = (Math.exp(-25) + Math.exp(-24)) / (1 + Math.exp(-25) + Math.exp(-24))
    expect(Math.abs(g[1] / -expected - 1)).toBeLessThan(1e-6)
    expect(await crossEntropy(z, ints([1])).item()).toBeGreaterThan(0)
  })

  const cases: [number[], number][] = [
    [[0.3, -1.2, 2, 0.5], 0],
    [[0.3, -1.2, 2, 0.5], 2],
    [[1, 1, 1, 1], 3],
    [[800, -800, 799, 0], 0],
    [[40, 0, 0, 0], 0],
  ]
  test.each(cases)('value, gradient and Hessian at %j, class %i', async (z, y) => {
    const loss = (x: Tensor): Tensor => crossEntropy(x.reshape([1, 4]), ints([y]))
    const q = softmaxOf(z)
    const others = sum(q.filter((_, j) => j !== y))
    const value = others < 0.5 ? Math.log1p(others / q[y]) : Math.max(...z) - z[y] - Math.log(Math.max(...q))
    await near(loss(f64(z)), [value])
    await near(
      grad(loss)(f64(z)),
      q.map((x, j) => (j === y ? -others : x)),
    )
    const off = (i: number): number => sum(q.filter((_, j) => j !== i))
    await near(
      hessian(loss)(f64(z)),
      q.flatMap((a, i) => q.map((b, j) => (i === j ? a * off(i) : -a * b))),
      1e-10,
    )
  })

  test('label smoothing is the mix of the label and the uniform distribution', async () => {
    const z = f64([
      [0.3, -1.2, 2],
      [1, 0, -1],
    ])
    const target = f64([
      [1 - 0.1 + 0.1 / 3, 0.1 / 3, 0.1 / 3],
      [0.1 / 3, 0.1 / 3, 1 - 0.1 + 0.1 / 3],
    ])
    const sparse = crossEntropy(z, ints([0, 2]), { labelSmoothing: 0.1 })
    await near(sparse, await numbers(crossEntropy(z, target)))
    const oneHot = f64([
      [1, 0, 0],
      [0, 0, 1],
    ])
    await near(sparse, await numbers(crossEntropy(z, oneHot, { labelSmoothing: 0.1 })))
  })

  test('reductions and weights', async () => {
    const z = f64([
      [1, 2],
      [3, 1],
      [0, 0],
    ])
    const each = [Math.log1p(Math.exp(1)), Math.log1p(Math.exp(-2)), Math.LN2]
    const labels = ints([0, 0, 1])
    const weights = f64([1, 2, 0])
    await near(crossEntropy(z, labels, { reduction: 'none' }), each)
    await near(crossEntropy(z, labels, { reduction: 'sum' }), [sum(each)])
    await near(crossEntropy(z, labels), [sum(each) / 3])
    await near(crossEntropy(z, labels, { weights }), [(each[0] + 2 * each[1]) / 3])
    await near(crossEntropy(z, labels, { weights, reduction: 'sum' }), [each[0] + 2 * each[1]])
  })

  test('a sequence of classes, and a class that does not exist', async () => {
    const z = f64([
      [1, 2],
      [3, 1],
    ])
    const long = crossEntropy(z.reshape([1, 2, 2]), ints([0, 0]).reshape([1, 2]), { reduction: 'none' })
    expect(long.shape).toEqual([1, 2])
    await near(long, [Math.log1p(Math.exp(1)), Math.log1p(Math.exp(-2))])
    const [first, second, third] = await numbers(
      crossEntropy(
        f64([
          [1, 2],
          [1, 2],
          [1, 2],
        ]),
        ints([2, -1, 1]),
        { reduction: 'none' },
      ),
    )
    expect([first, second]).toEqual([NaN, NaN])
    expect(third).toBeCloseTo(Math.log1p(Math.exp(-1)))
  })

  test('a label whose logit is -inf costs infinity, and the other examples nothing', async () => {
    const z = f64([
      [0, -Infinity, 1],
      [0, 2, 1],
      [-Infinity, 2, 1],
    ])
    const labels = ints([1, 1, 1])
    const found = await numbers(crossEntropy(z, labels, { reduction: 'none' }))
    const plain = (...others: number[]) => Math.log1p(sum(others.map(Math.exp)))
    expect(found).toEqual([Infinity, expect.closeTo(plain(-2, -1), 12), expect.closeTo(plain(-1), 12)])
    const smooth = await numbers(crossEntropy(z, labels, { reduction: 'none', labelSmoothing: 0.1 }))
    expect(smooth[0]).toBe(Infinity)
    const slope = await numbers(grad((z: Tensor) => crossEntropy(z, labels, { reduction: 'sum' }))(z))
    const [a, b] = softmaxOf([0, 1])
    const [c, d, e] = softmaxOf([0, 2, 1])
    const [f, g] = softmaxOf([2, 1])
    ;[a, -1, b, c, d - 1, e, 0, f - 1, g].forEach((p, i) => expect(slope[i]).toBeCloseTo(p, 12))
    const nothing = await numbers(crossEntropy(f64([[-Infinity, -Infinity]]), ints([0])))
    expect(nothing).toEqual([NaN])
  })

  // Numbers computed with torch.
  const logits = wave(1.9, 3, 4).mul(2)
  const classWeights = f64([0.5, 2, 0, 0.75])
  const labels = ints([2, 0, 3])
  test.each([
    [{}, [0, 1.08130572155, 2.60839959668], 3.68970531823, 2.95176425458],
    [{ labelSmoothing: 0.2 }, [0.433534417523, 1.34318818208, 2.4902270426], 4.26694964221, 3.41355971377],
  ])('class weights, %j', async (options, each, total, average) => {
    const loss = (more: CrossEntropyOptions): Tensor =>
      crossEntropy(logits, labels, { classWeights, ...options, ...more })
    await expectClose(loss({ reduction: 'none' }), each, 1e-10)
    await expectClose(loss({ reduction: 'sum' }), total, 1e-10)
    await expectClose(loss({}), average, 1e-10)
    const weights = f64([3, 1, 2])
    const weighed = (3 * each[0] + each[1] + 2 * each[2]) / (3 * 0 + 0.5 + 2 * 0.75)
    await expectClose(loss({ weights }), weighed, 1e-10)
  })
  test('class weights with probabilities: the mean is over examples', async () => {
    const target = wave(0.4, 3, 4).softmax()
    const options = { classWeights, labelSmoothing: 0.2 }
    const each = [2.06486572692, 2.66455291957, 2.06270305911]
    await expectClose(crossEntropy(logits, target, { ...options, reduction: 'none' }), each, 1e-10)
    await expectClose(crossEntropy(logits, target, options), 2.26404056853, 1e-10)
    await expectClose(
      binaryCrossEntropy(logits, target.greater(0.25).astype('int32'), { posWeight: classWeights, reduction: 'none' }),
      [0.597973084271, 1.80584596291, 1.07516176778],
      1e-10,
    )
  })
  test('an impossible class that the labels do not name costs nothing', async () => {
    const z = f64([[0, -Infinity, 1]])
    const target = f64([[0.25, 0, 0.75]])
    const plain = crossEntropy(f64([[0, 1]]), f64([[0.25, 0.75]]))
    await expectClose(crossEntropy(z, target), plain)
    await expectClose(klDivergence(f64([[0, 5, 1]]), z), klDivergence(f64([[0, 5, 1]]), f64([[0, -800, 1]])))
    await expectClose(klDivergence(z, f64([[0, 5, 1]])), Infinity)
  })

  test('wrong shapes and options are named', () => {
    const z = tensor([[1, 2]])
    expect(() => crossEntropy(z, ints([0]), { classWeights: tensor([1, 2, 3]) })).toThrow(
      'crossEntropy: classWeights [3] do not fit 2 classes',
    )
    expect(() => crossEntropy(z, ints([0, 1]))).toThrow(
      'crossEntropy: for logits [1,2], labels must be int32[1] (classes) or float32[1,2] (probabilities), got int32[2]',
    )
    expect(() => crossEntropy(z, tensor([1]))).toThrow('got float32[1]')
    expect(() => crossEntropy(f64([[1, 2]]), ints([0, 1]))).toThrow('or float64[1,2] (probabilities)')
    expect(() => crossEntropy(ints([0]), ints([0]))).toThrow('logits must be floats')
    expect(() => crossEntropy(z, ints([0]), { labelSmoothing: 2 })).toThrow('[0, 1], not 2')
    expect(() => crossEntropy(z, ints([0]), { weights: tensor([1, 2]) })).toThrow('weights [2] do not fit losses [1]')
    // @ts-expect-error an array is no tensor
    expect(() => crossEntropy([[1, 2]], ints([0]))).toThrow('crossEntropy: expected a tensor, got an array of 1')
    // @ts-expect-error a class is no tensor
    expect(() => crossEntropy(z, 0)).toThrow('crossEntropy: expected a tensor, got number 0')
    // @ts-expect-error an array is no tensor
    expect(() => crossEntropy(z, ints([0]), { weights: [1] })).toThrow('crossEntropy: expected a tensor, got an array')
    // @ts-expect-error no such reduction
    expect(() => crossEntropy(z, ints([0]), { reduction: 'avg' })).toThrow("unknown reduction 'avg'")
  })
})

describe('other losses', () => {
  test('binary cross-entropy is exact in both tails, with its gradient', async () => {
    const z = f64([-40, 0.5, 50])
    const t = f64([0, 0.25, 1])
    const each = [
      Math.log1p(Math.exp(-40)),
      0.25 * Math.log1p(Math.exp(-0.5)) + 0.75 * Math.log1p(Math.exp(0.5)),
      Math.exp(-50),
    ]
    await near(binaryCrossEntropy(z, t, { reduction: 'none' }), each)
    const g = grad((z: Tensor) => binaryCrossEntropy(z, t, { reduction: 'sum' }))(z)
    const s = 1 / (1 + Math.exp(-0.5))
    await near(g, [Math.exp(-40), s - 0.25, -Math.exp(-50)])
  })

  test('mse, mae and huber are means per example, then over examples', async () => {
    const a = f64([
      [1, 2],
      [3, -2],
    ])
    const b = f64([
      [0, 2.5],
      [3, 1],
    ])
    await near(mse(a, b, { reduction: 'none' }), [0.625, 4.5])
    await near(mae(a, b, { reduction: 'none' }), [0.75, 1.5])
    await near(huber(a, b, { reduction: 'none', delta: 0.75 }), [
      (0.75 * (1 - 0.375) + 0.125) / 2,
      (0.75 * (3 - 0.375)) / 2,
    ])
    await near(mse(a, b), [2.5625])
    await near(mse(a, b, { weights: f64([3, 1]) }), [(3 * 0.625 + 4.5) / 4])
    await near(grad((a: Tensor) => mae(a, b, { reduction: 'sum' }))(a), [0.5, -0.5, 0, -0.5])
  })

  test('KL divergence, with a gradient to both sides', async () => {
    const [z, t] = [f64([[1, 2, 0.5]]), f64([[0, -1, 1]])]
    const [p, q] = [softmaxOf([1, 2, 0.5]), softmaxOf([0, -1, 1])]
    const value = sum(q.map((x, j) => x * Math.log(x / p[j])))
    await near(klDivergence(z, t), [value])
    await near(klDivergence(z, z), [0])
    const [gz, gt] = leaves(grad((z: Tensor, t: Tensor) => klDivergence(z, t), { argnums: [0, 1] })(z, t))
    await near(
      gz,
      p.map((x, j) => x - q[j]),
    )
    await near(
      gt,
      q.map((x, j) => x * (Math.log(x / p[j]) - value)),
    )
  })

  test('cosine loss is 1 - cos of each row', async () => {
    const a = f64([
      [1, 0],
      [3, 4],
      [0, 0],
    ])
    const b = f64([
      [2, 0],
      [-3, -4],
      [1, 1],
    ])
    await expectClose(cosineLoss(a, b, { reduction: 'none' }), [0, 2, 1])
    await expectClose(cosineLoss(a, b, { weights: f64([1, 3, 0]) }), 1.5)
  })

  test('a batch without examples has the sum 0 and the mean NaN', async () => {
    const [z, labels] = [f64([]).reshape([0, 4]), ints([])]
    const losses = [
      (o: LossOptions) => crossEntropy(z, labels, o),
      (o: LossOptions) => crossEntropy(z, z, o),
      (o: LossOptions) => crossEntropy(z, labels, { ...o, classWeights: f64([1, 2, 3, 4]) }),
      (o: LossOptions) => dlrLoss(z, labels, o),
      (o: LossOptions) => dlrLoss(z, labels, { ...o, targets: labels }),
      ...[marginLoss, multiclassHinge].map(f => (o: LossOptions) => f(z, labels, o)),
      ...[binaryCrossEntropy, mse, mae, huber, klDivergence, cosineLoss, hinge].map(
        f => (o: LossOptions) => f(z, z, o),
      ),
      (o: LossOptions) => accuracy(z, labels, o),
    ]
    for (const loss of losses) {
      expect(loss({ reduction: 'none' }).shape).toEqual([0])
      expect(await loss({ reduction: 'sum' }).item()).toBe(0)
      expect(await loss({}).item()).toBeNaN()
      expect(await loss({ weights: f64([]) }).item()).toBeNaN()
    }
  })

  test('accuracy of classes and of probabilities', async () => {
    const z = tensor([
      [1, 2],
      [3, 1],
      [0, 5],
    ])
    expect(await accuracy(z, ints([1, 0, 0])).item()).toBeCloseTo(2 / 3)
    expect(
      await accuracy(
        z,
        tensor([
          [0, 1],
          [0.4, 0.6],
          [0, 1],
        ]),
      ).item(),
    ).toBeCloseTo(2 / 3)
    expect(await accuracy(z, ints([1, 0, 0]), { weights: tensor([0, 0, 1]) }).item()).toBe(0)
  })

  test('wrong arguments are named', () => {
    const [a, b] = [tensor([1, 2]), tensor([1])]
    expect(() => mse(a, b)).toThrow('mse: predictions and targets differ in shape: [2] and [1]')
    // @ts-expect-error no targets
    expect(() => mse(a)).toThrow('mse: expected a tensor, got undefined')
    expect(() => mae(a, b)).toThrow('mae:')
    expect(() => huber(a, b)).toThrow('huber:')
    expect(() => huber(a, a, { delta: 0 })).toThrow('huber: delta must be a number > 0, not 0')
    expect(() => binaryCrossEntropy(a, b)).toThrow('binaryCrossEntropy: logits and targets differ')
    expect(() => klDivergence(a, b)).toThrow('klDivergence: logits and targetLogits differ')
    expect(() => mse(ints([1]), b)).toThrow('mse: predictions must be floats, not int32')
    expect(() => cosineLoss(a, b)).toThrow('cosineLoss: predictions and targets differ')
    expect(() => accuracy(tensor([[1, 2]]), ints([1, 2]))).toThrow('accuracy: for logits [1,2]')
  })
})

/** Gradients, Hessians and third derivatives that can be written down, against those that are computed. */

import * as sp from 'saddlepoint'
import { describe, test } from 'vitest'
import { Rng } from '../oracle/property.js'
import { expectEqual, normal, type Tensor } from './common.js'

const { add, div, exp, grad, hessian, jacobian, log, matmul, mul, sigmoid, softmax, square, sub, sum, tanh } = sp
const r = new Rng(31)
const T = sp.matrixTranspose
const t = (values: sp.NestedArray): Tensor => sp.tensor(values, { dtype: 'float64' })
const identity = (n: number): Tensor => sp.eye(n, n, 'float64')
/** [n] as a column, as a row, and on a diagonal. */
const column = (x: Tensor): Tensor => sp.expandDims(x, 1)
const row = (x: Tensor): Tensor => sp.expandDims(x, 0)
const diagonal = (x: Tensor): Tensor => mul(column(x), identity(x.size))
/** A function of several tensors as one of its i-th alone. */
const only =
  (f: (...xs: Tensor[]) => Tensor, i: number, ...xs: Tensor[]) =>
  (x: Tensor): Tensor =>
    f(...xs.with(i, x))

const [n, d] = [6, 4]
const X = normal(r, n, d)
const A = normal(r, d, d)
const x = normal(r, d)
const b = normal(r, n)
const y = t([1, 0, 0, 1, 1, 0])
const P = add(matmul(T(A), A), identity(d))

/** -Σ y log p + (1 - y) log(1 - p), with p = σ(Xw), from logits. */
const logistic = (w: Tensor): Tensor => {
  const z = matmul(X, w)
  return sum(sub(sp.softplus(z), mul(y, z)))
}
const p = sigmoid(matmul(X, x))

const leastSquares = (w: Tensor): Tensor => sum(square(sub(matmul(X, w), b)))
const quadratic = (at: Tensor): Tensor => mul(sp.dot(at, matmul(P, at)), -0.5)
const gaussian = (at: Tensor): Tensor => exp(quadratic(at))
const rosenbrock = (at: Tensor): Tensor => {
  const [head, tail] = [sp.at(at, [0, -1]), sp.at(at, [1, null])]
  return sum(add(mul(square(sub(tail, square(head))), 100), square(sub(1, head))))
}

const s = softmax(x)
const S = sub(diagonal(s), sp.outer(s, s))
/** κᵢⱼₖ = pᵢ δᵢⱼₖ - (δᵢⱼ + ...) + 2pᵢpⱼpₖ: the third cumulant of a categorical variable. */
const third = (() => {
  const [D, E] = [diagonal(s), identity(d)]
  const at = (a: Tensor, ...axes: number[]): Tensor => sp.expandDims(a, axes[0])
  const same = mul(at(D, 2), at(E, 0))
  const pairs = [mul(at(D, 2), s), mul(at(D, 0), sp.reshape(s, [d, 1, 1])), mul(at(D, 1), sp.reshape(s, [1, d, 1]))]
  const all = mul(sp.outer(sp.outer(s, s), s), 2)
  return add(
    sub(
      same,
      pairs.reduce((p, q) => add(p, q)),
    ),
    all,
  )
})()

const logNorm = (at: Tensor): Tensor => log(sp.vectorNorm(at))
const norm2 = sum(square(x))

/** ½ Σ‖∂f/∂x‖² over a batch, for logits summed. */
const penalty =
  (f: (x: Tensor, ...ws: Tensor[]) => Tensor) =>
  (...args: [Tensor, ...Tensor[]]) =>
    mul(sum(square(grad(f)(...args))), 0.5)
const W = normal(r, d, 3)
const V = normal(r, 3)
/** f = v · tanh(xW): ∂f/∂x = ((1 - h²) ∘ v) Wᵀ */
const layer = (x: Tensor, W: Tensor, V: Tensor): Tensor => sum(matmul(tanh(matmul(x, W)), V))
const h = tanh(matmul(X, W))
const slope = sub(1, square(h))
const G = matmul(mul(slope, V), T(W))
/** GW, whose row k says how a penalty feels the hidden unit. */
const GW = matmul(G, W)
const bend = mul(mul(mul(h, slope), -2), V)

const linear = (x: Tensor, W: Tensor): Tensor => mul(sum(square(matmul(x, W))), 0.5)
const GL = matmul(matmul(X, W), T(W))

const rows: { readonly [name: string]: readonly [got: () => Tensor, expected: () => Tensor] } = {
  'least squares, gradient: 2Xᵀ(Xw - b)': [
    () => grad(leastSquares)(x),
    () => mul(matmul(T(X), sub(matmul(X, x), b)), 2),
  ],
  'least squares, Hessian: 2XᵀX': [() => hessian(leastSquares)(x), () => mul(matmul(T(X), X), 2)],
  'logistic regression, gradient: Xᵀ(p - y)': [() => grad(logistic)(x), () => matmul(T(X), sub(p, y))],
  'logistic regression, Hessian: Xᵀ diag(p(1-p)) X': [
    () => hessian(logistic)(x),
    () => matmul(mul(T(X), mul(p, sub(1, p))), X),
  ],
  'logistic regression, third derivatives: Σ p(1-p)(1-2p) xxx': [
    () => jacobian(hessian(logistic))(x),
    () => {
      const c = mul(mul(p, sub(1, p)), sub(1, mul(p, 2)))
      const XX = sp.reshape(mul(sp.expandDims(X, 2), sp.expandDims(X, 1)), [n, d * d])
      return sp.reshape(matmul(mul(T(XX), c), X), [d, d, d])
    },
  ],
  'Gaussian log-density, gradient: -Px': [() => grad(quadratic)(x), () => sp.neg(matmul(P, x))],
  'Gaussian log-density, Hessian: -P': [() => hessian(quadratic)(x), () => sp.neg(P)],
  'Gaussian density, Hessian: φ (Px xᵀP - P)': [
    () => hessian(gaussian)(x),
    () => {
      const Px = matmul(P, x)
      return mul(gaussian(x), sub(sp.outer(Px, Px), P))
    },
  ],
  'Gaussian density, log of it': [() => hessian(at => log(gaussian(at)))(x), () => sp.neg(P)],
  'softmax, Jacobian: diag(p) - ppᵀ': [() => jacobian(sp.softmax)(x), () => S],
  'logsumexp, gradient: p': [() => grad(sp.logsumexp)(x), () => s],
  'logsumexp, Hessian: diag(p) - ppᵀ': [() => hessian(sp.logsumexp)(x), () => S],
  'logsumexp, third derivatives: the third cumulants': [() => jacobian(hessian(sp.logsumexp))(x), () => third],
  'softmax, second derivatives: the third cumulants': [() => jacobian(jacobian(sp.softmax))(x), () => third],
  'log-softmax, Jacobian: I - 1pᵀ': [() => jacobian(sp.logSoftmax)(x), () => sub(identity(d), row(s))],
  'norm, gradient: x/‖x‖': [() => grad(sp.vectorNorm)(x), () => div(x, sp.vectorNorm(x))],
  'norm, Hessian: (I - uuᵀ)/‖x‖': [
    () => hessian(sp.vectorNorm)(x),
    () => div(sub(identity(d), div(sp.outer(x, x), norm2)), sp.vectorNorm(x)),
  ],
  'logarithm of the norm, Hessian: (I - 2uuᵀ)/‖x‖²': [
    () => hessian(logNorm)(x),
    () => div(sub(identity(d), div(mul(sp.outer(x, x), 2), norm2)), norm2),
  ],
  'Rosenbrock, gradient': [() => grad(rosenbrock)(t([-1.2, 1, 0.7])), () => t([-215.6, -88 + 120, -60])],
  'Rosenbrock, Hessian': [
    () => hessian(rosenbrock)(t([-1.2, 1, 0.7])),
    () =>
      t([
        [1330, 480, 0],
        [480, 200 + 1200 - 280 + 2, -400],
        [0, -400, 200],
      ]),
  ],
  'variance, Hessian: 2/n (I - 11ᵀ/n)': [() => hessian(sp.variance)(x), () => mul(sub(identity(d), 1 / d), 2 / d)],
  'product AXB in X, by its sum: Aᵀ1 1ᵀBᵀ': [
    () => grad((M: Tensor) => sum(matmul(matmul(A, M), W)))(P),
    () => sp.outer(sum(A, { axis: 0 }), sum(W, { axis: 1 })),
  ],
  'trace of MᵀM, gradient: 2M': [() => grad((M: Tensor) => sum(mul(identity(d), matmul(T(M), M))))(A), () => mul(A, 2)],
  'penalty of a linear model in W: GᵀXW + XᵀGW with G = XWWᵀ': [
    () => grad(only(penalty(linear) as (...xs: Tensor[]) => Tensor, 1, X, W))(W),
    () => add(matmul(matmul(T(GL), X), W), matmul(matmul(T(X), GL), W)),
  ],
  'penalty of a hidden layer in the output weights: Σ slope ∘ GW': [
    () => grad(only(penalty(layer) as (...xs: Tensor[]) => Tensor, 2, X, W, V))(V),
    () => sum(mul(slope, GW), { axis: 0 }),
  ],
  'penalty of a hidden layer in its weights: Gᵀ(slope ∘ v) + Xᵀ(bend ∘ GW)': [
    () => grad(only(penalty(layer) as (...xs: Tensor[]) => Tensor, 1, X, W, V))(W),
    () => add(matmul(T(G), mul(slope, V)), matmul(T(X), mul(bend, GW))),
  ],
  'penalty of a hidden layer in x: (bend ∘ GW) Wᵀ': [
    () => grad(only(penalty(layer) as (...xs: Tensor[]) => Tensor, 0, X, W, V))(X),
    () => matmul(mul(bend, GW), T(W)),
  ],
}

describe('derivatives that can be written down', () => {
  for (const [name, [got, expected]] of Object.entries(rows)) test(name, () => expectEqual([got()], [expected()]))
})

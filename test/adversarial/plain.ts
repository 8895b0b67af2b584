/** The attacks of src/adversarial once more, in plain float64 arrays and by hand: what the tests compare with. */

export type Matrix = number[][]

/** logits = tanh(x w1) w2 and the cross-entropy with labels, for one example after another. */
export interface Net {
  readonly w1: Matrix
  readonly w2: Matrix
}

const product = (x: readonly number[], w: Matrix): number[] =>
  w[0].map((_, j) => x.reduce((total, v, i) => total + v * w[i][j], 0))

export function plainLoss({ w1, w2 }: Net, x: readonly number[], label: number): number {
  const z = product(product(x, w1).map(Math.tanh), w2)
  const top = Math.max(...z)
  return Math.log(z.reduce((total, v) => total + Math.exp(v - top), 0)) + top - z[label]
}

export const plainMean = (net: Net, xs: Matrix, labels: readonly number[]): number =>
  xs.reduce((total, x, i) => total + plainLoss(net, x, labels[i]), 0) / xs.length

/** ∂ loss / ∂x: w1 diag(1 - h²) w2 (p - e_label). */
export function plainGradient({ w1, w2 }: Net, x: readonly number[], label: number): number[] {
  const h = product(x, w1).map(Math.tanh)
  const z = product(h, w2)
  const total = z.reduce((sum, v) => sum + Math.exp(v), 0)
  const dz = z.map((v, k) => Math.exp(v) / total - (k === label ? 1 : 0))
  const dh = h.map((v, j) => (1 - v * v) * dz.reduce((sum, d, k) => sum + d * w2[j][k], 0))
  return x.map((_, i) => dh.reduce((sum, d, j) => sum + d * w1[i][j], 0))
}

export function plainProbabilities({ w1, w2 }: Net, x: readonly number[]): number[] {
  const e = product(product(x, w1).map(Math.tanh), w2).map(Math.exp)
  const total = e.reduce((sum, v) => sum + v, 0)
  return e.map(v => v / total)
}

/** The weights after one step of gradient descent, given ∂ℓ_i/∂z of each example by its probabilities. */
export function plainDescent(
  { w1, w2 }: Net,
  xs: Matrix,
  learningRate: number,
  slope: (p: number[], i: number) => number[],
): Net {
  const [next1, next2] = [w1.map(r => [...r]), w2.map(r => [...r])]
  xs.forEach((x, i) => {
    const h = product(x, w1).map(Math.tanh)
    const dz = slope(plainProbabilities({ w1, w2 }, x), i).map(d => (learningRate * d) / xs.length)
    h.forEach((v, j) => {
      const dh = (1 - v * v) * dz.reduce((sum, d, c) => sum + d * w2[j][c], 0)
      dz.forEach((d, c) => {
        next2[j][c] -= v * d
      })
      x.forEach((u, k) => {
        next1[k][j] -= u * dh
      })
    })
  })
  return { w1: next1, w2: next2 }
}

/** ∂ cross-entropy / ∂z */
export const plainSlope = (p: readonly number[], label: number): number[] => p.map((v, c) => v - (c === label ? 1 : 0))

export const plainNorm = (v: readonly number[], norm: string): number =>
  norm === 'linf'
    ? Math.max(0, ...v.map(Math.abs))
    : norm === 'l2'
      ? Math.hypot(...v)
      : v.reduce((total, e) => total + Math.abs(e), 0)

export function plainSteepest(g: readonly number[], norm: string): number[] {
  const top = Math.max(...g.map(Math.abs))
  if (top === 0) return g.map(() => 0)
  if (norm === 'linf') return g.map(Math.sign)
  if (norm === 'l2') return g.map(v => v / Math.hypot(...g))
  const ties = g.filter(v => Math.abs(v) === top).length
  return g.map(v => (Math.abs(v) === top ? Math.sign(v) / ties : 0))
}

/** Projections by their definitions: clipping, scaling, and for l1 a bisection on the threshold. */
export function plainProject(d: readonly number[], epsilon: number, norm: string): number[] {
  if (norm === 'linf') return d.map(v => Math.min(epsilon, Math.max(-epsilon, v)))
  const size = plainNorm(d, norm)
  if (size <= epsilon) return [...d]
  if (norm === 'l2') return d.map(v => (v * epsilon) / size)
  const shrink = (t: number): number[] => d.map(v => Math.sign(v) * Math.max(0, Math.abs(v) - t))
  let [low, high] = [0, plainNorm(d, 'linf')]
  for (let i = 0; i < 200; i++) {
    const middle = (low + high) / 2
    if (plainNorm(shrink(middle), 'l1') > epsilon) low = middle
    else high = middle
  }
  return shrink(high)
}

export interface PlainRule {
  readonly norm: string
  readonly stepSize: number
  readonly steps: number
  readonly epsilon?: number
  readonly mask?: readonly number[]
  readonly clip?: readonly [number, number]
}

/** All steps for one example. */
export function plainAttack(net: Net, x: readonly number[], label: number, rule: PlainRule, start = x): number[] {
  let at = [...start]
  for (let k = 0; k < rule.steps; k++) {
    const g = plainGradient(net, at, label).map((v, i) => v * (rule.mask?.[i] ?? 1))
    const v = plainSteepest(g, rule.norm)
    const delta = at.map((a, i) => a - x[i] + rule.stepSize * v[i])
    const kept = rule.epsilon === undefined ? delta : plainProject(delta, rule.epsilon, rule.norm)
    const [low, high] = rule.clip ?? [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY]
    at = kept.map((d, i) => Math.min(high, Math.max(low, x[i] + d)))
  }
  return at
}

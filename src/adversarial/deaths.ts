/**
 * Where gradients die: for the examples whose gradient is exactly 0, the operation that what comes from the loss reaches and
 * does not leave. A saturated loss, such as a clipped one, looks like robustness and is none.
 */

import { backward, path } from '../autodiff/backward.js'
import { grad } from '../autodiff/transforms.js'
import { labelOf, type Node } from '../graph/node.js'
import { knownOptions } from '../graph/options.js'
import { formatShape, sizeOf } from '../graph/shape.js'
import { type Batch, type Context, evaluation, type Loss } from '../nn/context.js'
import { astype, equal, logicalNot } from '../tensor/elementwise.js'
import { reshape, stack } from '../tensor/movement.js'
import { max, sum } from '../tensor/reduction.js'
import { full, type Tensor } from '../tensor/tensor.js'
import { warnOnce } from '../tensor/warn.js'
import { examples, type FeatureOptions, mapFeatures, perturbable } from './features.js'
import { attackContext } from './gradient.js'
import { featureNames } from './options.js'

export const reportNames = ['gradients', 'zero', 'nonFinite', 'floorHit'] as const
/** The counts of a GradientReport, as numbers. */
export type GradientCounts = Readonly<Record<(typeof reportNames)[number], number>>

export interface GradientDeaths {
  /** Examples of the batch. */
  readonly examples: number
  /** Those whose gradient is exactly 0 in every element. */
  readonly dead: number
  /** Operations at which gradients died, with the number of examples; the most first. */
  readonly places: readonly { readonly operation: string; readonly examples: number }[]
}

/**
 * Where the gradients of a batch die.
 *
 * Cost: a forward and a backward pass that keeps its intermediate gradients.
 *
 * @param loss the mean loss, or the losses of the examples [n]
 * @returns counts; no place is known for an example whose gradient dies where examples are not apart, as after a mean
 * @example const { places } = await gradientDeaths(loss, model, batch) // [{ operation: 'clip at 1e-7 ...', examples: 41 }]
 */
export async function gradientDeaths<M>(
  loss: Loss<M>,
  model: M,
  batch: Batch,
  options: FeatureOptions & { readonly context?: Context } = {},
): Promise<GradientDeaths> {
  const op = 'gradientDeaths'
  const features = perturbable(op, batch, knownOptions(op, options, { ...featureNames, context: true }))
  const n = examples(op, batch)
  const ctx = attackContext(options.context ?? evaluation, options.context?.training ?? false)
  // What a gradient's own pass builds, seen from inside: its variables are the features.
  let alive: { nodes: readonly Node[]; counts: Tensor } | undefined
  grad((x: typeof features) => {
    const total = sum(loss(model, { ...batch, ...x }, ctx))
    const inputs = new Set(Object.values(x).map(t => t.node))
    const nodes = path([total.node], inputs).filter(node => node.shape.length > 0 && node.shape[0] % n === 0)
    const cotangents = backward([total.node], [full([], 1, total.dtype)], nodes)
    const reached = nodes.flatMap((node, i) => {
      const g = cotangents[i]
      return g && sizeOf(g.shape) > 0 ? [{ node, g }] : []
    })
    const isAlive = ({ g }: { g: Tensor }): Tensor =>
      max(reshape(astype(logicalNot(equal(g, 0)), 'int32'), [n, g.size / n]), { axis: 1 })
    if (reached.length > 0) alive = { nodes: reached.map(r => r.node), counts: stack(reached.map(isAlive)) }
    return total
  })(mapFeatures(features, x => x))
  if (!alive) throw new Error(`${op}: the loss does not depend on the features`)
  return summary(alive.nodes, await alive.counts.data(), n)
}

function summary(nodes: readonly Node[], counts: ArrayLike<number>, n: number): GradientDeaths {
  const at = new Map(nodes.map((node, i) => [node, i]))
  const isAlive = (node: Node, example: number): boolean => counts[(at.get(node) ?? 0) * n + example] !== 0
  const inputs = nodes.filter(node => !node.inputs.some(input => at.has(input)))
  const deaths = new Map<Node, number>()
  let dead = 0
  for (let i = 0; i < n; i++) {
    if (inputs.some(input => isAlive(input, i))) continue
    dead++
    // Nearest to the loss: it comes first in the path. What is further away died of it.
    const last = nodes.find(node => {
      const operands = node.inputs.filter(input => at.has(input))
      return isAlive(node, i) && operands.length > 0 && !operands.some(operand => isAlive(operand, i))
    })
    if (last) deaths.set(last, (deaths.get(last) ?? 0) + 1)
  }
  const places = [...deaths].map(([node, count]) => ({ operation: nameOf(node), examples: count }))
  return { examples: n, dead, places: places.sort((a, b) => b.examples - a.examples) }
}

/** What people call an operation: a limit that values are held to is a clip. */
function nameOf(node: Node): string {
  const held = node.op === 'where' ? node.inputs.slice(1).find(isConstant) : undefined
  if (held === undefined || node.inputs[0].op !== 'less') return labelOf(node)
  // A float32 is not the number that was written.
  const limit = Number(held.attrs.value.toPrecision(6))
  return `clip at ${limit} of ${node.dtype}${formatShape(node.shape)}`
}

const isConstant = (node: Node): node is Node<'constant'> => node.op === 'constant'

/** Gradients that are 0 or not finite make an attack weaker than it looks from this share on. */
const deadShare = 0.01

export const areDead = ({ gradients, zero, nonFinite }: GradientCounts): boolean =>
  Math.max(zero, nonFinite) > deadShare * gradients

/** Where too many gradients of an attack died, says once how many, where those of a batch do, and what to do. */
export async function warnOfDeaths<M>(
  op: string,
  loss: Loss<M>,
  model: M,
  batch: Batch,
  options: FeatureOptions & { readonly context?: Context },
  counts: GradientCounts,
): Promise<void> {
  if (!areDead(counts)) return
  const { gradients, zero, nonFinite } = counts
  const percent = (count: number, of: number): string => `${((100 * count) / of).toFixed(1)}%`
  const { places, examples } = await gradientDeaths(loss, model, batch, options)
  const where = places
    .slice(0, 3)
    .map(p => `${p.operation} (${percent(p.examples, examples)} of the first ${examples})`)
  warnOnce(
    `${op}: of the gradients ${percent(zero, gradients)} are exactly 0 and ${percent(nonFinite, gradients)} not finite: the attack is weaker ` +
      `than it looks. ${where.length ? `They died at ${where.join(', ')}. ` : ''}Use a loss on logits, such as crossEntropy, or attack by marginLoss or dlrLoss`,
    // Without a place it is told by how many they are, but not again for each batch.
    `${op}: ${places[0]?.operation ?? `${Math.ceil((10 * Math.max(zero, nonFinite)) / gradients)} tenths`}`,
  )
}

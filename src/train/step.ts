/** The compiled training step and the compiled evaluation of a batch: everything that happens on the device. */

import { valueAndGrad } from '../autodiff/transforms.js'
import { isFloat } from '../graph/dtype.js'
import type { Names } from '../graph/options.js'
import { formatShape } from '../graph/shape.js'
import { type Batch, type Context, evaluation, type Loss } from '../nn/context.js'
import { clipByGlobalNorm } from '../optim/clip.js'
import type { Optimizer, OptimizerState } from '../optim/optimizer.js'
import { compile } from '../tensor/compile.js'
import { tensor } from '../tensor/create.js'
import { add, astype, isfinite, less, logicalAnd, logicalNot, mul, where } from '../tensor/elementwise.js'
import { reshape, stack } from '../tensor/movement.js'
import { foldIn, key as randomKey } from '../tensor/random.js'
import { at } from '../tensor/slicing.js'
import { full, Tensor } from '../tensor/tensor.js'
import { mapTree, zipTrees } from '../tensor/tree.js'
import {
  areFinite,
  choose,
  firstScale,
  halved,
  halvedBatch,
  type LossScale,
  nextScale,
  type PrecisionOptions,
  unscaled,
} from './loss-scale.js'
import { type Held, type Memories, memoriesOf } from './memory.js'
import { updatesOf } from './updates.js'

/** A number per batch: a mean over its examples. */
export type Metric<M> = (model: M, batch: Batch, ctx: Context) => Tensor

/** What is trained and how. */
export interface Objective<M> extends PrecisionOptions {
  readonly loss: Loss<M>
  readonly optimizer: Optimizer
  /** Numbers to report beside the loss, by name. */
  readonly metrics?: Readonly<Record<string, Metric<M>>>
  /** The largest global norm of a gradient; larger ones are scaled down. */
  readonly clipNorm?: number
  /**
   * Into how many parts the batch of a step falls, one after another, whose gradients are added up: the step of the whole batch in
   * the memory of a part. What an attack or batch normalisation sees is a part. Default 1.
   */
  readonly microBatches?: number
}
export const objectiveNames: Names<Objective<unknown>> = {
  loss: true,
  optimizer: true,
  metrics: true,
  clipNorm: true,
  microBatches: true,
  precision: true,
  lossScale: true,
}

/** All tensors that a step replaces. */
export interface State<M> {
  readonly model: M
  readonly optimizer: OptimizerState<M>
  /** What the loss keeps from step to step. */
  readonly memory: Held
  /** The loss and the metrics [k], each summed over the examples since the last reading. */
  readonly sums: Tensor
  /** The number, from 0, of the first step whose loss was not finite; or -1. */
  readonly badStep: Tensor
  /** In float16. */
  readonly scale?: LossScale
}

export interface Compiled<M> {
  init(model: M): State<M>
  /** The memories of the loss, which the steps from now on hold; the batch is one of full size. */
  memories(model: M, batch: Batch): Memories
  /** The state after a batch; takes the tensors of the state and of the batch with it. */
  step(state: State<M>, key: Tensor, batch: Batch): Promise<State<M>>
  /** The sums with a batch's loss and metrics added; takes the tensors of the sums and of the batch with it. */
  evaluate(sums: Tensor, batch: Batch, model: M): Promise<Tensor>
}

/** Sums before the first example, for k numbers; from the host, so that no other tensor shares their memory. */
export const noSums = (k: number): Tensor => tensor(new Float32Array(k))

/** The number of examples in a batch. */
export const countOf = (batch: Readonly<Record<string, { readonly shape: readonly number[] }>>): number =>
  Object.values(batch)[0].shape[0]

export function compileObjective<M>(objective: Objective<M>): Compiled<M> {
  const { loss, optimizer, metrics = {}, clipNorm, microBatches = 1, precision } = objective
  const inPrecision = precision === 'float16' ? inFloat16<M> : (f: Metric<M>) => f
  const measures = [
    scalar('loss', loss),
    ...Object.entries(metrics).map(([name, f]) => scalar(`metric '${name}'`, f)),
  ].map(inPrecision)

  let memories: Memories | undefined
  const step = (state: State<M>, key: Tensor, batch: Batch): State<M> => {
    const { scale } = state
    // Steps made, those that were skipped included.
    const now = scale ? add(state.optimizer.step, scale.skipped) : state.optimizer.step
    const ctx: Context = { training: true, key: foldIn(key, now) }
    const memory = memories?.inStep(state.memory)
    const passes = partsOf(batch, microBatches).map(({ part, from, to }, k) => {
      const { recall, keep } = memory?.means(from, to) ?? {}
      const partKey = microBatches === 1 ? ctx.key : foldIn(key, add(mul(now, microBatches), k))
      const own = { ...ctx, key: partKey, recall }
      const share = countOf(part) / countOf(batch)
      const weighed = (t: Tensor): Tensor => (share === 1 || !isFloat(t.dtype) ? t : mul(t, share))
      const run = (model: M) => {
        const { update, into } = updatesOf(model)
        // Only the loss's own pass moves the statistics, and what is remembered.
        const means = measures.map((f, i) => f(model, part, i === 0 ? { ...own, update, keep } : own))
        return [scale ? mul(means[0], scale.factor) : means[0], { values: means.map(weighed), into }] as const
      }
      // Each with variables of its own: what parts share, such as a bias that is repeated, would wait for all of them. And
      // of the part's own mean: what an attack has the gradient of is not computed again.
      const [[, { values, into }], gradient] = valueAndGrad(run, { hasAux: true })(state.model)
      return { values, into, gradient: mapTree(gradient, weighed) }
    })
    const sumOf = (a: Tensor, b: Tensor): Tensor => add(a, b)
    const { values, gradient: scaled } = passes.reduce((a, b) => ({
      ...b,
      values: a.values.map((v, i) => add(v, b.values[i])),
      gradient: zipTrees(sumOf, a.gradient, b.gradient),
    }))
    // Once per step: those of the last part.
    const { into } = passes[passes.length - 1]
    const slopes = scale ? unscaled(scaled, scale) : scaled
    const grads = clipNorm === undefined ? slopes : clipByGlobalNorm(slopes, clipNorm)
    const next = optimizer.update(grads, state.optimizer, state.model)
    const isFirstBad = logicalAnd(less(state.badStep, 0), logicalNot(isfinite(values[0])))
    const model = into(next.params)
    const moved = { model, optimizer: next.state, memory: memory?.after(model) ?? state.memory }
    const rest = {
      sums: accumulate(state.sums, values, batch),
      badStep: where(isFirstBad, now, state.badStep),
    }
    if (!scale) return { ...moved, ...rest }
    const finite = areFinite(slopes)
    const stayed = { model: state.model, optimizer: state.optimizer, memory: state.memory }
    return { ...choose(finite, moved, stayed), ...rest, scale: nextScale(scale, finite, objective) }
  }
  // Losses that draw, such as those under attack, draw the same in every evaluation.
  const judged: Context = { ...evaluation, key: randomKey(0) }
  const evaluate = (sums: Tensor, batch: Batch, model: M): Tensor =>
    accumulate(
      sums,
      measures.map(f => f(model, batch, judged)),
      batch,
    )

  return {
    init: model => ({
      model,
      optimizer: optimizer.init(model),
      memory: {},
      sums: noSums(measures.length),
      badStep: full([], -1, 'int32'),
      ...(precision === 'float16' && { scale: firstScale(objective) }),
    }),
    memories: (model, batch) => {
      memories = memoriesOf(model, batch, means => measures[0](model, batch, { ...judged, training: true, ...means }))
      return memories
    },
    step: compile(step, { donate: [0, 2] }),
    evaluate: compile(evaluate, { donate: [0, 1] }),
  }
}

/** A batch in parts of about equal size, as many as are asked for if it has so many examples, and which those are. */
function partsOf(batch: Batch, count: number): { readonly part: Batch; readonly from: number; readonly to: number }[] {
  const n = countOf(batch)
  const parts = Math.max(1, Math.min(count, n))
  return Array.from({ length: parts }, (_, k) => {
    const [from, to] = [k, k + 1].map(i => Math.round((i * n) / parts))
    return { part: parts === 1 ? batch : mapTree(batch, column => at(column, [from, to])), from, to }
  })
}

/** f, checked to give one number. */
function scalar<M>(name: string, f: Metric<M>): Metric<M> {
  return (model, batch, ctx) => {
    const value: unknown = f(model, batch, ctx)
    if (value instanceof Tensor && value.size === 1) return reshape(value, [])
    const found = value instanceof Tensor ? `${value.dtype}${formatShape(value.shape)}` : typeof value
    throw new Error(`Trainer: ${name} must return one number per batch, not ${found}; reduce it, for instance by mean`)
  }
}

/** f of the model and the batch in float16, its value in float32. */
const inFloat16 =
  <M>(f: Metric<M>): Metric<M> =>
  (model, batch, ctx) =>
    astype(f(halved(model), halvedBatch(batch), ctx), 'float32')

/** A batch's means, added as often as it has examples. */
const accumulate = (sums: Tensor, means: readonly Tensor[], batch: Batch): Tensor =>
  add(sums, mul(stack(means.map(m => astype(m, 'float32'))), countOf(batch)))

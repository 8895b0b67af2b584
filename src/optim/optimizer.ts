/**
 * What an optimiser is: an initial state and a pure update of (gradients, state, parameters). How one leaf moves is a rule
 * of a few lines (sgd.ts, adam.ts); walking the trees, counting steps and the learning rate are here.
 */

import { computeType, type DType } from '../graph/dtype.js'
import { formatShape, sameShape } from '../graph/shape.js'
import { checkUntied, isParameter } from '../nn/parameters.js'
import { zeros } from '../tensor/create.js'
import { add, astype } from '../tensor/elementwise.js'
import { full, type Tensor, type TensorLike } from '../tensor/tensor.js'
import { leaves, mapTree, namedLeaves, replaceLeaves } from '../tensor/tree.js'
import { checkRate, type Schedule } from './schedules.js'

export interface OptimizerState<P> {
  /** The number of updates made, an int32 scalar. */
  readonly step: Tensor
  /**
   * Running averages by name, each in the shape of the parameters (scalars for leaves that are not trained); those of
   * float16 are float32.
   */
  readonly moments: Readonly<Record<string, P>>
}

/** All of it is pure expressions, so an update can be part of a compiled step and be differentiated. */
export interface Optimizer {
  /** The state before the first update. */
  init<P>(params: P): OptimizerState<P>
  /** The next parameters and state. Leaves under `state` and integers stay as they are. */
  update<P>(grads: P, state: OptimizerState<P>, params: P): { params: P; state: OptimizerState<P> }
}

/** What all leaves of a type share in an update; the type is float32 for those of float16. */
export interface Update {
  /** The number of this update from 1. */
  readonly t: Tensor
  readonly rate: TensorLike
}

/** One parameter and what moves it. */
export interface Leaf<K extends string> {
  readonly param: Tensor
  readonly grad: Tensor
  readonly moments: Readonly<Record<K, Tensor>>
}

export type Moved<K extends string> = Pick<Leaf<K>, 'param' | 'moments'>

/** The optimiser that moves each leaf by a rule, made once for an update, with running averages of the names given. */
export function optimizer<K extends string>(
  name: string,
  averages: readonly K[],
  learningRate: number | Schedule,
  ruleOf: (update: Update) => (leaf: Leaf<K>) => Moved<K>,
): Optimizer {
  if (typeof learningRate === 'number') checkRate(`${name}: learningRate`, learningRate)
  else if (typeof learningRate !== 'function')
    throw new Error(`${name}: learningRate must be a number or a schedule, not ${typeof learningRate}`)
  const record = <T>(f: (key: K) => T): Record<K, T> =>
    Object.fromEntries(averages.map(key => [key, f(key)])) as Record<K, T>

  return {
    init(params) {
      checkUntied(name, params)
      return {
        step: full([], 0, 'int32'),
        moments: record(() =>
          mapTree(params, (p, at) => (isParameter(p, at) ? zeros(p.shape, computeType(p.dtype)) : zeros([], p.dtype))),
        ),
      }
    },

    update(grads, state, params) {
      const named = namedLeaves(params)
      const slopes = leaves(grads)
      const old = averages.map(key => leaves(state.moments[key]))
      for (const list of [slopes, ...old]) {
        if (list.length !== named.length) {
          throw new Error(
            `${name}: ${named.length} parameters, but gradients or state have ${list.length} leaves; pass grad's result and init's state`,
          )
        }
      }
      const step = add(state.step, 1)
      const scheduled = typeof learningRate === 'function' ? learningRate(astype(state.step, 'float32')) : undefined
      const rules = new Map<DType, ReturnType<typeof ruleOf>>()
      const ruleFor = (type: DType): ReturnType<typeof ruleOf> => {
        const have = rules.get(type)
        if (have) return have
        const rate = scheduled ? astype(scheduled, type) : Number(learningRate)
        const rule = ruleOf({ t: astype(step, type), rate })
        rules.set(type, rule)
        return rule
      }
      const moved = named.map(({ tensor: param, name: at }, i): Moved<K> => {
        const moments = record(key => old[averages.indexOf(key)][i])
        if (!isParameter(param, at)) return { param, moments }
        if (!sameShape(slopes[i].shape, param.shape)) {
          throw new Error(
            `${name}: the gradient of ${at || 'the parameter'} has shape ${formatShape(slopes[i].shape)}, expected ${formatShape(param.shape)}`,
          )
        }
        const type = computeType(param.dtype)
        const next = ruleFor(type)({ param: astype(param, type), grad: astype(slopes[i], type), moments })
        return { ...next, param: astype(next.param, param.dtype) }
      })
      return {
        params: replaceLeaves(
          params,
          moved.map(m => m.param),
        ),
        state: {
          step,
          moments: record(key =>
            replaceLeaves(
              state.moments[key],
              moved.map(m => m.moments[key]),
            ),
          ),
        },
      }
    },
  }
}

/** Throws unless a decay rate of a running average lies in [0, 1). */
export function checkShare(name: string, value: number): void {
  if (!(value >= 0 && value < 1)) throw new Error(`${name} must lie in [0, 1), not ${value}`)
}

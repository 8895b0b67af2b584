/** What losses keep from step to step: found by a look at the loss, held by name in the state of training. */

import { formatShape, sameShape } from '../graph/shape.js'
import type { Batch, Context, Memory } from '../nn/context.js'
import { at, setAt } from '../tensor/slicing.js'
import { build, type Tensor } from '../tensor/tensor.js'
import { mapTree, namedLeaves } from '../tensor/tree.js'

/** The tensors of all memories, by the name of the memory and that of the leaf. */
export type Held = Readonly<Record<string, Tensor>>

/** The memories of a loss. */
export interface Memories {
  /** Steps with each batch. */
  readonly replays: number
  /** What is held before a step, given what is held already: what does not fit begins anew. */
  begin(held: Held): Held
  /** What is held, in one step. */
  inStep(held: Held): {
    /** A context's means, for the examples `from` to `to` of the batch. */
    means(from: number, to: number): Required<Pick<Context, 'recall' | 'keep'>>
    /** What is held after the step, which made this model. */
    after(model: unknown): Held
  }
}

const below = (name: string, leaf: string): string => (leaf ? `${name}.${leaf}` : name)
const alike = (a: Tensor, b: Tensor): boolean => a.dtype === b.dtype && sameShape(a.shape, b.shape)

/**
 * The memories that a loss recalls.
 *
 * @param look computes the loss of the model and the batch, which may be of no use: nobody reads it
 */
export function memoriesOf(model: unknown, batch: Batch, look: (means: Pick<Context, 'recall'>) => void): Memories {
  const found = new Map<Memory, { readonly name: string; readonly first: unknown }>()
  look({
    recall: <T>(memory: Memory<T>) => {
      const known = found.get(memory as Memory)
      if (known) return known.first as T
      const namesakes = [...found.keys()].filter(other => other.name === memory.name).length
      const first = memory.first(model, batch)
      found.set(memory as Memory, { name: `${memory.name}${namesakes || ''}`, first })
      return first
    },
  })

  return {
    replays: Math.max(1, ...[...found.keys()].map(memory => memory.replays ?? 1)),
    begin: held =>
      Object.fromEntries(
        [...found.values()].flatMap(({ name, first }) => {
          const wanted = namedLeaves(first).map(leaf => ({ ...leaf, name: below(name, leaf.name) }))
          const fits = wanted.every(leaf => held[leaf.name] && alike(held[leaf.name], leaf.tensor))
          // A tensor of its own, also where it is one of the model's.
          return wanted.map(leaf => [leaf.name, fits ? held[leaf.name] : build('barrier', [leaf.tensor], {})])
        }),
      ),
    inStep: held => {
      const next: Record<string, Tensor> = { ...held }
      return {
        means: (from, to) => ({
          recall: memory => {
            const known = found.get(memory as Memory)
            if (!known) return undefined
            return mapTree(known.first as never, (_, leaf) => {
              const value = held[below(known.name, leaf)]
              return memory.perExample ? at(value, [from, to]) : value
            })
          },
          keep: (memory, value) => {
            const known = found.get(memory as Memory)
            if (!known) return
            for (const { name, tensor } of namedLeaves(value)) {
              const leaf = below(known.name, name)
              const old = memory.perExample ? at(held[leaf], [from, to]) : held[leaf]
              if (!alike(tensor, old))
                throw new Error(
                  `keep: '${leaf}' is ${old.dtype}${formatShape(old.shape)}, not ${tensor.dtype}${formatShape(tensor.shape)}`,
                )
              const isPart = memory.perExample && to - from < held[leaf].shape[0]
              next[leaf] = isPart ? setAt(next[leaf], [[from, to]], tensor) : tensor
            }
          },
        }),
        after: model => {
          for (const [memory, { name, first }] of found) {
            const kept = mapTree(first, (_, leaf) => next[below(name, leaf)])
            const moved = memory.after?.(kept, model) ?? kept
            for (const leaf of namedLeaves(moved)) next[below(name, leaf.name)] = leaf.tensor
          }
          return next
        },
      }
    },
  }
}

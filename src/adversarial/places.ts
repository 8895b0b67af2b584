/**
 * Where a perturbation goes: into the features of a batch, into parameters as they stand, or into the vectors that an
 * embedding looks up. A model with something added is a new tree, so nothing has to be put back, and what is computed from
 * the old one cannot be taken for the new one's.
 */

import { computeType } from '../graph/dtype.js'
import type { Node } from '../graph/node.js'
import { formatShape, sameShape, sizeOf } from '../graph/shape.js'
import type { Batch, Context, Loss } from '../nn/context.js'
import { Embedding } from '../nn/embedding.js'
import { isParameter } from '../nn/parameters.js'
import { zeros } from '../tensor/create.js'
import { add, astype, equal, logicalOr, sub, where } from '../tensor/elementwise.js'
import { expandDims, reshape } from '../tensor/movement.js'
import type { Tensor } from '../tensor/tensor.js'
import { mapTree, type NamedLeaf, namedLeaves } from '../tensor/tree.js'
import { alike, applyMask, examples, type FeatureOptions, type Features, mapFeatures, perturbable } from './features.js'
import { checkRule, clipFeatures } from './steps.js'

/** Leaves of a model: the name of one, or of what holds them; a pattern; a function of name and leaf. */
export type Chosen = string | RegExp | ((name: string, leaf: Tensor) => boolean)

/** What a norm is taken over: a whole parameter, an example's looked-up vectors, or each of them by itself. */
export const scopes = ['matrix', 'example', 'token'] as const
export type Scope = (typeof scopes)[number]

export interface LeafOptions {
  /** The parameters, such as 'embedding' or /embedding/. */
  on: Chosen
  /**
   * 'matrix': the parameter as a whole, one norm for the batch. 'example' and 'token': the vectors [batch, ..., dim] that an
   * Embedding looks up, one norm for each example or each vector; padding stays as it is. Default 'matrix'.
   */
  scope?: Scope
  /**
   * A column of the batch [batch, ...] that is 0 for padding, whose vectors stay as they are; those at the paddingIndex of
   * the Embedding do anyway.
   */
  paddingMask?: string
}

/** Parameters where `on` is given, or the features of the batch, one norm for each example. */
export interface PlaceOptions extends Partial<LeafOptions>, FeatureOptions {
  /** The smallest value a feature may take. Default none. */
  clipMin?: number
  /** The largest value a feature may take. Default none. */
  clipMax?: number
}

/** What a loss is computed from. */
export interface Point<M> {
  readonly model: M
  readonly batch: Batch
}

/** Somewhere to add a perturbation, and how norms of it are taken. */
export interface Place<M> {
  /** No perturbation: [units, ...] for each name; a norm is of one unit. */
  readonly origin: Features
  /** Examples of the batch. */
  readonly examples: number
  /** Whether a norm is taken over all names together, as over an example's features, or for each by itself. */
  readonly joint: boolean
  /** With a perturbation added. */
  at(delta: Features): Point<M>
  /** A gradient, or a random perturbation, without what is masked. */
  masked(delta: Features): Features
  /** The nearest perturbation that keeps to the range of what is perturbed. */
  valid(delta: Features): Features
}

/** @throws where parameters must be chosen and are not. */
export function checkChosen(op: string, on: Chosen | undefined): void {
  if (on === undefined) throw new Error(`${op}: needs on, the parameters to perturb: a name, a pattern or a function`)
}

/**
 * The parameters that are chosen.
 *
 * @throws if there are none; the error lists the names there are.
 */
export function chosenLeaves(op: string, model: unknown, on: Chosen): NamedLeaf[] {
  const parameters = namedLeaves(model).filter(({ name, tensor }) => isParameter(tensor, name))
  const matches = ({ name, tensor }: NamedLeaf): boolean =>
    typeof on === 'string'
      ? name === on || name.startsWith(`${on}.`)
      : typeof on === 'function'
        ? on(name, tensor)
        : name.search(on) >= 0
  const found = parameters.filter(matches)
  if (found.length > 0) return found
  const sought = typeof on === 'function' ? 'the function' : `'${on}'`
  throw new Error(
    `${op}: ${sought} matches no parameter of the model; its parameters are ${parameters.map(p => p.name).join(', ') || 'none'}`,
  )
}

/** @throws where an option would be ignored: one for features beside parameters, or the other way round. */
function checkTogether(op: string, options: PlaceOptions): void {
  const { on, scope = 'matrix', paddingMask } = options
  const foreign = on === undefined ? (['scope', 'paddingMask'] as const) : featureOptions
  const ignored = foreign.find(name => options[name] !== undefined)
  if (ignored !== undefined)
    throw new Error(
      on === undefined
        ? `${op}: ${ignored} is about the vectors of an Embedding; choose it by on, or leave ${ignored} out`
        : `${op}: ${ignored} is for features of the batch, and on chooses parameters; leave out one of them`,
    )
  if (paddingMask !== undefined && scope === 'matrix')
    throw new Error(
      `${op}: paddingMask leaves out vectors that are looked up, and scope 'matrix' takes the table as a whole; use scope 'example' or 'token'`,
    )
}

const featureOptions = ['labelKeys', 'sampleWeightKey', 'features', 'featureMask', 'clipMin', 'clipMax'] as const

/**
 * Where the options say.
 *
 * @throws if options exclude each other, nothing is chosen, or what is chosen for its lookups is no table of an Embedding, or is never looked up.
 */
export function placeOf<M>(
  op: string,
  loss: Loss<M>,
  { model, batch }: Point<M>,
  ctx: Context,
  given: PlaceOptions,
): Place<M> {
  checkTogether(op, given)
  const { on, scope = 'matrix', paddingMask, ...options } = given
  if (!scopes.includes(scope)) throw new Error(`${op}: unknown scope '${scope}'; one of ${scopes.join(', ')}`)
  if (on === undefined) return features(op, model, batch, options)
  if (paddingMask !== undefined && !(paddingMask in batch))
    throw new Error(`${op}: paddingMask names '${paddingMask}', but the batch has ${Object.keys(batch).join(', ')}`)
  const chosen = chosenLeaves(op, model, on)
  const atModel = (place: ModelPlace<M>): Place<M> => ({
    ...place,
    examples: examples(op, batch),
    at: delta => ({ model: place.modelAt(delta), batch }),
    valid: delta => delta,
  })
  if (scope === 'matrix') return atModel(parameters(model, chosen))
  const mask = paddingMask === undefined ? undefined : batch[paddingMask]
  const look = (watched: M): unknown => loss(watched, batch, { training: ctx.training, key: ctx.key })
  return atModel(lookups(op, look, model, chosen, scope, mask))
}

interface ModelPlace<M> extends Pick<Place<M>, 'origin' | 'joint' | 'masked'> {
  modelAt(delta: Features): M
}

function features<M>(op: string, model: M, batch: Batch, options: PlaceOptions): Place<M> {
  checkRule(op, { norm: 'l2', stepSize: 0, ...options })
  const original = perturbable(op, batch, options)
  const moved = (delta: Features): Features =>
    mapFeatures(original, (x, name) => (name in delta ? add(x, delta[name]) : x))
  const { clipMin, clipMax } = options
  return {
    origin: mapFeatures(original, x => zeros(x.shape, computeType(x.dtype))),
    examples: examples(op, batch),
    joint: true,
    at: delta => ({ model, batch: { ...batch, ...alike(moved(delta), original) } }),
    masked: delta => mapFeatures(delta, (d, name) => applyMask(d, name, options.featureMask)),
    valid: delta =>
      clipMin === undefined && clipMax === undefined
        ? delta
        : mapFeatures(clipFeatures(moved(delta), options), (x, name) => sub(x, original[name])),
  }
}

function parameters<M>(model: M, chosen: readonly NamedLeaf[]): ModelPlace<M> {
  const origin = chosen.map(
    ({ name, tensor }) => [name, zeros([1, ...tensor.shape], computeType(tensor.dtype))] as const,
  )
  return {
    origin: Object.fromEntries(origin),
    joint: false,
    masked: delta => delta,
    modelAt: delta =>
      mapTree(model, (leaf, name) =>
        name in delta ? add(leaf, astype(reshape(delta[name], leaf.shape), leaf.dtype)) : leaf,
      ),
  }
}

function lookups<M>(
  op: string,
  look: (watched: M) => unknown,
  model: M,
  chosen: readonly NamedLeaf[],
  scope: Scope,
  mask?: Tensor,
): ModelPlace<M> {
  const paths = chosen.map(({ name }) => {
    const path = name.split('.').slice(0, -1)
    if (!(branchAt(model, path) instanceof Embedding))
      throw new Error(
        `${op}: scope '${scope}' perturbs the vectors that an Embedding looks up, and '${name}' is no table of one; use scope 'matrix'`,
      )
    return path
  })
  const withLayers = (through: (place: string, vectors: Tensor, isPadding: Tensor | undefined) => Tensor): M =>
    paths.reduce((tree, path) => {
      // What is looked up twice by the same ids is one place.
      const known = new Map<Node, string>()
      const placeOf = (ids: Tensor): string => {
        const name = known.get(ids.node) ?? `${path.join('.')}[${known.size}]`
        known.set(ids.node, name)
        return name
      }
      return replaceAt(tree, path, embedding =>
        watched(embedding as Embedding, (ids, vectors, { paddingIndex }) => {
          const padding = [
            ...(paddingIndex === undefined ? [] : [equal(ids, paddingIndex)]),
            ...(mask ? [equal(checkedMask(op, mask, ids), 0)] : []),
          ]
          return through(placeOf(ids), vectors, padding.length ? padding.reduce(logicalOr) : undefined)
        }),
      )
    }, model)
  // A pass that only looks at what is looked up: it is an expression that nobody computes.
  const found: Record<string, { readonly vectors: Tensor; readonly isPadding?: Tensor }> = {}
  look(
    withLayers((place, vectors, isPadding) => {
      found[place] = { vectors, isPadding }
      return vectors
    }),
  )
  if (Object.keys(found).length === 0)
    throw new Error(`${op}: the loss looks nothing up in ${chosen.map(c => `'${c.name}'`).join(', ')}`)
  const unitShape = ({ shape }: Tensor): number[] =>
    scope === 'example' ? [...shape] : [sizeOf(shape.slice(0, -1)), shape[shape.length - 1]]
  return {
    origin: Object.fromEntries(
      Object.entries(found).map(([place, { vectors }]) => [
        place,
        zeros(unitShape(vectors), computeType(vectors.dtype)),
      ]),
    ),
    joint: scope === 'example',
    masked: delta =>
      mapFeatures(delta, (d, place) => {
        const { vectors, isPadding } = found[place]
        if (!isPadding) return d
        return reshape(where(expandDims(isPadding, -1), 0, reshape(d, vectors.shape)), d.shape)
      }),
    modelAt: delta =>
      withLayers((place, vectors, isPadding) => {
        const moved = add(vectors, astype(reshape(delta[place], vectors.shape), vectors.dtype))
        return isPadding ? where(expandDims(isPadding, -1), vectors, moved) : moved
      }),
  }
}

/** @throws unless a mask has the shape of the ids. */
function checkedMask(op: string, mask: Tensor, ids: Tensor): Tensor {
  if (sameShape(mask.shape, ids.shape)) return mask
  throw new Error(
    `${op}: paddingMask is ${formatShape(mask.shape)}, but the ids that are looked up are ${formatShape(ids.shape)}`,
  )
}

type Lookup = (ids: Tensor, vectors: Tensor, embedding: Embedding) => Tensor

/** The same embedding, fields and all, whose vectors pass through a function. */
function watched(embedding: Embedding, through: Lookup): Embedding {
  const { apply } = embedding
  const copy: Embedding = Object.assign(Object.create(Object.getPrototypeOf(embedding)), embedding)
  // By `this`: whoever replaces the table of the copy is looked up too.
  copy.apply = function (this: Embedding, ids: Tensor): Tensor {
    return through(ids, apply.call(this, ids), this)
  }
  return copy
}

const branchAt = (tree: unknown, path: readonly string[]): unknown =>
  path.reduce<unknown>((branch, key) => (branch as Record<string, unknown>)[key], tree)

/** The tree with one branch replaced; what lies beside the path is shared. */
function replaceAt<T>(tree: T, [key, ...rest]: readonly string[], f: (branch: unknown) => unknown): T {
  if (key === undefined) return f(tree) as T
  const branch = tree as Record<string, unknown>
  const copy: Record<string, unknown> = Array.isArray(tree)
    ? ([...tree] as unknown as Record<string, unknown>)
    : Object.assign(Object.create(Object.getPrototypeOf(tree)), tree)
  copy[key] = replaceAt(branch[key], rest, f)
  return copy as T
}

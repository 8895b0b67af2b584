/**
 * What models of text share: ids are looked up, and everything behind the looked-up vectors is one differentiable function, so
 * that an attack may perturb them. Padding is masked there: it changes no result and no gradient.
 */

import { knownOptions, type Names } from '../graph/options.js'
import { formatShape, sameShape } from '../graph/shape.js'
import { type Context, evaluation, partOf } from '../nn/context.js'
import { Dropout } from '../nn/dropout.js'
import type { Embedding } from '../nn/embedding.js'
import { type Layer, type WeightOptions, weightNames, weightOptions } from '../nn/layer.js'
import { Linear } from '../nn/linear.js'
import { tensor } from '../tensor/create.js'
import { astype, div, maximum, notEqual, where } from '../tensor/elementwise.js'
import { expandDims } from '../tensor/movement.js'
import { sum } from '../tensor/reduction.js'
import type { Tensor } from '../tensor/tensor.js'

/** A model of ids [batch, time] (int32). Its results are logits, or features for a head. */
export abstract class TextModel implements Layer {
  abstract readonly embedding: Embedding
  /** The id that fills up short texts. */
  abstract readonly paddingIndex: number

  /** Ids [batch, time] -> their vectors [batch, time, dim], as `applyEmbedded` takes them. */
  embed(ids: Tensor): Tensor {
    return this.embedding.apply(ids)
  }

  /** Where ids [batch, time] are text and no padding: bool [batch, time]. */
  mask(ids: Tensor): Tensor {
    return notEqual(ids, this.paddingIndex)
  }

  /** The result from vectors [batch, time, dim] and a mask [batch, time]: bool, or numbers that are 0 for padding. */
  abstract applyEmbedded(vectors: Tensor, mask: Tensor, ctx?: Context): Tensor

  /** The result from ids [batch, time]; a mask as of `applyEmbedded` says what is text where ids alone do not. */
  apply(ids: Tensor, ctx: Context = evaluation, mask = this.mask(ids)): Tensor {
    return this.applyEmbedded(this.embed(ids), mask, ctx)
  }
}

/**
 * Vectors with zeros for padding, whatever stood there, whose gradient is exactly 0; and the mask as bool.
 *
 * @throws unless vectors are [batch, time, dim], and the mask is [batch, time].
 */
export function masked(
  model: string,
  vectors: Tensor,
  mask: Tensor,
): { readonly words: Tensor; readonly text: Tensor } {
  if (vectors.ndim !== 3 || !sameShape(mask.shape, vectors.shape.slice(0, 2)))
    throw new Error(
      `${model}: needs vectors [batch, time, dim] and a mask [batch, time], got ` +
        `${formatShape(vectors.shape)} and ${formatShape(mask.shape)}`,
    )
  const text = astype(mask, 'bool')
  return { words: where(expandDims(text, -1), vectors, 0), text }
}

/** The mean over time where a bool mask says text: [batch, time, dim] -> [batch, dim]. A text without any gives zeros. */
export function meanOverText(x: Tensor, text: Tensor): Tensor {
  const total = sum(where(expandDims(text, -1), x, 0), { axis: 1 })
  return div(total, maximum(astype(sum(astype(text, 'int32'), { axis: 1, keepdims: true }), x.dtype), 1))
}

const padNames = { padding: true, limit: true } as const

/**
 * Lists of ids as one tensor [batch, time], int32: cut at `limit`, and filled up with the id of padding.
 *
 * @throws if the limit is no integer of at least 1: a text has one word or more, if only of padding.
 * @example padIds(texts.map(text => tokenizer.encode(text)), { padding: model.paddingIndex, limit: 128 })
 */
export function padIds(
  rows: readonly (readonly number[])[],
  options: { readonly padding?: number; readonly limit?: number } = {},
): Tensor {
  const { padding = 0, limit = Number.POSITIVE_INFINITY } = knownOptions('padIds', options, padNames)
  if (!(limit >= 1 && (Number.isInteger(limit) || limit === Number.POSITIVE_INFINITY)))
    throw new Error(`padIds: limit must be an integer >= 1, not ${limit}; leave it out for no limit`)
  const time = Math.max(1, ...rows.map(row => Math.min(row.length, limit)))
  const ids = Int32Array.from(rows.flatMap(row => Array.from({ length: time }, (_, i) => row[i] ?? padding)))
  return tensor(ids, { shape: [rows.length, time] })
}

export interface TextClassifierOptions extends WeightOptions {
  /** The features of the encoder. */
  readonly width: number
  readonly classes: number
  /** The rate at which features are dropped in training; 0 by default. */
  readonly dropout?: number
}
const classifierNames: Names<TextClassifierOptions> = { ...weightNames, width: true, classes: true, dropout: true }

/**
 * A linear head on an encoder: ids [batch, time] -> logits [batch, classes]. Both are trained, which is fine-tuning.
 *
 * @example new TextClassifier(bert, { width: 768, classes: 15, dropout: 0.1, key })
 */
export class TextClassifier<E extends TextModel> extends TextModel {
  readonly encoder: E
  readonly dropout: Dropout
  readonly head: Linear

  constructor(encoder: E, options: TextClassifierOptions) {
    super()
    const { width, classes, dropout = 0, ...weights } = weightOptions('TextClassifier', options, classifierNames)
    this.encoder = encoder
    this.dropout = new Dropout(dropout)
    this.head = new Linear(width, classes, weights)
  }

  get embedding(): Embedding {
    return this.encoder.embedding
  }

  get paddingIndex(): number {
    return this.encoder.paddingIndex
  }

  applyEmbedded(vectors: Tensor, mask: Tensor, ctx: Context = evaluation): Tensor {
    const features = this.encoder.applyEmbedded(vectors, mask, partOf(ctx, 0))
    return this.head.apply(this.dropout.apply(features, partOf(ctx, 1)))
  }
}

/** Pretrained BERT, from a folder in the Hugging Face format: config.json, model.safetensors and vocab.txt. Node only. */

import { filesFor } from '../data/files.js'
import { readSafetensors } from '../data/safetensors.js'
import type { HostArray } from '../graph/dtype.js'
import type { Names } from '../graph/options.js'
import { weightOptions } from '../nn/layer.js'
import { key as randomKey } from '../tensor/random.js'
import type { Tensor } from '../tensor/tensor.js'
import { Bert, type BertOptions } from './bert.js'
import { TextClassifier } from './text.js'
import { type Activation, activations } from './transformer.js'
import { fromOutIn, type Layout, loadWeights, type WeightMap } from './weights.js'

/** A module's weight and bias by the names that checkpoints have. */
const module = (leaf: string, stored: string, layout?: Layout): WeightMap => [
  [new RegExp(`^${leaf}\\.weight$`), `${stored}.weight`, layout],
  [new RegExp(`^${leaf}\\.bias$`), `${stored}.bias`],
]
const dense = (leaf: string, stored: string): WeightMap => module(leaf, stored, fromOutIn)
const inLayer = 'encoder\\.layers\\.(\\d+)\\.'
const layer = 'encoder.layer.$1'

/** The names of BERT in checkpoints, without the `bert.` that some put before them. */
export const bertNames: WeightMap = [
  [/^embedding\.weight$/, 'embeddings.word_embeddings.weight'],
  [/^position\.weight$/, 'embeddings.position_embeddings.weight'],
  [/^tokenType\.weight$/, 'embeddings.token_type_embeddings.weight'],
  ...module('norm', 'embeddings.LayerNorm'),
  ...dense(`${inLayer}attention\\.query`, `${layer}.attention.self.query`),
  ...dense(`${inLayer}attention\\.key`, `${layer}.attention.self.key`),
  ...dense(`${inLayer}attention\\.value`, `${layer}.attention.self.value`),
  ...dense(`${inLayer}attention\\.output`, `${layer}.attention.output.dense`),
  ...module(`${inLayer}attentionNorm`, `${layer}.attention.output.LayerNorm`),
  ...dense(`${inLayer}feedForward\\.up`, `${layer}.intermediate.dense`),
  ...dense(`${inLayer}feedForward\\.down`, `${layer}.output.dense`),
  ...module(`${inLayer}feedForwardNorm`, `${layer}.output.LayerNorm`),
  ...dense('pooler', 'pooler.dense'),
]

/** What checkpoints hold beside the encoder: heads of what they were trained for, and the numbers of the positions. */
const beside = /^(cls|classifier|qa_outputs)\.|position_ids$/

/** A name as in checkpoints of today: old ones call scale and shift gamma and beta. */
const nowadays = (name: string): string =>
  name
    .replace(/^bert\./, '')
    .replace(/LayerNorm\.gamma$/, 'LayerNorm.weight')
    .replace(/LayerNorm\.beta$/, 'LayerNorm.bias')

const isActivation = (name: unknown): name is Activation => typeof name === 'string' && Object.hasOwn(activations, name)

/**
 * The sizes of a model from the values of a config.json.
 *
 * @throws Error naming the field that is missing or of no use.
 */
export function bertOptions(config: Readonly<Record<string, unknown>>): Omit<BertOptions, 'key'> {
  const number = (field: string, otherwise?: number): number => {
    const value = config[field] ?? otherwise
    if (typeof value !== 'number') throw new Error(`bertOptions: '${field}' must be a number, not ${String(value)}`)
    return value
  }
  const activation = config.hidden_act ?? 'gelu'
  if (!isActivation(activation))
    throw new Error(
      `bertOptions: 'hidden_act' is ${String(activation)}: known are ${Object.keys(activations).join(', ')}`,
    )
  if ((config.position_embedding_type ?? 'absolute') !== 'absolute')
    throw new Error(`bertOptions: 'position_embedding_type' is ${String(config.position_embedding_type)}, not absolute`)
  return {
    vocabulary: number('vocab_size'),
    dim: number('hidden_size'),
    layers: number('num_hidden_layers'),
    heads: number('num_attention_heads'),
    hidden: number('intermediate_size'),
    positions: number('max_position_embeddings'),
    tokenTypes: number('type_vocab_size', 2),
    paddingIndex: number('pad_token_id', 0),
    dropout: number('hidden_dropout_prob', 0.1),
    epsilon: number('layer_norm_eps', 1e-12),
    activation,
  }
}

interface Checkpoint {
  readonly options: Omit<BertOptions, 'key'>
  readonly tensors: Readonly<Record<string, HostArray>>
  readonly vocabulary: readonly string[]
}

async function readCheckpoint(op: string, folder: string): Promise<Checkpoint> {
  const instead = 'fetch the files, and use decodeSafetensors, bertOptions and loadWeights with bertNames'
  const { join, read } = filesFor(op, instead)
  const text = async (file: string): Promise<string> => (await read(join(folder, file))).toString()
  const options = bertOptions(JSON.parse(await text('config.json')))
  const vocabulary = (await text('vocab.txt')).trimEnd().split(/\r?\n/)
  const { tensors } = await readSafetensors(join(folder, 'model.safetensors'))
  return {
    options,
    vocabulary,
    tensors: Object.fromEntries(Object.entries(tensors).map(([name, array]) => [nowadays(name), array])),
  }
}

export interface Pretrained<M> {
  readonly model: M
  /** The pieces of words, a piece's id its place. */
  readonly vocabulary: readonly string[]
}

/**
 * The encoder of a checkpoint and its vocabulary; heads that the checkpoint has are left out.
 *
 * @param folder holds config.json, model.safetensors and vocab.txt.
 * @throws Error naming the file that cannot be read, the field of the configuration, or the weights that do not fit.
 */
export async function loadBert(folder: string): Promise<Pretrained<Bert>> {
  const { options, tensors, vocabulary } = await readCheckpoint('loadBert', folder)
  const model = new Bert({ ...options, key: randomKey(0) })
  return { model: await loadWeights(model, tensors, bertNames, { ignore: beside }), vocabulary }
}

export interface BertClassifierOptions {
  readonly classes: number
  /** The random key of a new head. */
  readonly key: Tensor
}
const classifierNames: Names<BertClassifierOptions> = { classes: true, key: true }

/**
 * The classifier of a checkpoint; one that has none gets a new head.
 *
 * @throws what `loadBert` throws, and if the checkpoint's head is for another number of classes.
 */
export async function loadBertClassifier(
  folder: string,
  given: BertClassifierOptions,
): Promise<Pretrained<TextClassifier<Bert>>> {
  const { classes, key } = weightOptions('loadBertClassifier', given, classifierNames)
  const { options, tensors, vocabulary } = await readCheckpoint('loadBertClassifier', folder)
  const { dim: width, dropout } = options
  const encoder = new Bert({ ...options, key: randomKey(0) })
  await loadWeights(encoder, tensors, bertNames, { ignore: beside })
  const model = new TextClassifier(encoder, { width, classes, dropout, key })
  const head = Object.fromEntries(Object.entries(tensors).filter(([name]) => name.startsWith('classifier.')))
  await loadWeights(
    model.head,
    head,
    [
      [/^weight$/, 'classifier.weight', fromOutIn],
      [/^bias$/, 'classifier.bias'],
    ],
    { keep: /./ },
  )
  return { model, vocabulary }
}

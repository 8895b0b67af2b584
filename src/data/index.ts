/** saddlepoint/data: data sets in memory, and the files they come from. */

export { type BatchOptions, batches, type Columns, type Dataset, dataset } from './dataset.js'
export { type IdxArray, type IdxData, type IdxType, parseIdx, readIdx } from './idx.js'
export { firstImages, type ImageSet, type Mnist, mnist } from './mnist.js'
export {
  decodeSafetensors,
  encodeSafetensors,
  readSafetensors,
  type Safetensors,
  writeSafetensors,
} from './safetensors.js'
export { decodeTfjsWeights, readTfjsWeights, type TfjsWeight } from './tfjs.js'
export { type Piece, type UnigramOptions, UnigramTokenizer } from './unigram.js'

/** saddlepoint/data: data sets in memory, and the files they come from. */

export {
  type Cifar100Set,
  cifar10,
  cifar10Classes,
  cifar100,
  parseCifar10,
  parseCifar100,
  readCifar10,
  readCifar100,
} from './cifar.js'
export { parseClue, readClue, tnewsClasses } from './clue.js'
export { type BatchOptions, batches, type Columns, type Dataset, dataset, type Splits } from './dataset.js'
export { type IdxArray, type IdxData, type IdxType, parseIdx, readIdx } from './idx.js'
export { type ImageFolder, type ImageFolderOptions, imageFolder } from './image-folder.js'
export { firstImages, type ImageSet, imageDataset } from './images.js'
export { imdb } from './imdb.js'
export { type JsonLinesOptions, parseJsonLines, readJsonLines } from './json-lines.js'
export { type Mnist, mnist } from './mnist.js'
export {
  decodeSafetensors,
  encodeSafetensors,
  readSafetensors,
  type Safetensors,
  writeSafetensors,
} from './safetensors.js'
export { parseStl10, stl10, stl10Classes } from './stl.js'
export { parseTable, readTable, type TableOptions } from './table.js'
export { tensorsOf } from './tensors.js'
export type { TextOptions, TextSet } from './text.js'
export { decodeTfjsWeights, readTfjsWeights, type TfjsWeight } from './tfjs.js'
export {
  type Padded,
  type PaddedPairs,
  type PairTokenizer,
  padded,
  paddedPairs,
  type Tokenizer,
} from './tokenizer.js'
export { parseTrec, readTrec, type TrecOptions, trecClasses } from './trec.js'
export { type ScoredPiece, type UnigramOptions, unigram } from './unigram.js'
export {
  characters,
  type Lookup,
  parseVocabulary,
  readVocabulary,
  type VocabularyOptions,
  words,
} from './vocabulary.js'
export { parseWordNet, wordNet, wordNetClasses } from './wordnet.js'
export { type WordPieceOptions, wordPiece } from './wordpiece.js'

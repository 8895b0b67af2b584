/** saddlepoint/models: models by name, of text and of images, and their pretrained weights. */

import '../tensor/methods.js'

export { Bert, type BertInputs, type BertOptions } from './bert.js'
export { EmbeddingBag, type EmbeddingBagOptions } from './embedding-bag.js'
export {
  type BertClassifierOptions,
  bertNames,
  bertOptions,
  loadBert,
  loadBertClassifier,
  type Pretrained,
} from './load-bert.js'
export {
  loadSentenceEncoder,
  type PretrainedSentenceEncoder,
  sentenceEncoderNames,
  sentenceLimit,
} from './load-sentence-encoder.js'
export { ResNet20, type ResNet20Options, resNet20Names } from './resnet.js'
export { SentenceEncoder, type SentenceEncoderOptions } from './sentence-encoder.js'
export { padIds, TextClassifier, type TextClassifierOptions, TextModel } from './text.js'
export { TextCNN, type TextCNNOptions } from './text-cnn.js'
export {
  type Activation,
  FeedForward,
  TransformerEncoder,
  TransformerLayer,
  type TransformerOptions,
} from './transformer.js'
export { kerasNames, torchvisionNames, Vgg16, type Vgg16Options } from './vgg.js'
export {
  fromFlattened,
  fromOihw,
  fromOutIn,
  type Layout,
  type LoadWeightsOptions,
  loadWeights,
  type WeightMap,
} from './weights.js'

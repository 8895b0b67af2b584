/** Where a training run stands, apart from its tensors: what a checkpoint says in text so that resumption is exact. */

import type { EpochRecord } from './history.js'

/** What must not change within an epoch: it fixes which examples each step sees. */
export interface Order {
  readonly rows: number
  readonly batchSize: number
  readonly shuffle: boolean
  readonly dropLast: boolean
}

/** An epoch under way. */
export interface Running {
  readonly order: Order
  steps: number
  /** Examples seen. */
  seen: number
  /** Of those, the examples in `sums`; the others are still summed on the device. */
  read: number
  /** The loss and the metrics, summed over examples. */
  sums: number[]
  /** Time spent in steps. */
  seconds: number
}

export interface Run {
  readonly seed: number
  /** 'loss' and the names of the metrics. */
  readonly names: readonly string[]
  /** Steps made since the beginning. */
  readonly steps: number
  readonly epochs: readonly EpochRecord[]
  readonly running?: Running
}

/** The number of steps in an epoch. */
export const stepsOf = ({ rows, batchSize, dropLast }: Order): number =>
  dropLast ? Math.floor(rows / batchSize) : Math.ceil(rows / batchSize)

/** The seed of an epoch's order: spread, so that the epochs of neighbouring seeds differ. */
export const orderSeed = (seed: number, epoch: number): number => (seed % 2 ** 32) + (epoch + 1) * 0x9e3779b1

const version = 'saddlepoint-trainer-1'

/** JSON has no NaN and no infinities, which a metric may be: they become strings. */
export const printRun = (run: Run): string =>
  JSON.stringify({ version, ...run }, (_, x) => (typeof x === 'number' && !Number.isFinite(x) ? String(x) : x))
const notFinite = new Set<unknown>(['NaN', 'Infinity', '-Infinity'])

/** @throws if the text is not from `printRun`, or its metrics are not those expected. */
export function parseRun(path: string, text: string | undefined, names: readonly string[]): Run {
  const run: unknown = text?.startsWith(`{"version":"${version}"`)
    ? JSON.parse(text, (_, x) => (notFinite.has(x) ? Number(x) : x))
    : undefined
  if (!isRun(run)) throw new Error(`load: ${path} was not written by the save of a Trainer (${version})`)
  if (run.names.join() !== names.join())
    throw new Error(`load: ${path} has the metrics ${run.names.join(', ')}, this trainer ${names.join(', ')}`)
  return run
}

const isRun = (x: unknown): x is Run =>
  typeof x === 'object' &&
  x !== null &&
  'names' in x &&
  Array.isArray(x.names) &&
  'epochs' in x &&
  Array.isArray(x.epochs)

/** Where a training run stands, apart from its tensors: what a checkpoint says in text so that resumption is exact. */

import type { EpochRecord, Means } from './history.js'

/** What must not change within an epoch: it fixes which examples each step sees. */
export interface Order {
  readonly rows: number
  readonly batchSize: number
  readonly shuffle: boolean
  readonly dropLast: boolean
  /** Steps with each batch, where there is more than one. */
  readonly replays?: number
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
  /** What is trained and how, in words. */
  readonly about?: string
  /** 'loss' and the names of the metrics. */
  readonly names: readonly string[]
  /** Steps made since the beginning. */
  readonly steps: number
  readonly epochs: readonly EpochRecord[]
  readonly running?: Running
}

/** The number of steps in an epoch. */
export const stepsOf = ({ rows, batchSize, dropLast, replays = 1 }: Order): number =>
  replays * (dropLast ? Math.floor(rows / batchSize) : Math.ceil(rows / batchSize))

/** The seed of an epoch's order: spread, so that the epochs of neighbouring seeds differ. */
export const orderSeed = (seed: number, epoch: number): number => (seed % 2 ** 32) + (epoch + 1) * 0x9e3779b1

const version = 'saddlepoint-trainer-1'

/** JSON has no NaN and no infinities, which a metric may be: they become strings. */
export const printRun = (run: Run): string =>
  JSON.stringify({ version, ...run }, (_, x) => (typeof x === 'number' && !Number.isFinite(x) ? String(x) : x))
const notFinite = new Set<unknown>(['NaN', 'Infinity', '-Infinity'])

/** @throws if the text is not from `printRun`, or its metrics or what it is about are not those expected. */
export function parseRun(path: string, text: string | undefined, names: readonly string[], about?: string): Run {
  const run = text?.startsWith(`{"version":"${version}"`) ? parsed(text) : undefined
  if (!isRun(run)) throw new Error(`load: ${path} was not written by the save of a Trainer (${version})`)
  if (run.names.join() !== names.join())
    throw new Error(`load: ${path} has the metrics ${run.names.join(', ')}, this trainer ${names.join(', ')}`)
  if (run.about !== about)
    throw new Error(
      `load: ${path} is about ${run.about ?? 'something without words'}; this trainer about ${about ?? 'the like'}`,
    )
  return run
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text, (_, x) => (notFinite.has(x) ? Number(x) : x))
  } catch {
    return undefined
  }
}

const isRecord = (x: unknown): x is Record<string, unknown> => typeof x === 'object' && x !== null
const isNumber = (x: unknown): x is number => typeof x === 'number'
const isCount = (x: unknown): x is number => Number.isSafeInteger(x) && Number(x) >= 0
const isList = <T>(x: unknown, of: (item: unknown) => item is T): x is T[] => Array.isArray(x) && x.every(of)
const isMeans = (x: unknown): x is Means => isRecord(x) && 'loss' in x && Object.values(x).every(isNumber)
const isText = (x: unknown): x is string => typeof x === 'string'

const isEpoch = (x: unknown): x is EpochRecord =>
  isRecord(x) &&
  isCount(x.epoch) &&
  isNumber(x.seconds) &&
  isMeans(x.train) &&
  (x.validation === undefined || isMeans(x.validation))

const isOrder = (x: unknown): x is Order =>
  isRecord(x) &&
  isCount(x.rows) &&
  isCount(x.batchSize) &&
  typeof x.shuffle === 'boolean' &&
  typeof x.dropLast === 'boolean' &&
  (x.replays === undefined || isCount(x.replays))

const isRunning = (x: unknown): x is Running =>
  isRecord(x) &&
  isOrder(x.order) &&
  [x.steps, x.seen, x.read].every(isCount) &&
  isList(x.sums, isNumber) &&
  isNumber(x.seconds)

const isRun = (x: unknown): x is Run =>
  isRecord(x) &&
  isCount(x.seed) &&
  (x.about === undefined || isText(x.about)) &&
  isList(x.names, isText) &&
  isCount(x.steps) &&
  isList(x.epochs, isEpoch) &&
  (x.running === undefined || isRunning(x.running))

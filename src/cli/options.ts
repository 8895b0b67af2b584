/** Options that several commands have, and what their values must be. */

import { type Command, InvalidArgumentError, Option } from 'commander'
import { type DeviceName, deviceNames } from '../runtime/device.js'

/** A parser of numbers: what they must be, and whether one is. */
export const number =
  (what: string, ok: (value: number) => boolean) =>
  (text: string): number => {
    const value = text.trim() === '' ? Number.NaN : Number(text)
    if (!ok(value)) throw new InvalidArgumentError(`It must be ${what}.`)
    return value
  }
export const count = number('an integer >= 1', n => Number.isSafeInteger(n) && n >= 1)
export const amount = number('a number >= 0', n => n >= 0 && n < Number.POSITIVE_INFINITY)
const natural = number('an integer from 0 to 4294967295', n => Number.isInteger(n) && n >= 0 && n < 2 ** 32)
const upTo64 = number('an integer from 1 to 64', n => Number.isInteger(n) && n >= 1 && n <= 64)

/** For an option that may be repeated. */
export const many = (text: string, given: readonly string[]): string[] => [...given, text]

/** An option that may be repeated, whose values `parse` gathers; help says in words what happens without it. */
export const repeated = <T>(
  flags: string,
  description: string,
  parse: (text: string, given: readonly T[]) => T[],
  byDefault: string,
): Option => new Option(flags, description).argParser(parse).default([], byDefault)

/** What computes. */
export interface DeviceSettings {
  readonly device: DeviceName
  readonly threads?: number
}

/** `--seed`, said to be of this and that. */
export const seedOption = (of: string): Option => new Option('--seed <n>', of).argParser(natural).default(0)

export const jsonOption = (): Option => new Option('--json', 'print JSON instead, for programs to read')

export function addDeviceOptions(command: Command): Command {
  const threads = new Option('--threads <n>', 'threads that compute, 1 to 64 (default: one per core)')
  return command
    .addOption(
      new Option('--device <name>', 'what computes').choices(deviceNames).env('SADDLEPOINT_DEVICE').default('wasm'),
    )
    .addOption(threads.env('SADDLEPOINT_THREADS').argParser(upTo64))
}

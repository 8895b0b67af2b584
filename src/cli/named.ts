/** Training methods and attacks by name, with options, as a command line gives them: `trades:beta=3,steps=5`. */

import { InvalidArgumentError } from 'commander'
import * as adversarial from '../adversarial/index.js'
import type { Loss } from '../nn/context.js'
import type { Task, Threat } from './task.js'

type Value = string | number | boolean | RegExp | readonly (string | number)[]
export type Options = Readonly<Record<string, Value>>

/** A name and the options behind it. */
export interface Named {
  /** As it was given. */
  readonly text: string
  readonly name: string
  readonly options: Options
}

/** A parser for commander of an option that names one of these and may be repeated. */
export const named =
  (names: readonly string[]) =>
  (text: string, given: readonly Named[]): Named[] => {
    const one = parseNamed(text)
    if (!names.includes(one.name))
      throw new InvalidArgumentError(`There is no '${one.name}'; one of ${names.join(', ')}.`)
    return [...given, one]
  }

/**
 * Reads `name:option=value,option=value`. A value is a number, true, false, a /pattern/, a text, or several as in `a+b`.
 * @throws where an option has no value, or none that can be written
 */
export function parseNamed(text: string): Named {
  const [name, ...rest] = text.split(':')
  return { text, name, options: parseOptions(rest.join(':')) }
}

/** Reads `option=value,option=value`, as a parser for commander. */
export const parseOptions = (text: string): Options =>
  Object.fromEntries(text.split(',').filter(Boolean).map(parseOption))

/** Options that are functions, tensors or the command's own concern. */
const unwritable = new Set([
  ...['key', 'context', 'broken', 'fallback', 'featureMask', 'logits', 'losses', 'signal', 'onBatch', 'onAttack'],
  ...['onProgress', 'batchSize', 'label', 'labelKeys', 'sampleWeightKey', 'targeted'],
])
/** Options that are lists even where there is one value. */
const lists = new Set(['features', 'attacks'])

function parseOption(part: string): [string, Value] {
  const [, name, value] = /^([^=]+)=(.+)$/.exec(part) ?? []
  if (name === undefined) throw new InvalidArgumentError(`Expected option=value, found '${part}'.`)
  if (unwritable.has(name)) throw new InvalidArgumentError(`The option '${name}' cannot be given on a command line.`)
  const pattern = /^\/(.+)\/$/.exec(value)
  if (pattern) return [name, new RegExp(pattern[1])]
  if (value === 'true' || value === 'false') return [name, value === 'true']
  const one = (text: string): string | number => (Number.isNaN(Number(text)) ? text : Number(text))
  const isList = lists.has(name) || (value.includes('+') && Number.isNaN(Number(value)))
  return [name, isList ? value.split('+').map(one) : one(value)]
}

/** What a task says of its attacker, and what of it a method takes. */
const range = ['clipMin', 'clipMax', 'features', 'on', 'scope'] as const
const ball = ['epsilon', 'norm', ...range] as const

interface Kind {
  readonly make: (options: never) => (loss: Loss<unknown>) => Loss<unknown>
  readonly threat?: readonly (keyof Threat)[]
  /** The task's function of that name. */
  readonly gets?: 'logits' | 'losses'
}

const methods: Readonly<Record<string, Kind>> = {
  fgm: { make: adversarial.fgm, threat: ['on'] },
  pgd: { make: adversarial.pgd, threat: ['on'] },
  freeLB: { make: adversarial.freeLB, threat: ['on'] },
  gradientPenalty: { make: adversarial.gradientPenalty, threat: ['on'] },
  adversarialRegularization: { make: adversarial.adversarialRegularization, threat: ['features'] },
  adversarialTraining: { make: adversarial.adversarialTraining, threat: ball },
  fastTraining: { make: adversarial.fastTraining, threat: ball },
  freeTraining: { make: adversarial.freeTraining, threat: ['epsilon', 'norm', 'clipMin', 'clipMax', 'features'] },
  trades: { make: adversarial.trades, threat: ball, gets: 'logits' },
  mart: { make: adversarial.mart, threat: ball, gets: 'logits' },
  smart: { make: adversarial.smart, threat: ball, gets: 'logits' },
  proximal: { make: adversarial.proximal, gets: 'logits' },
  vat: { make: adversarial.vat, threat: ['epsilon', ...range], gets: 'logits' },
  rDrop: { make: adversarial.rDrop, gets: 'logits' },
  sam: { make: adversarial.sam },
  awp: { make: adversarial.awp },
  inputGradientPenalty: { make: adversarial.inputGradientPenalty, threat: ['features'] },
  jacobianPenalty: { make: adversarial.jacobianPenalty, threat: ['features'], gets: 'logits' },
  curvaturePenalty: { make: adversarial.curvaturePenalty, threat: ['features'] },
  localLinearity: { make: adversarial.localLinearity, threat: ['epsilon', ...range], gets: 'losses' },
  gradientAlignment: { make: adversarial.gradientAlignment, threat: ['epsilon', ...range] },
}

export const methodNames = Object.keys(methods)

/**
 * A method of saddlepoint/adversarial by name: what its options leave open of the attacker is the task's.
 * @throws if it does not like its options
 */
export function methodOf({ name, options }: Named, task: Task): (loss: Loss<unknown>) => Loss<unknown> {
  const { make, threat = [], gets } = methods[name]
  if (gets && !task[gets]) throw new Error(`${name}: needs ${gets}, which ${task.name} with a loss of its own lacks`)
  return make({ ...assumed(task, threat, options), ...(gets && { [gets]: task[gets] }), ...options } as never)
}

/** Of the task's attacker what a method takes; the radius alone, if it perturbs features and the options say otherwise. */
export function assumed({ threat }: Task, names: readonly (keyof Threat)[], options: Options): Partial<Threat> {
  const open = 'on' in options && !threat.on ? names.filter(name => name === 'epsilon') : names
  return Object.fromEntries(open.filter(name => threat[name] !== undefined).map(name => [name, threat[name]]))
}

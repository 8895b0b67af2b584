/** Training methods and attacks by name, with options, as a command line gives them: `trades:beta=3,steps=5`. */

import * as adversarial from '../adversarial/index.js'
import type { Loss } from '../nn/context.js'
import type { Task, Threat } from './task.js'

type Value = string | number | boolean | RegExp
export type Options = Readonly<Record<string, Value>>

/** A name and the options behind it. */
export interface Named {
  readonly name: string
  readonly options: Options
}

/**
 * Reads `name:option=value,option=value`. A value is a number, true, false, a /pattern/ or a text.
 * @throws where an option has no value
 */
export function parseNamed(text: string): Named {
  const [name, ...rest] = text.split(':')
  return { name, options: parseOptions(rest.join(':')) }
}

/** Reads `option=value,option=value`. */
export const parseOptions = (text: string): Options =>
  Object.fromEntries(text.split(',').filter(Boolean).map(parseOption))

function parseOption(part: string): [string, Value] {
  const [, name, value] = /^([^=]+)=(.+)$/.exec(part) ?? []
  if (name === undefined) throw new Error(`expected option=value, found '${part}'`)
  const pattern = /^\/(.+)\/$/.exec(value)
  if (pattern) return [name, new RegExp(pattern[1])]
  if (value === 'true' || value === 'false') return [name, value === 'true']
  return [name, Number.isNaN(Number(value)) ? value : Number(value)]
}

/** What a task says of its attacker, and what of it a method takes. */
const range = ['clipMin', 'clipMax', 'on', 'scope'] as const
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
  adversarialRegularization: { make: adversarial.adversarialRegularization },
  adversarialTraining: { make: adversarial.adversarialTraining, threat: ball },
  fastTraining: { make: adversarial.fastTraining, threat: ball },
  freeTraining: { make: adversarial.freeTraining, threat: ['epsilon', 'norm', 'clipMin', 'clipMax'] },
  trades: { make: adversarial.trades, threat: ball, gets: 'logits' },
  mart: { make: adversarial.mart, threat: ball, gets: 'logits' },
  smart: { make: adversarial.smart, threat: ball, gets: 'logits' },
  proximal: { make: adversarial.proximal, gets: 'logits' },
  vat: { make: adversarial.vat, threat: ['epsilon', ...range], gets: 'logits' },
  rDrop: { make: adversarial.rDrop, gets: 'logits' },
  sam: { make: adversarial.sam },
  awp: { make: adversarial.awp },
  inputGradientPenalty: { make: adversarial.inputGradientPenalty },
  jacobianPenalty: { make: adversarial.jacobianPenalty, gets: 'logits' },
  curvaturePenalty: { make: adversarial.curvaturePenalty },
  localLinearity: { make: adversarial.localLinearity, threat: ['epsilon', ...range], gets: 'losses' },
  gradientAlignment: { make: adversarial.gradientAlignment, threat: ['epsilon', ...range] },
}

export const methodNames = Object.keys(methods)

/**
 * A method of saddlepoint/adversarial by name: what its options leave open of the attacker is the task's.
 * @throws if there is no such method, or it does not like its options
 */
export function methodOf({ name, options }: Named, task: Task): (loss: Loss<unknown>) => Loss<unknown> {
  if (!Object.hasOwn(methods, name)) throw new Error(`there is no method '${name}'; one of ${methodNames.join(', ')}`)
  const { make, threat = [], gets } = methods[name]
  if (gets && !task[gets]) throw new Error(`${name}: needs ${gets}, which ${task.name} with a loss of its own lacks`)
  return make({ ...assumed(task, threat, options), ...(gets && { [gets]: task[gets] }), ...options } as never)
}

/** Of the task's attacker what a method takes; the radius alone, if it perturbs features and the options say otherwise. */
export function assumed({ threat }: Task, names: readonly (keyof Threat)[], options: Options): Partial<Threat> {
  const open = 'on' in options && !threat.on ? names.filter(name => name === 'epsilon') : names
  return Object.fromEntries(open.filter(name => threat[name] !== undefined).map(name => [name, threat[name]]))
}

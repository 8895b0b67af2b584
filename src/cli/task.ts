/** What the commands train and attack: a model, its data and its attacker, built in under a name or exported by an ES module. */

import { existsSync, realpathSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { Argument } from 'commander'
import type { Logits } from '../adversarial/logits.js'
import type { Scope } from '../adversarial/places.js'
import type { Norm } from '../adversarial/steps.js'
import type { Dataset } from '../data/dataset.js'
import { tensorsOf } from '../data/tensors.js'
import { type Context, evaluation, type Loss } from '../nn/context.js'
import { crossEntropy } from '../nn/losses.js'
import * as random from '../tensor/random.js'
import { Tensor } from '../tensor/tensor.js'
import { leaves } from '../tensor/tree.js'
import { loadTree } from '../train/checkpoint.js'

/** What an attacker may do where the command line does not say. */
export interface Threat {
  /** 0.1 by default. */
  readonly epsilon?: number
  readonly norm?: Norm
  readonly clipMin?: number
  readonly clipMax?: number
  /** The columns that are perturbed; without it, all that are float. */
  readonly features?: readonly string[]
  /** The embedding whose vectors are perturbed; without it, the features of the batch are. */
  readonly on?: string
  readonly scope?: Scope
}

/** What a module exports as its default, or what its default, a function, returns. */
export interface TaskModule<M> {
  /** The model, its first weights drawn from the key. */
  readonly model: (key: Tensor) => M | Promise<M>
  /** The logits [n, classes] of a batch. */
  readonly logits: Logits<M>
  /** The mean loss of a batch. Default: the cross-entropy of the logits at the column `label`. */
  readonly loss?: Loss<M>
  readonly train: Dataset
  readonly test: Dataset
  readonly threat?: Threat
}

export interface Task<M = unknown> extends Required<TaskModule<M>> {
  readonly name: string
  readonly threat: Threat & { readonly epsilon: number }
  /** The losses of the examples [n], where the loss is the default one. */
  readonly losses?: Loss<M>
}

const builtIn: Readonly<Record<string, () => Promise<{ default: unknown }>>> = {
  mnist: () => import('./tasks/mnist.js'),
  wordnet: () => import('./tasks/wordnet.js'),
}

export const taskNames = Object.keys(builtIn).join(', ')

/** The argument of commands that need a task. */
export const taskArgument = new Argument('[task]', `${taskNames}, or an ES module that exports a task`).default('mnist')

/** @throws if there is no such task or module, or the module exports something else. */
export async function taskOf(name: string): Promise<Task> {
  const { default: exported } = await moduleOf(name)
  const given: unknown = typeof exported === 'function' ? await exported() : exported
  return checked(name, given as Partial<TaskModule<unknown>>)
}

/** What a file exports, or a task of that name. */
export async function moduleOf(name: string): Promise<Record<string, unknown>> {
  if (Object.hasOwn(builtIn, name)) return builtIn[name]()
  const path = resolve(name)
  if (!existsSync(path)) throw new Error(`there is no file ${path}, nor a task of that name; tasks are ${taskNames}`)
  if (!statSync(path).isFile()) throw new Error(`${path} is no file; a task is an ES module`)
  checkCopy(path)
  try {
    return await import(pathToFileURL(path).href)
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    const hint = why.includes("package 'saddlepoint'") ? '; npm install saddlepoint beside it' : ''
    throw new Error(`${name}: ${why}${hint}`, { cause })
  }
}

/** @throws if a module would load another copy of this package, whose tensors are not this one's, or none. */
function checkCopy(path: string): void {
  const own = realpathSync(new URL('../index.js', import.meta.url))
  let found: string
  try {
    found = realpathSync(createRequire(path).resolve('saddlepoint'))
  } catch {
    // It may import by path, and then says itself what it misses.
    return
  }
  if (found !== own)
    throw new Error(
      `${path} loads another copy of saddlepoint (${found}) than this command (${own}): run the command of that copy`,
    )
}

/** Whether a module's default is a task rather than an expression. */
export const isTask = (given: unknown): given is TaskModule<unknown> =>
  typeof given === 'object' && given !== null && typeof (given as { model?: unknown }).model === 'function'

export function checked(name: string, given: Partial<TaskModule<unknown>> | undefined): Task {
  const isSet = (data: Dataset | undefined): boolean =>
    typeof data?.rows === 'function' && data.size > 0 && data.columns.label?.dtype === 'int32'
  const { threat } = given ?? {}
  const needs: readonly (readonly [string, boolean, string])[] = [
    ['model', typeof given?.model === 'function', 'a function of a random key that gives a tree of tensors'],
    ['logits', typeof given?.logits === 'function', 'a function (model, batch, ctx) => [n, classes]'],
    ['train', isSet(given?.train), 'a dataset({ ... }) with rows and a column label of int32'],
    ['test', isSet(given?.test), 'a dataset({ ... }) with rows and a column label of int32'],
    [
      'threat',
      threat === undefined || (typeof threat === 'object' && threat !== null),
      'an object such as { epsilon: 0.1 }',
    ],
  ]
  const missing = needs.find(([, isGood]) => !isGood)
  if (!given || missing)
    throw new Error(
      `${name}: a task, its default export, needs ${missing?.[0]}, ${missing?.[2]}: { model, logits, train, test }`,
    )
  const { model, logits, train, test } = given as TaskModule<unknown>
  const ofLogits =
    (options: { reduction?: 'none' }): Loss<unknown> =>
    (m, batch, ctx: Context) =>
      crossEntropy(logits(m, batch, ctx), batch.label, options)
  return {
    ...{ name, model, logits, train, test, threat: { epsilon: 0.1, ...threat } },
    loss: given.loss ?? ofLogits({}),
    ...(!given.loss && { losses: ofLogits({ reduction: 'none' }) }),
  }
}

/** The task's model with first weights of a seed. */
export async function modelOf(task: Task, seed: number): Promise<unknown> {
  const { name, model } = task
  const made = await model(random.key(seed))
  if (leaves(made).length === 0) throw new Error(`${name}: model(key) returned no tensors; return a tree of them`)
  checkLabels(task, made)
  return made
}

/** @throws unless logits are [n, classes] and all labels are classes; nothing is computed. */
function checkLabels({ name, logits, train, test }: Task, model: unknown): void {
  const z = logits(model, tensorsOf(train.slice(0, 1).columns), evaluation)
  if (!(z instanceof Tensor) || z.ndim !== 2)
    throw new Error(`${name}: logits must be [n, classes], not ${z instanceof Tensor ? `[${z.shape}]` : typeof z}`)
  for (const [set, { columns }] of Object.entries({ train, test })) {
    const at = columns.label.data.findIndex((label: number | bigint) => !(label >= 0 && label < z.shape[1]))
    if (at >= 0)
      throw new Error(
        `${name}: row ${at} of ${set} has the label ${columns.label.data[at]}, and logits have ${z.shape[1]} classes`,
      )
  }
}

/** The task's model with the weights of a file. */
export async function trainedModel(task: Task, file: string): Promise<unknown> {
  if (!existsSync(file))
    throw new Error(`there are no weights at ${file}; saddlepoint train ${task.name} --out ${file} makes them`)
  // Such as a device without end, which would be read until memory is full.
  if (!statSync(file).isFile()) throw new Error(`--weights: ${file} is no file; saddlepoint train --out writes one`)
  const model = await modelOf(task, 0)
  await loadTree(file, model, () => undefined)
  return model
}

/** The first examples of a data set, or all where there are fewer. */
export const firstOf = (data: Dataset, count: number | undefined): Dataset =>
  data.slice(0, Math.min(count ?? data.size, data.size))

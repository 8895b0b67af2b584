/** What the commands train and attack: a model, its data and its attacker, built in under a name or exported by an ES module. */

import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { Argument } from 'commander'
import type { Logits } from '../adversarial/logits.js'
import type { Scope } from '../adversarial/places.js'
import type { Norm } from '../adversarial/steps.js'
import type { Dataset } from '../data/dataset.js'
import type { Context, Loss } from '../nn/context.js'
import { crossEntropy } from '../nn/losses.js'
import * as random from '../tensor/random.js'
import type { Tensor } from '../tensor/tensor.js'
import { leaves } from '../tensor/tree.js'
import { loadTree } from '../train/checkpoint.js'

/** What an attacker may do where the command line does not say. */
export interface Threat {
  readonly epsilon: number
  readonly norm?: Norm
  readonly clipMin?: number
  readonly clipMax?: number
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

/** What a file exports by its default: a task, an expression, or a function that makes one. */
export function moduleOf(name: string): Promise<Record<string, unknown>> {
  if (Object.hasOwn(builtIn, name)) return builtIn[name]()
  const path = resolve(name)
  if (!existsSync(path)) throw new Error(`there is no file ${path}, nor a task of that name; tasks are ${taskNames}`)
  return import(pathToFileURL(path).href)
}

/** Whether a module's default is a task rather than an expression. */
export const isTask = (given: unknown): given is TaskModule<unknown> =>
  typeof given === 'object' && given !== null && typeof (given as { model?: unknown }).model === 'function'

export function checked(name: string, given: Partial<TaskModule<unknown>> | undefined): Task {
  const isSet = (data: Dataset | undefined): boolean => typeof data?.rows === 'function' && data.size > 0
  const needs: readonly (readonly [string, boolean, string])[] = [
    ['model', typeof given?.model === 'function', 'a function of a random key that gives a tree of tensors'],
    ['logits', typeof given?.logits === 'function', 'a function (model, batch, ctx) => [n, classes]'],
    ['train', isSet(given?.train), 'a dataset({ ... }) with rows'],
    ['test', isSet(given?.test), 'a dataset({ ... }) with rows'],
  ]
  const missing = needs.find(([, isGood]) => !isGood)
  if (!given || missing)
    throw new Error(
      `${name}: a task, its default export, needs ${missing?.[0]}, ${missing?.[2]}: { model, logits, train, test }`,
    )
  const { model, logits, train, test, threat = { epsilon: 0.1 } } = given as TaskModule<unknown>
  const ofLogits =
    (options: { reduction?: 'none' }): Loss<unknown> =>
    (m, batch, ctx: Context) =>
      crossEntropy(logits(m, batch, ctx), batch.label, options)
  return {
    ...{ name, model, logits, train, test, threat },
    loss: given.loss ?? ofLogits({}),
    ...(!given.loss && { losses: ofLogits({ reduction: 'none' }) }),
  }
}

/** The task's model with first weights of a seed. */
export async function modelOf({ name, model }: Task, seed: number): Promise<unknown> {
  const made = await model(random.key(seed))
  if (leaves(made).length === 0) throw new Error(`${name}: model(key) returned no tensors; return a tree of them`)
  return made
}

/** The task's model with the weights of a file. */
export async function trainedModel(task: Task, file: string): Promise<unknown> {
  if (!existsSync(file))
    throw new Error(`there are no weights at ${file}; saddlepoint train ${task.name} --out ${file} makes them`)
  const model = await modelOf(task, 0)
  await loadTree(file, model, () => undefined)
  return model
}

/** The first examples of a data set, or all where there are fewer. */
export const firstOf = (data: Dataset, count: number | undefined): Dataset =>
  data.slice(0, Math.min(count ?? data.size, data.size))

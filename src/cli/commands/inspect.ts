/** `saddlepoint inspect`: what becomes of an expression or of a model's loss, stage by stage. */

import { type Command, Option } from 'commander'
import { backward } from '../../autodiff/backward.js'
import { valueAndGrad } from '../../autodiff/transforms.js'
import { tensorsOf } from '../../data/tensors.js'
import { isFloat } from '../../graph/dtype.js'
import { leavesOf, type Node, topological } from '../../graph/node.js'
import type { Context } from '../../nn/context.js'
import { isParameter } from '../../nn/parameters.js'
import type { Device } from '../../runtime/device.js'
import { onesLike } from '../../tensor/create.js'
import * as random from '../../tensor/random.js'
import { inspect, realize } from '../../tensor/realize.js'
import type { Tensor } from '../../tensor/tensor.js'
import { leaves, namedLeaves } from '../../tensor/tree.js'
import { memoriesOf } from '../../train/memory.js'
import { methodNames, methodOf, type Named, named } from '../named.js'
import { addDeviceOptions, count, type DeviceSettings, jsonOption, repeated, seedOption } from '../options.js'
import { type JsonOption, print } from '../output.js'
import { session } from '../session.js'
import { checked, firstOf, isTask, modelOf, moduleOf, type Task, taskNames } from '../task.js'

const stages = ['graph', 'gradient', 'schedule', 'code'] as const
type Stage = (typeof stages)[number]

interface InspectOptions extends DeviceSettings, JsonOption {
  readonly stage?: Stage
  readonly export: string
  readonly use: readonly Named[]
  readonly batchSize: number
  readonly seed: number
}

export const addInspect = (program: Command): Command =>
  addDeviceOptions(
    program
      .command('inspect')
      .description(
        'Prints the graph of a loss or of any expression, the graph of its gradient, the schedule of fused kernels, and ' +
          'the code generated for them. Of a task, that is the loss of a training step, and schedule and code are those of the ' +
          'loss with the gradient of the parameters. A file may also export tensors, a tree of them, or a function that makes ' +
          'one; its gradient is that of their sum, in what they are made from. Nothing but the first weights is computed.',
      )
      .argument('<task|file>', `${taskNames}, or an ES module`)
      .addOption(new Option('--stage <name>', 'one of them alone').choices(stages))
      .option('--export <name>', 'what the file exports it as', 'default')
      .addOption(repeated('--use <method>', 'as for train; may be repeated', named(methodNames), 'none'))
      .option('--batch-size <n>', 'examples of a task', count, 4)
      .addOption(seedOption('of the first weights'))
      .addOption(jsonOption()),
  ).action((name: string, options: InspectOptions) => session(options, device => show(name, options, device)))

async function show(name: string, options: InspectOptions, { name: device }: Device): Promise<void> {
  const { values, gradients, executed } = await expressionsOf(name, options)
  const [{ graph }, { graph: gradient }, { schedule, code }] = [
    await inspect(values),
    await inspect(gradients),
    await inspect(executed),
  ]
  const printed = { graph, gradient, schedule, code }
  const chosen = options.stage ? [options.stage] : stages
  const sections = chosen.map(one => (options.stage ? printed[one] : `── ${one} ──\n${printed[one]}`))
  print(options, { name, device, ...Object.fromEntries(chosen.map(one => [one, printed[one]])) }, sections.join('\n\n'))
}

interface Expressions {
  readonly values: readonly Tensor[]
  readonly gradients: readonly Tensor[]
  /** What schedule and code are of. */
  readonly executed: readonly Tensor[]
}

async function expressionsOf(name: string, options: InspectOptions): Promise<Expressions> {
  const { export: exported, use } = options
  const module = await moduleOf(name)
  if (!(exported in module))
    throw new Error(`inspect: ${name} exports no '${exported}', only ${Object.keys(module).join(', ') || 'nothing'}`)
  const found = module[exported]
  const given: unknown = typeof found === 'function' ? await found() : found
  if (isTask(given)) return ofTask(checked(name, given), options)
  if (use.length) throw new Error(`inspect: --use is for tasks, and '${exported}' of ${name} is none`)
  const values = leaves(given)
  if (values.length === 0) throw new Error(`inspect: '${exported}' of ${name} holds no tensors`)
  return { values, gradients: gradientsOf(values), executed: values }
}

/** The loss of a training step, and its gradient in the model's parameters. */
async function ofTask(task: Task, { use, batchSize, seed }: InspectOptions): Promise<Expressions> {
  const model = await modelOf(task, seed)
  const rows = firstOf(task.train, batchSize)
  const batch = tensorsOf(rows.columns)
  const key = random.key(seed)
  await realize(model, batch, key)
  const loss = use.reduce((inner, method) => methodOf(method, task)(inner), task.loss)
  const ctx: Context = { training: true, key }
  const memories = memoriesOf(model, batch, means => loss(model, batch, { ...ctx, ...means }))
  const step = { ...ctx, ...memories.inStep(memories.begin({})).means(0, rows.size) }
  const [value, gradient] = valueAndGrad((m: unknown) => loss(m, batch, step))(model)
  const gradients = namedLeaves(gradient).flatMap(({ name, tensor }) => (isParameter(tensor, name) ? [tensor] : []))
  return { values: [value], gradients, executed: [value, ...gradients] }
}

/** The gradients of the sum of all that is float, in the leaves that are. */
function gradientsOf(values: readonly Tensor[]): Tensor[] {
  const isOfFloats = ({ dtype }: { readonly dtype: Node['dtype'] }): boolean => isFloat(dtype)
  const outputs = values.filter(isOfFloats)
  const targets = leavesOf(topological(outputs.map(t => t.node))).filter(isOfFloats)
  const ones = outputs.map(t => onesLike(t))
  return backward(
    outputs.map(t => t.node),
    ones,
    targets,
  ).filter(g => g !== undefined)
}

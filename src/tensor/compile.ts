/** Functions traced once per shape of their arguments: later calls build no graph, they bind tensors and run. */

import { inputNode, labelOf, type Node, topological, upcomingId, valueOperands } from '../graph/node.js'
import { isView } from '../graph/primitives.js'
import { getDevice } from '../runtime/device.js'
import { freeStorage, loadCompiler, type Plan, planFor, realize, runPlan } from '../runtime/realize.js'
import { demandFunction, Tensor } from './tensor.js'
import { leaves, replaceLeaves } from './tree.js'

export interface CompileOptions {
  /** Positions of arguments whose tensors the call may consume: their memory is reused and reading them later is an error. */
  donate?: readonly number[]
}

/** What one trace has learnt. */
interface Trace<R> {
  readonly plan: Plan | undefined
  /** For each leaf of the plan: the number of the argument leaf, or the tensor that the function captured. */
  readonly sources: readonly (number | Node<'input'>)[]
  /** For each tensor of the result: a result of the plan, or an argument or captured tensor passed through. */
  readonly results: readonly (
    | { readonly output: number }
    | { readonly argument: number }
    | { readonly captured: Node }
  )[]
  readonly tree: R
  /** What the function captured that was up to date when it was traced. */
  readonly captured: readonly Node[]
}

/** A number for each function and each class among the arguments: what they do is known by their identity alone. */
const identities = new WeakMap<object, number>()
let identityCount = 0

function identity(thing: object): number {
  const number = identities.get(thing) ?? identityCount++
  identities.set(thing, number)
  return number
}

/** Structure, classes, shapes and dtypes of arguments; numbers, strings and functions among them count as structure too. */
function signature(value: unknown): string {
  if (value instanceof Tensor) return `${value.dtype}[${value.shape}]`
  if (typeof value === 'function') return `function ${identity(value)}`
  if (Array.isArray(value) || ArrayBuffer.isView(value))
    return `[${Array.from(value as ArrayLike<unknown>, signature)}]`
  if (typeof value === 'object' && value !== null) {
    const prototype: object | null = Object.getPrototypeOf(value)
    let text = `${prototype ? identity(prototype) : ''}{`
    // Names may hold anything: their lengths say where they end.
    for (const [name, field] of Object.entries(value)) text += `${name.length} ${name}:${signature(field)},`
    return `${text}}`
  }
  return Object.is(value, -0) ? '-0' : `${typeof value} ${JSON.stringify(String(value))}`
}

/**
 * f as a function that runs at once and whose results are computed tensors. f is traced on its first call with arguments
 * of given shapes; what it computes must follow from its arguments, and numbers it reads elsewhere are fixed by the trace.
 *
 * @example const step = compile((x, w) => grad(loss)(w, x)); const g = await step(x, w)
 */
export function compile<A extends unknown[], R>(
  f: (...args: A) => R,
  options: CompileOptions = {},
): (...args: A) => Promise<R> {
  demandFunction('compile', f)
  const traces = new Map<string, Trace<R>>()
  return async (...args) => {
    const device = await getDevice()
    const key = signature(args)
    let trace = traces.get(key)
    if (!trace || (trace.plan && trace.plan.device !== device)) {
      trace = await makeTrace(f, args, device)
      traces.set(key, trace)
    }
    const given = leaves(args)
    await realize(given.map(t => t.node))
    if (trace.captured.some(isSuperseded)) {
      throw new Error('compile: a tensor that the function captured has been assigned to since; pass it as an argument')
    }
    const bound = trace.sources.map(s => (typeof s === 'number' ? leafOf(given[s]) : s))
    const outputs = trace.plan ? await runPlan(trace.plan, bound) : []
    const tensors = trace.results.map(r =>
      'output' in r ? new Tensor(outputs[r.output]) : 'argument' in r ? given[r.argument] : new Tensor(r.captured),
    )
    const kept = new Set(tensors.map(t => t.node))
    for (const i of options.donate ?? []) {
      for (const t of leaves(args[i])) {
        const { node } = t
        if (node.op === 'input' && !kept.has(node))
          freeStorage(node.attrs.storage, 'was donated to a compiled function')
      }
    }
    return replaceLeaves(trace.tree, tensors)
  }
}

const isSuperseded = (node: Node): boolean => node.superseded === true || node.realized?.superseded === true

function leafOf(t: Tensor): Node<'input'> {
  const { node } = t
  if (node.op !== 'input') throw new Error(`compile: the argument ${labelOf(node)} was not computed`)
  return node
}

async function makeTrace<A extends unknown[], R>(
  f: (...args: A) => R,
  args: A,
  device: Parameters<typeof planFor>[1],
): Promise<Trace<R>> {
  const compiler = await loadCompiler()
  const firstId = upcomingId()
  const placeholders = leaves(args).map(t => inputNode({}, t.shape, t.dtype))
  const tree = f(
    ...replaceLeaves(
      args,
      placeholders.map(n => new Tensor(n)),
    ),
  )
  if (tree instanceof Promise)
    throw new Error('compile: the function returned a promise; it must build expressions without awaiting')
  // What was built before the trace is computed once, not in every call; it must not be assigned to from now on.
  const isOlder = (n: Node): boolean => n.id < firstId && !isView(n)
  const built = topological(
    leaves(tree).map(t => t.node),
    n => (isOlder(n) ? [] : valueOperands(n)),
  )
  const older = built.filter(isOlder)
  await realize(older.filter(n => n.op !== 'constant' && n.op !== 'iota'))

  const nodes = leaves(tree).map(t => t.node)
  const roots = [...new Set(nodes)].filter(n => n.op !== 'input')
  const number = new Map<Node, number>(placeholders.map((n, i) => [n, i]))
  const results = nodes.map(n => {
    const argument = number.get(n)
    if (argument !== undefined) return { argument }
    return n.op === 'input' ? { captured: n } : { output: roots.indexOf(n) }
  })
  const captured = older.filter(n => !isSuperseded(n))
  if (roots.length === 0) return { plan: undefined, sources: [], captured, results, tree }
  const { plan, leaves: planLeaves } = planFor(roots, device, compiler)
  return { plan, sources: planLeaves.map(n => number.get(n) ?? n), captured, results, tree }
}

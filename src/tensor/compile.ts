/** Functions traced once per shape of their arguments: later calls build no graph, they bind tensors and run. */

import {
  forgetInterned,
  inputNode,
  labelOf,
  mix,
  mixFloat,
  type Node,
  resolve,
  topological,
  upcomingId,
  valueOperands,
} from '../graph/node.js'
import { knownOptions, type Names } from '../graph/options.js'
import { isView } from '../graph/primitives.js'
import { type Shape, sameShape } from '../graph/shape.js'
import { type Device, getDevice } from '../runtime/device.js'
import { loadCompiler, type Plan, planFor, realize, runPlan } from '../runtime/realize.js'
import { Recent } from '../runtime/recent.js'
import { demandFunction, describe, readingConstants, relinquish, Tensor } from './tensor.js'
import { leaves, replaceLeaves, visit } from './tree.js'

export interface CompileOptions {
  /** Positions of arguments whose tensors the call may consume: their memory is reused and reading them later is an error. */
  donate?: readonly number[]
}
const compileNames: Names<CompileOptions> = { donate: true }

/** What one trace has learnt. */
interface Trace<R> {
  readonly traits: readonly unknown[]
  /** The numbers of the argument leaves that a call consumes. */
  readonly donated: readonly number[]
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
  /**
   * Captured tensors of one number, with what they stood for. The results may depend on them and keep no trace of it, so the
   * function is traced anew where one stands for something else.
   */
  readonly constants: ReadonlyMap<Tensor, Node>
}

/** A number for each function and each class among the arguments: what they do is known by their identity alone. */
const identities = new WeakMap<object, number>()
let identityCount = 0

function identity(thing: object): number {
  const number = identities.get(thing) ?? identityCount++
  identities.set(thing, number)
  return number
}

/** What kind of traits follow. */
const kinds = {
  tensor: Symbol('tensor'),
  branch: Symbol('branch'),
  function: Symbol('function'),
  bytes: Symbol('bytes'),
}

/** The tensors among arguments, and the rest of them: what decides whether a trace holds for them. */
interface Signature {
  readonly tensors: Tensor[]
  /** Structure, classes, shapes and dtypes; numbers, strings and functions among the arguments count as structure too. */
  readonly traits: unknown[]
  /** A number that equal traits share. */
  readonly hash: number
}

function signatureOf(args: readonly unknown[]): Signature {
  const tensors: Tensor[] = []
  const traits: unknown[] = []
  let hash = 0
  const add = (trait: unknown): void => {
    if (typeof trait === 'number') hash = mixFloat(hash, trait)
    traits.push(trait)
  }
  visit(args, {
    tensor: t => {
      tensors.push(t)
      for (const size of t.shape) hash = mix(hash, size)
      traits.push(kinds.tensor, t.dtype, t.shape)
    },
    // Counts come before what is counted, so that no two structures have the same traits.
    branch: (branch, fields) => {
      const prototype: object | null = Object.getPrototypeOf(branch)
      traits.push(kinds.branch, prototype && identity(prototype), fields.length)
      for (const field of fields) traits.push(field)
    },
    other: value => {
      if (typeof value === 'function') {
        traits.push(kinds.function)
        add(identity(value))
      } else if (ArrayBuffer.isView(value)) {
        const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
        traits.push(kinds.bytes, identity(Object.getPrototypeOf(value)), bytes)
      } else add(value)
    },
  })
  return { tensors, traits, hash }
}

/** Traits to keep: what they hold belongs to the caller, who may write there. */
const copied = (traits: readonly unknown[]): unknown[] => traits.map(t => (t instanceof Uint8Array ? t.slice() : t))

/** Whether a trace with the traits `a` holds for `b`. Backwards: batches, which differ in size, come after parameters. */
function sameTraits(a: readonly unknown[], b: readonly unknown[]): boolean {
  if (a.length !== b.length) return false
  const isList = (x: unknown): x is Shape => Array.isArray(x) || x instanceof Uint8Array
  for (let i = a.length - 1; i >= 0; i--) {
    const [x, y] = [a[i], b[i]]
    if (!Object.is(x, y) && !(isList(x) && isList(y) && sameShape(x, y))) return false
  }
  return true
}

/** The traces of one function on a device that are kept: as many lengths of texts, say, as a data set has. */
const mostTraces = 256

/**
 * f as a function that runs at once and whose results are computed tensors. f is traced on its first call with arguments
 * of given shapes; what it computes must follow from its arguments, and numbers it reads elsewhere are fixed by the trace.
 * A number, a string or a function among the arguments is a part of what is compiled: f is traced again where one
 * changes, so pass what changes with each call, such as a learning rate, as a tensor. The last 256 traces are kept.
 *
 * @example const step = compile((x, w) => grad(loss)(w, x)); const g = await step(x, w)
 */
export function compile<A extends unknown[], R>(
  f: (...args: A) => R,
  options: CompileOptions = {},
): (...args: A) => Promise<R> {
  demandFunction('compile', f)
  const { donate } = knownOptions('compile', options, compileNames)
  if (donate !== undefined && !Array.isArray(donate))
    throw new Error(`compile: donate is a list of positions of arguments, not ${describe(donate)}`)
  const tracesOf = new WeakMap<Device, Recent<Trace<R>>>()
  let isWarned = false
  return async (...args) => {
    const device = await getDevice()
    const { tensors: given, traits, hash } = signatureOf(args)
    const traces = tracesOf.get(device) ?? new Recent(mostTraces)
    tracesOf.set(device, traces)
    const known = traces.at(hash).find(t => sameTraits(t.traits, traits))
    const changed = [...(known?.constants ?? [])].filter(isAnother)
    let trace = known
    if (!trace || changed.length > 0) {
      const isDonated = args.flatMap((arg, i) => leaves(arg).map(() => donate?.includes(i)))
      const donated = isDonated.flatMap((is, i) => (is ? [i] : []))
      trace = { traits: copied(traits), donated, ...(await makeTrace(f, args, device)) }
      const now = new Set(trace.captured)
      if (changed.some(([tensor]) => now.has(tensor.node))) throw new Error(assignedSince)
      // Another call may have made this trace meanwhile.
      for (const t of traces.at(hash)) if (sameTraits(t.traits, traits)) traces.delete(t)
      if (traces.add(hash, trace) && !isWarned) {
        isWarned = true
        console.warn(
          `compile: the function was compiled for ${mostTraces} kinds of arguments, and the oldest are given up; a number, a string or a closure among them that changes with each call is compiled anew each time: pass a tensor`,
        )
      }
    }
    if (given.some(t => t.node.op !== 'input')) await realize(given.map(t => t.node))
    if (trace.captured.some(isSuperseded)) throw new Error(assignedSince)
    const bound = trace.sources.map(s => (typeof s === 'number' ? leafOf(given[s]) : s))
    const outputs = trace.plan ? await runPlan(trace.plan, bound) : []
    const tensors = trace.results.map(r =>
      'output' in r ? new Tensor(outputs[r.output]) : 'argument' in r ? given[r.argument] : new Tensor(r.captured),
    )
    const kept = new Set(tensors.map(t => t.node))
    for (const i of trace.donated) {
      if (!kept.has(given[i].node)) relinquish(given[i], 'was donated to a compiled function')
    }
    return replaceLeaves(trace.tree, tensors)
  }
}

const assignedSince = 'compile: a tensor that the function captured has been assigned to since; pass it as an argument'
const isSuperseded = (node: Node): boolean => node.superseded === true || node.realized?.superseded === true
const isAnother = ([tensor, node]: readonly [Tensor, Node]): boolean => tensor.node !== resolve(node)

function leafOf(t: Tensor): Node<'input'> {
  const { node } = t
  if (node.op !== 'input') throw new Error(`compile: the argument ${labelOf(node)} was not computed`)
  return node
}

async function makeTrace<A extends unknown[], R>(
  f: (...args: A) => R,
  args: A,
  device: Parameters<typeof planFor>[1],
): Promise<Omit<Trace<R>, 'traits' | 'donated'>> {
  const compiler = await loadCompiler()
  // What the function builds is its own, even where something older is equal: that may be assigned to.
  forgetInterned()
  const firstId = upcomingId()
  const placeholders = leaves(args).map(t => inputNode({}, t.shape, t.dtype))
  const { made: tree, constants: read } = readingConstants(() =>
    f(
      ...replaceLeaves(
        args,
        placeholders.map(n => new Tensor(n)),
      ),
    ),
  )
  if (tree instanceof Promise) {
    // It may fail later, where nobody looks.
    tree.catch(() => {})
    throw new Error('compile: the function returned a promise; it must build expressions without awaiting')
  }
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
    if (n.op !== 'input') return { output: roots.indexOf(n) }
    n.shared = true
    return { captured: n }
  })
  const isCaptured = (n: Node): boolean => n.op === 'constant' && n.id < firstId
  // Equal constants are one node: who was assigned to, only the tensor tells.
  const captured = older.filter(n => n.op !== 'constant' && !isSuperseded(n))
  const constants = new Map([...read, ...leaves(tree)].flatMap(t => (isCaptured(t.node) ? [[t, t.node]] : [])))
  if (roots.length === 0) return { plan: undefined, sources: [], captured, constants, results, tree }
  const { plan, leaves: planLeaves } = planFor(roots, device, compiler)
  return { plan, sources: planLeaves.map(n => number.get(n) ?? n), captured, constants, results, tree }
}

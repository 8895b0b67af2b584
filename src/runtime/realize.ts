/**
 * Computes expressions: finds or makes the plan for a graph's structure, binds its leaves, runs it, and gives every
 * requested node a leaf with its values. Plans are cached by structure, so a step like the last one compiles nothing.
 */

import { dtypes, type TypedArray } from '../graph/dtype.js'
import {
  forgetInterned,
  inputNode,
  type Label,
  labelAlone,
  labelOf,
  leavesOf,
  mix,
  type Node,
  printGraph,
  resolve,
  type Storage,
  sameLabel,
  topological,
  valueOperands,
} from '../graph/node.js'
import { sizeOf } from '../graph/shape.js'
import { type Buffer, type Device, type Executable, getDevice, OutOfMemory } from './device.js'
import { isUnderPressure, relievePressure } from './garbage.js'
import { Recent } from './recent.js'
import { isTurnDue, turn } from './turns.js'

/** A compiled graph: its structure, and the code that computes it on one device. */
export interface Plan {
  readonly device: Device
  readonly labels: readonly Label[]
  /** For each node in topological order, the positions of its operands; then the positions of the roots. */
  readonly links: readonly number[]
  readonly results: readonly Pick<Node, 'shape' | 'dtype'>[]
  readonly executable: Executable
}

/** Counts since the start of the program: what a test of the plan cache reads. */
export const stats = { plansCompiled: 0, kernelsCompiled: 0, runs: 0, millisecondsPlanning: 0 }

type Compiler = typeof import('../compiler/index.js')
let loaded: Promise<Compiler> | undefined
/** The compiler: a program that has only imported the library has not read it. */
export function loadCompiler(): Promise<Compiler> {
  if (!loaded) {
    loaded = import('../compiler/index.js')
    // Where a network failed, the next call tries again.
    loaded.catch(() => (loaded = undefined))
  }
  return loaded
}

const mostPlans = 512
/** The plans of each device: one that nobody uses any more takes them with it, and the memory that they hold. */
const plansOf = new WeakMap<Device, Recent<Plan>>()

interface Structure {
  readonly order: readonly Node[]
  readonly links: number[]
  readonly hash: number
}

/** The structure of a graph: its nodes in topological order, and how they hang together. */
function structureOf(roots: readonly Node[]): Structure {
  const order = topological(roots)
  const position = new Map<number, number>()
  const links: number[] = []
  // What the hash leaves out, the comparison with the plan finds.
  let hash = order.length
  const link = (to: Node): void => {
    const at = position.get(resolve(to).id) as number
    links.push(at)
    hash = mix(hash, at)
  }
  for (const node of order) {
    position.set(node.id, position.size)
    hash = mix(hash, node.hash)
    // Other nodes' shapes follow from the leaves'.
    if (node.op === 'input') for (const size of node.shape) hash = mix(hash, size)
    for (const input of valueOperands(node)) link(input)
  }
  for (const root of roots) link(root)
  return { order, links, hash }
}

function findPlan({ order, links, hash }: Structure, device: Device): Plan | undefined {
  const plans = plansOf.get(device)?.at(hash)
  return plans?.find(plan => {
    if (plan.labels.length !== order.length || plan.links.length !== links.length) return false
    return links.every((l, i) => plan.links[i] === l) && order.every((node, i) => sameLabel(plan.labels[i], node))
  })
}

function makePlan(
  roots: readonly Node[],
  structure: Structure,
  device: Device,
  { canonicalize, schedule }: Compiler,
): Plan {
  const scheduled = schedule(canonicalize(roots), device.maxBuffers)
  const executable = device.compile(scheduled)
  stats.plansCompiled++
  stats.kernelsCompiled += scheduled.kernels.length
  const results = roots.map(({ shape, dtype }) => ({ shape, dtype }))
  const plan: Plan = {
    device,
    labels: structure.order.map(labelAlone),
    links: structure.links,
    results,
    executable,
  }
  const plans = plansOf.get(device) ?? new Recent(mostPlans)
  plansOf.set(device, plans)
  plans.add(structure.hash, plan)
  return plan
}

/** The plan for distinct roots that are no leaves, and the graph's leaves in the order in which it takes them. */
export function planFor(
  roots: readonly Node[],
  device: Device,
  compiler: Compiler,
): { plan: Plan; leaves: Node<'input'>[] } {
  const start = performance.now()
  const structure = structureOf(roots)
  const plan = findPlan(structure, device) ?? makePlan(roots, structure, device, compiler)
  stats.millisecondsPlanning += performance.now() - start
  return { plan, leaves: leavesOf(structure.order) }
}

/** When a storage is garbage, its buffer goes back to its device. */
const finalizer = new FinalizationRegistry<Buffer>(buffer => buffer.device.free(buffer))

function hold(buffer: Buffer): Storage {
  const storage: Storage = { buffer }
  finalizer.register(storage, buffer, storage)
  return storage
}

/** Gives a leaf's values up; reading them afterwards says why they are gone. */
export function freeStorage(storage: Storage, reason: string): void {
  const buffer = storage.buffer as Buffer | undefined
  if (buffer) {
    finalizer.unregister(storage)
    buffer.device.free(buffer)
  }
  storage.buffer = undefined
  storage.host = undefined
  storage.gone ??= reason
}

function checkPresent(storage: Storage, leaf: Pick<Node, 'dtype' | 'shape'>): void {
  if (storage.gone) {
    throw new Error(
      `realize: the expression reads a ${leaf.dtype}[${leaf.shape}] tensor that ${storage.gone}; build the expression again from the current tensors`,
    )
  }
}

const isElsewhere = (device: Device, { attrs: { storage } }: Node<'input'>): boolean => {
  const buffer = storage.buffer as Buffer | undefined
  return buffer !== undefined && buffer.device !== device
}

/** Values on their way to the host: whoever else wants to move them waits for the same. */
const moves = new WeakMap<Storage, Promise<void>>()

/** Takes a leaf's values from its device to the host. Only a change of device makes a run wait for this. */
function bringHome({ attrs: { storage } }: Node<'input'>): Promise<void> {
  const under = moves.get(storage)
  if (under) return under
  const buffer = storage.buffer as Buffer
  const move = buffer.device.read(buffer).then(host => {
    // Freed or donated meanwhile?
    if (storage.buffer !== buffer) return
    finalizer.unregister(storage)
    buffer.device.free(buffer)
    storage.buffer = undefined
    storage.host = host
  })
  const ended = move.finally(() => moves.delete(storage))
  moves.set(storage, ended)
  return ended
}

/** The leaf's buffer on the device; what had to be uploaded is noted, to be undone where memory is short. */
function bind(device: Device, leaf: Node<'input'>, uploaded: Map<Storage, TypedArray>): Buffer {
  const { storage } = leaf.attrs
  checkPresent(storage, leaf)
  if (!storage.buffer) {
    const { host } = storage
    if (!host) throw new Error(`realize: ${labelOf(leaf)} has no values`)
    const buffer = device.upload(host, leaf.dtype)
    storage.buffer = buffer
    storage.host = undefined
    finalizer.register(storage, buffer, storage)
    uploaded.set(storage, host)
  }
  return storage.buffer as Buffer
}

/** Runs the plan's code on its leaves; its results. Nothing is lost if memory is short. */
async function execute({ device, executable, results }: Plan, leaves: readonly Node<'input'>[]): Promise<Buffer[]> {
  const made: Buffer[] = []
  const uploaded = new Map<Storage, TypedArray>()
  try {
    for (;;) {
      while (leaves.some(leaf => isElsewhere(device, leaf)))
        for (const leaf of leaves) if (isElsewhere(device, leaf)) await bringHome(leaf)
      const bound = leaves.map(leaf => bind(device, leaf, uploaded))
      for (const { shape, dtype } of results.slice(made.length)) made.push(device.allocate(dtype, sizeOf(shape)))
      executable.reserve?.()
      const doubt = device.settle?.()
      // From binding to running nothing waits, so that nobody takes a leaf away in between.
      if (!doubt) {
        executable.run(bound, made)
        return made
      }
      await doubt
    }
  } catch (error) {
    for (const buffer of made) device.free(buffer)
    if (error instanceof OutOfMemory)
      for (const [storage, host] of uploaded) {
        if (!storage.buffer) continue
        finalizer.unregister(storage)
        device.free(storage.buffer as Buffer)
        storage.buffer = undefined
        storage.host = host
      }
    throw error
  }
}

/** Runs f; where memory is short, once more after garbage was collected. */
async function withMemory<T>(device: Device, f: () => Promise<T>): Promise<T> {
  try {
    return await f()
  } catch (error) {
    if (!(error instanceof OutOfMemory)) throw error
    await relievePressure(device)
    return f()
  }
}

/** Runs a plan on the values of its leaves; the results are new leaves. */
export async function runPlan(plan: Plan, leaves: readonly Node<'input'>[]): Promise<Node<'input'>[]> {
  const { device, executable, results } = plan
  // A small step takes some microseconds: it waits for no promise that nobody needs.
  if (isTurnDue()) await turn()
  if (isUnderPressure(device)) await relievePressure(device)
  if (executable.ready) await executable.ready
  const outputs = await withMemory(device, () => execute(plan, leaves))
  stats.runs++
  return outputs.map((buffer, i) => inputNode(hold(buffer), results[i].shape, results[i].dtype))
}

/** Computes the nodes: afterwards each stands for a leaf that holds its values. */
export async function realize(nodes: readonly Node[]): Promise<void> {
  const device = await getDevice()
  const compiler = await loadCompiler()
  const roots = [...new Set(nodes.map(resolve))].filter(n => n.op !== 'input')
  if (roots.length === 0) return
  const { plan, leaves } = planFor(roots, device, compiler)
  const results = await runPlan(plan, leaves)
  roots.forEach((root, i) => {
    results[i].shared = root.shared
    root.realized = results[i]
  })
  forgetInterned()
}

/** The values of a leaf on the host. */
export async function readStorage(leaf: Node<'input'>): Promise<TypedArray> {
  const { storage } = leaf.attrs
  checkPresent(storage, leaf)
  const buffer = storage.buffer as Buffer | undefined
  if (buffer) return buffer.device.read(buffer)
  if (storage.host) return storage.host.slice()
  return new dtypes[leaf.dtype].array(0)
}

/** What becomes of an expression on the device in use: its graph, its schedule and the generated code. */
export async function inspect(nodes: readonly Node[]): Promise<{ graph: string; schedule: string; code: string }> {
  const device = await getDevice()
  const { canonicalize, printSchedule, schedule } = await loadCompiler()
  const roots = [...new Set(nodes.map(resolve))].filter(n => n.op !== 'input')
  const scheduled = schedule(canonicalize(roots), device.maxBuffers)
  return { graph: printGraph(roots), schedule: printSchedule(scheduled), code: device.compile(scheduled).print() }
}

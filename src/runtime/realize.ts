/**
 * Computes expressions: finds or makes the plan for a graph's structure, binds its leaves, runs it, and gives every
 * requested node a leaf with its values. Plans are cached by structure, so a step like the last one compiles nothing.
 */

import { canonicalize, leavesOf } from '../compiler/canonical.js'
import { printSchedule } from '../compiler/kernel.js'
import { schedule } from '../compiler/schedule.js'
import { dtypes, type TypedArray } from '../graph/dtype.js'
import {
  forgetInterned,
  inputNode,
  type Label,
  labelOf,
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
import { turnWhenDue } from './turns.js'

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

const maxPlans = 512
const plans = new Map<number, Plan[]>()
let planCount = 0

interface Structure {
  readonly order: readonly Node[]
  readonly links: number[]
  readonly hash: number
}

/** The structure of a graph: its nodes in topological order, and how they hang together. */
function structureOf(roots: readonly Node[]): Structure {
  const order = topological(roots)
  const position = new Map<Node, number>()
  const links: number[] = []
  let hash = order.length
  const mix = (n: number): void => {
    hash = (Math.imul(hash, 0x9e3779b1) ^ n) >>> 0
  }
  const link = (to: number): void => {
    links.push(to)
    mix(to)
  }
  order.forEach((node, i) => {
    position.set(node, i)
    mix(hashOf(node))
    for (const input of valueOperands(node)) link(position.get(resolve(input)) as number)
  })
  for (const root of roots) link(position.get(resolve(root)) as number)
  return { order, links, hash }
}

/** A number that nodes with one label share. What it leaves out, the comparison with the plan finds. */
function hashOf({ op, shape, detail }: Node): number {
  let hash = op.charCodeAt(0) * 8 + op.length
  for (const size of shape) hash = Math.imul(hash, 31) + size
  for (let i = 0; i < detail.length; i++) hash = Math.imul(hash, 31) + detail.charCodeAt(i)
  return hash
}

function findPlan({ order, links, hash }: Structure, device: Device): Plan | undefined {
  return plans.get(hash)?.find(plan => {
    if (plan.device !== device || plan.labels.length !== order.length || plan.links.length !== links.length)
      return false
    return order.every((node, i) => sameLabel(plan.labels[i], node)) && links.every((l, i) => plan.links[i] === l)
  })
}

function makePlan(roots: readonly Node[], structure: Structure, device: Device): Plan {
  const scheduled = schedule(canonicalize(roots), device.maxBuffers)
  const executable = device.compile(scheduled)
  stats.plansCompiled++
  stats.kernelsCompiled += scheduled.kernels.length
  const results = roots.map(({ shape, dtype }) => ({ shape, dtype }))
  const plan: Plan = {
    device,
    labels: structure.order.map(({ op, detail, dtype, shape }) => ({ op, detail, dtype, shape })),
    links: structure.links,
    results,
    executable,
  }
  plans.set(structure.hash, [...(plans.get(structure.hash) ?? []), plan])
  planCount++
  // Maps keep the order of insertion: the first are the oldest.
  for (const [hash, oldest] of plans) {
    if (planCount <= maxPlans) break
    plans.delete(hash)
    planCount -= oldest.length
  }
  return plan
}

/** The plan for distinct roots that are no leaves, and the graph's leaves in the order in which it takes them. */
export function planFor(roots: readonly Node[], device: Device): { plan: Plan; leaves: Node<'input'>[] } {
  const start = performance.now()
  const structure = structureOf(roots)
  const plan = findPlan(structure, device) ?? makePlan(roots, structure, device)
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

/** Moves a leaf's values to the device. Only a change of device makes this wait. */
async function moveTo(device: Device, leaf: Node<'input'>): Promise<void> {
  const { storage } = leaf.attrs
  const buffer = storage.buffer as Buffer | undefined
  if (!buffer || buffer.device === device) return
  storage.host = await buffer.device.read(buffer)
  finalizer.unregister(storage)
  buffer.device.free(buffer)
  storage.buffer = undefined
}

function bind(device: Device, leaf: Node<'input'>): Buffer {
  const { storage } = leaf.attrs
  checkPresent(storage, leaf)
  if (!storage.buffer) {
    if (!storage.host) throw new Error(`realize: ${labelOf(leaf)} has no values`)
    const uploaded = device.upload(storage.host, leaf.dtype)
    storage.buffer = uploaded
    storage.host = undefined
    finalizer.register(storage, uploaded, storage)
  }
  return storage.buffer as Buffer
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
  await turnWhenDue()
  if (isUnderPressure(device)) await relievePressure(device)
  for (const leaf of leaves) {
    const buffer = leaf.attrs.storage.buffer as Buffer | undefined
    if (buffer && buffer.device !== device) await moveTo(device, leaf)
  }
  await executable.ready
  const outputs = await withMemory(device, async () => {
    const made: Buffer[] = []
    try {
      const bound = leaves.map(leaf => bind(device, leaf))
      for (const { shape, dtype } of results) made.push(device.allocate(dtype, sizeOf(shape)))
      executable.run(bound, made)
      await device.settle?.()
    } catch (error) {
      for (const buffer of made) device.free(buffer)
      throw error
    }
    return made
  })
  stats.runs++
  return outputs.map((buffer, i) => inputNode(hold(buffer), results[i].shape, results[i].dtype))
}

/** Computes the nodes: afterwards each stands for a leaf that holds its values. */
export async function realize(nodes: readonly Node[]): Promise<void> {
  const device = await getDevice()
  const roots = [...new Set(nodes.map(resolve))].filter(n => n.op !== 'input')
  if (roots.length === 0) return
  const { plan, leaves } = planFor(roots, device)
  const results = await runPlan(plan, leaves)
  roots.forEach((root, i) => (root.realized = results[i]))
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
  const roots = [...new Set(nodes.map(resolve))].filter(n => n.op !== 'input')
  const scheduled = schedule(canonicalize(roots), device.maxBuffers)
  return { graph: printGraph(roots), schedule: printSchedule(scheduled), code: device.compile(scheduled).print() }
}

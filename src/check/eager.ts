/**
 * Values of expressions at once, which generators of programs need: on the reference device, without a plan. And
 * whether the values are such that finite differences say something about the derivatives there.
 */

import { canonicalize } from '../compiler/canonical.js'
import { schedule } from '../compiler/schedule.js'
import { isFloat } from '../graph/dtype.js'
import { leavesOf, type Node, type Primitive, topological } from '../graph/node.js'
import { referenceDevice } from '../runtime/backends/reference/device.js'
import type { Buffer } from '../runtime/device.js'
import { positionOf } from './compare.js'

type Values = ArrayLike<number>
const device = referenceDevice()
/** The reference device's buffers are arrays; to read them at once is what this file is for. */
const holdsValues = (buffer: Buffer): buffer is Buffer & { values: Values } => 'values' in buffer

/** The values of expressions whose leaves have theirs on the host. */
export function evaluate(roots: readonly Node[]): Values[] {
  const results = roots.map(n =>
    device.allocate(
      n.dtype,
      n.shape.reduce((n, s) => n * s, 1),
    ),
  )
  const leaves = leavesOf(topological(roots)).map(({ attrs: { storage }, dtype }) => {
    if (!storage.host) throw new Error('evaluate: a leaf has no values on the host')
    return device.upload(storage.host, dtype)
  })
  device.compile(schedule(canonicalize(roots))).run(leaves, results)
  return results.map(buffer => {
    if (!holdsValues(buffer)) throw new Error('evaluate: the reference device keeps its values elsewhere')
    return buffer.values
  })
}

/** How far arguments must be from kinks and ties, poles and branch points. */
const margin = 5e-3
const pole = 0.2

const every =
  (test: (...values: number[]) => boolean) =>
  (_: Node, ...operands: Values[]): boolean =>
    Array.from(operands[0], (_, i) => test(...operands.map(o => o[i]))).every(Boolean)
const apart = every((a, b) => !(Math.abs(a - b) < margin))
const broken = every(a => Math.abs(a - Math.round(a)) >= margin)

/** Whether elements that share all coordinates but those on the axes are apart. */
function withoutTies({ inputs }: Node, axes: readonly number[], values: Values): boolean {
  const groups = new Map<string, number[]>()
  Array.from(values, (v, k) => {
    const place = positionOf(k, inputs[0].shape)
      .filter((_, d) => !axes.includes(d))
      .join()
    groups.set(place, [...(groups.get(place) ?? []), v])
  })
  return [...groups.values()].every(group => {
    const sorted = group.sort((a, b) => a - b)
    return sorted.every((v, i) => i === 0 || !(v - sorted[i - 1] < margin))
  })
}

/** Where primitives are smooth, with room for a difference. Those not named are smooth everywhere. */
const smooth: { readonly [P in Primitive]?: (node: Node, ...operands: Values[]) => boolean } = {
  abs: every(a => Math.abs(a) >= margin),
  sqrt: every(a => a >= pole),
  log: every(a => a >= pole),
  log1p: every(a => a >= pole - 1),
  div: every((_, b) => Math.abs(b) >= pole),
  pow: every(a => a >= pole),
  floor: broken,
  ceil: broken,
  trunc: broken,
  round: every(a => Math.abs(a + 0.5 - Math.round(a + 0.5)) >= margin),
  remainder: every((a, b) => Math.abs(b) >= pole && Math.abs(a / b - Math.round(a / b)) >= margin),
  maximum: apart,
  minimum: apart,
  less: apart,
  lessEqual: apart,
  equal: apart,
  max: (node, a) => node.op === 'max' && withoutTies(node, node.attrs.axes, a),
  argsort: (node, a) => withoutTies(node, [node.shape.length - 1], a),
}

/** The values of an expression if they are moderate and its primitives are smooth there, otherwise undefined. */
export function smoothValues(root: Node, largest: number): Float64Array<ArrayBuffer> | undefined {
  const critical = topological([root]).filter(n => smooth[n.op] && n.inputs.every(i => isFloat(i.dtype)))
  const [values, ...operands] = evaluate([root, ...critical.flatMap(n => n.inputs)])
  let next = 0
  const isSmooth = critical.every(n => smooth[n.op]?.(n, ...n.inputs.map(() => operands[next++])))
  if (!isSmooth) return undefined
  return Array.from(values).every(v => Math.abs(v) <= largest) ? Float64Array.from(values) : undefined
}

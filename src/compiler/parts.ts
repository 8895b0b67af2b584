/** Parts of what is padded, permuted, reshaped, turned around or a part itself: the same elements, of smaller expressions. */

import { type Attrs, makeNode, type Node } from '../graph/node.js'
import { apply } from '../graph/primitives.js'
import { sameShape, sizeOf } from '../graph/shape.js'

export const is = <P extends keyof Attrs>(node: Node, op: P): node is Node<P> => node.op === op

/** The part of x of a shape that begins somewhere, in steps of 1 where none are given, as small an expression as is known. */
export type Slice = (x: Node, start: readonly number[], shape: readonly number[], step?: readonly number[]) => Node

/** How many movements a slice or padding goes through: more are rare, and each slice of a long chain would go through all. */
export const mostMoves = 8

export function permute(x: Node, axes: readonly number[]): Node {
  const shape = axes.map(d => x.shape[d])
  return makeNode('permute', [x], { axes }, shape, x.dtype)
}

/** x among zeros, as `pad` has it, but negative widths cut; undefined where they leave none of x. */
export function place(slice: Slice, x: Node, { before, after, interior }: Attrs['pad']): Node | undefined {
  const axes = x.shape.map((size, d) => {
    const step = interior[d] + 1
    const cut = (width: number): number => Math.max(0, Math.ceil(-width / step))
    const [first, last] = [cut(before[d]), cut(after[d])]
    const left = size - first - last
    const widths = [before[d] + first * step, after[d] + last * step]
    return { first, left, before: widths[0], after: widths[1], size: widths[0] + (left - 1) * step + 1 + widths[1] }
  })
  if (axes.some(a => a.left <= 0)) return undefined
  const part = slice(
    x,
    axes.map(a => a.first),
    axes.map(a => a.left),
  )
  const shape = axes.map(a => a.size)
  if (sameShape(part.shape, shape)) return part
  const widths = { before: axes.map(a => a.before), after: axes.map(a => a.after), interior }
  return makeNode('pad', [part], widths, shape, x.dtype)
}

/** A part of a part. */
export function sliceOfSlice(node: Node<'slice'>, inner: Node<'slice'>, slice: Slice): Node {
  const { start, step } = node.attrs
  const [x] = inner.inputs
  return slice(
    x,
    start.map((s, d) => inner.attrs.start[d] + s * inner.attrs.step[d]),
    node.shape,
    step.map((s, d) => s * inner.attrs.step[d]),
  )
}

/** A part of what is padded: fewer zeros around a part. */
export function sliceOfPad({ attrs, shape }: Node<'slice'>, padded: Node<'pad'>, slice: Slice): Node | undefined {
  if (attrs.step.some(s => s !== 1)) return undefined
  const { before, after, interior } = padded.attrs
  return place(slice, padded.inputs[0], {
    before: before.map((n, d) => n - attrs.start[d]),
    after: after.map((n, d) => n - (padded.shape[d] - attrs.start[d] - shape[d])),
    interior,
  })
}

/** Zeros around and between zeros and what they were around: once. */
export function padOfPad({ attrs, shape, dtype }: Node<'pad'>, inner: Node<'pad'>): Node {
  const [x] = inner.inputs
  const spread = (widths: readonly number[], outer: readonly number[]): number[] =>
    widths.map((n, d) => outer[d] + n * (attrs.interior[d] + 1))
  const widths = {
    before: spread(inner.attrs.before, attrs.before),
    after: spread(inner.attrs.after, attrs.after),
    interior: spread(inner.attrs.interior, attrs.interior),
  }
  return makeNode('pad', [x], widths, shape, dtype)
}

export type Movement = Node<'permute'> | Node<'reshape'> | Node<'flip'>
export const isMovement = (node: Node): node is Movement =>
  is(node, 'permute') || is(node, 'reshape') || is(node, 'flip')

/** For each axis of what is moved the one of the operand that it is, or -1 where a reshape made it of others. */
function sourcesOf(node: Movement): readonly number[] {
  if (is(node, 'permute')) return node.attrs.axes
  const old = node.inputs[0].shape
  if (is(node, 'flip')) return old.map((_, d) => d)
  const elementsBefore = (shape: readonly number[], d: number): number => sizeOf(shape.slice(0, d))
  return node.shape.map((size, d) =>
    old.findIndex((n, i) => n === size && elementsBefore(old, i) === elementsBefore(node.shape, d)),
  )
}

/** The same movement of an operand of which axes that the movement keeps are longer or shorter. */
function moveAgain(node: Movement, x: Node, shape: readonly number[]): Node {
  if (is(node, 'permute')) return permute(x, node.attrs.axes)
  return is(node, 'flip') ? apply('flip', [x], node.attrs) : apply('reshape', [x], { shape })
}

/** A part of what is moved, where that is less work: the part, moved. */
export function sliceOfMovement({ attrs, shape }: Node<'slice'>, moved: Movement, slice: Slice): Node | undefined {
  const [x] = moved.inputs
  const sources = sourcesOf(moved)
  const [start, sizes, step] = [x.shape.map(() => 0), [...x.shape], x.shape.map(() => 1)]
  for (const [d, source] of sources.entries()) {
    if (shape[d] === moved.shape[d]) continue
    if (source < 0) return undefined
    const isTurned = is(moved, 'flip') && moved.attrs.axes.includes(d)
    const last = attrs.start[d] + (shape[d] - 1) * attrs.step[d]
    start[source] = isTurned ? x.shape[source] - 1 - last : attrs.start[d]
    sizes[source] = shape[d]
    step[source] = attrs.step[d]
  }
  const part = slice(x, start, sizes, step)
  return is(part, 'slice') && part.inputs[0] === x ? undefined : moveAgain(moved, part, shape)
}

export type Padded = Attrs['pad'] & { readonly of: Node }

/** Padding around what is moved some times at most, as what is moved with padding around. */
export function paddingOf(node: Node, most = mostMoves): Padded | undefined {
  if (is(node, 'pad')) return { ...node.attrs, of: node.inputs[0] }
  const padding = isMovement(node) && most > 0 ? paddingOf(node.inputs[0], most - 1) : undefined
  if (!padding || !isMovement(node)) return undefined
  const { before, after, interior, of: x } = padding
  const sources = sourcesOf(node)
  const isPadded = x.shape.map((_, d) => before[d] !== 0 || after[d] !== 0 || interior[d] !== 0)
  if (isPadded.some((padded, d) => padded && !sources.includes(d))) return undefined
  const turned = (d: number): boolean => is(node, 'flip') && node.attrs.axes.includes(d)
  const at = (widths: readonly number[], d: number): number => (d < 0 ? 0 : widths[d])
  const shape = sources.map((d, i) => (d >= 0 && isPadded[d] ? x.shape[d] : node.shape[i]))
  return {
    before: sources.map((d, i) => at(turned(i) ? after : before, d)),
    after: sources.map((d, i) => at(turned(i) ? before : after, d)),
    interior: sources.map(d => at(interior, d)),
    of: moveAgain(node, x, shape),
  }
}

/** What a convolution's images or kernel are with something around or between their elements, but only in these axes. */
export function paddedIn(axes: readonly [number, number], x: Node): Padded | undefined {
  const padding = paddingOf(x)
  const others = x.shape.map((_, d) => d).filter(d => !axes.includes(d))
  const isPlain = (d: number): boolean => [padding?.before, padding?.after, padding?.interior].every(n => n?.[d] === 0)
  return padding && others.every(isPlain) ? padding : undefined
}

/**
 * Convolutions that do less. Derivatives of derivatives pad, convolve and cut: what is cut off is not computed here, and
 * zeros around the images, or between their elements, are not multiplied where they are many. Values are the same sums,
 * of fewer zeros; the NaN of an infinite weight times such a zero is not made.
 */

import { type Attrs, makeNode, type Node, topological } from '../graph/node.js'
import { apply } from '../graph/primitives.js'
import { sameShape } from '../graph/shape.js'
import {
  is,
  isMovement,
  mostMoves,
  paddedIn,
  padOfPad,
  permute,
  place,
  type Slice,
  sliceOfMovement,
  sliceOfPad,
  sliceOfSlice,
} from './parts.js'
import { isPlain, packing, withoutZeros } from './spread.js'

/** The same graph with smaller convolutions. */
export function shrinkConvolutions(roots: readonly Node[]): Node[] {
  const order = topological(roots)
  if (!order.some(n => n.op === 'conv')) return [...roots]
  // How many nodes read a node; those made here are read once.
  const uses = new Map<Node, number>()
  for (const n of [...roots, ...order.flatMap(n => n.inputs)]) uses.set(n, (uses.get(n) ?? 0) + 1)
  /** Slices that go down so many nodes at most, and cut convolutions that nobody else reads, nor what is made of them. */
  const slicing =
    (most: number, isOnly: boolean): Slice =>
    (x, start, shape, step = shape.map(() => 1)) =>
      sameShape(x.shape, shape)
        ? x
        : smaller(makeNode('slice', [x], { start, shape, step }, shape, x.dtype), most, isOnly)
  const smaller = (node: Node, most = mostMoves, isOnly = true): Node => {
    const [x] = node.inputs
    if (is(node, 'conv')) return smallerConv(node, slicing(most, true))
    if (is(node, 'pad') && is(x, 'pad')) return padOfPad(node, x)
    if (!is(node, 'slice')) return node
    const isOnlyReader = isOnly && (uses.get(x) ?? 1) === 1
    if (is(x, 'slice')) return sliceOfSlice(node, x, slicing(most, isOnlyReader))
    if (is(x, 'pad')) return sliceOfPad(node, x, slicing(most, isOnlyReader)) ?? node
    const slice = slicing(most - 1, isOnlyReader)
    if (isMovement(x) && most > 0) return sliceOfMovement(node, x, slice) ?? node
    return isOnlyReader && is(x, 'conv') && most > 0 ? (sliceOfConv(node, x, slice) ?? node) : node
  }
  const cut = rewrite(roots, (node, old) => {
    const result = smaller(node)
    if (result !== old) uses.set(result, (uses.get(result) ?? 1) - 1 + (uses.get(old) ?? 0))
    return result
  })
  // Not before it is known what is cut off.
  const slice = slicing(mostMoves, true)
  return rewrite(cut, node => (is(node, 'conv') ? (withoutZeros(node, slice) ?? node) : node))
}

/** The graph with what a rule makes of each node, whose operands have been rewritten. */
function rewrite(roots: readonly Node[], rule: (node: Node, old: Node) => Node): Node[] {
  const rewritten = new Map<Node, Node>()
  for (const node of topological(roots)) {
    const inputs = node.inputs.map(n => rewritten.get(n) as Node)
    const isSame = inputs.every((n, i) => n === node.inputs[i])
    const copy = isSame ? node : makeNode(node.op, inputs, node.attrs as Attrs[typeof node.op], node.shape, node.dtype)
    rewritten.set(node, rule(copy, node))
  }
  return roots.map(r => rewritten.get(r) as Node)
}

function smallerConv(conv: Node<'conv'>, slice: Slice): Node {
  const trimmed = withoutKernelPadding(conv, slice) ?? conv
  return exchanged(trimmed, slice) ?? trimmed
}

/** A part of a convolution needs a part of its images, and some of its kernels. */
function sliceOfConv({ attrs, shape }: Node<'slice'>, conv: Node<'conv'>, slice: Slice): Node | undefined {
  const [x, w] = conv.inputs
  const { strides, dilation, groups } = conv.attrs
  const [n, , , o] = shape
  const { start, step } = attrs
  if (step[0] !== 1 || step[3] !== 1 || (groups > 1 && o !== conv.shape[3])) return undefined
  const window = [0, 1].map(d => (w.shape[d] - 1) * dilation[d] + 1)
  const moves: [number, number] = [strides[0] * step[1], strides[1] * step[2]]
  const images = slice(
    x,
    [start[0], start[1] * strides[0], start[2] * strides[1], 0],
    [n, ...[0, 1].map(d => (shape[1 + d] - 1) * moves[d] + window[d]), x.shape[3]],
  )
  const kernels = slice(w, [0, 0, 0, start[3]], [...w.shape.slice(0, 3), o])
  const part = makeNode('conv', [images, kernels], { strides: moves, dilation, groups }, shape, conv.dtype)
  return smallerConv(part as Node<'conv'>, slice)
}

/** Zeros around a kernel need no images, and those between its elements are dilation. */
function withoutKernelPadding(conv: Node<'conv'>, slice: Slice): Node<'conv'> | undefined {
  const { strides, dilation, groups } = conv.attrs
  const [x, w] = conv.inputs
  const padding = paddedIn([0, 1], w)
  if (!padding) return undefined
  const { before, interior, of: kernel } = padding
  const steps: [number, number] = [dilation[0] * (interior[0] + 1), dilation[1] * (interior[1] + 1)]
  const [height, width] = [0, 1].map(d => (conv.shape[1 + d] - 1) * strides[d] + (kernel.shape[d] - 1) * steps[d] + 1)
  const images = slice(
    x,
    [0, before[0] * dilation[0], before[1] * dilation[1], 0],
    [x.shape[0], height, width, x.shape[3]],
  )
  const attrs = { strides, dilation: steps, groups }
  return makeNode('conv', [images, kernel], attrs, conv.shape, conv.dtype) as Node<'conv'>
}

/** Images or kernels with their axes permuted, each group of what the last axis has by itself. */
function permuteGroups(x: Node, groups: number, axes: readonly number[]): Node {
  if (groups === 1) return permute(x, axes)
  const split = apply('reshape', [x], { shape: [...x.shape.slice(0, 3), groups, x.shape[3] / groups] })
  const [a, b, c, last] = axes.map(d => (d === 3 ? 4 : d))
  const { shape } = split
  const moved = permute(split, [a, b, c, 3, last])
  return apply('reshape', [moved], { shape: [shape[a], shape[b], shape[c], groups * shape[last]] })
}

/** How many times as many elements as there are pixels a kernel has to have: VGG's last layers, with 9 for 4, were slower. */
const worthExchanging = 6

/**
 * Images x of fewer pixels than the kernel k, padded by b and spread by a step i: with a stride s and a dilation d,
 * Σ_t x[t] k[(i t + b - s u) / d] is a convolution of the kernel, spread by d, with x as a kernel of dilation i, turned
 * around. It meets neither the padding nor the zeros between.
 */
function exchanged(conv: Node<'conv'>, slice: Slice): Node | undefined {
  const { strides, dilation, groups } = conv.attrs
  const [images, kernel] = conv.inputs
  const padding = paddedIn([1, 2], images)
  if (!padding) return undefined
  const { before, interior, of: x } = padding
  const [n, height, width] = x.shape
  const [kh, kw, , o] = kernel.shape
  // Multiplications of vectors, of a group's result, for each of its positions and inner channels.
  const phases = isPlain(conv) ? (interior[1] + 1) * (interior[2] + 1) : 1
  const rows = phases === 1 ? n : n / phases + packing / (conv.shape[1] * conv.shape[2])
  const [mine, other] = [rows * kh * kw * Math.ceil(o / groups / 4), (o / groups) * height * width * Math.ceil(n / 4)]
  if (height * width > kh * kw || other >= mine) return undefined
  // Where it saves products with padding alone, that must be worth a permuted kernel, as it is for gradients of kernels.
  const isGradient = conv.shape[1] < height && conv.shape[2] < width
  const isSpread = [...dilation, interior[1] + 1, interior[2] + 1].some(step => step > 1)
  if (!isGradient && !isSpread && kh * kw < worthExchanging * height * width) return undefined
  // The kernel [h, w, c, o] as images [o, h, w, c], of which each position of the result meets a window of the images' size.
  const steps: [number, number] = [interior[1] + 1, interior[2] + 1]
  const first = [0, 1].map(d => strides[d] * (conv.shape[1 + d] - 1) - before[1 + d])
  const last = [0, 1].map(d => before[1 + d] + (x.shape[1 + d] - 1) * steps[d] - (kernel.shape[d] - 1) * dilation[d])
  const exchangedImages = place(slice, permuteGroups(kernel, groups, [3, 0, 1, 2]), {
    before: [0, ...first, 0],
    after: [0, ...last, 0],
    interior: [0, dilation[0] - 1, dilation[1] - 1, 0],
  })
  if (!exchangedImages) return undefined
  const attrs = { strides, dilation: steps, groups }
  const turned = apply('conv', [exchangedImages, permuteGroups(x, groups, [1, 2, 3, 0])], attrs)
  return permuteGroups(apply('flip', [turned], { axes: [1, 2] }), groups, [3, 1, 2, 0])
}

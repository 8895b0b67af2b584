/**
 * Convolutions that do less. Derivatives of derivatives pad, convolve and cut: what is cut off is not computed here, and
 * zeros around the images, or between their elements, are not multiplied where they are many. Values are the same sums,
 * of fewer zeros; the NaN of an infinite weight times such a zero is not made.
 */

import { type Attrs, makeNode, type Node, topological } from '../graph/node.js'
import { apply } from '../graph/primitives.js'
import { sameShape } from '../graph/shape.js'

/** How many nodes read a node; those made here are read once. */
type Uses = Map<Node, number>

/** The same graph with smaller convolutions. */
export function shrinkConvolutions(roots: readonly Node[]): Node[] {
  const order = topological(roots)
  if (!order.some(n => n.op === 'conv')) return [...roots]
  const uses: Uses = new Map()
  for (const n of [...roots, ...order.flatMap(n => n.inputs)]) uses.set(n, (uses.get(n) ?? 0) + 1)
  const cut = rewrite(roots, (node, old) => {
    const result = smaller(node, uses)
    if (result !== old) uses.set(result, uses.get(old) ?? 0)
    return result
  })
  // Not before it is known what is cut off.
  return rewrite(cut, node => (is(node, 'conv') ? (scattered(node) ?? node) : node))
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

const is = <P extends keyof Attrs>(node: Node, op: P): node is Node<P> => node.op === op

function smaller(node: Node, uses: Uses): Node {
  const [x] = node.inputs
  if (is(node, 'conv')) return exchanged(node, uses) ?? node
  if (!is(node, 'slice')) return node
  if (is(x, 'slice')) return sliceOfSlice(node, x, uses)
  // What others read whole is there to be read in part.
  if ((uses.get(x) ?? 1) > 1) return node
  if (is(x, 'pad')) return sliceOfPad(node, x, uses) ?? node
  return is(x, 'conv') ? (sliceOfConv(node, x, uses) ?? node) : node
}

function slice(
  uses: Uses,
  x: Node,
  start: readonly number[],
  shape: readonly number[],
  step = shape.map(() => 1),
): Node {
  if (sameShape(x.shape, shape)) return x
  return smaller(makeNode('slice', [x], { start, shape, step }, shape, x.dtype), uses)
}

function permute(x: Node, axes: readonly number[]): Node {
  const shape = axes.map(d => x.shape[d])
  return makeNode('permute', [x], { axes }, shape, x.dtype)
}

function pad(x: Node, { before, after, interior }: Attrs['pad'], shape: readonly number[]): Node {
  return sameShape(x.shape, shape) ? x : makeNode('pad', [x], { before, after, interior }, shape, x.dtype)
}

function sliceOfSlice(node: Node<'slice'>, inner: Node<'slice'>, uses: Uses): Node {
  const { start, step } = node.attrs
  const [x] = inner.inputs
  return slice(
    uses,
    x,
    start.map((s, d) => inner.attrs.start[d] + s * inner.attrs.step[d]),
    node.shape,
    step.map((s, d) => s * inner.attrs.step[d]),
  )
}

/** A part of what is padded: fewer zeros around a part. */
function sliceOfPad(node: Node<'slice'>, padded: Node<'pad'>, uses: Uses): Node | undefined {
  const { start, step } = node.attrs
  const { before, interior } = padded.attrs
  const [x] = padded.inputs
  const axes = node.shape.map((size, d) => {
    const low = start[d] - before[d]
    const begin = Math.max(0, low)
    const end = Math.min(x.shape[d], low + size)
    return { begin, size: end - begin, before: Math.max(0, -low), after: Math.max(0, low + size - x.shape[d]) }
  })
  const isPlain = axes.every((a, d) => step[d] === 1 && (interior[d] === 0 || x.shape[d] === 1) && a.size > 0)
  if (!isPlain) return undefined
  const part = slice(
    uses,
    x,
    axes.map(a => a.begin),
    axes.map(a => a.size),
  )
  const widths = { before: axes.map(a => a.before), after: axes.map(a => a.after), interior: axes.map(() => 0) }
  return pad(part, widths, node.shape)
}

/** Padding around what is permuted, as what is permuted with padding around. */
function paddingOf(node: Node): (Attrs['pad'] & { readonly of: Node }) | undefined {
  if (is(node, 'pad')) return { ...node.attrs, of: node.inputs[0] }
  const [padded] = node.inputs
  if (!is(node, 'permute') || !is(padded, 'pad')) return undefined
  const { axes } = node.attrs
  const { before, after, interior } = padded.attrs
  const moved = (widths: readonly number[]): number[] => axes.map(d => widths[d])
  return {
    before: moved(before),
    after: moved(after),
    interior: moved(interior),
    of: permute(padded.inputs[0], axes),
  }
}

/** A part of a convolution needs a part of its images, and some of its kernels. */
function sliceOfConv({ attrs, shape }: Node<'slice'>, conv: Node<'conv'>, uses: Uses): Node | undefined {
  const [x, w] = conv.inputs
  const { strides, dilation, groups } = conv.attrs
  const [n, , , o] = shape
  const { start, step } = attrs
  if (step[0] !== 1 || step[3] !== 1 || (groups > 1 && o !== conv.shape[3])) return undefined
  const window = [0, 1].map(d => (w.shape[d] - 1) * dilation[d] + 1)
  const moves: [number, number] = [strides[0] * step[1], strides[1] * step[2]]
  const images = slice(
    uses,
    x,
    [start[0], start[1] * strides[0], start[2] * strides[1], 0],
    [n, ...[0, 1].map(d => (shape[1 + d] - 1) * moves[d] + window[d]), x.shape[3]],
  )
  const kernels = slice(uses, w, [0, 0, 0, start[3]], [...w.shape.slice(0, 3), o])
  const smallerConv = makeNode('conv', [images, kernels], { strides: moves, dilation, groups }, shape, conv.dtype)
  return smaller(smallerConv, uses)
}

/** A convolution in its simplest form, one group and steps of 1, of images with something around or between pixels. */
function paddedImages(conv: Node<'conv'>): ReturnType<typeof paddingOf> {
  const { strides, dilation, groups } = conv.attrs
  const padding = paddingOf(conv.inputs[0])
  if (!padding || groups !== 1 || [...strides, ...dilation].some(s => s !== 1)) return undefined
  const { before, after, interior } = padding
  return [0, 3].some(d => before[d] + after[d] + interior[d] > 0) ? undefined : padding
}

/**
 * Padded images and a kernel that covers them all: Σ_s x[s] k[s + before - u] is a convolution of the kernel with the
 * images, turned around, which meets none of the padding.
 */
function exchanged(conv: Node<'conv'>, uses: Uses): Node | undefined {
  const kernel = conv.inputs[1]
  const padding = paddedImages(conv)
  if (!padding) return undefined
  const { before, interior, of: x } = padding
  const covers = [1, 2].every(
    d =>
      interior[d] === 0 &&
      before[d] >= conv.shape[d] - 1 &&
      kernel.shape[d - 1] >= x.shape[d] + before[d] &&
      x.shape[d] > conv.shape[d],
  )
  if (!covers) return undefined
  const [n, h, width, c] = x.shape
  const [, oh, ow, o] = conv.shape
  // The kernel [h, w, c, o] as images [o, h, w, c], of which each position of the result meets a window of the images' size.
  const exchangedImages = slice(
    uses,
    permute(kernel, [3, 0, 1, 2]),
    [0, before[1] - oh + 1, before[2] - ow + 1, 0],
    [o, h + oh - 1, width + ow - 1, c],
  )
  const factors = [exchangedImages, permute(x, [1, 2, 3, 0])]
  const turned = makeNode('conv', factors, conv.attrs, [o, oh, ow, n], conv.dtype)
  return permute(makeNode('flip', [turned], { axes: [1, 2] }, turned.shape, turned.dtype), [3, 1, 2, 0])
}

/**
 * How many multiplications scattering must save for each product that it writes and reads again: on a CPU, 25 made no
 * difference and 114 halved the time. And how many terms an element of the result may have: all of them are code.
 */
const worthScattering = 32
const mostTerms = 49

/**
 * Images padded, and spread by a stride, so far that every element meets the whole kernel: each is multiplied by the
 * kernel where it lies, and the products are added up where they belong. No zero is multiplied.
 */
function scattered(conv: Node<'conv'>): Node | undefined {
  const kernel = conv.inputs[1]
  const padding = paddedImages(conv)
  if (!padding) return undefined
  const { before, after, interior, of: x } = padding
  const [n, h, w, c] = x.shape
  const [kh, kw, , o] = kernel.shape
  const isWhole = [1, 2].every(d => Math.min(before[d], after[d]) >= kernel.shape[d - 1] - 1)
  const spared = ((conv.shape[1] * conv.shape[2]) / (h * w) - 1) * c
  if (!isWhole || spared < worthScattering || kh * kw > mostTerms || conv.dtype === 'float16') return undefined
  const pixels = apply('reshape', [x], { shape: [1, n * h * w, c] })
  const weights = apply('reshape', [permute(kernel, [2, 0, 1, 3])], { shape: [1, c, kh * kw * o] })
  const products = apply('reshape', [apply('matmul', [pixels, weights], {})], { shape: [n, h, w, kh * kw * o] })
  const terms = Array.from({ length: kh * kw }, (_, p) => {
    const [i, j] = [Math.floor(p / kw), p % kw]
    const part = apply('slice', [products], { start: [0, 0, 0, p * o], shape: [n, h, w, o], step: [1, 1, 1, 1] })
    const widths = {
      before: [0, before[1] - i, before[2] - j, 0],
      after: [0, after[1] - kh + 1 + i, after[2] - kw + 1 + j, 0],
      interior,
    }
    return pad(part, widths, conv.shape)
  })
  return terms.reduce((sum, term) => apply('add', [sum, term], {}))
}

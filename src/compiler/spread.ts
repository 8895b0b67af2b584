/** Convolutions of images with many zeros around or between their pixels, without those zeros. */

import type { Node } from '../graph/node.js'
import { apply } from '../graph/primitives.js'
import { type Padded, paddedIn, permute, place, type Slice } from './parts.js'

/** Whether the windows of a convolution lie side by side and have no holes. */
export const isPlain = ({ attrs }: Node<'conv'>): boolean => [...attrs.strides, ...attrs.dilation].every(n => n === 1)

/** How many rows of products take as long as what comes with phases: kernels are packed, and each class is a product of its own. */
export const packing = 26
/** The widest step at which each phase may be a convolution of its own: there are as many as its square. */
const widestApart = 4
/** Of how many channels a product takes as long as writing, reading and adding it where it belongs. */
const scattering = 12
/**
 * How many multiplications scattering must save for each product that it writes and reads again: on a CPU, 25 made no
 * difference and 114 halved the time. And how many terms an element of the result may have: all of them are code.
 */
const worthScattering = 32
const mostTerms = 49

/** The convolution without products with zeros in its images, where that is worth it. */
export function withoutZeros(conv: Node<'conv'>, slice: Slice): Node | undefined {
  const padding = paddedIn([1, 2], conv.inputs[0])
  if (!padding || conv.attrs.strides.some(s => s !== 1)) return undefined
  const phases = padding.interior.some(n => n > 0) && isPlain(conv) ? phasesOf(conv, padding) : undefined
  if (!isScattered(conv, padding)) return phases && inPhases(conv, padding, phases, slice)
  const [n, h, w, c] = padding.of.shape
  const isFaster = phases && n * phases[0].positions * phases[1].positions + packing < n * h * w * (1 + scattering / c)
  return isFaster ? inPhases(conv, padding, phases, slice) : scattered(conv, padding, slice)
}

/** How the results of a convolution of images spread by a step fall into phases, in one axis. */
interface Phases {
  readonly step: number
  /** Result y is phase e of position q: y + skipped = step q + e. Its window begins at pixel q - first. */
  readonly skipped: number
  readonly positions: number
  readonly first: number
  /** Phases side by side that meet as many elements of the kernel. */
  readonly classes: readonly Class[]
}

interface Class {
  readonly phase: number
  readonly phases: number
  readonly taps: number
}

function phasesOf(conv: Node<'conv'>, { before, interior }: Padded): [Phases, Phases] {
  const kernel = conv.inputs[1].shape
  // Channels by themselves are convolved side by side in vectors; with their phases they would not be.
  const isDepthwise = kernel[2] === 1 && kernel[3] === conv.attrs.groups
  const isApart = isDepthwise && interior.every(n => n < widestApart)
  const along = (d: 0 | 1): Phases => {
    const step = interior[1 + d] + 1
    const skipped = ((step - 1) * (before[1 + d] + 1)) % step
    const longer = kernel[d] % step
    const classes = [
      { phase: 0, phases: step - longer, taps: Math.floor(kernel[d] / step) },
      { phase: step - longer, phases: longer, taps: Math.ceil(kernel[d] / step) },
    ].filter(({ phases, taps }) => phases * taps > 0)
    return {
      ...{ step, skipped, classes: isApart ? classes.flatMap(single) : classes },
      positions: Math.ceil((conv.shape[1 + d] + skipped) / step),
      first: (before[1 + d] + skipped + 1) / step - 1,
    }
  }
  return [along(0), along(1)]
}

const single = ({ phase, phases, taps }: Class): Class[] =>
  Array.from({ length: phases }, (_, i) => ({ phase: phase + i, phases: 1, taps }))

/**
 * Images spread by a step s, as those of a transposed convolution: each s-th result in an axis meets the same elements of
 * the kernel, in steps of s. The results of such a phase are a convolution of the images as they were; those of all phases
 * that meet as many elements are one, with channels for each: where s divides the kernel for all, else two in each axis.
 */
function inPhases(
  conv: Node<'conv'>,
  { of: x }: Padded,
  [rows, columns]: readonly [Phases, Phases],
  slice: Slice,
): Node | undefined {
  const { groups } = conv.attrs
  const kernel = conv.inputs[1]
  const [kh, kw, c, channels] = kernel.shape
  const o = channels / groups
  const n = x.shape[0]
  // The kernel as [j, e, j, e, c, group, o], of elements step j + step - 1 - e, which phase e meets.
  const [height, width] = [Math.ceil(kh / rows.step), Math.ceil(kw / columns.step)]
  const filled = place(slice, kernel, {
    before: none,
    after: [height * rows.step - kh, width * columns.step - kw, 0, 0],
    interior: none,
  }) as Node
  const shape = [height, rows.step, width, columns.step, c, groups, o]
  const elements = apply('flip', [apply('reshape', [filled], { shape })], { axes: [1, 3] })
  const convolved = (row: Class, column: Class): Node | undefined => {
    const part = place(slice, x, {
      before: [0, rows.first, columns.first, 0],
      after: [0, lacking(rows, row, x.shape[1]), lacking(columns, column, x.shape[2]), 0],
      interior: none,
    })
    if (!part) return undefined
    const start = [0, row.phase, 0, column.phase, 0, 0, 0]
    const taken = slice(elements, start, [row.taps, row.phases, column.taps, column.phases, c, groups, o])
    const weights = apply('reshape', [permute(taken, [0, 2, 4, 5, 1, 3, 6])], {
      shape: [row.taps, column.taps, c, groups * row.phases * column.phases * o],
    })
    const results = apply('reshape', [apply('conv', [part, weights], conv.attrs)], {
      shape: [n, rows.positions, columns.positions, groups, row.phases, column.phases, o],
    })
    return apply('pad', [permute(results, [0, 1, 4, 2, 5, 3, 6])], {
      before: [0, 0, row.phase, 0, column.phase, 0, 0],
      after: [0, 0, behind(rows, row), 0, behind(columns, column), 0, 0],
      interior: start.map(() => 0),
    })
  }
  const terms = rows.classes.flatMap(row => columns.classes.map(column => convolved(row, column)))
  const all = sumOf(terms)
  if (!all) return undefined
  const whole = apply('reshape', [all], {
    shape: [n, rows.positions * rows.step, columns.positions * columns.step, channels],
  })
  return slice(whole, [0, rows.skipped, columns.skipped, 0], conv.shape)
}

const none = [0, 0, 0, 0]

/** How many pixels the windows of a class reach behind the images. */
const lacking = ({ positions, first }: Phases, { taps }: Class, pixels: number): number =>
  positions + taps - 1 - first - pixels
const behind = ({ step }: Phases, { phase, phases }: Class): number => step - phase - phases

/** The sum of what there is; what is missing is 0. */
const sumOf = (terms: readonly (Node | undefined)[]): Node | undefined =>
  terms.reduce((sum, term) => (sum && term ? apply('add', [sum, term], {}) : (sum ?? term)), undefined)

function isScattered({ attrs, inputs, shape, dtype }: Node<'conv'>, { of: x }: Padded): boolean {
  const [, h, w, c] = x.shape
  const [kh, kw] = inputs[1].shape
  if (attrs.groups !== 1 || dtype === 'float16' || kh * kw > mostTerms) return false
  return ((shape[1] * shape[2]) / (h * w) - 1) * c >= worthScattering
}

/** Each pixel is multiplied by the kernel where it lies, and the products are added up where they belong. */
function scattered(conv: Node<'conv'>, { before, after, interior, of: x }: Padded, slice: Slice): Node | undefined {
  const { dilation } = conv.attrs
  const [, kernel] = conv.inputs
  const [n, h, w, c] = x.shape
  const [kh, kw, , o] = kernel.shape
  const pixels = apply('reshape', [x], { shape: [1, n * h * w, c] })
  const weights = apply('reshape', [permute(kernel, [2, 0, 1, 3])], { shape: [1, c, kh * kw * o] })
  const products = apply('reshape', [apply('matmul', [pixels, weights], {})], { shape: [n, h, w, kh * kw * o] })
  const terms = Array.from({ length: kh * kw }, (_, p) => {
    const [i, j] = [Math.floor(p / kw), p % kw]
    const part = apply('slice', [products], { start: [0, 0, 0, p * o], shape: [n, h, w, o], step: [1, 1, 1, 1] })
    return place(slice, part, {
      before: [0, before[1] - i * dilation[0], before[2] - j * dilation[1], 0],
      after: [0, after[1] - (kh - 1 - i) * dilation[0], after[2] - (kw - 1 - j) * dilation[1], 0],
      interior,
    })
  })
  return sumOf(terms)
}

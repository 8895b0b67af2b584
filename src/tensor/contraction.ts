/** Products that sum over shared axes. Convolutions are in convolution.ts. */

import { promote } from '../graph/dtype.js'
import { knownOptions } from '../graph/options.js'
import { broadcastShapes, formatShape, normalizeAxis, sizeOf } from '../graph/shape.js'
import { astype, mul } from './elementwise.js'
import { broadcastTo, diagonal, expandDims, permuteDims, reshape, squeeze } from './movement.js'
import { sum } from './reduction.js'
import { build, demandTensors, describe, type Tensor } from './tensor.js'

/**
 * The matrix product of the last two axes, broadcast over the others; a vector is a row on the left, a column on the right.
 *
 * @throws if the inner dimensions differ or the batch axes do not broadcast.
 */
export function matmul(a: Tensor, b: Tensor): Tensor {
  demandTensors('matmul', a, b)
  if (a.ndim === 0 || b.ndim === 0)
    throw new Error(`matmul: needs rank 1 or more: ${formatShape(a.shape)} x ${formatShape(b.shape)}`)
  if (b.ndim === 1) return squeeze(matmul(a, expandDims(b, 1)), -1)
  if (a.ndim === 1) return squeeze(matmul(expandDims(a, 0), b), -2)
  const dtype = promote(a.dtype, b.dtype)
  if (a.dtype !== b.dtype) return matmul(astype(a, dtype), astype(b, dtype))
  const [m, k] = a.shape.slice(-2)
  const [kB, n] = b.shape.slice(-2)
  if (k !== kB)
    throw new Error(
      `matmul: inner dimensions differ: ${formatShape(a.shape)} x ${formatShape(b.shape)} (${k} vs ${kB})`,
    )
  const batch = broadcastShapes('matmul', a.shape.slice(0, -2), b.shape.slice(0, -2))
  // One matrix on the right serves all rows of all batches at once.
  const shared = b.ndim === 2 || sizeOf(b.shape.slice(0, -2)) === 1
  const left = shared
    ? reshape(a, [1, sizeOf(a.shape.slice(0, -1)), k])
    : reshape(broadcastTo(a, [...batch, m, k]), [sizeOf(batch), m, k])
  const right = shared ? reshape(b, [1, k, n]) : reshape(broadcastTo(b, [...batch, k, n]), [sizeOf(batch), k, n])
  return reshape(build('matmul', [left, right], {}), [...batch, m, n])
}

/** A tensor with a name for each axis. */
interface Named {
  readonly x: Tensor
  readonly names: readonly string[]
}

/** The product of two tensors over the axes they share: those that are kept line up, the others are summed over. */
function product(a: Named, b: Named, keep: (name: string) => boolean): Named {
  const shared = a.names.filter(name => b.names.includes(name))
  const [batch, inner] = [shared.filter(keep), shared.filter(name => !keep(name))]
  const [rows, columns] = [a, b].map(({ names }) => names.filter(name => !shared.includes(name)))
  const arranged = ({ x, names }: Named, ...groups: string[][]): Tensor => {
    const axes = groups.map(group => group.map(name => names.indexOf(name)))
    return reshape(
      permuteDims(x, axes.flat()),
      axes.map(group => sizeOf(group.map(d => x.shape[d]))),
    )
  }
  const [left, right] = [arranged(a, batch, rows, inner), arranged(b, batch, inner, columns)]
  const names = [...batch, ...rows, ...columns]
  const size = (name: string): number =>
    a.names.includes(name) ? a.x.shape[a.names.indexOf(name)] : b.x.shape[b.names.indexOf(name)]
  // Without a sum the product is element-wise: [batch, rows, 1] times [batch, 1, columns].
  return { x: reshape((inner.length ? matmul : mul)(left, right), names.map(size)), names }
}

/** Sums over the axes of a and b paired in `axes`, or over the last n of a and the first n of b. */
export function tensordot(
  a: Tensor,
  b: Tensor,
  axes: number | readonly [readonly number[], readonly number[]] = 2,
): Tensor {
  return contract('tensordot', a, b, axes)
}

function contract(
  op: string,
  a: Tensor,
  b: Tensor,
  axes: number | readonly [readonly number[], readonly number[]],
): Tensor {
  demandTensors(op, a, b)
  if (typeof axes === 'number' && !(Number.isInteger(axes) && axes >= 0 && axes <= Math.min(a.ndim, b.ndim))) {
    throw new Error(`${op}: cannot sum over ${axes} axes of ${formatShape(a.shape)} and ${formatShape(b.shape)}`)
  }
  const pair = Array.isArray(axes) && axes.length === 2 && axes.every(Array.isArray)
  if (typeof axes !== 'number' && !pair)
    throw new Error(`${op}: axes are a number of them or a pair of lists, not ${describe(axes)}`)
  const [left, right] =
    typeof axes === 'number'
      ? [a.shape.map((_, d) => d).slice(a.ndim - axes), b.shape.map((_, d) => d).slice(0, axes)]
      : [axes[0].map(d => normalizeAxis(op, d, a.ndim)), axes[1].map(d => normalizeAxis(op, d, b.ndim))]
  const repeats = [left, right].some(axes => new Set(axes).size !== axes.length)
  if (repeats || left.length !== right.length || left.some((d, i) => a.shape[d] !== b.shape[right[i]])) {
    throw new Error(
      `${op}: axes [${left}] of ${formatShape(a.shape)} do not pair with axes [${right}] of ${formatShape(b.shape)}`,
    )
  }
  const names = (x: Tensor, mine: string): string[] => x.shape.map((_, d) => `${mine}${d}`)
  const [namesA, namesB] = [names(a, 'a'), names(b, 'b')]
  left.forEach((d, i) => {
    namesA[d] = namesB[right[i]]
  })
  return product({ x: a, names: namesA }, { x: b, names: namesB }, () => false).x
}

/** All products of an element of a with one of b: [...a.shape, ...b.shape]. */
export const outer = (a: Tensor, b: Tensor): Tensor => contract('outer', a, b, 0)

/** The product of the last axis of a and the first of b, summed over both: of vectors, their inner product. */
export const dot = (a: Tensor, b: Tensor): Tensor => contract('dot', a, b, 1)

const traceNames = { offset: true } as const

/** The sum of the diagonal of the last two axes, `offset` above the main one. */
export function trace(x: Tensor, options: { offset?: number } = {}): Tensor {
  const { offset } = knownOptions('trace', options, traceNames)
  demandTensors('trace', x)
  if (x.ndim < 2) throw new Error(`trace: needs rank 2 or more, not ${formatShape(x.shape)}`)
  return sum(diagonal(x, { offset }), { axis: -1 })
}

/**
 * Products of tensors, summed over the indices that the output leaves out, in Einstein's notation: one letter an axis.
 * A letter twice in one operand takes the diagonal; '...' stands for axes that broadcast; without '->' the output has
 * '...' and the letters that occur once, in alphabetical order. Operands are multiplied from left to right.
 *
 * @throws if the notation does not fit the tensors, or an index has two sizes.
 * @example einsum('bij,bjk->bik', a, b)
 */
export function einsum(spec: string, ...tensors: Tensor[]): Tensor {
  if (typeof spec !== 'string')
    throw new Error(`einsum: the first argument is a text such as 'ij,jk->ik', not ${describe(spec)}`)
  demandTensors('einsum', ...tensors)
  const [inputs, output, ...more] = spec.replaceAll(' ', '').split('->')
  const terms = inputs.split(',')
  const wellFormed = [...terms, output ?? ''].every(term => /^[A-Za-z]*(\.\.\.)?[A-Za-z]*$/.test(term))
  if (!wellFormed || more.length) throw new Error(`einsum: '${spec}' is not of the form 'ij,jk->ik'`)
  if (terms.length !== tensors.length)
    throw new Error(`einsum: '${spec}' has ${terms.length} operands, got ${tensors.length} tensors`)

  const letters = terms.map(term => term.replace('...', '').length)
  const operands = terms.map((term, i): Named => {
    const x = tensors[i]
    if (term.includes('...') ? x.ndim < letters[i] : x.ndim !== letters[i])
      throw new Error(`einsum: '${term}' does not name the axes of operand ${i}, shape ${formatShape(x.shape)}`)
    return { x, names: named(term, x.ndim - letters[i]) }
  })
  const sizes = new Map<string, number>()
  for (const { x, names } of operands)
    names.forEach((name, d) => {
      const [size, other] = [x.shape[d], sizes.get(name)]
      if (other === undefined || (isDot(name) && other === 1)) sizes.set(name, size)
      else if (size !== other && !(isDot(name) && size === 1))
        throw new Error(`einsum: index '${name}' of '${spec}' has sizes ${other} and ${size}`)
    })

  const all = operands.flatMap(({ names }) => names)
  const dots = named('...', [...sizes.keys()].filter(isDot).length)
  const once = [...sizes.keys()].filter(name => !isDot(name) && all.indexOf(name) === all.lastIndexOf(name)).sort()
  const result = output === undefined ? [...dots, ...once] : named(output, dots.length)
  result.forEach((name, d) => {
    if (!sizes.has(name)) throw new Error(`einsum: output index '${name}' of '${spec}' is in no operand`)
    if (result.indexOf(name) !== d) throw new Error(`einsum: output index '${name}' of '${spec}' repeats`)
  })

  const needed = (name: string, others: readonly Named[]): boolean =>
    result.includes(name) || others.some(({ names }) => names.includes(name))
  const { x, names } = operands
    .map(({ x, names }, i): Named => {
      const stretched = names.flatMap((name, d) => (x.shape[d] === 1 && sizes.get(name) !== 1 ? [d] : []))
      const each = distinct({ x: squeeze(x, stretched), names: names.filter((_, d) => !stretched.includes(d)) })
      const summed = each.names.filter(name => !needed(name, operands.toSpliced(i, 1)))
      return {
        x: sum(each.x, { axis: summed.map(name => each.names.indexOf(name)) }),
        names: each.names.filter(name => !summed.includes(name)),
      }
    })
    .reduce((a, b, i) => product(a, b, name => needed(name, operands.slice(i + 1))))
  return permuteDims(
    x,
    result.map(name => names.indexOf(name)),
  )
}

/** The names of a term's axes: its letters, and for '...' names that count from the right: '.1', '.0'. */
const named = (term: string, dots: number): string[] =>
  (term.match(/\.\.\.|./g) ?? []).flatMap(name =>
    name === '...' ? Array.from({ length: dots }, (_, i) => `.${dots - 1 - i}`) : [name],
  )
const isDot = (name: string): boolean => name.startsWith('.')

/** Each name once: the diagonal of axes that share one. */
function distinct({ x, names }: Named): Named {
  const axis2 = names.findIndex((name, d) => names.indexOf(name) < d)
  if (axis2 < 0) return { x, names }
  const axis1 = names.indexOf(names[axis2])
  const others = names.filter((_, d) => d !== axis1 && d !== axis2)
  return distinct({ x: diagonal(x, { axis1, axis2 }), names: [...others, names[axis2]] })
}

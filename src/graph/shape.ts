/** Shapes: sizes, strides, broadcasting and axes. Pure functions over arrays of numbers. */

export type Shape = readonly number[]

export function sizeOf(shape: Shape): number {
  let size = 1
  for (const n of shape) size *= n
  return size
}

export function sameShape(a: Shape, b: Shape): boolean {
  if (a === b) return true
  if (a.length !== b.length) return false
  for (let d = 0; d < a.length; d++) if (a[d] !== b[d]) return false
  return true
}

export const formatShape = (shape: Shape): string => `[${shape.join(',')}]`

/** The common shape of operands under the array API's broadcasting rules. */
export function broadcastShapes(op: string, ...shapes: Shape[]): number[] {
  const rank = shapes.reduce((n, s) => Math.max(n, s.length), 0)
  const out = new Array<number>(rank).fill(1)
  for (const shape of shapes) {
    const offset = rank - shape.length
    for (let d = 0; d < shape.length; d++) {
      const [have, size] = [out[offset + d], shape[d]]
      if (have === 1) out[offset + d] = size
      else if (size !== 1 && size !== have)
        throw new Error(`${op}: shapes ${shapes.map(formatShape).join(' and ')} do not broadcast (${have} vs ${size})`)
    }
  }
  return out
}

/** A possibly negative axis as an index into a shape of the given rank. */
export function normalizeAxis(op: string, axis: number, rank: number): number {
  if (!Number.isInteger(axis) || axis < -rank || axis >= rank) {
    throw new Error(`${op}: axis ${axis} is out of range for a tensor of rank ${rank}`)
  }
  return axis < 0 ? axis + rank : axis
}

/** Axes given as a number, a list or nothing (all of them), without repeats and in ascending order. */
export function normalizeAxes(op: string, axes: number | readonly number[] | null | undefined, rank: number): number[] {
  if (axes === undefined || axes === null) return Array.from({ length: rank }, (_, d) => d)
  if (typeof axes !== 'number' && !Array.isArray(axes)) {
    const given = typeof axes === 'object' ? 'an object' : `${typeof axes} ${String(axes)}`
    throw new Error(`${op}: axes are an integer or a list of integers, not ${given}`)
  }
  const list = (typeof axes === 'number' ? [axes] : [...axes]).map(a => normalizeAxis(op, a, rank))
  if (new Set(list).size !== list.length) throw new Error(`${op}: axes ${formatShape(list)} repeat`)
  return list.sort((a, b) => a - b)
}

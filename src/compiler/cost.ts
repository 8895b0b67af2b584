/** What a kernel costs at least: the bytes that it must move and the floating-point operations that it makes. */

import { isFloat } from '../graph/dtype.js'
import { sizeOf } from '../graph/shape.js'
import { type Expr, isOperation, type ScalarOp, walkExprs } from './expr.js'
import { type BufferSpec, bufferReads, bufferWrites, type Kernel, kernelExprs } from './kernel.js'

export interface Cost {
  /** Every buffer that it reads or writes once, of a buffer read in part that part. */
  readonly bytes: number
  /** One for each addition, multiplication, comparison or function of floats, of each element that it is computed for. */
  readonly flops: number
}

/** Operations that compute nothing. */
const free: ReadonlySet<ScalarOp> = new Set<ScalarOp>(['select', 'cast', 'bitcast', 'keep', 'roundToHalf'])

const isFlop = (e: Expr): boolean => {
  if (!isOperation(e) || free.has(e.op)) return false
  const [{ type }] = e.args
  return type !== 'int64' && isFloat(type)
}

/** @param bytesOf the bytes of an element of a buffer */
export function costOf(kernel: Kernel, buffers: readonly BufferSpec[], bytesOf: (spec: BufferSpec) => number): Cost {
  const whole = (b: number): number => buffers[b].size * bytesOf(buffers[b])
  const written = bufferWrites(kernel).reduce((n, b) => n + whole(b), 0)
  if (kernel.kind !== 'loop') {
    const read = [...bufferReads(kernel)].reduce((n, b) => n + whole(b), 0)
    const flops = kernel.kind === 'scatterAdd' && isFloat(kernel.type) ? kernel.count * kernel.width : 0
    return { bytes: read + written, flops }
  }
  const { axes, reduce } = kernel
  const sizes = [...axes, ...(reduce?.axes ?? [])]
  // What depends on few loops, as the factors of a product do, has few elements.
  const elementsOf = (e: Expr): number => [...e.axes].reduce((n, axis) => n * sizes[axis], 1)
  const reads = new Map<number, number>()
  let flops = sizeOf(sizes) * (reduce?.totals.filter(t => isFloat(t.type)).length ?? 0)
  walkExprs(kernelExprs(kernel), e => {
    if (e.op === 'load')
      reads.set(e.buffer, Math.min(buffers[e.buffer].size, (reads.get(e.buffer) ?? 0) + elementsOf(e)))
    else if (isFlop(e)) flops += elementsOf(e)
  })
  const read = [...reads].reduce((n, [b, elements]) => n + elements * bytesOf(buffers[b]), 0)
  return { bytes: read + written, flops }
}

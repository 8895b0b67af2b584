/** What a kernel costs at least: the bytes that it must move and the floating-point operations that it makes. */

import { isFloat } from '../graph/dtype.js'
import { sizeOf } from '../graph/shape.js'
import { type Expr, isOperation, type ScalarOp, walkExprs } from './expr.js'
import { type BufferSpec, bodiesOf, bufferReads, bufferWrites, type Kernel, kernelExprs } from './kernel.js'

export interface Cost {
  /** Every buffer that it reads or writes once, of a buffer read in part that part. */
  readonly bytes: number
  /** One for each addition, multiplication, comparison or function of floats. */
  readonly flops: number
}

/** Operations that compute nothing. */
const free: ReadonlySet<ScalarOp> = new Set<ScalarOp>(['select', 'cast', 'bitcast', 'keep', 'roundToHalf'])

function flopsOf(roots: readonly Expr[]): number {
  let flops = 0
  walkExprs(roots, e => {
    if (!isOperation(e) || free.has(e.op)) return
    const [{ type }] = e.args
    if (type !== 'int64' && isFloat(type)) flops++
  })
  return flops
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
  const { axes, reduce, outputs } = kernel
  const size = sizeOf(axes)
  const inner = reduce ? size * sizeOf(reduce.axes) : 0
  // A load that depends on few loops reads few elements.
  const reads = new Map<number, number>()
  const sizes = [...axes, ...(reduce?.axes ?? [])]
  walkExprs(kernelExprs(kernel), e => {
    if (e.op !== 'load') return
    const elements = [...e.axes].reduce((n, axis) => n * sizes[axis], 1)
    reads.set(e.buffer, Math.min(buffers[e.buffer].size, (reads.get(e.buffer) ?? 0) + elements))
  })
  const read = [...reads].reduce((n, [b, elements]) => n + elements * bytesOf(buffers[b]), 0)
  const body = flopsOf(bodiesOf(kernel)) + (reduce?.totals.filter(t => isFloat(t.type)).length ?? 0)
  return { bytes: read + written, flops: inner * body + size * flopsOf(outputs.map(o => o.value)) }
}

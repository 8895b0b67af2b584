// gpu.js without a GPU: its kernels as JavaScript on one thread. It has no gradients.
import { createRequire } from 'node:module'
import { checksum, valuesOf } from '../workloads.mjs'

const { GPU, input } = createRequire(import.meta.url)('gpu.js')
const gpu = new GPU({ mode: 'cpu' })

/** Kernels are read as text and compiled: `this` and plain loops are their language. */
const kernels = {
  matmul: ({ inputs: [a, b] }) => ({
    kernel: gpu.createKernel(
      function (a, b) {
        let sum = 0
        for (let i = 0; i < this.constants.inner; i++) sum += a[this.thread.y][i] * b[i][this.thread.x]
        return sum
      },
      { constants: { inner: b.shape[0] }, output: [b.shape[1], a.shape[0]] },
    ),
    // gpu.js counts columns first.
    arrays: [a, b].map(spec => input(valuesOf(spec), spec.shape.toReversed())),
  }),
  chain: ({ inputs: [x] }) => ({
    kernel: gpu.createKernel(
      function (x) {
        const v = x[this.thread.x]
        const y = Math.sqrt(Math.exp(-(Math.tanh(v * 1.01 + 0.5) * v)) + 1) - 1
        return 2 / (1 + Math.exp(-Math.max(y, 0)))
      },
      { output: x.shape },
    ),
    arrays: [valuesOf(x)],
  }),
}

export function open() {
  const prepare = item => {
    if (!kernels[item.kind] || item.inputs[0].shape.length > 2) throw new Error('kernels only, and no gradients')
    const { kernel, arrays } = kernels[item.kind](item)
    const call = async () => kernel(...arrays)
    const flat = y => (ArrayBuffer.isView(y) ? y : y.flatMap(row => [...row]))
    return { call, check: async () => checksum(flat(await call())), dispose: () => kernel.destroy() }
  }
  return { about: 'gpu.js, mode cpu', threads: 1, prepare }
}

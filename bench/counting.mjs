// What the compiler makes of expressions, without running them: kernels, bytes, operations, memory and code size. The
// modules of the compiler are a parameter, so that the test counts what is in src and the benchmark what is in dist.

/** What the wasm device would allocate and assemble: buffers aligned to 64 bytes, with the bytes that may be read beyond. */
const alignment = 64
const guardBytes = 128
const memory = { initial: 1, maximum: 65536, shared: false }
const elementBytes = { float16: 4, float32: 4, float64: 8, int32: 4, uint32: 4, bool: 1 }

/** Buffers that one kernel may bind where dispatches are counted. */
const maxBuffers = 10

/** @param compiler { canonicalize, schedule, costOf, planMemory, buildProgram, buildGpuProgram } */
export function countsOf({ canonicalize, schedule, costOf, planMemory, buildProgram, buildGpuProgram }, tensors) {
  const roots = [...new Set(tensors.map(t => t.node))].filter(n => n.op !== 'input')
  const canonical = canonicalize(roots)
  const scheduled = schedule(canonical)
  const { stages } = buildGpuProgram(schedule(canonical, maxBuffers), { half: false, maxBuffers })
  const { kernels, buffers } = scheduled
  const costs = kernels.map(kernel => costOf(kernel, buffers, spec => elementBytes[spec.dtype]))
  const program = buildProgram(scheduled, { threads: 1, relaxed: true, paired: false, memory })
  const { scratch, moments } = program
  const plan = planMemory({ buffers: program.stored, kernels }, scratch, alignment, guardBytes, moments)
  const total = field => costs.reduce((n, cost) => n + cost[field], 0)
  return {
    kernels: kernels.length,
    dispatches: stages.length,
    bytes: total('bytes'),
    flops: total('flops'),
    buffers: buffers.length,
    arenaBytes: plan.arenaBytes,
    leastBytes: plan.lowerBound,
    moduleBytes: program.module.length,
  }
}

/**
 * What benchmarks and tests take apart: the compiler's passes, the code of two devices, and tensors without the methods
 * that other entries give them. No part of the package's interface.
 */

export { canonicalize } from './compiler/canonical.js'
export { costOf } from './compiler/cost.js'
export { planMemory } from './compiler/plan-memory.js'
export { schedule } from './compiler/schedule.js'
export { encodeModule, Func } from './runtime/backends/wasm/assembler.js'
export { buildProgram } from './runtime/backends/wasm/program.js'
export { buildProgram as buildGpuProgram } from './runtime/backends/webgpu/program.js'
export { saysYes } from './runtime/environment.js'
export { Tensor } from './tensor/tensor.js'

// ONNX Runtime for browsers, in WebAssembly.
import * as ort from 'onnxruntime-web'
import { onnxSide } from './onnx.mjs'

export function open({ threads }) {
  ort.env.wasm.numThreads = threads
  ort.env.logLevel = 'error'
  const about = `onnxruntime-web ${ort.env.versions.web}, inference`
  return onnxSide(ort, about, threads, { executionProviders: ['wasm'] })
}

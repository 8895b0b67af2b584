// ONNX Runtime for Node, native code.
import ort from 'onnxruntime-node'
import { onnxSide } from './onnx.mjs'

export const open = ({ threads }) => onnxSide(ort, `onnxruntime-node ${ort.env.versions.node}, inference`, threads, {})

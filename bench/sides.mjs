// The sides of the comparison, each in a process of its own that keeps its state warm and answers one request at a time.
import { execFileSync, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const here = name => fileURLToPath(new URL(name, import.meta.url))
const host = here('peers/host.mjs')
const isInstalled = name => existsSync(here(`peers/node_modules/${name}/package.json`))
const viaNode = module => threads => [process.execPath, [host, here(module), `${threads}`]]

const hasTorch = python => {
  try {
    execFileSync(python, ['-c', 'import torch'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/** Every side's command for a number of threads, undefined where it is not installed; `only` lists what it can do. */
export function findSides(python) {
  const pythons = (python ? [python] : ['python3', '/usr/bin/python3']).filter(hasTorch)
  const node = (name, needs, module) => ({ name, command: isInstalled(needs) ? viaNode(module) : undefined })
  return {
    own: { name: 'saddlepoint', command: viaNode('saddlepoint.mjs') },
    peers: [
      { name: 'PyTorch', command: pythons[0] && (threads => [pythons[0], [here('peers/pytorch.py'), `${threads}`]]) },
      node('TensorFlow.js', '@tensorflow/tfjs-backend-wasm', 'peers/tfjs.mjs'),
      node('jax-js', '@jax-js/jax', 'peers/jaxjs.mjs'),
      node('ONNX Runtime', 'onnxruntime-node', 'peers/onnx-native.mjs'),
      node('ONNX Runtime web', 'onnxruntime-web', 'peers/onnx-web.mjs'),
      node('gpu.js', 'gpu.js', 'peers/gpujs.mjs'),
    ],
  }
}

export const hasBenchmark = () => isInstalled('benchmark')

/** A side's process. `ask` throws what the side answers as an error. */
export class Side {
  #process
  #replies
  #ended

  /** Starts the process and waits until its library is loaded. */
  static async start({ name, command }, threads) {
    const side = new Side()
    const [program, args] = command(threads)
    // The greetings of libraries go nowhere.
    side.#process = spawn(program, args, { stdio: ['pipe', 'pipe', 'ignore'] })
    side.#process.stdin.on('error', () => {})
    side.#ended = new Promise(resolve => side.#process.on('exit', resolve).on('error', resolve))
    side.#replies = createInterface({ input: side.#process.stdout })[Symbol.asyncIterator]()
    return Object.assign(side, { name, ...(await side.#reply()) })
  }

  async #reply() {
    for (;;) {
      const { value, done } = await this.#replies.next()
      if (done) throw new Error('its process ended')
      if (!value.startsWith('{')) continue
      const reply = JSON.parse(value)
      if (reply.error) throw new Error(reply.error)
      return reply
    }
  }

  async ask(command, request) {
    this.#process.stdin.write(`${JSON.stringify({ command, ...request })}\n`)
    return this.#reply()
  }

  async stop() {
    this.#process.stdin.end()
    const patience = setTimeout(() => this.#process.kill(), 2000)
    await this.#ended
    clearTimeout(patience)
  }
}

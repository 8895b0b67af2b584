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

export const peerNames = ['PyTorch', 'TensorFlow.js', 'jax-js', 'ONNX Runtime', 'ONNX Runtime web', 'gpu.js']

/** Every side's command for a number of threads, undefined where it is not installed; `only` lists what it can do. */
export function findSides(python) {
  const pythons = (python ? [python] : ['python3', '/usr/bin/python3']).filter(hasTorch)
  const node = (name, needs, module) => ({ name, command: isInstalled(needs) ? viaNode(module) : undefined })
  return {
    own: { name: 'saddlepoint', command: viaNode('saddlepoint.mjs') },
    ceiling: { name: 'ceiling', command: viaNode('ceilings.mjs') },
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

/** Processes that must not outlive this one: a stopped one would not notice that it is alone. */
const running = new Set()
process.once('exit', () => {
  for (const one of running) one.kill('SIGKILL')
})
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1))

/** Windows has no such signals; there, threads of a side that waits may still spin. */
const canPause = process.platform !== 'win32'

/**
 * A side's process. It is stopped while nobody waits for its answer, for the threads of some libraries go on spinning between
 * calls, and the next side would be measured beside them. `ask` throws what the side answers as an error.
 */
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
    running.add(side.#process)
    side.#ended = new Promise(resolve => side.#process.on('exit', resolve).on('error', resolve)).then(() =>
      running.delete(side.#process),
    )
    side.#replies = createInterface({ input: side.#process.stdout })[Symbol.asyncIterator]()
    try {
      return Object.assign(side, { name, ...(await side.#reply()) })
    } catch (error) {
      await side.stop()
      throw error
    }
  }

  async #reply() {
    for (;;) {
      const { value, done } = await this.#replies.next()
      if (done) throw new Error('its process ended')
      if (!value.startsWith('{')) continue
      const reply = JSON.parse(value)
      this.#signal('SIGSTOP')
      if (reply.error) throw new Error(reply.error)
      return reply
    }
  }

  #signal(name) {
    if (canPause) this.#process.kill(name)
  }

  async ask(command, request) {
    this.#signal('SIGCONT')
    this.#process.stdin.write(`${JSON.stringify({ command, ...request })}\n`)
    return this.#reply()
  }

  async stop() {
    this.#signal('SIGCONT')
    this.#process.stdin.end()
    const patience = setTimeout(() => this.#process.kill('SIGKILL'), 2000)
    await this.#ended
    clearTimeout(patience)
  }
}

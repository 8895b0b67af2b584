/** Code that fails on wasm: an error, and nobody waits for the thread that stopped. */

import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import * as sp from 'saddlepoint'
import { describe, expect, test, vi } from 'vitest'
import { addIndex, axisIndex, constantIndex, scaleIndex } from '../../src/compiler/affine.js'
import { ExprTable } from '../../src/compiler/expr.js'
import type { Schedule } from '../../src/compiler/kernel.js'

/** In the last row it reads far behind the end of memory, which no schedule of the compiler does. */
function brokenSchedule(rows: number, columns: number): Schedule {
  const exprs = new ExprTable()
  const [row, column] = [axisIndex(0, rows), axisIndex(1, columns)]
  const position = addIndex(scaleIndex(row, columns), column)
  const far = addIndex(position, constantIndex(2 ** 29))
  const value = exprs.load(0, 'float32', far, [{ index: row, low: rows - 1, high: rows }])
  const again = exprs.load(1, 'float32', position, [])
  return {
    buffers: [
      { dtype: 'float32', size: rows * columns, role: 'leaf' },
      { dtype: 'float32', size: rows * columns, role: 'temporary' },
      { dtype: 'float32', size: rows * columns, role: 'result' },
    ],
    kernels: [
      { kind: 'loop', name: 'broken', axes: [rows, columns], outputs: [{ buffer: 1, value }] },
      { kind: 'loop', name: 'after', axes: [columns, rows], outputs: [{ buffer: 2, value: again }] },
    ],
    leaves: [0],
    results: [2],
  }
}

/** A run that fails on a new device, which stays. */
async function failure(threads: number, message: RegExp): Promise<string> {
  const device = await sp.setDevice('wasm', { threads })
  const [rows, columns] = [2048, 512]
  const executable = device.compile(brokenSchedule(rows, columns))
  const [leaf, result] = [device.allocate('float32', rows * columns), device.allocate('float32', rows * columns)]
  const run = (): void => executable.run([leaf], [result])
  let text = ''
  try {
    run()
  } catch (error) {
    text = error instanceof Error ? error.message : ''
  }
  expect(text).toMatch(message)
  expect(run).toThrow('wasm: a thread of this device has failed; call setDevice again')
  return text
}

test.each([1, 2, 3])('with %d threads: the run throws, so do later ones, a new device works', async threads => {
  const printed = vi.spyOn(console, 'error').mockImplementation(() => {})
  await failure(threads, /^wasm: a (kernel|thread) failed.*; call setDevice again$/)
  const device = await sp.getDevice()
  await expect(sp.ones([3]).add(1).data()).rejects.toThrow('call setDevice again')
  await device.close()
  await expect(sp.setDevice(device)).rejects.toThrow("setDevice: this device was closed; setDevice('wasm') starts")
  const next = await sp.setDevice('wasm', { threads })
  expect(Array.from(await sp.ones([3]).add(1).data())).toEqual([2, 2, 2])
  await next.close()
  printed.mockRestore()
})

test('whoever fails: the calling thread, or a worker alone', async () => {
  const printed = vi.spyOn(console, 'error').mockImplementation(() => {})
  const seen = new Set<boolean>()
  // Which thread comes to the row that fails is chance; only the calling one can say why.
  for (let i = 0; i < 200 && seen.size < 2; i++) {
    seen.add((await failure(2, /^wasm: a (kernel failed \(.*out of bounds|thread failed while)/)).includes('bounds'))
    await (await sp.getDevice()).close()
  }
  expect([...seen].sort()).toEqual([false, true])
  printed.mockRestore()
})

test('an engine without WebAssembly is refused in a sentence', async () => {
  const program = "import { setDevice } from 'saddlepoint'; await setDevice('wasm').catch(e => console.log(e.message))"
  const cwd = fileURLToPath(new URL('../..', import.meta.url))
  const { stdout } = await promisify(execFile)(process.execPath, ['--jitless', '--input-type=module', '-e', program], {
    cwd,
  })
  expect(stdout).toMatch(
    /^setDevice: this engine has no WebAssembly SIMD; use a newer one, or setDevice\('reference'\)/,
  )
})

describe("code that is loaded into workers beside the library's", () => {
  const root = fileURLToPath(new URL('../..', import.meta.url))
  const program = `import { ones, setDevice } from 'saddlepoint'
    const device = await setDevice('wasm', globalThis.options)
    const product = async n => {
      console.log(device.threads, await ones([n, n]).matmul(ones([n, n])).max().item().catch(error => error.message))
    }
    await product(256)
    // A worker sees what failed when it returns for the next program.
    await product(320)
    await new Promise(resolve => setTimeout(resolve, 100))
    await device.close()`
  /** What the program says when each worker has loaded this code, and whatever else it prints. */
  async function ran(code: string, options = '{ threads: 2 }'): Promise<{ stdout: string; stderr: string }> {
    const folder = await mkdtemp(join(tmpdir(), 'saddlepoint-preload-'))
    try {
      const file = join(folder, 'preload.cjs')
      await writeFile(
        file,
        `globalThis.options = ${options}
        const { isMainThread, parentPort } = require('node:worker_threads')
        let messages = 0
        if (!isMainThread) { ${code} }`,
      )
      const env = { ...process.env, NODE_OPTIONS: `--require "${file}"` }
      return await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program], { cwd: root, env })
    } finally {
      await rm(folder, { recursive: true })
    }
  }
  // The second message is the first program, for which the calling thread waits.
  const later = (what: string): string => `parentPort.on('message', () => { if (++messages === 2) ${what} })`

  test('it fails: that is printed', async () => {
    const { stdout, stderr } = await ran(later("throw new Error('not ours')"))
    expect(stdout).toBe('2 256\n2 320\n')
    expect(stderr).toMatch(/wasm: thread 1: Error: not ours/)
  })
  test('it ends its worker: nobody waits for that', async () => {
    const { stdout } = await ran(later('process.exit(0)'))
    expect(stdout.trim()).toMatch(
      /^2 wasm: a thread (failed while it computed|of this device has failed); call setDevice/,
    )
  })
  test('it ends its worker at once: an error, or one thread where nobody asked for more', async () => {
    await expect(ran('process.exit(0)')).rejects.toThrow(
      'setDevice: a thread did not start: it ended at once; use { threads: 1 }',
    )
    const { stdout, stderr } = await ran('process.exit(0)', '{}')
    expect(stdout).toBe('1 256\n1 320\n')
    // A machine with one processor does not try.
    if (availableParallelism() > 1) expect(stderr).toMatch(/did not start: it ended at once; going on with one thread/)
  })
})

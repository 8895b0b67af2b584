/** Code that fails on wasm: an error, and nobody waits for the thread that stopped. */

import * as sp from 'saddlepoint'
import { expect, test, vi } from 'vitest'
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

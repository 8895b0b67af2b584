/** Code that fails on wasm: an error, and nobody waits for the thread that stopped. */

import * as sp from 'saddlepoint'
import { expect, test, vi } from 'vitest'
import { addIndex, axisIndex, constantIndex, scaleIndex } from '../../src/compiler/affine.js'
import { ExprTable } from '../../src/compiler/expr.js'
import type { Schedule } from '../../src/compiler/kernel.js'

/** Copies elements; from the middle on it reads far behind the end of memory, which no schedule of the compiler does. */
function brokenSchedule(rows: number, columns: number): Schedule {
  const exprs = new ExprTable()
  const [row, column] = [axisIndex(0, rows), axisIndex(1, columns)]
  const position = addIndex(scaleIndex(row, columns), column)
  const far = addIndex(position, constantIndex(2 ** 29))
  const late = exprs.inside([{ index: row, low: rows / 2, high: rows }])
  const value = exprs.operation(
    'select',
    'float32',
    late,
    exprs.load(0, 'float32', far, []),
    exprs.constant(1, 'float32'),
  )
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

test.each([1, 2, 3])('with %d threads: the run throws, so do later ones, a new device works', async threads => {
  const printed = vi.spyOn(console, 'error').mockImplementation(() => {})
  const device = await sp.setDevice('wasm', { threads })
  const [rows, columns] = [512, 512]
  const executable = device.compile(brokenSchedule(rows, columns))
  const leaf = device.allocate('float32', rows * columns)
  const result = device.allocate('float32', rows * columns)
  expect(() => executable.run([leaf], [result])).toThrow(/^wasm: a (kernel|thread) failed.*; call setDevice again$/)
  expect(() => executable.run([leaf], [result])).toThrow(
    'wasm: a thread of this device has failed; call setDevice again',
  )
  await expect(sp.ones([3]).add(1).data()).rejects.toThrow('call setDevice again')
  await device.close()
  const next = await sp.setDevice('wasm', { threads })
  expect(Array.from(await sp.ones([3]).add(1).data())).toEqual([2, 2, 2])
  await next.close()
  printed.mockRestore()
})

/**
 * Emits scatter-add, and first occurrences, without atomics: a call owns a range of result rows, clears it, and goes
 * through all indices for those that fall into it. Sums are made in the order of the indices, whoever makes them; those
 * of float16 are rounded at the end.
 */

import type { FirstKernel, ScatterKernel } from '../../../compiler/kernel.js'
import { isFloat } from '../../../graph/dtype.js'
import { Func } from './assembler.js'
import { bytesOf, pushAddress } from './memory-access.js'
import { emitRoundToHalf } from './values.js'

/** The body, if the row on the stack is one of begin .. end - 1, the function's arguments. */
const ifOwnRow = (f: Func, body: () => void): Func =>
  f.get(0).op('i32.sub').get(1).get(0).op('i32.sub', 'i32.lt_u').if(body)

/** A function `name(begin, end)` that computes rows begin .. end - 1 of the result. */
export function emitScatter(name: string, { type, count, width, index, updates, output }: ScatterKernel): Func {
  const f = new Func(name, ['i32', 'i32'])
  const size = bytesOf(type)
  const rowBytes = width * size
  const [begin, end] = [0, 1]
  const [out, from, indices, i, row, target, source, j] = Array.from({ length: 8 }, () => f.local('i32'))
  const add = type === 'float64' ? 'f64x2.add' : isFloat(type) ? 'f32x4.add' : 'i32x4.add'
  const sum = f.local('v128')
  for (const [buffer, local] of [
    [output, out],
    [updates, from],
    [index, indices],
  ])
    pushAddress(f, buffer).set(local)

  f.get(out).get(begin).i32(rowBytes).op('i32.mul', 'i32.add').i32(0)
  f.get(end).get(begin).op('i32.sub').i32(rowBytes).op('i32.mul').fill()

  /** target[j] += source[j] for one vector or one element. */
  const accumulate = (load: 'v128.load' | 'v128.load32_zero' | 'v128.load64_zero'): void => {
    f.get(target).get(j).op('i32.add').memory(load)
    f.get(source).get(j).op('i32.add').memory(load)
    f.op(add).set(sum)
    f.get(target).get(j).op('i32.add').get(sum)
    if (load === 'v128.load') f.memory('v128.store')
    else f.laneMemory(size === 8 ? 'v128.store64_lane' : 'v128.store32_lane', 0)
  }
  f.i32(0).set(i)
  f.for(i, count, 1, () => {
    f.get(indices).get(i).i32(4).op('i32.mul', 'i32.add').memory('i32.load').tee(row)
    ifOwnRow(f, () => {
      f.get(out).get(row).i32(rowBytes).op('i32.mul', 'i32.add').set(target)
      f.get(from).get(i).i32(rowBytes).op('i32.mul', 'i32.add').set(source)
      f.i32(0).set(j)
      f.for(j, rowBytes - (rowBytes % 16), 16, () => accumulate('v128.load'))
      f.for(j, rowBytes, size, () => accumulate(size === 8 ? 'v128.load64_zero' : 'v128.load32_zero'))
    })
  })
  if (type === 'float16') {
    f.get(begin).i32(rowBytes).op('i32.mul').set(j)
    f.get(end).i32(rowBytes).op('i32.mul').set(i)
    f.for(j, { local: i }, size, () => {
      f.get(out).get(j).op('i32.add').tee(target).memory('v128.load32_zero').set(sum)
      f.get(target)
      emitRoundToHalf(f, sum)
      f.set(sum).get(sum).laneMemory('v128.store32_lane', 0)
    })
  }
  return f
}

/**
 * A function `name(begin, end)` that finds the first occurrences of rows begin .. end - 1: the last that it writes,
 * going backwards.
 */
export function emitFirstIndex(name: string, { count, index, output }: FirstKernel): Func {
  const f = new Func(name, ['i32', 'i32'])
  const [begin, end] = [0, 1]
  const [out, indices, i, row] = Array.from({ length: 4 }, () => f.local('i32'))
  pushAddress(f, output).set(out)
  pushAddress(f, index).set(indices)
  // All bits set are -1.
  f.get(out).get(begin).i32(4).op('i32.mul', 'i32.add').i32(-1)
  f.get(end).get(begin).op('i32.sub').i32(4).op('i32.mul').fill()
  f.i32(0).set(i)
  f.for(i, count, 1, () => {
    const position = (): Func =>
      f
        .i32(count - 1)
        .get(i)
        .op('i32.sub')
    f.get(indices)
    position().i32(4).op('i32.mul', 'i32.add').memory('i32.load').tee(row)
    ifOwnRow(f, () => {
      f.get(out).get(row).i32(4).op('i32.mul', 'i32.add')
      position().memory('i32.store')
    })
  })
  return f
}

/**
 * Emits the stable order of rows. Records of a key and its position are sorted in short runs, which are then merged, two of
 * one length at a time and from both ends at once: no step asks whether a run has ended, none branches by what it reads,
 * and the two ends do not wait for each other.
 */

import type { ArgsortKernel } from '../../../compiler/kernel.js'
import { isFloat } from '../../../graph/dtype.js'
import { Func, type Local } from './assembler.js'
import { bytesOf, loadElement, pushAddress } from './memory-access.js'
import { isWide, splatBytes } from './values.js'

/** Records that are sorted by counting, at most. */
const longestRun = 8

/** What the records of a kernel are like, and the runs in which they are sorted. */
interface Layout {
  /** Bytes of a record. The first 8 are compared, as an integer with a sign. */
  readonly bytes: 8 | 16
  /** Where its position is: below a key of 32 bits, behind one of 64. */
  readonly position: 0 | 8
  /** Bytes of a run that is sorted by counting, and how often two runs are merged into one. */
  readonly runBytes: number
  readonly levels: number
  /** Bytes of all runs of a row. */
  readonly rowBytes: number
}

function layoutOf({ type, length }: Pick<ArgsortKernel, 'type' | 'length'>): Layout {
  let levels = 0
  while (length > longestRun * 2 ** levels) levels++
  const bytes = isWide(type) ? 16 : 8
  const runBytes = Math.ceil(length / 2 ** levels) * bytes
  return { bytes, position: isWide(type) ? 8 : 0, runBytes, levels, rowBytes: runBytes * 2 ** levels }
}

/** Bytes in which a row is sorted: two places between which its records go to and fro, each a whole number of vectors. */
export const sortBytes = (kernel: Pick<ArgsortKernel, 'type' | 'length'>): number =>
  2 * Math.ceil(layoutOf(kernel).rowBytes / 16) * 16

/**
 * A function `name(begin, end)` that sorts the rows begin .. end - 1.
 *
 * @param scratch a buffer that has `sortBytes` for each chunk of rows
 * @param chunk how many rows a call gets
 */
export const emitArgsort = (name: string, kernel: ArgsortKernel, scratch: number, chunk: number): Func =>
  new SortEmitter(name, kernel).emit(scratch, chunk)

class SortEmitter {
  readonly #f: Func
  readonly #kernel: ArgsortKernel
  readonly #layout: Layout
  /** Where the records are, and where the next merge puts them. */
  readonly #from: Local
  readonly #to: Local

  constructor(name: string, kernel: ArgsortKernel) {
    this.#f = new Func(name, ['i32', 'i32'])
    this.#kernel = kernel
    this.#layout = layoutOf(kernel)
    this.#from = this.#local()
    this.#to = this.#local()
  }

  #local(): Local {
    return this.#f.local('i32')
  }

  emit(scratch: number, chunk: number): Func {
    const f = this.#f
    const [row, end] = [0, 1]
    const place = this.#local()
    const bytes = sortBytes(this.#kernel)
    pushAddress(f, scratch).get(row).i32(chunk).op('i32.div_u').i32(bytes).op('i32.mul', 'i32.add').set(place)
    f.for(row, { local: end }, 1, () => {
      f.get(place).set(this.#from)
      this.#sum(place, bytes / 2).set(this.#to)
      this.#load(row)
      this.#count()
      this.#merge()
      this.#store(row)
    })
    return f
  }

  /** Pushes address + bytes. */
  #sum(address: Local, bytes: number): Func {
    return this.#f.get(address).i32(bytes).op('i32.add')
  }

  /** Copies a record. */
  #move(from: Local, to: Local): void {
    const f = this.#f.get(to).get(from)
    if (this.#layout.bytes === 8) f.memory('i64.load').memory('i64.store')
    else f.memory('v128.load').memory('v128.store')
  }

  /** Pushes whether the record at a comes before that at b, which it does not if they are equal. */
  #isBefore(a: Local, b: Local): Func {
    return this.#f.get(a).memory('i64.load').get(b).memory('i64.load').op('i64.lt_s')
  }

  /** Makes the records of a row; behind them come others, larger than all, which fill up its runs. */
  #load(row: Local): void {
    const f = this.#f
    const { type, length, input } = this.#kernel
    const { bytes, position, rowBytes } = this.#layout
    const [source, target, end, i] = Array.from({ length: 4 }, () => this.#local())
    const key = f.local('v128')
    pushAddress(f, input)
      .get(row)
      .i32(length * bytesOf(type))
      .op('i32.mul', 'i32.add')
      .set(source)
    f.get(this.#from).set(target)
    f.i32(0).set(i)
    f.for(i, length, 1, () => {
      f.v128(new Uint8Array(16)).set(key)
      f.get(source)
      loadElement(f, type, key, 0)
      this.#order(key)
      f.get(target)
        .get(key)
        .laneMemory(bytes === 8 ? 'v128.store32_lane' : 'v128.store64_lane', 0, position === 0 ? 4 : 0)
      f.get(target).get(i).memory('i32.store', position)
      this.#sum(source, bytesOf(type)).set(source)
      this.#sum(target, bytes).set(target)
    })
    this.#sum(this.#from, rowBytes).set(end)
    f.until(target, end, () => {
      f.get(target)
        .i64(2n ** 63n - 1n)
        .memory('i64.store')
      this.#sum(target, bytes).set(target)
    })
  }

  /** Turns the first value of a vector into an integer with a sign, in the order of the values: zeros equal, NaN last. */
  #order(value: Local): void {
    const f = this.#f
    const { type } = this.#kernel
    if (type === 'uint32')
      f.get(value)
        .v128(splatBytes(-(2 ** 31), 'int32'))
        .op('v128.xor')
        .set(value)
    if (!isFloat(type)) return
    const [float, int] = isWide(type) ? (['f64x2', 'i64x2'] as const) : (['f32x4', 'i32x4'] as const)
    // Of what is below 0 all bits but the sign are turned round. 0 + -0 is 0.
    f.get(value).v128(splatBytes(0, type)).op(`${float}.add`).set(value)
    f.get(value).get(value)
    f.i32(8 * bytesOf(type) - 1).op(`${int}.shr_s`)
    f.i32(1).op(`${int}.shr_u`, 'v128.xor')
    f.v128(new Uint8Array(16).fill(255)).i32(1).op(`${int}.shr_u`)
    f.get(value).get(value).op(`${float}.eq`, 'v128.bitselect').set(value)
  }

  /** Sorts each run: a record goes behind as many as come before it. */
  #count(): void {
    const f = this.#f
    const { bytes, runBytes, rowBytes } = this.#layout
    const [start, runEnd, end, record, other, place] = Array.from({ length: 6 }, () => this.#local())
    f.get(this.#from).set(start)
    this.#sum(this.#from, rowBytes).set(end)
    f.until(start, end, () => {
      this.#sum(start, runBytes).set(runEnd)
      f.get(start).set(record)
      f.until(record, runEnd, () => {
        f.get(this.#to).get(start).op('i32.add').get(this.#from).op('i32.sub').set(place)
        const beyond = (isBeyond: () => void): void => {
          f.get(place)
          isBeyond()
          f.i32(bytes).op('i32.mul', 'i32.add').set(place)
          this.#sum(other, bytes).set(other)
        }
        f.get(start).set(other)
        f.until(other, record, () => beyond(() => this.#isBefore(record, other).op('i32.eqz')))
        this.#sum(other, bytes).set(other)
        f.until(other, runEnd, () => beyond(() => this.#isBefore(other, record)))
        this.#move(record, place)
        this.#sum(record, bytes).set(record)
      })
      f.get(runEnd).set(start)
    })
    this.#swap()
  }

  /** What was written is what is read next. */
  #swap(): void {
    this.#f.get(this.#from).get(this.#to).set(this.#from).set(this.#to)
  }

  /** Merges runs in pairs until there is one. */
  #merge(): void {
    const f = this.#f
    const { bytes, runBytes, levels, rowBytes } = this.#layout
    const [level, size, start, next, end] = Array.from({ length: 5 }, () => this.#local())
    // Of both runs the records that are left, first and last, and where the next of each end goes.
    const [left, right, leftLast, rightLast, low, high] = Array.from({ length: 6 }, () => this.#local())
    f.i32(runBytes).set(size)
    f.i32(0).set(level)
    f.for(level, levels, 1, () => {
      f.get(this.#from).set(start)
      this.#sum(start, rowBytes).set(end)
      f.until(start, end, () => {
        f.get(start).tee(left).get(size).op('i32.add').tee(right).get(size).op('i32.add').set(next)
        this.#sum(right, -bytes).set(leftLast)
        this.#sum(next, -bytes).set(rightLast)
        f.get(this.#to).get(left).op('i32.add').get(this.#from).op('i32.sub').tee(low)
        f.get(rightLast).op('i32.add').get(left).op('i32.sub').set(high)
        f.loop(() => {
          this.#isBefore(right, left)
          this.#take(left, right, low, bytes)
          this.#isBefore(rightLast, leftLast)
          this.#take(rightLast, leftLast, high, -bytes)
          f.get(low).get(high).op('i32.lt_u').brIf(0)
        })
        f.get(next).set(start)
      })
      f.get(size).i32(1).op('i32.shl').set(size)
      this.#swap()
    })
  }

  /** Moves the record at a, or that at b where 1 is on the stack, and steps over it there and where it went. */
  #take(a: Local, b: Local, place: Local, step: number): void {
    const f = this.#f
    const [isB, chosen, stepOfB] = Array.from({ length: 3 }, () => this.#local())
    f.set(isB)
    f.get(b).get(a).get(isB).op('select').set(chosen)
    this.#move(chosen, place)
    f.i32(step).i32(0).get(isB).op('select').set(stepOfB)
    f.get(b).get(stepOfB).op('i32.add').set(b)
    f.get(a).i32(step).op('i32.add').get(stepOfB).op('i32.sub').set(a)
    this.#sum(place, step).set(place)
  }

  /** Writes the positions in their order. */
  #store(row: Local): void {
    const f = this.#f
    const { length, output } = this.#kernel
    const { bytes, position } = this.#layout
    const [source, target, end] = Array.from({ length: 3 }, () => this.#local())
    pushAddress(f, output)
      .get(row)
      .i32(length * 4)
      .op('i32.mul', 'i32.add')
      .tee(target)
    f.i32(length * 4)
      .op('i32.add')
      .set(end)
    f.get(this.#from).set(source)
    f.until(target, end, () => {
      f.get(target).get(source).memory('i32.load', position).memory('i32.store')
      this.#sum(source, bytes).set(source)
      this.#sum(target, 4).set(target)
    })
  }
}

/**
 * Prints scalar expressions as WGSL: one `let` a value. What WGSL leaves to the driver (NaN, infinities, division of
 * integers) is a function of kernels/scalar.wgsl; float64 is a pair of words, computed by kernels/float64.wgsl.
 */

import { type Atom, type Condition, type Index, range } from '../../../compiler/affine.js'
import {
  type Expr,
  isOperation,
  type Load,
  type Operation,
  reducedName,
  type ScalarType,
  walkExprs,
} from '../../../compiler/expr.js'
import type { LoopKernel } from '../../../compiler/kernel.js'
import type { DType } from '../../../graph/dtype.js'
import { type Coding, type Instruction, machineStatements } from './machine.js'
import { elementText, type Quads } from './vectors.js'

/** How values of each type lie in memory; a bool is a word of 0 or 1. */
export interface Storage {
  /** Whether float16 has a type of its own; if not, it is stored as a float32. */
  readonly half: boolean
}

const valueTypes: Record<ScalarType, string> = {
  float16: 'f32',
  float32: 'f32',
  float64: 'vec2u',
  int32: 'i32',
  int64: 'vec2u',
  uint32: 'u32',
  bool: 'bool',
}
/** How the buffers of a program are stored. */
export interface BufferTypes {
  readonly storage: Storage
  dtypeOf(buffer: number): DType
}

/** The type of a value in WGSL. */
export const valueType = (type: ScalarType): string => valueTypes[type]

/** The type of a buffer's elements in WGSL. */
export const storageType = (dtype: DType, { half }: Storage): string =>
  dtype === 'bool' ? 'u32' : dtype === 'float16' && half ? 'f16' : valueType(dtype)

/** The bytes of a buffer's element. */
export const storageBytes = (dtype: DType, { half }: Storage): number =>
  dtype === 'float64' ? 8 : dtype === 'float16' && half ? 2 : 4

/** The value of an element in memory. */
export const loaded = (dtype: DType, element: string): string =>
  dtype === 'bool' ? `${element} != 0u` : dtype === 'float16' ? `f32(${element})` : element

/** A value as memory holds it. */
export const stored = (dtype: DType, value: string, storage: Storage): string =>
  dtype === 'bool' ? `u32(${value})` : dtype === 'float16' && storage.half ? `f16(${value})` : value

/** A value where it is used: its variable, or the constant itself. */
export const nameOf = (e: Expr): string => (e.op === 'constant' ? constantText(e.value, e.type) : `e${e.id}`)

/** An index as an i32; axes are the variables i0, i1, ... */
export const indexText = (index: Index): string => {
  const terms = index.terms.map(({ atom, factor }) => (factor === 1 ? atomText(atom) : `${atomText(atom)} * ${factor}`))
  if (index.constant !== 0 || terms.length === 0) terms.push(String(index.constant))
  return terms.length === 1 ? terms[0] : `(${terms.join(' + ')})`
}

function atomText(atom: Atom): string {
  switch (atom.kind) {
    case 'axis':
      return `i${atom.axis}`
    case 'value':
      return atom.value.type === 'int32' ? nameOf(atom.value) : `i32(${nameOf(atom.value)})`
    case 'bounded':
      return indexText(atom.of)
    case 'quotient':
    case 'remainder': {
      const [operator, name] = atom.kind === 'quotient' ? ['/', 'div_i32'] : ['%', 'mod_i32']
      return range(atom.of).low >= 0
        ? `(${indexText(atom.of)} ${operator} ${atom.divisor})`
        : `${name}(${indexText(atom.of)}, ${atom.divisor})`
    }
  }
}

/** Whether all conditions hold; `&`, for `&&` is a branch. */
export const conditionText = (conditions: readonly Condition[]): string =>
  conditions
    .flatMap(({ index, low, high }) => {
      const text = indexText(index)
      const { low: least, high: most } = range(index)
      const isKnown = index.terms.every(t => t.atom.kind === 'axis')
      return [
        ...(isKnown && least >= low ? [] : [`(${text} >= ${low})`]),
        ...(isKnown && most < high ? [] : [`(${text} < ${high})`]),
      ]
    })
    .join(' & ') || 'true'

const words = new DataView(new ArrayBuffer(8))
const hex = (word: number): string => `0x${(word >>> 0).toString(16).padStart(8, '0')}u`

/** A constant of a type. */
export function constantText(value: number, type: ScalarType): string {
  switch (type) {
    case 'bool':
      return value ? 'true' : 'false'
    case 'uint32':
      return `${value >>> 0}u`
    case 'int32':
      return value === -(2 ** 31) ? 'i32(0x80000000u)' : value < 0 ? `(${value})` : `${value}`
    case 'int64':
      words.setBigInt64(0, BigInt(value), true)
      return `vec2u(${hex(words.getUint32(0, true))}, ${hex(words.getUint32(4, true))})`
    case 'float64':
      words.setFloat64(0, value, true)
      return `vec2u(${hex(words.getUint32(0, true))}, ${hex(words.getUint32(4, true))})`
    case 'float16':
    case 'float32': {
      // What a compiler may refuse or flush (NaN, infinities, subnormals, -0) is given by its bits.
      const plain = value === 0 ? Object.is(value, 0) : Number.isFinite(value) && Math.abs(value) >= 2 ** -126
      return plain ? (value < 0 ? `(${value}f)` : `${value}f`) : bitsText(value)
    }
  }
}

function bitsText(value: number): string {
  words.setFloat32(0, value, true)
  return `bits(${hex(words.getUint32(0, true))})`
}

/** A constant that no compiler folds: an operation on constants alone, were it folded, could be refused. */
function runtimeConstant(value: number, type: ScalarType): string {
  switch (type) {
    case 'bool':
      return `(${constantText(value, type)} & (runtime_zero == 0u))`
    case 'uint32':
      return `(${constantText(value, type)} ^ runtime_zero)`
    case 'int32':
      return `(${constantText(value, type)} ^ i32(runtime_zero))`
    case 'float16':
    case 'float32':
      return bitsText(value)
    default:
      return constantText(value, type)
  }
}

const zeroOf = (type: ScalarType): string => constantText(0, type)

type Class = 'float' | 'int' | 'uint' | 'bool' | 'wide' | 'wideInt'
const classes: Record<ScalarType, Class> = {
  float16: 'float',
  float32: 'float',
  float64: 'wide',
  int32: 'int',
  int64: 'wideInt',
  uint32: 'uint',
  bool: 'bool',
}

/** How each operation is written, by the class of its first operand; `a`, `b`, `c` stand for the operands. */
const forms: { readonly [op: string]: Partial<Record<Class, string>> } = {
  add: { float: 'a + b', int: 'a + b', uint: 'a + b', wide: 'f64_add(a, b)', wideInt: 'i64_add(a, b)' },
  sub: { float: 'a - b', int: 'a - b', uint: 'a - b', wide: 'f64_sub(a, b)', wideInt: 'i64_sub(a, b)' },
  mul: { float: 'a * b', int: 'a * b', uint: 'a * b', wide: 'f64_mul(a, b)' },
  div: { float: 'a / b', int: 'div_i32(a, b)', uint: 'div_u32(a, b)', wide: 'f64_div(a, b)' },
  remainder: { int: 'mod_i32(a, b)', uint: 'mod_u32(a, b)' },
  fma: { float: 'fma(a, b, c)', wide: 'f64_fma(a, b, c)' },
  maximum: { float: 'maximum(a, b)', int: 'max(a, b)', uint: 'max(a, b)', wide: 'f64_maximum(a, b)' },
  minimum: { float: 'minimum(a, b)', int: 'min(a, b)', uint: 'min(a, b)', wide: 'f64_minimum(a, b)' },
  neg: { float: '-a', int: '-a', uint: '0u - a', wide: 'f64_neg(a)' },
  abs: { float: 'abs(a)', int: 'abs(a)', uint: 'a', wide: 'f64_abs(a)' },
  sign: { int: 'sign(a)', uint: 'min(a, 1u)' },
  sqrt: { float: 'sqrt(a)', wide: 'f64_sqrt(a)' },
  floor: { float: 'floor(a)', wide: 'f64_floor(a)' },
  ceil: { float: 'ceil(a)', wide: 'f64_ceil(a)' },
  trunc: { float: 'trunc(a)', wide: 'f64_trunc(a)' },
  round: { float: 'round(a)', wide: 'f64_round(a)' },
  not: { int: '~a', uint: '~a', bool: '!a' },
  and: { int: 'a & b', uint: 'a & b', bool: 'a & b', wideInt: 'a & b' },
  or: { int: 'a | b', uint: 'a | b', bool: 'a | b', wideInt: 'a | b' },
  xor: { int: 'a ^ b', uint: 'a ^ b', bool: 'a != b', wideInt: 'a ^ b' },
  shiftLeft: {
    int: 'a << (u32(b) & 31u)',
    uint: 'a << (b & 31u)',
    wideInt: 'i64_shift_left(a, b.x)',
  },
  shiftRight: {
    int: 'a >> (u32(b) & 31u)',
    uint: 'a >> (b & 31u)',
    wideInt: 'i64_shift_right(a, b.x)',
  },
  less: { float: 'less(a, b)', int: 'a < b', uint: 'a < b', bool: '!a & b', wide: 'f64_less(a, b)' },
  lessEqual: {
    float: 'less_equal(a, b)',
    int: 'a <= b',
    uint: 'a <= b',
    bool: '!a | b',
    wide: 'f64_less_equal(a, b)',
  },
  equal: { float: 'equal(a, b)', int: 'a == b', uint: 'a == b', bool: 'a == b', wide: 'f64_equal(a, b)' },
  keep: { float: 'keep(a)', wide: 'a' },
  roundToHalf: { float: 'round_to_half(a)' },
  sinFar: { float: 'sin_far(a)', wide: 'f64_sin_far(a)' },
  cosFar: { float: 'cos_far(a)', wide: 'f64_cos_far(a)' },
  remainderFar: { float: 'remainder_far(a, b)', wide: 'f64_remainder_far(a, b)' },
}

/** Casts between classes. */
const casts: { readonly [from in Class]?: Partial<Record<Class, string>> } = {
  float: { float: 'a', int: 'to_i32(a)', uint: 'to_u32(a)', bool: 'nonzero(a)', wide: 'f64_from_f32(a)' },
  int: { float: 'f32(a)', int: 'a', uint: 'u32(a)', bool: 'a != 0', wide: 'f64_from_i32(a)' },
  uint: { float: 'from_u32(a)', int: 'i32(a)', uint: 'a', bool: 'a != 0u', wide: 'f64_from_u32(a)' },
  bool: { float: 'f32(a)', int: 'i32(a)', uint: 'u32(a)', bool: 'a', wide: 'f64_from_u32(u32(a))' },
  wide: {
    float: 'f64_to_f32(a)',
    int: 'f64_to_i32(a)',
    uint: 'f64_to_u32(a)',
    bool: 'f64_nonzero(a)',
    wide: 'a',
  },
}

function formOf({ op, type, args }: Operation): string {
  const from = classes[args[0].type]
  const form =
    op === 'cast'
      ? casts[from]?.[classes[type]]
      : op === 'bitcast'
        ? valueType(type) === valueType(args[0].type)
          ? 'a'
          : `bitcast<${valueType(type)}>(a)`
        : op === 'select'
          ? 'select(c, b, a)'
          : forms[op]?.[from]
  if (form === undefined) throw new Error(`webgpu: no WGSL for ${op} of ${args[0].type} to ${type}`)
  return form
}

function operationText(e: Operation): string {
  const [first, amount] = e.args
  const names = e.args.map(nameOf)
  if (first.op === 'constant' && e.args.every(a => a.op === 'constant'))
    names[0] = runtimeConstant(first.value, first.type)
  // A compiler that assumes finite numbers makes 0 of a product with 0, also where it is NaN.
  if (e.op === 'mul' || e.op === 'fma' || e.op === 'div')
    for (const [i, a] of e.args.entries())
      if (a.op === 'constant' && a.value === 0) names[i] = runtimeConstant(0, a.type)
  if ((e.op === 'shiftLeft' || e.op === 'shiftRight') && amount.op === 'constant' && classes[e.type] !== 'wideInt')
    return `${names[0]} ${e.op === 'shiftLeft' ? '<<' : '>>'} ${amount.value & 31}u`
  return formOf(e).replace(/\b[abc]\b/g, letter => names[letter.charCodeAt(0) - 97])
}

/** The statements that compute a value; `dtypeOf` tells how a buffer is stored. */
function definition(e: Expr, dtypeOf: (buffer: number) => DType, quads?: Quads, own?: OwnBuffers): string {
  const name = nameOf(e)
  if (isOperation(e)) return `let ${name} = ${operationText(e)};`
  switch (e.op) {
    case 'constant':
      return ''
    case 'position':
      return `let ${name} = ${indexText(e.index)};`
    case 'inside':
      return `let ${name} = ${conditionText(e.conditions)};`
    case 'load':
      return loadText(e, dtypeOf(e.buffer), quads, own)
    case 'reduced':
      return `let ${name} = ${reducedName(e.total)};`
  }
}

/** Buffers in a workgroup's memory: what they are called there, and the variable with the first of their positions in it. */
export type OwnBuffers = ReadonlyMap<number, { readonly name: string; readonly first: string }>

function loadText(e: Load, dtype: DType, quads?: Quads, own?: OwnBuffers): string {
  const place = quads?.places.get(e)
  const here = own?.get(e.buffer)
  const [name, first] = [nameOf(e), nameOf(place?.first ?? e)]
  const isGuarded = e.conditions.length > 0
  // Where nothing is to be read, the first element is, and left out.
  const index = isGuarded ? `select(${here?.first ?? 0}, ${indexText(e.index)}, ${first}_inside)` : indexText(e.index)
  const text: string[] = []
  if (isGuarded && name === first) text.push(`let ${name}_inside = ${conditionText(e.conditions)};`)
  if (place && name === first) text.push(`let ${name}_vector = b${e.buffer}[${index} / 4];`)
  const element = here
    ? `${here.name}[${index} - ${here.first}]`
    : place
      ? `${first}_vector.${place.component}`
      : elementText(e.buffer, index, quads)
  const value = loaded(dtype, element)
  text.push(`let ${name} = ${isGuarded ? `select(${zeroOf(e.type)}, ${value}, ${first}_inside)` : value};`)
  return text.join(' ')
}

/** How values fill the two words of a register (machine.ts). */
const coding: Coding = {
  encode: (type, value) => {
    switch (classes[type]) {
      case 'float':
      case 'int':
        return `vec2u(bitcast<u32>(${value}), 0u)`
      case 'uint':
        return `vec2u(${value}, 0u)`
      case 'bool':
        return `vec2u(u32(${value}), 0u)`
      default:
        return value
    }
  },
  decode: (type, register) => {
    switch (classes[type]) {
      case 'float':
      case 'int':
        return `bitcast<${valueType(type)}>(${register}.x)`
      case 'uint':
        return `${register}.x`
      case 'bool':
        return `(${register}.x != 0u)`
      default:
        return register
    }
  },
  form: formOf,
  name: nameOf,
}

/** Where values are besides buffers in storage. */
export interface PlaceOptions {
  readonly own?: OwnBuffers
  /** The instructions of the stage, where long float64 expressions may become some. */
  readonly instructions?: Instruction[]
}

interface StatementOptions extends PlaceOptions {
  /** What is in scope already; the values that become so are added. */
  readonly done?: Set<Expr>
  /** Leaves out what another place computes; without it, nothing but the roots need be in scope afterwards. */
  readonly isWanted?: (e: Expr) => boolean
  /** What is loaded by fours. */
  readonly quads?: Quads
}

/** The statements that compute the roots, operands first, each value once. */
export function statements(
  roots: readonly Expr[],
  dtypeOf: (buffer: number) => DType,
  { done = new Set(), isWanted, quads, own, instructions }: StatementOptions = {},
): string[] {
  const list: Expr[] = []
  walkExprs(roots, e => {
    if (e.op !== 'constant' && !done.has(e) && (isWanted?.(e) ?? true)) list.push(e)
  })
  const plain = (e: Expr): string => definition(e, dtypeOf, quads, own)
  const machine =
    isWanted || !instructions ? undefined : machineStatements(list, new Set(roots), coding, plain, instructions)
  for (const e of machine ? roots : list) done.add(e)
  return machine ?? list.map(plain)
}

/** The statements that store results at a position, a u32, in buffers of those types. */
export const storeStatements = (
  outputs: LoopKernel['outputs'],
  position: string,
  { dtypeOf, storage }: BufferTypes,
  own?: OwnBuffers,
): string[] =>
  outputs.map(({ buffer, value }) => {
    const here = own?.get(buffer)
    const place = here ? `${here.name}[i32(${position}) - ${here.first}]` : `b${buffer}[${position}]`
    return `${place} = ${stored(dtypeOf(buffer), nameOf(value), storage)};`
  })

/** Variables for the axes whose row-major position is given: `let i<first> = ...;` and so on. */
export function axisStatements(position: string, sizes: readonly number[], first = 0): string[] {
  let below = 1
  const lines: string[] = []
  for (let d = sizes.length - 1; d >= 0; d--) {
    const quotient = below === 1 ? position : `${position} / ${below}`
    lines.unshift(
      `let i${first + d} = ${d === 0 ? quotient : `${below === 1 ? position : `(${quotient})`} % ${sizes[d]}`};`,
    )
    below *= sizes[d]
  }
  return lines
}

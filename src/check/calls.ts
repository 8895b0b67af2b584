/** Calls of operations as data: they can be made, looked through and printed. */

import type { Shape } from '../graph/shape.js'
import { einsum } from '../tensor/contraction.js'
import { tensor } from '../tensor/create.js'
import { where } from '../tensor/elementwise.js'
import { scatterAdd } from '../tensor/indexing.js'
import { concat, stack } from '../tensor/movement.js'
import { Tensor } from '../tensor/tensor.js'

/** Operations that are no methods of a tensor. */
const functions = { concat, einsum, scatterAdd, stack, tensor, where }
export type Operation = keyof typeof functions | Extract<keyof Tensor, string>
/** An operation as programs call it: as a function of operands and options that the table has chosen. */
type Apply = (...args: unknown[]) => Tensor

/** An argument of the program, or the result of a call. */
export class Value {
  readonly shape: Shape
  readonly data: Float64Array
  readonly from: Call | undefined
  constructor(shape: Shape, data: Float64Array, from?: Call) {
    this.shape = shape
    this.data = data
    this.from = from
  }
}
export class Call {
  readonly op: Operation
  readonly args: readonly Argument[]
  constructor(op: Operation, args: readonly Argument[]) {
    this.op = op
    this.args = args
  }
}
export type Argument =
  | Value
  | Call
  | number
  | string
  | boolean
  | null
  | readonly Argument[]
  | { [option: string]: Argument }
/** A call among the arguments of another. */
export const call = (op: Operation, ...args: Argument[]): Call => new Call(op, args)

/** An argument as an operation takes it. */
function bind(arg: Argument, of: (value: Value) => Tensor): unknown {
  if (arg instanceof Value) return of(arg)
  if (arg instanceof Call) return apply(arg, of)
  if (Array.isArray(arg)) return arg.map(a => bind(a, of))
  if (typeof arg !== 'object' || arg === null) return arg
  return Object.fromEntries(Object.entries(arg).map(([name, a]) => [name, bind(a, of)]))
}
export function apply({ op, args }: Call, of: (value: Value) => Tensor): Tensor {
  const [first, ...rest] = args.map(a => bind(a, of))
  if (op in functions) return (functions[op as keyof typeof functions] as Apply)(first, ...rest)
  return (Tensor.prototype[op as keyof Tensor] as Apply).apply(first, rest)
}

/** An argument as code. */
export function print(arg: Argument, nameOf: (value: Value) => string): string {
  if (arg instanceof Value) return nameOf(arg)
  if (arg instanceof Call) return `${arg.op}(${arg.args.map(a => print(a, nameOf)).join(', ')})`
  if (Array.isArray(arg)) return `[${arg.map(a => print(a, nameOf)).join(', ')}]`
  if (typeof arg === 'string') return `'${arg}'`
  if (typeof arg !== 'object' || arg === null) return String(arg)
  return `{ ${Object.entries(arg)
    .map(([name, a]) => `${name}: ${print(a, nameOf)}`)
    .join(', ')} }`
}

/** Everything below an argument. */
export function* within(arg: Argument): Generator<Value | Call> {
  if (arg instanceof Value || arg instanceof Call) yield arg
  const inner = arg instanceof Call ? arg.args : arg instanceof Value ? arg.from : typeof arg === 'object' && arg
  if (inner) for (const a of inner instanceof Call ? [inner] : Object.values(inner)) yield* within(a)
}

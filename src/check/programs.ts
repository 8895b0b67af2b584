/**
 * Random differentiable programs: a list of steps, each of which calls an operation on what has been computed so far or on
 * an argument of its own. A step whose values are large or near a kink is left out, so that every part of a list is a
 * program again and shrinking may cut as it likes. What a program does, it also prints.
 */

import { knownOptions, type Names } from '../graph/options.js'
import { tensor } from '../tensor/create.js'
import type { Tensor } from '../tensor/tensor.js'
import { apply, Call, type Operation, print, Value, within } from './calls.js'
import { literal } from './compare.js'
import { smoothValues } from './eager.js'
import { Draw, type Step, table } from './operations.js'

export interface ProgramOptions {
  /** Steps drawn; 8 by default. Some do not fit, and what the result does not need is left out. */
  maxSteps?: number
  /** The operations that steps call, by name; all of the table by default. */
  ops?: readonly string[]
  /** The order that the printed code checks; 2 by default. */
  order?: number
}
const programsNames: Names<ProgramOptions> = { maxSteps: true, ops: true, order: true }

/** A function and arguments at which it and all its derivatives are smooth and of moderate size. */
export interface Program {
  readonly f: (...xs: Tensor[]) => Tensor
  readonly args: Tensor[]
  /** The operations of the steps, in the order of their calls. */
  readonly operations: readonly string[]
  /** Code that runs as it stands and checks the program's derivatives. */
  toString(): string
}

const isOperation = (op: string): op is Operation => Object.hasOwn(table, op)

/** The names of the operations to draw from. */
export function programNames(options: ProgramOptions = {}): readonly Operation[] {
  const { ops = Object.keys(table) } = knownOptions('programs', options, programsNames)
  const known = ops.filter(isOperation)
  if (known.length === ops.length && ops.length > 0) return known
  const wrong = ops.length ? `unknown operation '${ops.find(op => !isOperation(op))}'` : 'ops is empty'
  throw new Error(`programs: ${wrong}; one or more of ${Object.keys(table).join(', ')}`)
}

const importing = (names: readonly string[], from: string): string => `import { ${names.join(', ')} } from '${from}'`

const limits = { size: 48, rank: 4, value: 8 }

/** The value that most went into, and that. */
function longest(values: readonly Value[]): [Value | undefined, Set<Value | Call>] {
  let found: [Value | undefined, Set<Value | Call>] = [undefined, new Set()]
  for (const v of values) {
    const used = new Set(within(v))
    if (used.size >= found[1].size) found = [v, used]
  }
  return found
}

/** The program that steps make, or undefined if none of them fits. */
export function programOf(steps: readonly Step[], { order: checked = 2 }: ProgramOptions = {}): Program | undefined {
  const values: Value[] = []
  for (const step of steps) {
    const made = new Call(step.op, table[step.op](new Draw(values, step)))
    const { node } = apply(made, v => tensor(v.data, { shape: v.shape }))
    const size = node.shape.reduce((n, s) => n * s, 1)
    if (size === 0 || size > limits.size || node.shape.length > limits.rank) continue
    const data = smoothValues(node, limits.value)
    if (!data) continue
    for (const v of within(made)) if (v instanceof Value && !values.includes(v)) values.push(v)
    values.push(new Value(node.shape, data, made))
  }
  const [result, used] = longest(values)
  if (!result?.from) return undefined
  const isUsed = (v: Value): boolean => used.has(v)
  const inputs = values.filter(v => isUsed(v) && !v.from)
  const calls = values.flatMap(v => (isUsed(v) && v.from ? [{ value: v, from: v.from }] : []))
  const f = (...xs: Tensor[]): Tensor => {
    const known = new Map(inputs.map((v, i) => [v, xs[i]]))
    const of = (v: Value): Tensor => known.get(v) as Tensor
    for (const { value, from } of calls) known.set(value, apply(from, of))
    return of(result)
  }
  const names = new Map([
    ...inputs.map((v, i): [Value, string] => [v, `x${i}`]),
    ...calls.map(({ value }, i): [Value, string] => [value, `y${i}`]),
  ])
  const toString = (): string => {
    const nameOf = (v: Value): string => names.get(v) ?? ''
    const imports = new Set([...used].flatMap(v => (v instanceof Call ? [v.op] : [])).concat('tensor'))
    const list = inputs.map(nameOf).join(', ')
    return [
      importing([...imports].sort(), 'saddlepoint'),
      importing(['checkGrads'], 'saddlepoint/check'),
      ...inputs.map(v => `const ${nameOf(v)} = tensor(${literal(v.data, v.shape)}, { dtype: 'float64' })`),
      `const f = (${list}) => {`,
      ...calls.map(({ value, from }) => `  const ${nameOf(value)} = ${print(from, nameOf)}`),
      `  return ${nameOf(result)}`,
      '}',
      `await checkGrads(f, [${list}], { order: ${checked} })`,
    ].join('\n')
  }
  const args = inputs.map(v => tensor(v.data, { shape: v.shape }))
  return { f, args, operations: calls.map(c => c.from.op), toString }
}

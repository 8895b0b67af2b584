/**
 * Long float64 expressions as programs of a small register machine. Every operation on float64 is a hundred
 * instructions, drivers inline them all, and their compilers take seconds for a few dozen. Here each kind of operation
 * stands in the shader once, and a loop over instructions calls it: the same results, soon compiled, hardly slower.
 */

import { type Expr, isOperation, type Operation, operandsOf, type ScalarType } from '../../../compiler/expr.js'

/** How values of a type are put into a register of two words, and taken out. */
export interface Coding {
  encode(type: ScalarType, value: string): string
  decode(type: ScalarType, register: string): string
  /** What an operation is in terms of values `a`, `b`, `c`. */
  form(e: Operation): string
  /** A value that is in scope, or a constant. */
  name(e: Expr): string
}

/** Fewer float64 operations than this are written out. */
const worthwhile = 12

const isWide = (e: Operation): boolean => [e, ...e.args].some(x => x.type === 'float64' || x.type === 'int64')

/**
 * The statements after which the roots are in scope, or undefined where they are better written out one by one.
 *
 * @param list the values to compute, operands first; what they use beside these and constants is in scope.
 * @param plain how a value that is no operation is computed.
 */
export function machineStatements(
  list: readonly Expr[],
  roots: ReadonlySet<Expr>,
  { encode, decode, form, name }: Coding,
  plain: (e: Expr) => string,
): string[] | undefined {
  const operations = list.filter(isOperation)
  if (operations.filter(isWide).length < worthwhile) return undefined
  const inMachine = new Set<Expr>(operations)
  const others = list.filter(e => !inMachine.has(e))
  if (others.some(e => operandsOf(e).some(x => inMachine.has(x)))) return undefined

  // Registers: constants and what comes from outside first, then results, which leave theirs after their last use.
  const registers = new Map<Expr, number>()
  const initial: string[] = []
  const lastUse = new Map<Expr, number>()
  operations.forEach((e, i) => {
    for (const arg of e.args) {
      lastUse.set(arg, i)
      if (inMachine.has(arg) || registers.has(arg)) continue
      registers.set(arg, initial.push(encode(arg.type, name(arg))) - 1)
    }
  })
  let size = initial.length
  const free: number[] = []
  const cases = new Map<string, number>()
  const program = operations.map((e, i) => {
    const [a = 0, b = 0, c = 0] = e.args.map(x => registers.get(x) as number)
    for (const arg of new Set(e.args))
      if (inMachine.has(arg) && lastUse.get(arg) === i && !roots.has(arg)) free.push(registers.get(arg) as number)
    const target = free.pop() ?? size++
    registers.set(e, target)
    const value = form(e).replace(/\b[abc]\b/g, letter => decode(e.args['abc'.indexOf(letter)].type, letter))
    const body = encode(e.type, value)
    if (!cases.has(body)) cases.set(body, cases.size)
    return `vec4u(${cases.get(body)}, ${target}, ${a} | (${b} << 16), ${c})`
  })

  return [
    ...others.map(plain),
    `var registers: array<vec2u, ${size}>;`,
    ...initial.map((value, i) => `registers[${i}] = ${value};`),
    `var program = array<vec4u, ${program.length}>(\n  ${program.join(',\n  ')},\n);`,
    `for (var counter = 0u; counter < ${program.length}u; counter++) {`,
    '  let instruction = program[counter];',
    '  let a = registers[instruction.z & 0xffffu];',
    '  let b = registers[instruction.z >> 16u];',
    '  let c = registers[instruction.w];',
    '  var result: vec2u;',
    '  switch (instruction.x) {',
    ...[...cases].map(([body, i]) => `    case ${i}u: { result = ${body}; }`),
    '    default: {}',
    '  }',
    '  registers[instruction.y] = result;',
    '}',
    ...[...roots].flatMap(e =>
      inMachine.has(e) ? [`let ${name(e)} = ${decode(e.type, `registers[${registers.get(e)}]`)};`] : [],
    ),
  ]
}

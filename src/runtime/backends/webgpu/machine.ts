/**
 * Long float64 expressions as programs of a small register machine. Every operation on float64 is a hundred
 * instructions, drivers inline them all, and their compilers take seconds for a few dozen. Here each kind of operation
 * stands in the shader once, and a loop over instructions calls it: the same results, soon compiled, hardly slower. The
 * instructions are data, in the uniform buffer `instructions`, so compilers never see how many there are.
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
/** Instructions of a stage: a uniform buffer may have 64 KiB everywhere. */
const capacity = 4096
/** What to do, the register of the result, those of the first two operands (16 bits each), that of the third. */
export type Instruction = readonly [number, number, number, number]

const isWide = (e: Operation): boolean => [e, ...e.args].some(x => x.type === 'float64' || x.type === 'int64')

/**
 * The statements after which the roots are in scope, or undefined where they are better written out one by one.
 *
 * @param list the values to compute, operands first; what they use beside these and constants is in scope.
 * @param plain how a value that is no operation is computed.
 * @param instructions those of the stage, to which this adds its own.
 */
export function machineStatements(
  list: readonly Expr[],
  roots: ReadonlySet<Expr>,
  { encode, decode, form, name }: Coding,
  plain: (e: Expr) => string,
  instructions: Instruction[],
): string[] | undefined {
  const operations = list.filter(isOperation)
  if (operations.filter(isWide).length < worthwhile) return undefined
  if (instructions.length + operations.length > capacity) return undefined
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
  const first = instructions.length
  operations.forEach((e, i) => {
    const [a = 0, b = 0, c = 0] = e.args.map(x => registers.get(x) as number)
    for (const arg of new Set(e.args))
      if (inMachine.has(arg) && lastUse.get(arg) === i && !roots.has(arg)) free.push(registers.get(arg) as number)
    const target = free.pop() ?? size++
    registers.set(e, target)
    const value = form(e).replace(/\b[abc]\b/g, letter => decode(e.args['abc'.indexOf(letter)].type, letter))
    const body = encode(e.type, value)
    const kind = cases.get(body) ?? cases.size
    cases.set(body, kind)
    instructions.push([kind, target, a | (b << 16), c])
  })

  return [
    ...others.map(plain),
    `var registers: array<vec2u, ${size}>;`,
    ...initial.map((value, i) => `registers[${i}] = ${value};`),
    `for (var counter = ${first}u; counter < ${instructions.length}u; counter++) {`,
    '  let instruction = instructions[counter];',
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

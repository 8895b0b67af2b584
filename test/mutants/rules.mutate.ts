/**
 * Mutants: every row of the derivative table and of the batching table, negated and dropped in turn, must be caught by
 * the checks that the suites make. Writes who caught whom to docs/numerics.md.
 */

import * as sp from 'saddlepoint'
import { type CheckGradsOptions, checkGrads } from 'saddlepoint/check'
import { afterAll, describe, expect, test } from 'vitest'
import { batching, type Operand } from '../../src/autodiff/batching.js'
import { rules } from '../../src/autodiff/rules.js'
import { type Primitive, topological } from '../../src/graph/node.js'
import { primitives } from '../../src/graph/primitives.js'
import { primitiveCases } from '../autodiff/primitive-cases.js'
import { everything, expectBatched } from '../operations/batched.js'
import { isFloat, type Make, type Tensor } from '../operations/cases.js'
import { catalog } from '../operations/catalog.js'
import { writePart } from '../oracle/document.js'
import { Rng } from '../oracle/property.js'

/** A check that may catch a mutant, and the primitives that its expressions are made of. */
interface Check {
  readonly name: string
  readonly make: Make
  readonly flat: boolean
  readonly uses: ReadonlySet<Primitive>
}
function checkOf(name: string, make: Make, flat: boolean): Check {
  const { f, args } = make(new Rng(11))
  const roots = everything(f, flat)(...args).map(t => t.node)
  return { name, make, flat, uses: new Set(topological(roots, n => n.inputs).map(n => n.op)) }
}
const checksOf = (name: string, makes: readonly Make[], flat: boolean): Check[] =>
  makes.map(make => checkOf(name, make, flat))
const checks: readonly Check[] = [
  ...Object.entries(primitiveCases).flatMap(([name, makes]) =>
    typeof makes === 'string' ? [] : checksOf(name, makes, false),
  ),
  ...checksOf('random.normal', [() => ({ f: k => sp.random.normal(k, [5]), args: [sp.random.key(3)] })], true),
  ...Object.entries(catalog).flatMap(([name, { makes, flat }]) => checksOf(name, makes, flat !== undefined)),
]

/** Whether a check fails, by an error of whatever kind. */
const fails = (run: () => Promise<void>): Promise<boolean> =>
  run().then(
    () => false,
    () => true,
  )

/** The checks that reach a primitive: those named for it first, then the small ones. */
const checksFor = (primitive: Primitive): Check[] =>
  checks
    .filter(c => c.uses.has(primitive) || c.name === primitive)
    .sort((a, b) => Number(b.name === primitive) - Number(a.name === primitive) || a.uses.size - b.uses.size)

/** The name of the first check that fails under a mutated table, or undefined; the table is restored. */
async function caught(
  primitive: Primitive,
  mutate: () => () => void,
  ...runs: ((check: Check) => Promise<void>)[]
): Promise<string | undefined> {
  const restore = mutate()
  try {
    for (const run of runs)
      for (const check of checksFor(primitive)) if (await fails(() => run(check))) return check.name
    return undefined
  } finally {
    restore()
  }
}

type Pull = (context: { readonly g: Tensor }, ...inputs: Tensor[]) => readonly (Tensor | null)[]
const derivativeTable = rules as unknown as Record<string, Pull>
const batchTable = batching as unknown as Record<string, (context: { size: number }, ...operands: Operand[]) => Tensor>

function patch<F>(table: Record<string, F>, name: string, change: (original: F) => F): () => void {
  const original = table[name]
  table[name] = change(original)
  return () => {
    table[name] = original
  }
}

const mutations: Readonly<Record<string, (x: Tensor) => Tensor | null>> = {
  negated: x =>
    x.dtype === 'bool' ? sp.logicalNot(x) : isFloat(x) || x.dtype === 'int32' ? sp.neg(x) : sp.bitwiseInvert(x),
  dropped: () => null,
}
const derivatives =
  (options: CheckGradsOptions) =>
  ({ make, flat }: Check): Promise<void> => {
    const { f, args } = make(new Rng(11))
    return flat ? Promise.resolve() : checkGrads(f, [...args], { tolerance: 2e-6, seed: 11, ...options })
  }
// The first order tells most; the rest is what the suite does.
const quick = derivatives({ order: 1, modes: ['reverse'] })
const full = derivatives({ order: 3 })
/** A cast to float32 is too coarse for differences. */
async function caughtCast(mutate: () => () => void): Promise<string | undefined> {
  const through = (x: Tensor): Tensor => sp.sum(sp.mul(sp.astype(x, 'float32'), 3))
  const restore = mutate()
  const slope = await sp
    .grad(through)(sp.tensor([1, 2], { dtype: 'float64' }))
    .array()
  restore()
  return String(slope) === '3,3' ? undefined : 'the exact gradient of casts'
}

const nobody = '**nobody**'
const table = new Map<Primitive, { derivative: string[]; batched: string[] }>(
  primitives.map(p => [p, { derivative: [], batched: [] }]),
)

/** The operands that a row of the derivative table has cotangents for. */
function operandsOf(primitive: Primitive): number[] {
  const found = new Set<number>()
  const restore = patch(derivativeTable, primitive, original => (context, ...inputs) => {
    const pulled = original(context, ...inputs)
    for (const [i, t] of pulled.entries()) if (t) found.add(i)
    return pulled
  })
  for (const { make, flat } of checksFor(primitive)) {
    const { f, args } = make(new Rng(11))
    everything(f, flat)(...args)
  }
  restore()
  return [...found].sort()
}

describe('derivatives', () => {
  // A row without parameters returns no cotangents.
  test.each(primitives.filter(p => rules[p].length > 0))('%s', async primitive => {
    const operands = primitive === 'cast' ? [0] : operandsOf(primitive)
    expect(operands, `no check reaches the row of ${primitive}`).not.toEqual([])
    for (const operand of operands) {
      for (const [kind, change] of Object.entries(mutations)) {
        const mutate = () =>
          patch(derivativeTable, primitive, original => (context, ...inputs) => {
            const pulled = original(context, ...inputs)
            const own = pulled[operand]
            return own ? pulled.with(operand, change(own)) : pulled
          })
        const found = primitive === 'cast' ? await caughtCast(mutate) : await caught(primitive, mutate, quick, full)
        table.get(primitive)?.derivative.push(`${operand} ${kind}: ${found ?? nobody}`)
        expect(found, `${primitive}, cotangent of operand ${operand} ${kind}: nothing noticed`).toBeDefined()
      }
    }
  })
})

describe('batching', () => {
  const changes: typeof mutations = {
    ...mutations,
    // Every example takes the values of the first.
    dropped: x => sp.broadcastTo(sp.at(x, [0, 1]), x.shape),
  }
  for (const primitive of Object.keys(batching) as Primitive[]) {
    test(primitive, async () => {
      for (const [kind, change] of Object.entries(changes)) {
        const mutate = () =>
          patch(
            batchTable,
            primitive,
            original =>
              (context, ...operands) =>
                change(original(context, ...operands)) as Tensor,
          )
        const found = await caught(primitive, mutate, ({ make, flat }) => expectBatched(make(new Rng(11)), flat))
        table.get(primitive)?.batched.push(`${kind}: ${found ?? nobody}`)
        expect(found, `${primitive}, batching ${kind}: nothing noticed`).toBeDefined()
      }
    })
  }
})

afterAll(() => {
  const rows = [...table].map(
    ([primitive, { derivative, batched }]) =>
      `| ${primitive} | ${derivative.join('; ') || 'no derivative'} | ${batched.join('; ') || 'no operands'} |`,
  )
  const count = (kind: 'derivative' | 'batched'): number =>
    [...table.values()].reduce((n, row) => n + row[kind].length, 0)
  const survivors = rows.join().split(nobody).length - 1
  writePart(
    'docs/numerics.md',
    'mutants',
    `${count('derivative')} mutants of the derivative table and ${count('batched')} of the batching table; ${survivors} survived.\n\n` +
      `| primitive | derivative: operand, mutant: caught by | batching: mutant: caught by |\n|---|---|---|\n${rows.join('\n')}`,
  )
})

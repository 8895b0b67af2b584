/**
 * A hostile optimiser of float32 expressions: whatever a compiler of WGSL may do to them, wherever it finds something
 * to do. It does not look through `keep`, `bitcast`, `select` and comparisons, which are printed as operations on
 * integers.
 */

import { copyExprs } from '../../src/compiler/copy.js'
import { type Expr, ExprTable, isOperation, type Operation, walkExprs } from '../../src/compiler/expr.js'

/** A coefficient times a product. */
interface Term {
  readonly coefficient: number
  readonly factors: readonly Expr[]
}

const isFloat = (e: Expr): boolean => e.type === 'float32'
const operation = (e: Expr): Operation | undefined => (isOperation(e) && isFloat(e) ? e : undefined)
const times = ({ coefficient, factors }: Term, by: Term): Term => ({
  coefficient: coefficient * by.coefficient,
  factors: [...factors, ...by.factors],
})
const negative: Term = { coefficient: -1, factors: [] }

/** A value as one term: the factors of its products. */
function productOf(e: Expr): Term {
  if (e.op === 'constant') return { coefficient: e.value, factors: [] }
  const o = operation(e)
  if (o?.op === 'mul') return times(productOf(o.args[0]), productOf(o.args[1]))
  if (o?.op === 'neg') return times(productOf(o.args[0]), negative)
  return { coefficient: 1, factors: [e] }
}

/** A value as a sum of terms. */
function termsOf(e: Expr): Term[] {
  const o = operation(e)
  switch (o?.op) {
    case 'add':
      return [...termsOf(o.args[0]), ...termsOf(o.args[1])]
    case 'sub':
      return [...termsOf(o.args[0]), ...termsOf(o.args[1]).map(t => times(t, negative))]
    case 'neg':
      return termsOf(o.args[0]).map(t => times(t, negative))
    case 'fma':
      return [times(productOf(o.args[0]), productOf(o.args[1])), ...termsOf(o.args[2])]
    default:
      return [productOf(e)]
  }
}

/** Adds what differs in its coefficient only: (a + b) - b, x - (x - y), k c1 + k c2. */
function collect(terms: readonly Term[]): Term[] {
  const found = new Map<string, Term>()
  for (const t of terms) {
    const key = t.factors
      .map(f => f.id)
      .sort((a, b) => a - b)
      .join()
    found.set(key, { ...t, coefficient: t.coefficient + (found.get(key)?.coefficient ?? 0) })
  }
  return [...found.values()].filter(t => t.coefficient !== 0)
}

/** x y + x z to x (y + z), once. */
function factorOut(exprs: ExprTable, terms: readonly Term[]): Term[] {
  for (const [i, a] of terms.entries())
    for (const b of terms.slice(i + 1)) {
      const shared = a.factors.find(f => a.factors.length > 1 && b.factors.length > 1 && b.factors.includes(f))
      if (!shared) continue
      const without = (t: Term): Term => {
        const at = t.factors.indexOf(shared)
        return { ...t, factors: t.factors.filter((_, k) => k !== at) }
      }
      const sum = sumOf(exprs, [without(a), without(b)])
      return terms.flatMap(t => (t === b ? [] : t === a ? [{ coefficient: 1, factors: [shared, sum] }] : [t]))
    }
  return [...terms]
}

/** a + b or a - b; a product in it becomes part of an fma. */
function contracted(exprs: ExprTable, op: 'add' | 'sub', a: Expr, b: Expr): Expr {
  const negated = (e: Expr): Expr => (op === 'sub' ? exprs.operation('neg', 'float32', e) : e)
  const [left, right] = [a, b].map(operation)
  if (right?.op === 'mul') return exprs.operation('fma', 'float32', negated(right.args[0]), right.args[1], a)
  if (left?.op === 'mul') return exprs.operation('fma', 'float32', left.args[0], left.args[1], negated(b))
  return exprs.operation(op, 'float32', a, b)
}

function product(exprs: ExprTable, coefficient: number, factors: readonly Expr[]): Expr {
  const constant = exprs.constant(Math.fround(coefficient), 'float32')
  const [last, ...others] = (coefficient === 1 && factors.length > 0 ? [...factors] : [constant, ...factors]).reverse()
  return others.reduce((e, f) => exprs.operation('mul', 'float32', f, e), last)
}

/** The terms added from the first one on. */
function sumOf(exprs: ExprTable, terms: readonly Term[]): Expr {
  const [first, ...others] = terms
  if (!first) return product(exprs, 0, [])
  const isMinus = ({ coefficient, factors }: Term): boolean => coefficient === -1 && factors.length > 0
  const size = (t: Term): Expr => product(exprs, isMinus(t) ? 1 : t.coefficient, t.factors)
  const start = isMinus(first) ? exprs.operation('neg', 'float32', size(first)) : size(first)
  return others.reduce((sum, t) => contracted(exprs, isMinus(t) ? 'sub' : 'add', sum, size(t)), start)
}

const sums = new Set(['add', 'sub', 'neg', 'fma', 'mul'])

/** Contracts, and reassociates where it saves an operation, also through values that are used elsewhere too. */
export function simplified(root: Expr): Expr {
  return copyExprs(new ExprTable(), {
    operation: (exprs, op, type, args) => {
      if (op === 'equal' && args[0] === args[1]) return exprs.constant(1, 'bool')
      if (op === 'not' && isOperation(args[0]) && args[0].op === 'less')
        return exprs.operation('lessEqual', 'bool', args[0].args[1], args[0].args[0])
      if (type !== 'float32' || !sums.has(op)) return undefined
      const own = exprs.operation(op, type, ...args)
      const before = termsOf(own)
      const after = factorOut(exprs, collect(before))
      if (after.length < before.length) return sumOf(exprs, after)
      if (op === 'mul') {
        const { coefficient, factors } = productOf(own)
        if (coefficient === 0) return exprs.constant(0, 'float32')
        return factors.length > 1 ? sumOf(exprs, [{ coefficient, factors }]) : undefined
      }
      return op === 'add' || op === 'sub' ? contracted(exprs, op, args[0], args[1]) : undefined
    },
  })(root)
}

const shuffled = (terms: readonly Term[], seed: number): Term[] => {
  const mixed = ({ factors }: Term): number =>
    Math.imul(
      factors.reduce((h, f) => h * 31 + f.id, seed),
      0x9e3779b1,
    )
  return [...terms].sort((a, b) => mixed(a) - mixed(b))
}

export type Order = (terms: readonly Term[]) => readonly Term[]
/** Orders of summation; the first is LLVM's. */
export const orders: Readonly<Record<string, Order>> = {
  'constants last': terms => [...terms].sort((a, b) => Math.min(b.factors.length, 1) - Math.min(a.factors.length, 1)),
  'the last first': terms => [...terms].reverse(),
  'products last': terms => [...terms].sort((a, b) => a.factors.length - b.factors.length),
  shuffled: terms => shuffled(terms, 11),
}

/** Adds in another order wherever a sum is used by one other sum only; (x + c1) c2 becomes x c2 + c1 c2. */
export function reordered(root: Expr, order: Order): Expr {
  const uses = new Map<Expr, number>()
  walkExprs([root], e => isOperation(e) && e.args.forEach(a => uses.set(a, (uses.get(a) ?? 0) + 1)))
  const exprs = new ExprTable()
  // What is used more than once is hidden behind a bitcast.
  const fenced = new Map<Expr, Expr>()
  const leaf = copyExprs(exprs)
  walkExprs([root], e => {
    const copy = isOperation(e) ? exprs.operation(e.op, e.type, ...e.args.map(a => fenced.get(a) ?? a)) : leaf(e)
    const hide = isFloat(e) && e.op !== 'constant' && (uses.get(e) ?? 0) > 1
    fenced.set(e, hide ? exprs.operation('bitcast', 'float32', copy) : copy)
  })
  return copyExprs(new ExprTable(), {
    operation: (table, op, type, args) => {
      if (type !== 'float32' || !sums.has(op)) return undefined
      const own = table.operation(op, type, ...args)
      if (op !== 'mul') return sumOf(table, order(collect(termsOf(own))))
      const [constant, sum] = args[0].op === 'constant' ? args : [args[1], args[0]]
      const terms = termsOf(sum)
      if (constant.op !== 'constant' || terms.length < 2) return undefined
      const scale = { coefficient: constant.value, factors: [] }
      return terms.some(t => t.factors.length === 0) ? sumOf(table, order(terms.map(t => times(t, scale)))) : undefined
    },
  })(fenced.get(root) ?? root)
}

/** The expression without `keep`, or without those of which the number is chosen. */
export const unkept = (root: Expr, chosen: (n: number) => boolean = () => true): Expr => {
  let n = 0
  return copyExprs(new ExprTable(), {
    operation: (_, op, __, args) => (op === 'keep' && chosen(n++) ? args[0] : undefined),
  })(root)
}

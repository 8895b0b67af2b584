/**
 * Integer index arithmetic: sums of loop variables with constant factors, and quotients and remainders of such sums.
 * Movement operations become arithmetic here, and simplification by known ranges turns most of it back into strides.
 */

import type { Expr } from './expr.js'

/** c + Σ factor * atom. Terms are kept in the order of their atoms' keys, so that equal sums have equal keys. */
export interface Index {
  readonly constant: number
  readonly terms: readonly Term[]
  readonly key: string
}
export interface Term {
  readonly atom: Atom
  readonly factor: number
}
/** What an index is made of, with the range of values it takes (both ends included). */
export type Atom = { readonly low: number; readonly high: number; readonly key: string } & (
  | { readonly kind: 'axis'; readonly axis: number }
  | { readonly kind: 'quotient' | 'remainder'; readonly of: Index; readonly divisor: number }
  | { readonly kind: 'bounded'; readonly of: Index }
  | { readonly kind: 'value'; readonly value: Expr }
)

/** low <= index < high. */
export interface Condition {
  readonly index: Index
  readonly low: number
  readonly high: number
}

/** The index constant + Σ terms. */
export function sumIndex(constant: number, terms: readonly Term[]): Index {
  const kept = terms.filter(t => t.factor !== 0)
  kept.sort((a, b) => (a.atom.key < b.atom.key ? -1 : 1))
  return { constant, terms: kept, key: kept.map(t => `${t.factor}*${t.atom.key}`).join('+') + `+${constant}` }
}

export const constantIndex = (value: number): Index => sumIndex(value, [])
export const zero = constantIndex(0)

/** The variable of a loop over `size` positions. */
export const axisIndex = (axis: number, size: number): Index =>
  size === 1
    ? zero
    : sumIndex(0, [{ atom: { kind: 'axis', axis, low: 0, high: size - 1, key: `i${axis}` }, factor: 1 }])

/** An index known only when the kernel runs. */
export const valueIndex = (value: Expr, high: number): Index =>
  sumIndex(0, [{ atom: { kind: 'value', value, low: 0, high, key: `v${value.id}` }, factor: 1 }])

/** An index known to lie in 0 .. size - 1 wherever its value matters, as behind a condition. */
export function boundedIndex(of: Index, size: number): Index {
  const { low, high } = range(of)
  if (low >= 0 && high < size) return of
  return sumIndex(0, [{ atom: { kind: 'bounded', of, low: 0, high: size - 1, key: `b(${of.key})` }, factor: 1 }])
}

/** The index with what is known of bounds forgotten: the form that is computed. */
export const unbounded = (index: Index): Index =>
  substitute(index, atom => (atom.kind === 'bounded' ? unbounded(atom.of) : undefined))

export function addIndex(a: Index, b: Index): Index {
  const factors = new Map<string, Term>()
  for (const term of [...a.terms, ...b.terms]) {
    const have = factors.get(term.atom.key)
    factors.set(term.atom.key, have ? { atom: term.atom, factor: have.factor + term.factor } : term)
  }
  return recombine(sumIndex(a.constant + b.constant, [...factors.values()]))
}

export const scaleIndex = (a: Index, factor: number): Index =>
  factor === 1
    ? a
    : sumIndex(
        a.constant * factor,
        a.terms.map(t => ({ atom: t.atom, factor: t.factor * factor })),
      )

export const offsetIndex = (a: Index, constant: number): Index =>
  constant === 0 ? a : sumIndex(a.constant + constant, a.terms)

/** d * (x div d) + x mod d = x, wherever both parts stand with matching factors. */
function recombine(index: Index): Index {
  for (const { atom, factor } of index.terms) {
    if (atom.kind !== 'remainder') continue
    // The quotient as it would stand here: that of a quotient is one of what both are of.
    const [quotient] = divide(atom.of, atom.divisor).quotient.terms
    const partner = index.terms.find(t => t.atom.key === quotient?.atom.key && t.factor === factor * atom.divisor)
    if (!partner) continue
    const rest = sumIndex(
      index.constant,
      index.terms.filter(t => t.atom !== atom && t !== partner),
    )
    return addIndex(rest, scaleIndex(atom.of, factor))
  }
  return index
}

export function range(index: Index): { low: number; high: number } {
  let low = index.constant
  let high = index.constant
  for (const { atom, factor } of index.terms) {
    low += factor * (factor > 0 ? atom.low : atom.high)
    high += factor * (factor > 0 ? atom.high : atom.low)
  }
  return { low, high }
}

const quotientKey = (of: Index, divisor: number): string => `(${of.key})/${divisor}`
const remainderKey = (of: Index, divisor: number): string => `(${of.key})%${divisor}`

/** index = divisor * whole + rest, where the rest has no factor that the divisor divides. */
function splitBy(index: Index, divisor: number): { whole: Index; rest: Index } {
  const exact = index.terms.filter(t => t.factor % divisor === 0)
  const floor = Math.floor(index.constant / divisor)
  return {
    whole: sumIndex(
      floor,
      exact.map(t => ({ atom: t.atom, factor: t.factor / divisor })),
    ),
    rest: sumIndex(
      index.constant - floor * divisor,
      index.terms.filter(t => t.factor % divisor !== 0),
    ),
  }
}

/** The quotient rounded down, and the remainder (never negative). */
export function divide(index: Index, divisor: number): { quotient: Index; remainder: Index } {
  if (divisor === 1) return { quotient: index, remainder: zero }
  const { whole, rest } = splitBy(index, divisor)
  const { low, high } = range(rest)
  const floor = Math.floor(low / divisor)
  if (floor === Math.floor(high / divisor)) {
    return { quotient: offsetIndex(whole, floor), remainder: offsetIndex(rest, -floor * divisor) }
  }
  // (g x + y) div gd = x div d and (g x + y) mod gd = g (x mod d) + y, for 0 <= y < g.
  for (const { factor } of rest.terms) {
    if (factor <= 1 || divisor % factor !== 0) continue
    const { whole: x, rest: y } = splitBy(rest, factor)
    const { low: least, high: most } = range(y)
    if (least < 0 || most >= factor || x.terms.length === 0) continue
    const { quotient, remainder } = divide(x, divisor / factor)
    return { quotient: addIndex(whole, quotient), remainder: addIndex(scaleIndex(remainder, factor), y) }
  }
  const [only] = rest.terms
  const nested = rest.terms.length === 1 && rest.constant === 0 && only.factor === 1 ? only.atom : undefined
  // (x div a) div b = x div ab; (x mod ab) mod b = x mod b.
  if (nested?.kind === 'remainder' && nested.divisor % divisor === 0) {
    const inner = divide(nested.of, divisor).remainder
    return { quotient: addIndex(whole, quotientOf(rest, divisor, low, high)), remainder: inner }
  }
  if (nested?.kind === 'quotient') {
    return {
      quotient: addIndex(whole, divide(nested.of, nested.divisor * divisor).quotient),
      remainder: remainderOf(rest, divisor),
    }
  }
  return { quotient: addIndex(whole, quotientOf(rest, divisor, low, high)), remainder: remainderOf(rest, divisor) }
}

function quotientOf(of: Index, divisor: number, low: number, high: number): Index {
  const bounds = { low: Math.floor(low / divisor), high: Math.floor(high / divisor) }
  return sumIndex(0, [{ atom: { kind: 'quotient', of, divisor, ...bounds, key: quotientKey(of, divisor) }, factor: 1 }])
}
const remainderOf = (of: Index, divisor: number): Index =>
  sumIndex(0, [
    { atom: { kind: 'remainder', of, divisor, low: 0, high: divisor - 1, key: remainderKey(of, divisor) }, factor: 1 },
  ])

/** Σ index * stride of row-major storage. */
export function linearIndex(indices: readonly Index[], shape: readonly number[]): Index {
  let offset = zero
  let stride = 1
  for (let d = shape.length - 1; d >= 0; d--) {
    offset = addIndex(offset, scaleIndex(indices[d], stride))
    stride *= shape[d]
  }
  return offset
}

/** The indices in a row-major shape of the element at a linear position. */
export function unravel(linear: Index, shape: readonly number[]): Index[] {
  const indices = new Array<Index>(shape.length)
  let rest = linear
  for (let d = shape.length - 1; d >= 0; d--) {
    const { quotient, remainder } = divide(rest, shape[d])
    // The leading index needs no remainder: the position is inside the shape.
    indices[d] = d === 0 ? rest : remainder
    rest = quotient
  }
  return indices
}

/** Replaces atoms; used when loops are merged. */
export function substitute(index: Index, replace: (atom: Atom) => Index | undefined): Index {
  let result = constantIndex(index.constant)
  for (const { atom, factor } of index.terms) {
    const direct = replace(atom)
    let value: Index
    if (direct) value = direct
    else if (atom.kind === 'quotient') value = divide(substitute(atom.of, replace), atom.divisor).quotient
    else if (atom.kind === 'remainder') value = divide(substitute(atom.of, replace), atom.divisor).remainder
    else value = sumIndex(0, [{ atom, factor: 1 }])
    result = addIndex(result, scaleIndex(value, factor))
  }
  return result
}

/** The factor of an axis if the index depends on it by that factor alone, or undefined if in another way. */
export function axisFactor(index: Index, axis: number): number | undefined {
  let factor = 0
  for (const { atom, factor: f } of index.terms) {
    if (atom.kind === 'axis') {
      if (atom.axis === axis) factor = f
    } else if (dependsOn(atom, axis)) return undefined
  }
  return factor
}

function dependsOn(atom: Atom, axis: number): boolean {
  switch (atom.kind) {
    case 'axis':
      return atom.axis === axis
    case 'value':
      return atom.value.axes.has(axis)
    default:
      return atom.of.terms.some(t => dependsOn(t.atom, axis))
  }
}

/** The loop axes that an index depends on. */
export function axesOf(index: Index, into = new Set<number>()): Set<number> {
  for (const { atom } of index.terms) {
    if (atom.kind === 'axis') into.add(atom.axis)
    else if (atom.kind === 'value') for (const a of atom.value.axes) into.add(a)
    else axesOf(atom.of, into)
  }
  return into
}

export function printIndex(index: Index): string {
  const atomText = (atom: Atom): string => {
    if (atom.kind === 'axis') return atom.key
    if (atom.kind === 'value') return `%${atom.value.id}`
    if (atom.kind === 'bounded') return `(${printIndex(atom.of)})`
    return `(${printIndex(atom.of)} ${atom.kind === 'quotient' ? 'div' : 'mod'} ${atom.divisor})`
  }
  const parts = index.terms.map(({ atom, factor }) => (factor === 1 ? atomText(atom) : `${factor}*${atomText(atom)}`))
  if (index.constant !== 0 || parts.length === 0) parts.push(String(index.constant))
  return parts.join(' + ')
}

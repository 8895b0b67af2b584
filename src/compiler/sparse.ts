/**
 * Row-sparse tables: the derivative of `gather` is a table of as many rows as the one that was read, all alike but for the
 * few that were. What such a table is computed into element by element is of the same kind, so a chain of it (a gradient
 * scaled to a norm, the sum of two of them) is computed for those few rows, and its reductions count the others once. Where
 * a whole table is wanted after all, it is an expression of the few rows that fuses into its readers. Gathers go the other
 * way: of a table that is computed, the rows that are read are. Values are those of the graph as given; a sum over rows
 * adds in another order.
 */

import { computeType, type DType, isFloat } from '../graph/dtype.js'
import { type Attrs, type Node, type Primitive, topological } from '../graph/node.js'
import { apply, elementwisePrimitives, isReduction } from '../graph/primitives.js'
import { type Shape, sizeOf } from '../graph/shape.js'

/** From how many rows for each index, and how many elements, the rewriting is worth its kernels. */
const worthwhile = { rowsPerIndex: 4, elements: 2 ** 14 }
/** Operations that a gather goes through at most: so deep may the recursion be. */
const maxDepth = 64

/** Which of a table's rows differ from the rest, [count] indices of which one row may have several and some have none. */
interface Places {
  readonly index: Node
  /** The indices that it is made of, by id. */
  readonly parts: readonly Node[]
  readonly rows: number
  readonly count: number
  /** For each row the place that holds it, -1 where it is one of the rest. */
  readonly first: Node
  /** For each index the place that holds its row, -1 where it is out of range. */
  readonly slot: Node
}
/**
 * table[row] = compact[first[row]] where first[row] >= 0, else rest. The places of `compact` that hold no row, since another
 * index of the same row came first or theirs is out of range, are equal to `rest` as well.
 */
interface Sparse {
  readonly places: Places
  /** [count, ...] */
  readonly compact: Node
  /** [1, ...] */
  readonly rest: Node
}

const isPointwise = ({ op }: Node): boolean =>
  elementwisePrimitives.has(op) || op === 'less' || op === 'lessEqual' || op === 'equal'
const withRows = (shape: Shape, rows: number): Shape => [rows, ...shape.slice(1)]
const isZero = (node: Node): boolean => node.op === 'constant' && node.attrs.value === 0
const isSmall = (count: number, { shape }: Pick<Node, 'shape'>): boolean =>
  count * worthwhile.rowsPerIndex <= shape[0] && sizeOf(shape) >= worthwhile.elements

/** What stands behind barriers. */
function unbarred(node: Node): Node {
  let source = node
  while (source.op === 'barrier') source = source.inputs[0]
  return source
}

/** `node` over other operands. */
const again = (node: Node, inputs: readonly Node[]): Node => {
  const op: Primitive = node.op
  return apply(op, inputs, node.attrs as Attrs[typeof op])
}
const constant = (value: number, { shape, dtype }: Pick<Node, 'shape' | 'dtype'>): Node =>
  apply('constant', [], { value, shape, dtype })
const castTo = (x: Node, dtype: DType): Node => apply('cast', [x], { dtype })
const expand = (x: Node, shape: Shape): Node => apply('expand', [x], { shape })
/** One value a row, for all elements of the row. */
const beside = (x: Node, shape: Shape): Node =>
  expand(apply('reshape', [x], { shape: [shape[0], ...shape.slice(1).map(() => 1)] }), shape)
const isFound = (place: Node): Node => apply('lessEqual', [constant(0, place), place], {})
const isInside = (index: Node, rows: number): Node =>
  apply('and', [isFound(index), apply('less', [index, constant(rows, index)], {})], {})

/** Whether a node treats each row of its one operand by itself, and all alike. */
function isRowwise(node: Node): boolean {
  if (node.inputs.length !== 1 || node.inputs[0].shape[0] !== node.shape[0]) return false
  if (node.op === 'permute') return node.attrs.axes[0] === 0
  return isReduction(node) || node.op === 'reshape' || node.op === 'expand' || node.op === 'barrier'
}

/** Such a node over some rows of its operand. */
function overRows(node: Node, rows: Node): Node {
  if (node.op !== 'reshape' && node.op !== 'expand') return again(node, [rows])
  return apply(node.op, [rows], { shape: withRows(node.shape, rows.shape[0]) })
}

/**
 * The rest of an element-wise result from those of its operands. An operand without one may be what chooses between zeros,
 * or multiplies them by 0 or 1; any other factor may be infinite.
 */
function restOf(node: Node, inputs: readonly Node[], rests: readonly (Node | undefined)[]): Node | undefined {
  const known = rests.filter(rest => rest !== undefined)
  if (known.length === rests.length) return again(node, known)
  const isZeroAt = (i: number): boolean =>
    known.length + 1 === rests.length && rests[i] !== undefined && isZero(rests[i])
  const isMasked =
    (node.op === 'where' && isZeroAt(1) && isZeroAt(2)) ||
    (node.op === 'mul' && ((isZeroAt(0) && isMask(inputs[1])) || (isZeroAt(1) && isMask(inputs[0]))))
  return isMasked ? constant(0, { shape: withRows(node.shape, 1), dtype: node.dtype }) : undefined
}

/** Whether all elements are 0 or 1 by construction, those of a row made of that row. */
function isMask(x: Node): boolean {
  if (x.op === 'cast') return x.inputs[0].dtype === 'bool'
  return isRowwise(x) && !isReduction(x) && isMask(x.inputs[0])
}

/** The same roots, with row-sparse tables computed by the rows that matter. */
export function sparseRows(roots: readonly Node[]): readonly Node[] {
  const order = topological(roots)
  const canRewrite = order.some(
    ({ op, inputs: [x, y], shape }) =>
      (op === 'scatterAdd' && isSmall(x.shape[0], { shape })) ||
      (op === 'gather' && unbarred(x).op !== 'input' && isSmall(sizeOf(y.shape), x)),
  )
  if (!canRewrite) return roots
  const rewriting = new Rewriting()
  for (const node of order) rewriting.visit(node)
  return roots.map(root => rewriting.copyOf(root))
}

class Rewriting {
  readonly #copies = new Map<Node, Node>()
  /** What is known of copies. */
  readonly #sparse = new Map<Node, Sparse>()
  readonly #places = new Map<Node, Map<number, Places>>()
  readonly #alike = new Map<Node, Node | undefined>()
  readonly #gathered = new Map<Node, Map<Node, Node>>()

  copyOf(node: Node): Node {
    return this.#copies.get(node) ?? node
  }

  /** Makes the copy of a node whose operands have theirs. */
  visit(node: Node): void {
    const inputs = node.inputs.map(n => this.copyOf(n))
    const form = this.#form(node, inputs)
    if (form) {
      const table = expanded(form)
      this.#sparse.set(table, form)
      this.#copies.set(node, table)
      return
    }
    const copy =
      this.#smaller(node, inputs) ?? (inputs.some((n, i) => n !== node.inputs[i]) ? again(node, inputs) : node)
    this.#copies.set(node, copy)
  }

  /** The node as a row-sparse table. */
  #form(node: Node, inputs: readonly Node[]): Sparse | undefined {
    if (node.op === 'scatterAdd') {
      const [index, updates] = inputs
      if (!isSmall(index.shape[0], node)) return undefined
      const places = this.#placesOf(index, node.attrs.rows)
      const compact = apply('scatterAdd', [places.slot, updates], { rows: places.count })
      return { places, compact, rest: constant(0, { shape: withRows(node.shape, 1), dtype: node.dtype }) }
    }
    const forms = inputs.map(x => this.#sparse.get(x))
    if (!forms.some(Boolean)) return undefined
    if (isPointwise(node)) return this.#pointwise(node, inputs, forms)
    const [form] = forms
    if (!form || !isRowwise(node)) return undefined
    return { places: form.places, compact: overRows(node, form.compact), rest: overRows(node, form.rest) }
  }

  #pointwise(node: Node, inputs: readonly Node[], forms: readonly (Sparse | undefined)[]): Sparse | undefined {
    let places: Places | undefined
    for (const form of forms) {
      if (!form) continue
      places = places ? this.#join(places, form.places, node) : form.places
      if (!places) return undefined
    }
    if (!places) return undefined
    const rest = restOf(
      node,
      inputs,
      inputs.map((x, i) => forms[i]?.rest ?? this.#rowOf(x)),
    )
    if (!rest) return undefined
    const { index } = places
    const compacts = inputs.map((x, i) => {
      const form = forms[i]
      return form ? this.#aligned(form, places) : this.#rowsAt(x, index)
    })
    return { places, compact: again(node, compacts), rest }
  }

  /** Something smaller than the node itself, with the same values. */
  #smaller(node: Node, inputs: readonly Node[]): Node | undefined {
    if (node.op === 'gather') return this.#gather(inputs[0], inputs[1])
    const form = isReduction(node) ? this.#sparse.get(inputs[0]) : undefined
    if (!form || !isReduction(node) || node.op === 'prod') return undefined
    // Sums of float16 are rounded once.
    const over = (x: Node): Node => again(node, [castTo(x, computeType(x.dtype))])
    const [few, one] = [over(form.compact), over(form.rest)]
    if (node.op === 'max') return castTo(apply('maximum', [few, one], {}), node.dtype)
    if (isZero(one)) return castTo(few, node.dtype)
    const others = constant(form.places.rows - form.places.count, one)
    return castTo(apply('add', [few, apply('mul', [one, others], {})], {}), node.dtype)
  }

  #gather(x: Node, index: Node): Node | undefined {
    const count = sizeOf(index.shape)
    if (unbarred(x).op === 'input' || count === 0 || x.shape[0] === 0) return undefined
    if (!this.#sparse.has(x) && !isSmall(count, x)) return undefined
    const flat = apply('reshape', [index], { shape: [count] })
    const rows = this.#rowsAt(x, flat)
    if (rows.op === 'gather' && rows.inputs[0] === x) return undefined
    const missing = constant(isFloat(x.dtype) ? Number.NaN : 0, rows)
    const valid = apply('where', [beside(isInside(flat, x.shape[0]), rows.shape), rows, missing], {})
    return apply('reshape', [valid], { shape: [...index.shape, ...x.shape.slice(1)] })
  }

  /** x at [count] indices; anything where they are out of range. */
  #rowsAt(x: Node, index: Node, depth = 0): Node {
    const known = this.#gathered.get(index) ?? new Map<Node, Node>()
    this.#gathered.set(index, known)
    const found = known.get(x)
    if (found) return found
    const rows = this.#computedRows(x, index, depth) ?? apply('gather', [x, index], {})
    known.set(x, rows)
    return rows
  }

  #computedRows(x: Node, index: Node, depth: number): Node | undefined {
    const form = this.#sparse.get(x)
    if (form) {
      const { places, compact, rest } = form
      if (places.index === index) return apply('gather', [compact, places.slot], {})
      const place = apply('gather', [places.first, index], {})
      return chosen(place, compact, rest)
    }
    const row = this.#rowOf(x)
    if (row) return expand(row, withRows(x.shape, index.shape[0]))
    if (depth === maxDepth) return undefined
    const operand = (n: Node): Node => this.#rowsAt(n, index, depth + 1)
    if (isPointwise(x)) return again(x, x.inputs.map(operand))
    return isRowwise(x) ? overRows(x, operand(x.inputs[0])) : undefined
  }

  /** The one row [1, ...] that all rows of a table visibly are. */
  #rowOf(x: Node, depth = 0): Node | undefined {
    if (!this.#alike.has(x)) this.#alike.set(x, this.#commonRow(x, depth))
    return this.#alike.get(x)
  }

  #commonRow(x: Node, depth: number): Node | undefined {
    const shape = withRows(x.shape, 1)
    if (x.op === 'constant') return constant(x.attrs.value, { shape, dtype: x.dtype })
    if (x.op === 'expand' && x.inputs[0].shape[0] === 1) return expand(x.inputs[0], shape)
    if (depth === maxDepth || (!isPointwise(x) && !isRowwise(x))) return undefined
    const rows = x.inputs.map(n => this.#rowOf(n, depth + 1))
    const known = rows.filter(row => row !== undefined)
    if (known.length < rows.length) return undefined
    return isPointwise(x) ? again(x, known) : overRows(x, known[0])
  }

  #placesOf(index: Node, rows: number, parts: readonly Node[] = [index]): Places {
    const known = this.#places.get(index) ?? new Map<number, Places>()
    this.#places.set(index, known)
    const found = known.get(rows)
    if (found) return found
    const first = apply('firstIndex', [index], { rows })
    const place = apply('gather', [first, index], {})
    const slot = apply('where', [isInside(index, rows), place, constant(-1, place)], {})
    const made = { index, parts, rows, count: index.shape[0], first, slot }
    known.set(rows, made)
    return made
  }

  /** The places of both, if they are still few. */
  #join(a: Places, b: Places, { shape }: Node): Places | undefined {
    const parts = [...new Set([...a.parts, ...b.parts])].sort((m, n) => m.id - n.id)
    const joined = [a, b].find(places => places.parts.length === parts.length)
    if (joined) return joined
    const count = parts.reduce((sum, part) => sum + part.shape[0], 0)
    if (!isSmall(count, { shape })) return undefined
    let before = 0
    const padded = parts.map(part => {
      const [own] = part.shape
      const attrs = { before: [before], after: [count - before - own], interior: [0] }
      before += own
      return apply('pad', [part], attrs)
    })
    const index = padded.reduce((x, y) => apply('add', [x, y], {}))
    return this.#placesOf(index, a.rows, parts)
  }

  /** The compact rows of a table at places that include its own. */
  #aligned(form: Sparse, places: Places): Node {
    if (form.places === places) return form.compact
    const { slot, index, count } = places
    const rows = this.#rowsAt(expanded(form), index)
    const own = apply('iota', [], { shape: [count], axis: 0 })
    const holds = beside(apply('equal', [slot, own], {}), rows.shape)
    return apply('where', [holds, rows, expand(form.rest, rows.shape)], {})
  }
}

/** The whole table. */
function expanded({ places, compact, rest }: Sparse): Node {
  return chosen(places.first, compact, rest)
}

/** compact[place] where there is a place, else the rest. */
function chosen(place: Node, compact: Node, rest: Node): Node {
  const rows = apply('gather', [compact, place], {})
  return apply('where', [beside(isFound(place), rows.shape), rows, expand(rest, rows.shape)], {})
}

/** Expressions as a reader would write them: what the graph of a gradient says. */

import type { Node, Primitive } from '../../src/graph/node.js'

/** Text and how strongly it binds: 3 for what needs no parentheses, 2 for products, 1 for sums, 0 for comparisons. */
interface Text {
  readonly text: string
  readonly binds: number
}

const infix: { readonly [P in Primitive]?: readonly [string, number] } = {
  add: [' + ', 1],
  sub: [' - ', 1],
  mul: [' · ', 2],
  div: [' / ', 2],
  matmul: [' @ ', 2],
  less: [' < ', 0],
  lessEqual: [' <= ', 0],
  equal: [' = ', 0],
  and: [' and ', 0],
  or: [' or ', 0],
}
const names: { readonly [P in Primitive]?: string } = { expand: 'broadcast', permute: 'transpose', cast: 'float' }
/** What stands for its operand. */
const silent: ReadonlySet<Primitive> = new Set<Primitive>(['reshape', 'variable', 'barrier', 'stopGradient'])

const number = (value: number): string => {
  const text = Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(6)))
  return text.replace('Infinity', '∞')
}

/** The expression as text, with names for some of its nodes; undefined where it is longer than `limit`. */
export function formula(root: Node, known: ReadonlyMap<Node, string>, limit = 140): string | undefined {
  let budget = 4 * limit
  const write = (node: Node): Text => {
    if (--budget < 0) return { text: '', binds: 3 }
    const name = known.get(node)
    if (name) return { text: name, binds: 3 }
    const { op, inputs } = node
    if (silent.has(op)) return write(inputs[0])
    if (node.op === 'constant') return { text: number(node.attrs.value), binds: 3 }
    if (op === 'neg') return { text: `-${within(inputs[0], 2)}`, binds: 1 }
    const sign = infix[op]
    if (sign) {
      const [text, binds] = sign
      // Subtraction and division group to the left.
      return {
        text: `${within(inputs[0], binds)}${text}${within(inputs[1], op === 'add' || op === 'mul' ? binds : binds + 1)}`,
        binds,
      }
    }
    if (op === 'iota') return { text: 'position', binds: 3 }
    const operands = (node.op === 'custom' ? inputs.slice(0, 1) : inputs).map(n => write(n).text)
    const axes = node.op === 'sum' || node.op === 'max' || node.op === 'prod' ? [`axis ${node.attrs.axes}`] : []
    return { text: `${names[op] ?? op}(${[...operands, ...axes].join(', ')})`, binds: 3 }
  }
  const within = (node: Node, binds: number): string => {
    const inner = write(node)
    return inner.binds < binds ? `(${inner.text})` : inner.text
  }
  const { text } = write(root)
  return budget < 0 || text.length > limit ? undefined : text
}

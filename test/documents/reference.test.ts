/**
 * The reference of all operations, docs/operations.md: signature and words from the declarations, shapes, dtypes and the
 * gradient from an example that is run. Needs the built package.
 */

import { readFileSync } from 'node:fs'
import * as sp from 'saddlepoint'
import * as nn from 'saddlepoint/nn'
import { expect, test } from 'vitest'
import { type Node, topological } from '../../src/graph/node.js'
import { operations } from '../operations/operations.js'
import { expectPart } from '../oracle/document.js'
import { examples } from './examples.js'
import { formula } from './formula.js'

type Tensor = sp.Tensor
interface Declaration {
  readonly signature: string
  readonly words: string
  readonly throws: string
}

/** What the declarations of a built file say of its exports. */
function declarations(file: string): Map<string, Declaration> {
  const text = readFileSync(new URL(`../../dist/${file}.d.ts`, import.meta.url), 'utf8')
  const found = new Map<string, Declaration>()
  const pattern =
    /(?:\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\s*)?export declare (function|const) (\w+)([\s\S]*?);\n(?=\/\*\*|export|import|declare|type|interface|\/\/|$)/g
  for (const [, comment = '', kind, name, rest] of text.matchAll(pattern)) {
    const lines = comment.split('\n').map(line => line.replace(/^\s*\* ?/, '').trim())
    const tags = lines.join('\n').split(/\n(?=@)/)
    const throws = tags.find(t => t.startsWith('@throws'))?.replace('@throws', '') ?? ''
    const words = tags
      .filter(t => !/^@(throws|example)/.test(t))
      .join(' ')
      .replace(/@(param \w+|returns) ?/g, m => `${m.includes('returns') ? 'Returns' : `\`${m.split(' ')[1]}\`:`} `)
    const alias = /^: typeof (\w+)$/.exec(rest)
    if (alias) {
      const same = found.get(alias[1])!
      found.set(name, { ...same, signature: same.signature.replace(alias[1], name), words: oneLine(words) })
      continue
    }
    const signature = kind === 'const' ? rest.replace(/^: /, '').replace(/\) => (?!.*\) =>)/, '): ') : rest
    found.set(name, { signature: name + oneLine(signature), words: oneLine(words), throws: oneLine(throws) })
  }
  for (const [, name, alias] of text.matchAll(/export \{ (\w+) as (\w+) \}/g)) {
    const same = found.get(name)
    if (same) found.set(alias, { ...same, signature: same.signature.replace(name, alias) })
  }
  return found
}
const oneLine = (text: string): string => text.replace(/\s+/g, ' ').trim()

const listOf = (x: Tensor | readonly Tensor[] | Record<string, Tensor>): Tensor[] => sp.leaves(x)
const { var: _, ...exported } = { ...sp, ...nn }
const call = (code: string, args: Readonly<Record<string, Tensor>>): Tensor[] => {
  const run = new Function(...Object.keys(exported), ...Object.keys(args), `return ${code}`)
  return listOf(run(...Object.values(exported), ...Object.values(args)))
}

const dtypes = ['float32', 'float64', 'int32', 'uint32', 'bool'] as const
const isFloat = (t: Tensor): boolean => t.dtype.startsWith('float')

/** What an example shows: shapes, the dtypes that are accepted, the gradient. */
function shown(code: string, shapes: Readonly<Record<string, readonly number[]>>, elementwise: boolean) {
  const made = (dtype: sp.DType, scalar = false): Record<string, Tensor> =>
    Object.fromEntries(
      Object.entries(shapes).map(([name, shape]) => [
        name,
        leaf(scalar ? [] : shape, name.startsWith('i') ? 'int32' : name.startsWith('c') ? 'bool' : dtype),
      ]),
    )
  const accepts = (dtype: sp.DType): boolean => {
    try {
      call(code, made(dtype))
      return true
    } catch {
      return false
    }
  }
  const accepted = dtypes.filter(accepts)
  // The page lists it nowhere, and says that it is taken wherever float32 is.
  expect(accepts('float16'), code).toBe(accepts('float32'))
  const own = accepted.includes('float64') ? 'float64' : accepted[0]
  const args = made(own)
  const results = call(code, args)
  const shape = (t: Tensor): string => `[${t.shape}]`
  const given = Object.entries(args).map(([name, t]) => `${name} ${shape(t)}`)
  const shapesText = [given.join(', '), results.map(shape).join(', ')].filter(Boolean).join(' → ')
  if (given.length === 0) return shapesText
  return `${shapesText}. Gradient: ${gradient(code, made(own, elementwise))}. Dtypes: ${accepted.join(', ')}`
}
/** A leaf of zeros: nothing is computed. */
const leaf = (shape: readonly number[], dtype: sp.DType): Tensor =>
  sp.tensor(new Float64Array(shape.reduce((n, s) => n * s, 1)), { shape, dtype })

function gradient(code: string, args: Record<string, Tensor>): string {
  const names = Object.keys(args).filter(name => isFloat(args[name]))
  if (names.length === 0) return 'none'
  const known = new Map(Object.entries(args).map(([name, t]): [Node, string] => [t.node, name]))
  const [results, pull] = sp.vjp(
    (...xs: Tensor[]) => {
      xs.forEach((x, i) => known.set(x.node, names[i]))
      return call(code, { ...args, ...Object.fromEntries(xs.map((x, i) => [names[i], x])) })
    },
    ...names.map(name => args[name]),
  )
  const floats = results.filter(isFloat)
  if (floats.length === 0) return 'none: the result is no float'
  const cotangents = results.map(y => (isFloat(y) ? leaf(y.shape, y.dtype) : y))
  const floatCotangents = cotangents.filter(isFloat)
  floatCotangents.forEach((g, i) => known.set(g.node, floatCotangents.length > 1 ? `g${i + 1}` : 'g'))
  for (const y of floats) if (!known.has(y.node)) known.set(y.node, 'y')
  const pulled = pull(cotangents)
  const zero = pulled.every(t => t.node.op === 'constant' && t.node.attrs.value === 0)
  if (zero) return '0'
  const texts = pulled.map((t, i) => [names[i], formula(t.node, known)] as const)
  if (texts.every(([, text]) => text)) return texts.map(([name, text]) => `d${name} = \`${text}\``).join(', ')
  const used = topological(
    floats.map(t => t.node),
    n => (known.get(n)?.length === 1 && n.op === 'variable' ? [] : n.inputs),
  )
  const quiet = new Set([
    'input',
    'constant',
    'variable',
    'iota',
    'stopGradient',
    'custom',
    'reshape',
    'expand',
    'barrier',
  ])
  return `through ${[...new Set(used.map(n => n.op).filter(op => !quiet.has(op)))].join(', ')}`
}

test('docs/operations.md', () => {
  const sections = operations.map(({ title, file, names }) => {
    // `full` is declared beside the Tensor.
    const declared = new Map([...declarations('tensor/tensor'), ...declarations(file)])
    expect(names.filter(name => !declared.get(name)?.words)).toEqual([])
    const entries = names.map(name => {
      const { signature, words, throws } = declared.get(name) ?? { signature: '', words: '', throws: '' }
      expect(signature, `${name} has no declaration in dist/${file}.d.ts`).not.toBe('')
      const example = examples[name]
      expect(example, `${name} has no example in test/documents/examples.ts`).toBeDefined()
      return [
        `**\`${signature}\`** ${words}${throws ? ` Throws ${throws}` : ''}`,
        `  \n\`${example[0]}\`: ${shown(...example, title === 'Element-wise')}.`,
      ].join('')
    })
    return `## ${title}\n\n${entries.join('\n\n')}`
  })
  expectPart('docs/operations.md', 'operations', sections.join('\n\n'))
})

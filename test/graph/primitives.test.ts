/** The rules of primitives (shapes, dtypes, errors) and that they agree with what the interpreter computes. */

import fc from 'fast-check'
import * as sp from 'saddlepoint'
import { expect, test } from 'vitest'
import { type Node, placeOf, printGraph, topological } from '../../src/graph/node.js'
import { sizeOf } from '../../src/graph/shape.js'
import { build } from '../../src/tensor/tensor.js'
import { expressions, programs } from '../oracle/programs.js'
import { holds } from '../oracle/property.js'

const f = sp.ones([2, 3])
const i = sp.ones([2, 3], 'int32')
const b = sp.ones([2, 3], 'bool')
const images = sp.ones([1, 4, 4, 2])

test('every node of a random program holds as many values as its shape says', async () => {
  await holds(
    fc.asyncProperty(programs, async program => {
      const { roots, values } = expressions(program)
      for (const root of roots) values.of(root)
      for (const node of topological(roots.map(r => r.node))) {
        const value = values.known.get(node)
        if (!value) continue
        expect(value.data.length, printGraph([node])).toBe(sizeOf(node.shape))
        if (node.dtype === 'int32') expect(value.data.every(v => Object.is(v | 0, v + 0))).toBe(true)
        if (node.dtype === 'uint32') expect(value.data.every(v => v >>> 0 === v)).toBe(true)
        if (node.dtype === 'bool') expect(value.data.every(v => v === 0 || v === 1)).toBe(true)
      }
    }),
    200,
  )
})

const rows: readonly [string, () => unknown, ...string[]][] = [
  ['shapes that differ', () => build('add', [f, sp.ones([3])], {}), 'add', '[2,3]', '[3]'],
  ['dtypes that differ', () => build('add', [f, i], {}), 'add', 'float32', 'int32', 'cast'],
  ['arithmetic of booleans', () => build('mul', [b, b], {}), 'mul', 'numeric', 'bool'],
  ['exp of integers', () => build('exp', [i], {}), 'exp', 'float', 'int32'],
  ['shifts of floats', () => build('shiftLeft', [f, f], {}), 'shiftLeft', 'int32'],
  ['where without bool', () => build('where', [f, f, f], {}), 'where', 'bool', 'float32'],
  ['bitcast of 64 bits', () => build('bitcast', [sp.ones([1], 'float64')], { dtype: 'int32' }), '32 bits'],
  ['threefry of floats', () => build('threefry', [f, f, f, f], { word: 0 }), 'uint32', 'float32'],
  ['max of nothing', () => build('max', [sp.zeros([2, 0])], { axes: [1] }), 'max', 'empty', '[2,0]'],
  ['sum of booleans', () => build('sum', [b], { axes: [0] }), 'sum', 'bool', 'cast'],
  ['reshape', () => build('reshape', [f], { shape: [5] }), '[2,3]', '6', '5'],
  ['expand', () => build('expand', [f], { shape: [4, 3] }), '[2,3]', '[4,3]'],
  ['permute', () => build('permute', [f], { axes: [0, 0] }), '[0,0]'],
  ['slice', () => build('slice', [f], { start: [1, 0], shape: [2, 3], step: [1, 1] }), '[1,0]', '[2,3]'],
  ['pad', () => build('pad', [f], { before: [1], after: [1], interior: [0] }), 'pad', '[2,3]'],
  ['matmul batches', () => build('matmul', [sp.ones([2, 1, 1]), sp.ones([3, 1, 1])], {}), 'batch', '[2,1,1]'],
  ['conv channels', () => sp.conv2d(images, sp.ones([1, 1, 3, 1])), '2 vs 3'],
  ['gather by floats', () => build('gather', [f, f], {}), 'int32', 'float32'],
  ['scatterAdd by floats', () => build('scatterAdd', [f, f], { rows: 2 }), 'int32', 'float32'],
  ['leaves', () => build('input', [], { storage: {} }), 'inputNode'],
]
test.each(rows)('%s: an error that says so', (_, call, ...fragments) => {
  let message = 'no error'
  try {
    call()
  } catch (error) {
    message = String(error)
  }
  for (const fragment of fragments) expect(message).toContain(fragment)
})

test('a printed graph has a line for each node, operands by number', () => {
  const x = sp.tensor([1, 2])
  const text = printGraph([sp.add(sp.exp(x), x).node])
  expect(text.split('\n')).toEqual([
    '%0 = input:float32[2]()',
    '%1 = exp:float32[2](%0)',
    '%2 = add:float32[2](%1, %0)',
  ])
})

test('an expression built twice is one node; those whose hashes meet stay apart, and so do their plans', async () => {
  const values = [0, valueWithTheHashOf0()]
  const scalar = (v: number): Node => sp.full([], v, 'float64').node
  const scalars = values.map(scalar)
  expect(scalars[1].hash).toBe(scalars[0].hash)
  expect(scalars[1]).not.toBe(scalars[0])
  expect(values.map(scalar)).toEqual(scalars)
  expect(scalar(-0)).not.toBe(scalar(0))
  expect(sp.add(sp.exp(f), 2).node).toBe(sp.add(sp.exp(f), 2).node)
  expect(sp.reshape(f, [3, 2]).node).not.toBe(sp.reshape(f, [6, 1]).node)
  for (const v of values) expect(await sp.mul(sp.tensor([2], { dtype: 'float64' }), v).item()).toBe(2 * v)
})

/**
 * A hash is linear in what came before modulo 2^32, but for exclusive or: with any low word, some high word leads to
 * that of 0.
 */
function valueWithTheHashOf0(): number {
  const golden = 0x9e3779b1
  let inverse = golden
  for (let i = 0; i < 5; i++) inverse = Math.imul(inverse, 2 - Math.imul(golden, inverse))
  // Behind the value comes the dtype.
  let of0 = sp.full([], 0, 'float64').node.hash
  for (const letter of [...'float64'].reverse()) of0 = Math.imul(of0 ^ letter.charCodeAt(0), inverse)
  const before = Math.imul(of0, inverse)
  const float = new Float64Array(1)
  const words = new Int32Array(float.buffer)
  for (let low = 1; ; low++) {
    words[0] = low
    words[1] = Math.imul(before ^ low, golden) ^ of0
    if (Math.abs(float[0]) > 1e-100 && Math.abs(float[0]) < 1e100) return float[0]
  }
}

test('constants and chains of operations have places of their own', () => {
  const n = 16_000
  const numbers = Array.from({ length: n }, (_, i) => i)
  expect(new Set(numbers.map(i => sp.full([], i * 1e-9, 'float64').node.hash)).size).toBeGreaterThan(n - 10)
  for (const inputs of [
    (id: number) => [{ id }],
    (id: number) => [{ id: 3 }, { id }],
    (id: number) => [{ id }, { id: id + 1 }],
  ]) {
    const places = numbers.map(id => placeOf(12345, inputs(id))).sort((a, b) => a - b)
    // The longest way that a search would take through neighbours.
    let [run, longest] = [1, 1]
    for (let i = 1; i < n; i++) longest = Math.max(longest, (run = places[i] - places[i - 1] <= 1 ? run + 1 : 1))
    expect(longest).toBeLessThan(5)
  }
})

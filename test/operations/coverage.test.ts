/**
 * What is covered: every public operation has cases in the catalog, which the suites for gradients (to order 3), devices
 * and batching run in full, and an example in the reference; everything else that is public is named by a test of its own.
 */

import { readFileSync } from 'node:fs'
import * as sp from 'saddlepoint'
import * as nn from 'saddlepoint/nn'
import { expect, test } from 'vitest'
import { examples } from '../documents/examples.js'
import { catalog } from './catalog.js'
import { operations } from './operations.js'

const names = operations.flatMap(o => o.names)

/** Functions that are no operations, by the test that is about them. */
const others: Readonly<Record<string, string>> = {
  'autodiff/transforms': 'checkpoint customVjp grad hessian hvp jacobian jvp linearize valueAndGrad vjp',
  'autodiff/vmap': 'vmap perExampleGrad',
  'tensor/runtime': 'compile getDevice inspect realize leaves mapTree namedLeaves replaceLeaves zipTrees Tensor',
  'tensor/errors': 'tensor',
  'runtime/devices': 'setDevice',
  'webgpu/profile': 'profile printProfile chromeTrace',
}

test.each(operations)('$title: every operation has cases and an example', ({ names }) => {
  expect(names.filter(name => !(name in catalog) && !(name in others))).toEqual([])
  expect(names.filter(name => !(name in examples))).toEqual([])
})

test('the catalog and the examples name operations alone', () => {
  expect(Object.keys(catalog).filter(name => !names.includes(name))).toEqual([])
  expect(Object.keys(examples).filter(name => !names.includes(name))).toEqual([])
})

test('every other public function has a test that names it', () => {
  const covered = new Set(names)
  for (const [file, list] of Object.entries(others)) {
    const text = readFileSync(new URL(`../${file}.test.ts`, import.meta.url), 'utf8')
    for (const name of list.split(' ')) {
      expect(text, `${file}.test.ts says nothing of ${name}`).toMatch(new RegExp(`\\b${name}\\b`))
      covered.add(name)
    }
  }
  const functions = Object.entries(sp).filter(([, f]) => typeof f === 'function')
  // One function may be exported under two names.
  const same = new Set(functions.flatMap(([name, f]) => (covered.has(name) ? [f] : [])))
  expect(functions.flatMap(([name, f]) => (same.has(f) ? [] : [name]))).toEqual([])
  const losses = Object.entries(nn).flatMap(([name, f]) =>
    /^[a-z]/.test(name) && typeof f === 'function' ? [name] : [],
  )
  expect(losses.filter(name => !covered.has(name) && !nnOthers.includes(name))).toEqual([])
})
/** Functions of saddlepoint/nn that are about layers: test/nn has them. */
const nnOthers: readonly string[] = ['countParameters', 'isParameter', 'isTrainable']

test('the sum of it', () => {
  const count = names.filter(name => name in catalog).length
  const flat = names.filter(name => catalog[name]?.flat).length
  const cases = Object.values(catalog).reduce((n, entry) => n + entry.makes.length, 0)
  console.log(
    `operations: ${names.length}; with cases: ${count} (${cases} kinds of cases), on both devices and under vmap; ` +
      `gradients to order 3: ${count - flat}, without a derivative: ${flat}; in the reference: ${names.filter(n => n in examples).length}`,
  )
  expect(count).toBe(names.length)
})

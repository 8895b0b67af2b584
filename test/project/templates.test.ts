/** The WGSL of kernels/: every file is embedded, and described. */

import { readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { templates } from '../../src/runtime/backends/webgpu/templates.js'

const folder = new URL('../../kernels/', import.meta.url)
const names = readdirSync(folder).flatMap(f => (f.endsWith('.wgsl') ? [f.slice(0, -'.wgsl'.length)] : []))
const textOf = (name: string): string => readFileSync(new URL(`${name}.wgsl`, folder), 'utf8')

test('src holds every template as it stands in kernels', () => {
  expect(templates).toEqual(Object.fromEntries(names.map(name => [name, textOf(name)])))
})

test.each(names)('%s opens with what it computes, and the README lists it', name => {
  const opening = textOf(name).split('\n\n')[0]
  expect(opening).toMatch(/^\/\/ \w/)
  if (/@compute/.test(textOf(name))) expect(textOf(name).split('@group')[0]).toMatch(/[Ll]aunch|thread/)
  if (/@compute/.test(textOf(name))) expect(textOf(name)).toMatch(/[Mm]emory/)
  expect(readFileSync(new URL('README.md', folder), 'utf8')).toContain(`\`${name}.wgsl\``)
})

/** Functions of WGSL that printed expressions call. */
const called = /^(abs|bitcast|ceil|floor|fma|max|min|round|select|sign|sqrt|trunc)$/
const withHoles = names.filter(name => textOf(name).includes('{{'))
test.each(withHoles)('no variable of %s hides a function that its holes may call', name => {
  const declared = [...textOf(name).matchAll(/\b(?:let|var|const)(?:<\w+>)? (\w+)/g)].map(([, variable]) => variable)
  expect(declared.filter(variable => called.test(variable))).toEqual([])
})

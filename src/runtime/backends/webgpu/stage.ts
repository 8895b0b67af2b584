/** A stage is one dispatch: a template of kernels/ with its holes filled, its buffers declared and its helpers added. */

import type { BufferSpec, LoopKernel } from '../../../compiler/kernel.js'
import type { DType } from '../../../graph/dtype.js'
import type { Instruction } from './machine.js'
import type { MatrixShape } from './matrices.js'
import { type BufferTypes, type Storage, storageType } from './print.js'
import { type TemplateName, templates } from './templates.js'

/** One dispatch, before its WGSL is put together. */
export interface StageSource {
  readonly name: string
  /** The file of kernels/ without its ending. */
  readonly template: TemplateName
  readonly holes: Readonly<Record<string, string | number>>
  /** Extensions of WGSL that the template needs. */
  readonly enables?: readonly string[]
  /** Buffers that it reads and writes, by number; in the holes b<number>, arrays of their storage type. */
  readonly reads: Iterable<number>
  readonly writes: Iterable<number>
  /** Which of those that it reads are arrays of vectors of four elements. */
  readonly vectors?: ReadonlySet<number>
  /** What its register machines do (machine.ts). */
  readonly instructions?: readonly Instruction[]
  /** The loops that it computes, where a group of rows may go through them as well (groups.ts). */
  readonly loops?: LoopKernel
  /** Workgroups; beyond 65535 they are laid out in two dimensions. */
  readonly groups: number
}

export interface Stage {
  readonly name: string
  readonly code: string
  /** Buffers in the order of their bindings. */
  readonly bindings: readonly { readonly buffer: number; readonly written: boolean }[]
  /** The content of a uniform buffer that is bound after them. */
  readonly instructions?: Uint32Array<ArrayBuffer>
  readonly groups: readonly [x: number, y: number]
}

/** Collects the stages of a program. */
export interface StageList extends BufferTypes {
  /** What the matrix units of the GPU multiply at once, where it has some. */
  readonly matrices?: MatrixShape
  /** A buffer that lives during this kernel only. */
  scratch(dtype: DType, size: number): number
  add(stage: StageSource): void
}

/** Functions of the helper files by name, each with the comment above it. */
const helpers = new Map<string, string>()
for (const text of [templates.scalar, templates.float64, templates.far]) {
  for (const block of text.split(/\n\n+/)) {
    const name = /^(?:fn|const) (\w+)/m.exec(block)?.[1]
    if (name !== undefined) helpers.set(name, block.trim())
  }
}

/** The helpers that a text calls, and those that they call, in an order of their own. */
function helpersOf(code: string): string[] {
  const found = new Set<string>()
  const search = (text: string): void => {
    for (const [word] of text.replace(/\/\/.*/g, '').matchAll(/\b[A-Za-z]\w*/g)) {
      const helper = helpers.get(word)
      if (helper === undefined || found.has(helper)) continue
      found.add(helper)
      search(helper)
    }
  }
  search(code)
  return [...found]
}

/** A text with its holes filled; a value of several lines is indented like its hole. */
export function fill(template: string, holes: Readonly<Record<string, string | number>>): string {
  return template.replace(/^([ \t]*).*$/gm, (line, indent: string) =>
    line.replace(/\{\{(\w+)\}\}/g, (_, name: string) => {
      const value = holes[name]
      if (value === undefined) throw new Error(`webgpu: nothing fills the hole {{${name}}}`)
      return String(value).replaceAll('\n', `\n${indent}`)
    }),
  )
}

/** The most workgroups in one dimension. */
const maxGroups = 65535

export function makeStage(source: StageSource, buffers: readonly BufferSpec[], storage: Storage): Stage {
  const { name, template, holes, reads, writes, vectors, groups, enables = [], instructions = [] } = source
  const written = new Set(writes)
  const bindings = [...new Set([...reads, ...written])].map(buffer => ({ buffer, written: written.has(buffer) }))
  // Named by their binding, so that kernels which differ in their buffers alone are the same code, and are compiled once.
  const position = new Map(bindings.map(({ buffer }, i) => [`b${buffer}`, `b${i}`]))
  const main = fill(templates[template], holes).replace(/\bb\d+\b/g, name => position.get(name) ?? name)
  const declarations = bindings.map(({ buffer, written }, i) => {
    const element = storageType(buffers[buffer].dtype, storage)
    const type = vectors?.has(buffer) ? `vec4<${element}>` : element
    return `@group(0) @binding(${i}) var<storage, ${written ? 'read_write' : 'read'}> b${i}: array<${type}>;`
  })
  if (instructions.length > 0) {
    const type = `array<vec4u, ${instructions.length}>`
    declarations.push(`@group(0) @binding(${bindings.length}) var<uniform> instructions: ${type};`)
  }
  const usesHalf = [main, ...declarations].some(text => /\bf16\b/.test(text))
  const enabled = new Set([...enables, ...(usesHalf ? ['f16'] : [])])
  const code = [
    ...[...enabled].map(name => `enable ${name};`),
    declarations.join('\n'),
    'var<private> runtime_zero: u32;',
    ...helpersOf(main),
    main,
  ].join('\n\n')
  return {
    name,
    code,
    bindings,
    instructions: instructions.length > 0 ? Uint32Array.from(instructions.flat()) : undefined,
    groups: [Math.min(groups, maxGroups), Math.ceil(groups / maxGroups)],
  }
}

/**
 * The table of errors in docs/numerics.md: `npm run docs` measures a large sample and writes it; other runs hold a part of
 * the same sample to the bounds that are written there.
 */

import { readFileSync } from 'node:fs'
import * as sp from 'saddlepoint'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { Func } from '../../src/runtime/backends/wasm/assembler.js'
import { functions, stated } from '../numerics/functions.js'
import { type Devices, evaluate, measure } from '../numerics/measure.js'
import { expectPart, readPart, updating } from '../oracle/document.js'

const document = 'docs/numerics.md'
const types = ['float32', 'float64'] as const
const columns = types.flatMap(type => (['wasm', 'reference'] as const).map(device => ({ type, device })))
const chunks = updating ? 32 : 2
const searched = new Map(Object.entries(stated))

let devices: Devices
beforeAll(async () => {
  const reference = await sp.setDevice('reference')
  const fused = await sp.setDevice('wasm', { threads: 1 })
  // An engine that has the relaxed instructions is made to say that it has not.
  const madd = String.fromCharCode(...new Func('', []).op('f32x4.relaxed_madd').encode().slice(1, -1))
  const validate = WebAssembly.validate
  const text = (bytes: BufferSource): string =>
    String.fromCharCode(...new Uint8Array(ArrayBuffer.isView(bytes) ? bytes.buffer : bytes))
  vi.spyOn(WebAssembly, 'validate').mockImplementation(bytes => !text(bytes).includes(madd) && validate(bytes))
  const unfused = await sp.setDevice('wasm', { threads: 1 })
  vi.restoreAllMocks()
  expect(unfused.description).not.toContain('fused')
  devices = { reference, wasm: [fused, unfused] }
})
afterAll(() => Promise.all([devices.reference, ...devices.wasm].map(d => d.close())))

/** What the document states by function, one a column: the errors that were measured, or the bounds. */
function written(part: 'measured' | 'bound'): Map<string, number[]> {
  const lines = readPart(document, 'ulp').split('\n')
  const cells = lines.filter(line => line.includes(' / ')).map(line => line.split('|').map(cell => cell.trim()))
  const numberOf = (cell: string): number => Number(cell.split(' / ')[part === 'measured' ? 0 : 1])
  return new Map(cells.map(([, name, ...errors]) => [name, errors.slice(0, 4).map(numberOf)]))
}

if (updating) {
  test('the table is written', async () => {
    const lines = [
      '| function | float32, `wasm` | float32, `reference` | float64, `wasm` | float64, `reference` |',
      '|---|---|---|---|---|',
    ]
    for (const row of functions) {
      const cells: string[] = []
      for (const type of types) {
        const worst = await measure(row, type, chunks, devices)
        for (const device of ['wasm', 'reference'] as const) {
          const { ulps } = worst[device]
          const found = device === 'wasm' ? (searched.get(row.name)?.[type] ?? 0) : 0
          const bound = Math.max(found, Math.ceil(Number((10 * ulps).toFixed(3))) / 10 + 0.1)
          cells.push(`${ulps.toFixed(2)} / ${bound.toFixed(1)}`)
        }
      }
      lines.push(`| ${row.name} | ${cells.join(' | ')} |`)
    }
    expectPart(document, 'ulp', lines.join('\n'))
  })
} else {
  describe('errors in ULP', () => {
    const bounds = written('bound')

    test('the table has each function, and every primitive within 2 ULP', () => {
      expect([...bounds.keys()]).toEqual(functions.map(f => f.name))
      for (const { name, primitive } of functions)
        if (primitive) expect(Math.max(...(bounds.get(name) ?? [])), name).toBeLessThanOrEqual(2)
    })

    test('the text names each function beyond 2 ULP', () => {
      const text = readFileSync(new URL(`../../${document}`, import.meta.url), 'utf8')
      const named = [...text.matchAll(/^- `(\w+)`.* \d\.\d in float/gm)].map(([, name]) => name)
      for (const [name, errors] of written('measured'))
        if (Math.max(...errors) > 2) expect(named, `${name}: ${errors}`).toContain(name)
    })

    for (const row of functions) {
      test(`${row.name}: within the bounds of the table`, async () => {
        for (const type of types) {
          const worst = await measure(row, type, chunks, devices)
          columns.forEach((column, i) => {
            if (column.type !== type) return
            const { ulps, at } = worst[column.device]
            expect(ulps, `${column.device} ${type} at ${at}`).toBeLessThanOrEqual(bounds.get(row.name)?.[i] ?? 0)
          })
        }
      })
    }
  })

  describe('special values', () => {
    for (const row of functions)
      test(row.name, async () => {
        for (const type of types)
          for (const device of [devices.reference, ...devices.wasm]) {
            const got = await evaluate(device, row, type, row.special)
            row.special.forEach((special, i) => {
              const want = special[row.operands]
              const close =
                want !== 0 && Math.abs(got[i] - want) <= (type === 'float32' ? 3e-7 : 5e-16) * Math.abs(want)
              expect(
                close || Object.is(got[i], want),
                `${device.name} ${type} (${special.slice(0, row.operands)}) is ${got[i]}, not ${want}`,
              ).toBe(true)
            })
          }
      })
  })
}

/** V8's revectorization, where it is wanted: it is turned on, or refused with a way out, and code for it is other code. */

import { execFileSync } from 'node:child_process'
import * as sp from 'saddlepoint'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { canonicalize } from '../../src/compiler/canonical.js'
import { schedule } from '../../src/compiler/schedule.js'
import { buildProgram } from '../../src/runtime/backends/wasm/program.js'
import { candidatesFor, chooseTile } from '../../src/runtime/backends/wasm/tiles.js'

const isThere = process.arch === 'x64' && Number.parseInt(process.versions.v8, 10) >= 13
const refusal = 'wasm: revectorize needs Node 24 or newer on a processor of x64; leave it out, or unset'

describe('the option', () => {
  afterEach(() => vi.unstubAllEnvs())
  const opened = async (options: sp.DeviceOptions): Promise<string> => {
    const device = await sp.setDevice('wasm', { threads: 1, ...options })
    await device.close()
    return device.description
  }
  test.runIf(isThere)('is said in the description', async () => {
    vi.stubEnv('SADDLEPOINT_REVECTORIZE', '')
    expect(await opened({ revectorize: true })).toContain(', revectorized, 1 thread')
    expect(await opened({})).not.toContain('revectorized')
    vi.stubEnv('SADDLEPOINT_REVECTORIZE', '1')
    expect(await opened({})).toContain('revectorized')
    expect(await opened({ revectorize: false })).not.toContain('revectorized')
  })
  test.skipIf(isThere)('is refused where the engine has no such thing, and the device in use stays', async () => {
    const before = await sp.setDevice('reference')
    await expect(opened({ revectorize: true })).rejects.toThrow(refusal)
    vi.stubEnv('SADDLEPOINT_REVECTORIZE', '1')
    await expect(opened({})).rejects.toThrow(refusal)
    for (const no of ['0', 'no', 'false', '']) {
      vi.stubEnv('SADDLEPOINT_REVECTORIZE', no)
      expect(await opened({})).not.toContain('revectorized')
    }
    await sp.setDevice(before)
  })
})

const programOf = (t: sp.Tensor, paired: boolean): string =>
  buildProgram(schedule(canonicalize([t.node])), {
    threads: 1,
    relaxed: true,
    paired,
    memory: { initial: 1, maximum: 1, shared: false },
  })
    .functions.map(f => f.print())
    .join('\n')

/** Functions of 200 calls, each of which takes the engine's optimising compiler some hundredths of a second. */
const script = `
  const sp = await import(process.argv[1])
  await sp.setDevice('wasm', { threads: 1, revectorize: true })
  const f = sp.compile(x => [sp.matmul(x, x), x.exp().mul(2), sp.softmax(x)])
  for (let i = 0; i < 200; i++) await f(sp.ones([256, 256]).add(i))
  process.exit()`

test.runIf(isThere)('the engine joins the vectors of products and of element-wise functions', () => {
  const library = new URL('../../dist/index.js', import.meta.url).href
  const flags = ['--trace-wasm-revectorize', '--input-type=module', '--eval', script, library]
  const trace = execFileSync(process.execPath, flags, { encoding: 'utf8', maxBuffer: 2 ** 28 })
  const joined = [...trace.matchAll(/Decided? to vectorize, (\d+) revectorizable nodes/g)].map(([, n]) => Number(n))
  expect(joined.filter(n => n > 50).length, trace.slice(0, 500)).toBeGreaterThanOrEqual(3)
  const costs = [...trace.matchAll(/Save: \d+, cost: (\d+)/g)].map(([, cost]) => Number(cost))
  expect(Math.max(...costs)).toBe(0)
})

/** V8 13 gives NaN for half of the elements where it joins the vectors of this, once it has optimised the code. */
const chosen = `
  const sp = await import(process.argv[1])
  await sp.setDevice('wasm', { threads: 1, revectorize: true })
  const x = Float64Array.from({ length: 4096 }, (_, i) => Math.sin(i * 1.7))
  const f = sp.compile(x => sp.where(sp.less(x, 0), x.neg(), x))
  let wrong = 0
  for (let i = 0; i < 300; i++) {
    const y = await (await f(sp.tensor(x))).data()
    wrong += y.filter((v, i) => v !== Math.abs(x[i])).length
  }
  console.log(wrong)
  process.exit()`

test.runIf(isThere)('float64 keeps vectors of 128 bits, which are right', () => {
  const library = new URL('../../dist/index.js', import.meta.url).href
  const command = ['--input-type=module', '--eval', chosen, library]
  expect(execFileSync(process.execPath, command, { encoding: 'utf8' }).trim()).toBe('0')
})

describe('code for vectors in pairs', () => {
  const x = sp.ones([64, 128]).add(sp.arange(128))
  const stores = (code: string): number[] =>
    [...code.matchAll(/v128\.store offset=(\d+)|v128\.store\b/g)].map(([, offset = '0']) => Number(offset))
  test('goes twice as far in a turn of a loop, neighbours behind one address', () => {
    const chain = x.exp().mul(2).sub(1)
    expect(Math.max(...stores(programOf(chain, false)))).toBe(48)
    expect(Math.max(...stores(programOf(chain, true)))).toBe(112)
  })
  test('of float64 has an address for each vector, also without: the flag may be on in the process', () => {
    const chain = x.astype('float64').mul(2)
    for (const paired of [false, true]) expect(new Set(stores(programOf(chain, paired)))).toEqual(new Set([0]))
  })
  test('takes larger tiles', () => {
    const tiles = [false, true].map(paired => chooseTile(1024, 256, candidatesFor({ paired })))
    expect(tiles.map(t => t.rows * t.vectors)).toEqual([8, 16])
    const product = sp.matmul(x, sp.matrixTranspose(x))
    const sums = (code: string): number => code.split('f32x4.relaxed_madd').length
    expect(sums(programOf(product, true))).toBeGreaterThan(sums(programOf(product, false)))
  })
})

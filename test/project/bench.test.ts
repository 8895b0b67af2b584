/** The arithmetic and the tables of the benchmark; its answers are compared when it runs. */

import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'

type Round = readonly [readonly number[], readonly number[]]
interface Ceilings {
  readonly flopsPerSecond: number
  readonly bytesPerSecond: number
}
interface Statistics {
  boundOf(work: { flops?: number; bytes?: number }, ceilings: Ceilings): { task: string; work: number }
  median(list: readonly number[]): number
  paired(rounds: readonly Round[]): { ours: number; theirs: number; ratio: number }
  slope(points: readonly (readonly [number, number])[]): number
  consensus(answers: readonly (readonly number[])[]): readonly number[]
  disagreement(values: readonly (number | null)[], expected: readonly number[], tolerance?: number): string | undefined
}
interface Row {
  readonly section: string
  readonly name: string
  readonly threads: number
  readonly ours: number
  readonly share?: number
  readonly flops?: number
  readonly bytes?: number
  readonly peers: Readonly<Record<string, { theirs?: number; ratio?: number; wrong?: string; cannot?: string }>>
}
interface Report {
  readonly items: readonly Row[]
}
interface Reporting {
  table(header: readonly string[], rows: readonly (readonly string[])[]): string
  milliseconds(ms: number | undefined): string
  itemTable(report: Report, section: string, threads: number): string
  between(text: string, content: string): string
}
interface Sides {
  readonly peerNames: readonly string[]
  findSides(python: string): { readonly peers: readonly { readonly name: string }[] }
}
interface Workloads {
  numbers(n: number, seed: number): Float32Array
  checksum(y: readonly number[]): number
  valuesOf(spec: { shape: number[]; seed?: number; low?: number; high?: number; below?: number }): ArrayLike<number>
}

const load = (name: string) => import(new URL(`../../bench/${name}.mjs`, import.meta.url).href)
const { boundOf, median, paired, slope, consensus, disagreement }: Statistics = await load('statistics')
const { table, milliseconds, itemTable, between }: Reporting = await load('report')
const { findSides, peerNames }: Sides = await load('sides')
const { numbers, checksum, valuesOf }: Workloads = await load('workloads')

describe('the command line', () => {
  const bench = (...args: string[]) =>
    promisify(execFile)(process.execPath, [fileURLToPath(new URL('../../bench/run.mjs', import.meta.url)), ...args])

  test('help lists all options', async () => {
    const { stdout } = await bench('--help')
    for (const option of ['only', 'threads', 'quick', 'json', 'docs', 'peers', 'python', 'help'])
      expect(stdout).toContain(`  --${option} `)
  })

  test.each([
    [['--peers', 'PyTorch,torch'], "--peers: no peer 'torch'; there are PyTorch, TensorFlow.js, "],
    [['--threads', '1,65'], "--threads: needs integers from 1 to 64, not '65'"],
    [['--threads', '1,'], "--threads: needs integers from 1 to 64, not ''"],
    [['--json', '/proc/none/x'], "--json: cannot write '/proc/none/x': "],
    [['--json', ''], "--json: cannot write '': it names no file: choose another place"],
    [['--only', 'micr'], '--only: no section micr; there are startup'],
  ])('%j is an error in a line, before anything is measured', async (args, says) => {
    await expect(bench('--only', 'growth', ...args)).rejects.toMatchObject({
      ...{ code: 2, stdout: '' },
      stderr: expect.stringMatching(/^bench: [^\n]*\n$/),
      message: expect.stringContaining(says),
    })
  })

  test('the peers that it names are those there are', () => {
    expect(findSides('no such python').peers.map(({ name }) => name)).toEqual(peerNames)
  })
})

describe('statistics', () => {
  test('the median of odd and even lists, unsorted', () => {
    expect(median([10, 9, 100])).toBe(10)
    expect(median([4, 1, 3, 2])).toBe(2.5)
  })

  test('a ratio of pairs does not see what slows both for a while', () => {
    const rounds: Round[] = [1, 1, 8, 8, 8].map(slow => [[2 * slow], [4 * slow]])
    expect(paired(rounds).ratio).toBe(0.5)
    // Each against its own time alone would be misled.
    expect(
      paired([
        [[2], [4]],
        [[2], [32]],
        [[16], [32]],
      ]),
    ).toEqual({ ours: 2, theirs: 32, ratio: 0.5 })
  })

  test('work is bound by what takes longer at the ceilings', () => {
    const ceilings = { flopsPerSecond: 4e9, bytesPerSecond: 1e9 }
    expect(boundOf({ flops: 5e6, bytes: 1e6 }, ceilings)).toEqual({ task: 'compute', work: 5e6 })
    expect(boundOf({ flops: 3e6, bytes: 1e6 }, ceilings)).toEqual({ task: 'copy', work: 1e6 })
    expect(boundOf({ bytes: 1e6 }, ceilings)).toEqual({ task: 'copy', work: 1e6 })
    expect(boundOf({}, ceilings).work).toBe(0)
  })
  test('the slope is the power of a power law, and that of the best line otherwise', () => {
    const law = (power: number) => [2, 4, 16, 256].map(x => [x, 7 * x ** power] as const)
    for (const power of [-1, 0, 0.5, 1, 3]) expect(slope(law(power))).toBeCloseTo(power, 12)
    // Through (0,0), (1,0), (2,3) in powers of e: 1.5 by hand.
    expect(slope([1, 1, 3].map((_, i) => [Math.exp(i), Math.exp([0, 0, 3][i])]))).toBeCloseTo(1.5, 12)
  })

  test('most sides are right, and the first of two', () => {
    expect(
      consensus([
        [2, 1],
        [1, 1],
        [1, 1.00001],
      ]),
    ).toEqual([1, 1])
    expect(consensus([[2], [1]])).toEqual([2])
  })

  test('a wrong answer is named, a NaN too', () => {
    expect(disagreement([1, 2.0001], [1, 2])).toBeUndefined()
    expect(disagreement([1, 2.1], [1, 2])).toBe('wrong: got 2.1, expected 2 (value 2)')
    expect(disagreement([Number.NaN], [1])).toBe('wrong: got NaN, expected 1')
    expect(disagreement([null], [1])).toBe('wrong: got null, expected 1')
    expect(disagreement([1], [1, 2])).toBe('wrong: got undefined, expected 2 (value 2)')
    expect(disagreement([-1], [-1.2])).toMatch(/^wrong/)
  })
})

describe('inputs', () => {
  test('numbers depend on their position and seed alone, and are uniform', () => {
    const x = numbers(10_000, 3)
    expect(numbers(100, 3)).toEqual(x.slice(0, 100))
    expect(numbers(100, 4)).not.toEqual(x.slice(0, 100))
    expect(Math.min(...x) >= 0 && Math.max(...x) < 1).toBe(true)
    // The mean of n uniforms has standard deviation 1 / √(12 n).
    expect(Math.abs(x.reduce((a, b) => a + b) / x.length - 0.5)).toBeLessThan(4 / Math.sqrt(12 * x.length))
  })

  test('values fill their range', () => {
    const ids = Array.from(valuesOf({ shape: [20, 20], seed: 1, below: 5 }))
    expect([...new Set(ids)].sort()).toEqual([0, 1, 2, 3, 4])
    const x = Array.from(valuesOf({ shape: [400], seed: 1, low: -3, high: 1 }))
    expect(Math.min(...x)).toBeLessThan(-2.9)
    expect(Math.max(...x)).toBeGreaterThan(0.9)
  })

  test('the checksum sees an exchange and a change of size, and no cancellation', () => {
    expect(checksum([1, 2])).toBe(2.5)
    expect(checksum([2, 1])).toBe(2)
    expect(checksum([1, -2])).toBe(2.5)
  })
})

describe('tables', () => {
  const row = (fields: Partial<Row>): Row => ({
    section: 'micro',
    name: 'm',
    threads: 1,
    ours: 1,
    peers: {},
    ...fields,
  })

  test('markdown, numbers to the right', () => {
    expect(table(['a', 'b'], [['x', '1']])).toBe('| a | b |\n| --- | ---: |\n| x | 1 |')
    expect([0.01234, 1.234, 99.96, 1234.4, undefined].map(milliseconds)).toEqual(['0.0123', '1.23', '100', '1234', ''])
  })

  test('rates, shares of a ceiling, and what peers did', () => {
    const items = [
      row({ flops: 2e6, share: 0.5, peers: { A: { theirs: 2, ratio: 0.5 }, B: { cannot: 'no gradients' } } }),
      row({ name: 'n', bytes: 1e6, peers: { A: { wrong: 'wrong: got 1, expected 2' } } }),
      row({ name: 'elsewhere', threads: 2 }),
    ]
    expect(itemTable({ items }, 'micro', 1).split('\n')).toEqual([
      '| ms, 1 thread | saddlepoint | rate | of ceiling | A |',
      '| --- | ---: | ---: | ---: | ---: |',
      '| m | 1.00 | 2.0 GFLOP/s | 50 % | 2.00 (0.50) |',
      '| n | 1.00 | 1.0 GB/s |  | wrong: got 1, expected 2 |',
    ])
  })

  test('what stands between the marks is replaced, and nothing else', () => {
    const page = 'a\n<!-- begin cpu -->old<!-- end cpu -->\nb'
    const written = between(page, 'new')
    expect(written).toBe('a\n<!-- begin cpu -->\n\nnew\n\n<!-- end cpu -->\nb')
    expect(between(written, 'new')).toBe(written)
    expect(() => between('a', 'new')).toThrow('docs/performance.md: lacks <!-- begin cpu --> ... <!-- end cpu -->')
  })
})

/** kernels/float64.wgsl and far.wgsl against JavaScript's float64, BigInt and exact reals on many operands. */

import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { pi, real, sinCos, ulps } from '../numerics/real.js'
import { openGpu } from './gpu.js'

const source = (name: string): string => readFileSync(new URL(`../../kernels/${name}.wgsl`, import.meta.url), 'utf8')
const library = ['scalar', 'float64', 'far'].map(source).join('\n')

let gpu: Awaited<ReturnType<typeof openGpu>>
beforeAll(async () => {
  gpu = await openGpu()
})
afterAll(() => gpu.close())

/** Of operands as 64-bit words, the words that an expression in `a`, `b` and `c` (vec2<u32>) makes of each. */
async function compute(expression: string, ...operands: BigUint64Array[]): Promise<BigUint64Array> {
  const n = operands[0].length
  const declarations = from(
    operands.length + 1,
    i => `@group(0) @binding(${i}) var<storage, read_write> b${i}: array<vec2<u32>>;`,
  )
  const code = `var<private> runtime_zero: u32;
${library}
${declarations.join('\n')}
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) thread: u32) {
  runtime_zero = workgroup.z;
  let i = workgroup.x * 64u + thread;
  if (i >= ${n}u) { return; }
  ${operands.map((_, i) => `let ${'abc'[i]} = b${i}[i];`).join(' ')}
  b${operands.length}[i] = ${expression};
}`
  const buffers = [...operands, new BigUint64Array(n)].map(words => new Uint32Array(words.buffer))
  const results = await gpu.run(code, buffers, [Math.ceil(n / 64), 1, 1])
  const { buffer, byteOffset } = results[operands.length]
  return new BigUint64Array(buffer, byteOffset, n)
}

const word = new DataView(new ArrayBuffer(8))
const wordOf = (x: number): bigint => {
  word.setFloat64(0, x)
  return Number.isNaN(x) ? 0x7ff8n << 48n : word.getBigUint64(0)
}
const valueOf = (w: bigint): number => {
  word.setBigUint64(0, w)
  return word.getFloat64(0)
}
const wordOf32 = (x: number): bigint => {
  word.setFloat32(0, x)
  return Number.isNaN(x) ? 0x7fc00000n : BigInt(word.getUint32(0))
}
const valueOf32 = (w: bigint): number => {
  word.setUint32(0, Number(w))
  return word.getFloat32(0)
}

/** Deterministic 32-bit words (xorshift). */
let state = 0x9e3779b9
function random(): number {
  state ^= state << 13
  state ^= state >>> 17
  state ^= state << 5
  return state >>> 0
}
const below = (n: number): number => random() % n
const randomWord = (): bigint => (BigInt(random()) << 32n) | BigInt(random())
const sign = (): number => (random() & 1 ? -1 : 1)
const from = <T>(n: number, make: (i: number) => T): T[] => Array.from({ length: n }, (_, i) => make(i))
/** A number of a given exponent field and so many bits after the leading one. */
const number = (field: number, bits = 52): number =>
  sign() * valueOf((BigInt(field) << 52n) | ((randomWord() & ((1n << BigInt(bits)) - 1n)) << BigInt(52 - bits)))
const nextTo = (x: number, steps: number): number => valueOf(wordOf(x) + BigInt(steps))

const positives = [
  [0, 1, 1.5, 0.5, 2, 3, 10, 1 / 3, Infinity, NaN, Number.MAX_VALUE, Number.MIN_VALUE, 3 * Number.MIN_VALUE],
  [1, 2, 1.5, 2.5, 3.5, 0.5, 4, 2 ** -1022, 2 ** 511, 2 ** -537].flatMap(x => [nextTo(x, -1), x, nextTo(x, 1)]),
  [31, 32, 52, 53, 62, 63].flatMap(e => [-1.5, -1, -0.5, 0, 0.5, 1, 1.5].map(d => 2 ** e + d)),
  [-1074, -1023, -150, -149, -127, -126, -53, 20, 127, 128, 512, 1023].map(e => 2 ** e),
  [2 ** 128 - 2 ** 103, 2 ** 128 - 2 ** 104, 2 ** -150 * (1 + 2 ** -52), 2 ** -126 - 2 ** -150],
].flat()
const specials = positives.flatMap(x => [x, -x])
/** Kinds of pairs, each many times. */
const pairs: [number, number][] = [
  ...specials.flatMap(x => specials.map((y): [number, number] => [x, y])),
  ...[
    () => [valueOf(randomWord()), valueOf(randomWord())],
    // Close exponents: cancellation, and every distance at which a sum still changes.
    () => {
      const field = 60 + below(1900)
      return [number(field), number(field + below(120) - 60)]
    },
    // A little more, less or as much as half a unit in the last place, or a few halves.
    () => {
      const x = number(100 + below(1800))
      const unit = nextTo(Math.abs(x), 1) - Math.abs(x)
      return [x, sign() * nextTo((unit / 2) * (1 + below(3)), below(3) - 1)]
    },
    // Products of few bits more than fit, among them ties; quotients of few bits and next to them.
    () => [number(1000 + below(40), 26), number(1000 + below(40), 27)],
    () => [sign() * (1 + 2 ** -below(53)), sign() * (1 + 2 ** -below(53) + 2 ** -below(53))],
    () => {
      const y = number(1000 + below(40), below(53))
      return [nextTo(y * number(1000 + below(40), 52 - below(20)), below(3) - 1), y]
    },
    // Products and quotients that are subnormal or nearly so, and overflow.
    () => {
      const field = 1 + below(1021)
      return [number(field), number(Math.max(0, 1023 - field - below(60)))]
    },
    () => {
      const field = 1 + below(1000)
      return [number(field), number(field + 1015 + below(30))]
    },
    () => [number(0), number(below(1200))],
    () => {
      const field = 1024 + below(1022)
      return [number(field), number(Math.min(2046, 3069 - field + below(4)))]
    },
    // Equal, opposite and neighbours.
    () => {
      const x = valueOf(randomWord())
      return [x, sign() * nextTo(x, below(3) - 1)]
    },
    // Integers and halves.
    () => [sign() * below(2 ** 20) * 0.5, number(1023 + below(55), below(53))],
  ].flatMap(make => from(6000, () => make() as [number, number])),
]
/** A NaN of either sign and kind, half of them with the lowest bit only. */
const nan = (): bigint => (BigInt(random() & 1) << 63n) | (0x7ffn << 52n) | (random() & 1 ? 1n : randomWord() >> 12n)
const words = (values: readonly number[]): BigUint64Array =>
  BigUint64Array.from(values, x => (Number.isNaN(x) ? nan() : wordOf(x)))
const left = words(pairs.map(p => p[0]))
const right = words(pairs.map(p => p[1]))
/** Numbers for functions of one: the pairs', squares and their neighbours, ties of float32 and integers. */
const single = words([
  ...pairs.flat(),
  ...from(10000, () => nextTo(number(1023 + below(60), below(27)) ** 2, below(3) - 1)),
  ...from(10000, () => nextTo(number(870 + below(290), 24), below(3) - 1)),
  ...from(10000, () => nextTo(sign() * below(2 ** 32) * 0.5, below(3) - 1)),
])

/** The first few operands whose results differ, as text. */
function differences(got: BigUint64Array, wanted: (i: number) => bigint, ...operands: BigUint64Array[]): string[] {
  const hex = (w: bigint): string => w.toString(16).padStart(16, '0')
  const found: string[] = []
  for (let i = 0; i < got.length && found.length < 5; i++) {
    const want = wanted(i)
    if (got[i] !== want)
      found.push(`${operands.map(o => `${hex(o[i])} (${valueOf(o[i])})`)}: ${hex(got[i])}, not ${hex(want)}`)
  }
  return found
}
const bit = (b: boolean): bigint => (b ? 1n : 0n)

describe('float64', () => {
  const binary: Record<string, (x: number, y: number) => number> = {
    add: (x, y) => x + y,
    sub: (x, y) => x - y,
    mul: (x, y) => x * y,
    div: (x, y) => x / y,
    maximum: Math.max,
    minimum: Math.min,
    remainder_far: (x, y) => x % y,
  }
  test.for(Object.entries(binary))('%s', async ([name, f]) => {
    const got = await compute(`f64_${name}(a, b)`, left, right)
    expect(differences(got, i => wordOf(f(...pairs[i])), left, right)).toEqual([])
  })

  const comparisons: Record<string, (x: number, y: number) => boolean> = {
    less: (x, y) => x < y,
    less_equal: (x, y) => x <= y,
    equal: (x, y) => x === y,
  }
  test.for(Object.entries(comparisons))('%s', async ([name, f]) => {
    const got = await compute(`vec2(u32(f64_${name}(a, b)), 0u)`, left, right)
    expect(differences(got, i => bit(f(...pairs[i])), left, right)).toEqual([])
  })

  /** Math.round with halves to even. */
  function round(x: number): number {
    const r = Math.round(x)
    return Math.abs(x % 1) === 0.5 && r % 2 !== 0 ? r - 1 : r
  }
  const unary: Record<string, (x: number) => number> = {
    sqrt: Math.sqrt,
    neg: x => -x,
    abs: Math.abs,
    floor: Math.floor,
    ceil: Math.ceil,
    trunc: Math.trunc,
    round,
  }
  // A sign change leaves the bits of a NaN alone.
  const canonical = (w: bigint): bigint => wordOf(valueOf(w))
  test.for(Object.entries(unary))('%s', async ([name, f]) => {
    const got = (await compute(`f64_${name}(a)`, single)).map(canonical)
    expect(differences(got, i => wordOf(f(valueOf(single[i]))), single)).toEqual([])
  })

  test('fma, rounded twice', async () => {
    const third = words(
      pairs.map(([x, y], i) => (i % 3 ? -x * y * (1 + (i % 7) * 2 ** -50) : pairs[(i * 7) % pairs.length][0])),
    )
    const got = await compute('f64_fma(a, b, c)', left, right, third)
    const wanted = (i: number): bigint => wordOf(pairs[i][0] * pairs[i][1] + valueOf(third[i]))
    expect(differences(got, wanted, left, right, third)).toEqual([])
  })

  const clamp = (x: number, low: number, high: number): number =>
    Number.isNaN(x) ? 0 : Math.min(Math.max(Math.trunc(x), low), high)
  const casts: Record<string, [string, (x: number) => bigint]> = {
    to_f32: ['bitcast<u32>(f64_to_f32(a))', x => wordOf32(Math.fround(x))],
    to_i32: ['bitcast<u32>(f64_to_i32(a))', x => BigInt(clamp(x, -(2 ** 31), 2 ** 31 - 1) >>> 0)],
    to_u32: ['f64_to_u32(a)', x => BigInt(clamp(x, 0, 2 ** 32 - 1))],
    nonzero: ['u32(f64_nonzero(a))', x => bit(x !== 0)],
  }
  test.for(Object.entries(casts))('%s', async ([, [expression, f]]) => {
    const got = await compute(`vec2(${expression}, 0u)`, single)
    expect(differences(got, i => f(valueOf(single[i])), single)).toEqual([])
  })

  const words32 = BigUint64Array.from(
    [
      ...[0, 1, 2, 3, 0x7fffff, 0x800000, 0x3f800000, 0x7f7fffff, 0x7f800000, 0x7f800001, 0x7fc00000].flatMap(w => [
        w,
        w + 2 ** 31,
      ]),
      ...from(24, i => 2 ** i),
      ...from(50000, random),
      ...from(10000, () => below(2 ** 24)),
    ].map(BigInt),
  )
  const widenings: Record<string, [string, (w: bigint) => number]> = {
    f32: ['bitcast<f32>(a.x)', valueOf32],
    i32: ['bitcast<i32>(a.x)', w => Number(w) | 0],
    u32: ['a.x', Number],
  }
  test.for(Object.entries(widenings))('from_%s', async ([type, [operand, f]]) => {
    const got = await compute(`f64_from_${type}(${operand})`, words32)
    expect(differences(got, i => wordOf(f(words32[i])), words32)).toEqual([])
  })
})

describe('int64', () => {
  const integer: Record<string, [string, (x: bigint, y: bigint) => bigint]> = {
    add: ['a, b', (x, y) => x + y],
    sub: ['a, b', (x, y) => x - y],
    shift_left: ['a, b.x & 63u', (x, y) => x << (y & 63n)],
    shift_right: ['a, b.x & 63u', (x, y) => BigInt.asIntN(64, x) >> (y & 63n)],
  }
  const shifts = BigUint64Array.from(right, (w, i) => (i < 640 ? BigInt(i & 63) : w))
  test.for(Object.entries(integer))('%s', async ([name, [operands, f]]) => {
    const got = await compute(`i64_${name}(${operands})`, left, shifts)
    expect(differences(got, i => BigInt.asUintN(64, f(left[i], shifts[i])), left, shifts)).toEqual([])
  })
})

/** Numbers 2^e m next to multiples of pi / 2, of so many bits: 2^(e + 1) / pi is nearly a fraction of denominator m. */
function nearMultiples(e: number, bits: number): number[] {
  const found: number[] = []
  // The convergents of its continued fraction.
  let [a, b] = [2n ** BigInt(e + 1 + pi.p), pi.m]
  let [m, before] = [1n, 0n]
  while (m < 2n ** BigInt(bits)) {
    found.push(Number(m) * 2 ** e)
    ;[a, b] = [b, a % b]
    ;[m, before] = [(a / b) * m + before, m]
  }
  return found
}

describe('far', () => {
  const formats = {
    float32: { bits: 24, least: 20, most: 128, valueOf: valueOf32, wordOf: wordOf32, density: 100 },
    float64: { bits: 53, least: 50, most: 1024, valueOf, wordOf, density: 10 },
  }
  const call = {
    float32: (name: string): string => `vec2(bitcast<u32>(${name}_far(bitcast<f32>(a.x))), 0u)`,
    float64: (name: string): string => `f64_${name}_far(a)`,
  }
  test.for(['float32', 'float64'] as const)('sin and cos of %s', async type => {
    const { bits, least, most, valueOf, wordOf, density } = formats[type]
    const exponents = from(most - least, i => least + i)
    const reached = exponents.flatMap(e => nearMultiples(e - bits + 1, bits)).filter(x => x >= 2 ** least)
    const anywhere = exponents.flatMap(e => from(density, () => valueOf(wordOf(number(e + 1023, bits - 1)))))
    const ends = [2 ** least, 2 ** (most - 1) * (2 - 2 ** (1 - bits))]
    const numbers = [...reached, ...reached.map(x => -x), ...anywhere, ...ends]
    const operands = BigUint64Array.from([0, Infinity, -Infinity, Number.NaN, ...numbers], wordOf)
    const [sin, cos] = await Promise.all(['sin', 'cos'].map(f => compute(call[type](f), operands)))
    for (const [got, at0] of [
      [sin, 0],
      [cos, 1],
    ] as const)
      expect(Array.from(got.subarray(0, 4), valueOf)).toEqual([at0, Number.NaN, Number.NaN, Number.NaN])
    let worst = 0
    numbers.forEach((x, i) => {
      const exact = sinCos(real(x))
      for (const [got, wanted] of [
        [sin, exact.sin],
        [cos, exact.cos],
      ] as const)
        worst = Math.max(worst, ulps(valueOf(got[i + 4]), wanted, type))
    })
    expect(worst).toBeLessThan(0.51)
  })

  test('remainder of float32', async () => {
    const values = [
      0, 1, 2, 0x7fffff, 0x800000, 0x800001, 0x3f800000, 0x3f800001, 0x40400000, 0x7f7fffff, 0x7f800000, 0x7fc00000,
    ]
    const all = values.flatMap(w => [w, w + 2 ** 31])
    const operands = [
      ...all.flatMap(x => all.map(y => [x, y])),
      ...from(40000, () => [random(), random()]),
      ...from(10000, () => [random(), below(2 ** 24)]),
      // Nearly equal, and multiples.
      ...from(10000, () => [random()].flatMap(x => [x, x + below(5) - 2])),
      ...from(10000, () => [below(2 ** 12), below(2 ** 12)].map((m, i, [n]) => Number(wordOf32(i ? m : m * n)))),
    ]
    const [x, y] = [0, 1].map(side => BigUint64Array.from(operands, pair => BigInt(pair[side] >>> 0)))
    const got = await compute('vec2(bitcast<u32>(remainder_far(bitcast<f32>(a.x), bitcast<f32>(b.x))), 0u)', x, y)
    expect(differences(got, i => wordOf32(valueOf32(x[i]) % valueOf32(y[i])), x, y)).toEqual([])
  })
})

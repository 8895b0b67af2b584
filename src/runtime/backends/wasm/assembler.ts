/**
 * A small WebAssembly assembler: instructions by their text names, functions with typed locals, modules with imported
 * memory. It knows the encoding and nothing of kernels. Opcodes: WebAssembly core specification 2.0, threads, relaxed SIMD.
 */

export type ValueType = 'i32' | 'i64' | 'f32' | 'f64' | 'v128'
const typeCodes: Record<ValueType, number> = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c, v128: 0x7b }

/** Plain instructions without immediates. */
const plain = {
  unreachable: [0x00],
  return: [0x0f],
  drop: [0x1a],
  select: [0x1b],
  end: [0x0b],
  else: [0x05],
  'i32.eqz': [0x45],
  'i32.eq': [0x46],
  'i32.ne': [0x47],
  'i32.lt_s': [0x48],
  'i32.lt_u': [0x49],
  'i32.gt_s': [0x4a],
  'i32.gt_u': [0x4b],
  'i32.le_s': [0x4c],
  'i32.ge_s': [0x4e],
  'i32.ge_u': [0x4f],
  'i64.lt_s': [0x53],
  'i32.add': [0x6a],
  'i32.sub': [0x6b],
  'i32.mul': [0x6c],
  'i32.div_s': [0x6d],
  'i32.div_u': [0x6e],
  'i32.rem_s': [0x6f],
  'i32.rem_u': [0x70],
  'i32.and': [0x71],
  'i32.or': [0x72],
  'i32.xor': [0x73],
  'i32.shl': [0x74],
  'i32.shr_s': [0x75],
  'i32.shr_u': [0x76],
  'f32.demote_f64': [0xb6],
  'f64.promote_f32': [0xbb],
} as const

/** SIMD instructions without immediates, by their number behind the prefix 0xfd. */
const simd = {
  'i8x16.splat': 0x0f,
  'i32x4.splat': 0x11,
  'i64x2.splat': 0x12,
  'f32x4.splat': 0x13,
  'f64x2.splat': 0x14,
  'i32x4.eq': 0x37,
  'i32x4.ne': 0x38,
  'i32x4.lt_s': 0x39,
  'i32x4.lt_u': 0x3a,
  'i32x4.gt_s': 0x3b,
  'i32x4.gt_u': 0x3c,
  'i32x4.le_s': 0x3d,
  'i32x4.le_u': 0x3e,
  'i32x4.ge_s': 0x3f,
  'f32x4.eq': 0x41,
  'f32x4.ne': 0x42,
  'f32x4.lt': 0x43,
  'f32x4.gt': 0x44,
  'f32x4.le': 0x45,
  'f64x2.eq': 0x47,
  'f64x2.ne': 0x48,
  'f64x2.lt': 0x49,
  'f64x2.gt': 0x4a,
  'f64x2.le': 0x4b,
  'v128.not': 0x4d,
  'v128.and': 0x4e,
  'v128.andnot': 0x4f,
  'v128.or': 0x50,
  'v128.xor': 0x51,
  'v128.bitselect': 0x52,
  'v128.any_true': 0x53,
  'f32x4.demote_f64x2_zero': 0x5e,
  'f64x2.promote_low_f32x4': 0x5f,
  'i8x16.narrow_i16x8_s': 0x65,
  'i8x16.narrow_i16x8_u': 0x66,
  'f32x4.ceil': 0x67,
  'f32x4.floor': 0x68,
  'f32x4.trunc': 0x69,
  'f32x4.nearest': 0x6a,
  'f64x2.ceil': 0x74,
  'f64x2.floor': 0x75,
  'f64x2.trunc': 0x7a,
  'f64x2.nearest': 0x94,
  'i16x8.narrow_i32x4_s': 0x85,
  'i16x8.extend_low_i8x16_u': 0x89,
  'i32x4.extend_low_i16x8_u': 0xa9,
  'i32x4.abs': 0xa0,
  'i32x4.neg': 0xa1,
  'i32x4.shl': 0xab,
  'i32x4.shr_s': 0xac,
  'i32x4.shr_u': 0xad,
  'i32x4.add': 0xae,
  'i32x4.sub': 0xb1,
  'i32x4.mul': 0xb5,
  'i32x4.min_s': 0xb6,
  'i32x4.min_u': 0xb7,
  'i32x4.max_s': 0xb8,
  'i32x4.max_u': 0xb9,
  'i64x2.extend_low_i32x4_s': 0xc7,
  'i64x2.shl': 0xcb,
  'i64x2.shr_s': 0xcc,
  'i64x2.shr_u': 0xcd,
  'i64x2.add': 0xce,
  'i64x2.sub': 0xd1,
  'i64x2.eq': 0xd6,
  'i64x2.lt_s': 0xd8,
  'i64x2.le_s': 0xda,
  'f32x4.abs': 0xe0,
  'f32x4.neg': 0xe1,
  'f32x4.sqrt': 0xe3,
  'f32x4.add': 0xe4,
  'f32x4.sub': 0xe5,
  'f32x4.mul': 0xe6,
  'f32x4.div': 0xe7,
  'f32x4.min': 0xe8,
  'f32x4.max': 0xe9,
  'f32x4.pmin': 0xea,
  'f32x4.pmax': 0xeb,
  'f64x2.abs': 0xec,
  'f64x2.neg': 0xed,
  'f64x2.sqrt': 0xef,
  'f64x2.add': 0xf0,
  'f64x2.sub': 0xf1,
  'f64x2.mul': 0xf2,
  'f64x2.div': 0xf3,
  'f64x2.min': 0xf4,
  'f64x2.max': 0xf5,
  'f64x2.pmin': 0xf6,
  'f64x2.pmax': 0xf7,
  'i32x4.trunc_sat_f32x4_s': 0xf8,
  'i32x4.trunc_sat_f32x4_u': 0xf9,
  'f32x4.convert_i32x4_s': 0xfa,
  'f32x4.convert_i32x4_u': 0xfb,
  'i32x4.trunc_sat_f64x2_s_zero': 0xfc,
  'i32x4.trunc_sat_f64x2_u_zero': 0xfd,
  'f64x2.convert_low_i32x4_s': 0xfe,
  'f64x2.convert_low_i32x4_u': 0xff,
  'f32x4.relaxed_madd': 0x105,
  'f64x2.relaxed_madd': 0x107,
} as const

/** Memory instructions: opcode bytes and the natural alignment's exponent. */
const memory = {
  'i32.load': [[0x28], 2],
  'i32.load8_u': [[0x2d], 0],
  'i32.store': [[0x36], 2],
  'i64.load': [[0x29], 3],
  'i64.store': [[0x37], 3],
  'i32.store8': [[0x3a], 0],
  'f64.store': [[0x39], 3],
  'v128.load': [[0xfd, 0x00], 4],
  'v128.load32_splat': [[0xfd, 0x09], 2],
  'v128.load64_splat': [[0xfd, 0x0a], 3],
  'v128.store': [[0xfd, 0x0b], 4],
  'v128.load32_zero': [[0xfd, 0x5c], 2],
  'v128.load64_zero': [[0xfd, 0x5d], 3],
  'memory.atomic.notify': [[0xfe, 0x00], 2],
  'memory.atomic.wait32': [[0xfe, 0x01], 2],
  'i32.atomic.load': [[0xfe, 0x10], 2],
  'i32.atomic.store': [[0xfe, 0x17], 2],
  'i32.atomic.rmw.add': [[0xfe, 0x1e], 2],
} as const

/** Memory instructions on one lane. */
const lane = {
  'v128.load8_lane': [0x54, 0],
  'v128.load32_lane': [0x56, 2],
  'v128.load64_lane': [0x57, 3],
  'v128.store8_lane': [0x58, 0],
  'v128.store16_lane': [0x59, 1],
  'v128.store32_lane': [0x5a, 2],
  'v128.store64_lane': [0x5b, 3],
} as const

/** Extracting and replacing lanes. */
const lanes = {
  'i8x16.extract_lane_u': 0x16,
  'i32x4.extract_lane': 0x1b,
  'i32x4.replace_lane': 0x1c,
  'f32x4.extract_lane': 0x1f,
  'f32x4.replace_lane': 0x20,
  'f64x2.extract_lane': 0x21,
  'f64x2.replace_lane': 0x22,
} as const

export type PlainOp = keyof typeof plain | keyof typeof simd
export type MemoryOp = keyof typeof memory
export type LaneMemoryOp = keyof typeof lane
export type LaneOp = keyof typeof lanes

function unsigned(out: number[], n: number): void {
  do {
    const byte = n % 128
    n = Math.floor(n / 128)
    out.push(n > 0 ? byte | 0x80 : byte)
  } while (n > 0)
}

function signed(out: number[], n: bigint): void {
  for (;;) {
    const byte = Number(n & 0x7fn)
    n >>= 7n
    if ((n === 0n && !(byte & 0x40)) || (n === -1n && byte & 0x40)) {
      out.push(byte)
      return
    }
    out.push(byte | 0x80)
  }
}

/** A local variable of a function. */
export type Local = number

/** A function under construction: every instruction is kept as bytes, and as text for people to read. */
export class Func {
  readonly name: string
  readonly params: readonly ValueType[]
  readonly #code: number[] = []
  readonly #text: string[] = []
  readonly #locals: ValueType[] = []
  #depth = 1

  constructor(name: string, params: readonly ValueType[]) {
    this.name = name
    this.params = params
  }

  local(type: ValueType): Local {
    return this.params.length + this.#locals.push(type) - 1
  }

  #line(text: string): void {
    this.#text.push('  '.repeat(this.#depth) + text)
  }
  /** An instruction with one unsigned immediate. */
  #immediate(text: string, opcode: number, n: number): this {
    this.#code.push(opcode)
    unsigned(this.#code, n)
    this.#line(`${text} ${n}`)
    return this
  }

  op(...names: PlainOp[]): this {
    for (const name of names) {
      if (name in plain) this.#code.push(...plain[name as keyof typeof plain])
      else {
        this.#code.push(0xfd)
        unsigned(this.#code, simd[name as keyof typeof simd])
      }
      this.#line(name)
    }
    return this
  }
  get(local: Local): this {
    return this.#immediate('local.get', 0x20, local)
  }
  set(local: Local): this {
    return this.#immediate('local.set', 0x21, local)
  }
  tee(local: Local): this {
    return this.#immediate('local.tee', 0x22, local)
  }
  globalGet(index: number): this {
    return this.#immediate('global.get', 0x23, index)
  }
  globalSet(index: number): this {
    return this.#immediate('global.set', 0x24, index)
  }
  call(index: number): this {
    return this.#immediate('call', 0x10, index)
  }
  br(depth: number): this {
    return this.#immediate('br', 0x0c, depth)
  }
  brIf(depth: number): this {
    return this.#immediate('br_if', 0x0d, depth)
  }
  i32(n: number): this {
    this.#code.push(0x41)
    signed(this.#code, BigInt(n | 0))
    this.#line(`i32.const ${n | 0}`)
    return this
  }
  i64(n: bigint): this {
    this.#code.push(0x42)
    signed(this.#code, BigInt.asIntN(64, n))
    this.#line(`i64.const ${n}`)
    return this
  }
  /** The 16 bytes of a vector. */
  v128(bytes: Uint8Array): this {
    this.#code.push(0xfd, 0x0c, ...bytes)
    this.#line(`v128.const i8x16 ${bytes.join(' ')}`)
    return this
  }
  shuffle(...bytes: number[]): this {
    this.#code.push(0xfd, 0x0d, ...bytes)
    this.#line(`i8x16.shuffle ${bytes.join(' ')}`)
    return this
  }
  memory(name: MemoryOp, offset = 0): this {
    const [bytes, align] = memory[name]
    this.#code.push(...bytes, align)
    unsigned(this.#code, offset)
    this.#line(offset ? `${name} offset=${offset}` : name)
    return this
  }
  laneMemory(name: LaneMemoryOp, index: number, offset = 0): this {
    const [byte, align] = lane[name]
    this.#code.push(0xfd, byte, align)
    unsigned(this.#code, offset)
    this.#code.push(index)
    this.#line(`${name}${offset ? ` offset=${offset}` : ''} ${index}`)
    return this
  }
  lane(name: LaneOp, index: number): this {
    this.#code.push(0xfd, lanes[name], index)
    this.#line(`${name} ${index}`)
    return this
  }
  /** memory.fill: address, value and length are on the stack. */
  fill(): this {
    this.#code.push(0xfc, 0x0b, 0x00)
    this.#line('memory.fill')
    return this
  }

  /** A structured instruction around the instructions that the body appends. */
  #nested(text: string, opcode: number, body: () => void): void {
    this.#code.push(opcode, 0x40)
    this.#line(text)
    this.#depth++
    body()
    this.#depth--
  }
  block(body: () => void): this {
    this.#nested('block', 0x02, body)
    return this.op('end')
  }
  loop(body: () => void): this {
    this.#nested('loop', 0x03, body)
    return this.op('end')
  }
  if(then: () => void, otherwise?: () => void): this {
    this.#nested('if', 0x04, then)
    if (otherwise) {
      this.op('else')
      this.#depth++
      otherwise()
      this.#depth--
    }
    return this.op('end')
  }
  /** for (; variable < limit; variable += step) body, the limit a constant or a local. */
  for(variable: Local, limit: number | { local: Local }, step: number, body: () => void): this {
    const pushLimit = (): void => {
      if (typeof limit === 'number') this.i32(limit)
      else this.get(limit.local)
    }
    this.block(() => {
      this.get(variable)
      pushLimit()
      this.op('i32.ge_s').brIf(0)
      this.loop(() => {
        body()
        this.get(variable).i32(step).op('i32.add').tee(variable)
        pushLimit()
        this.op('i32.lt_s').brIf(0)
      })
    })
    return this
  }

  /** Pushes the larger ('i32.gt_s') or the smaller ('i32.lt_s') of two integers. */
  extreme(op: 'i32.gt_s' | 'i32.lt_s', a: Local, b: number | { local: Local }): this {
    const pushOther = (): this => (typeof b === 'number' ? this.i32(b) : this.get(b.local))
    this.get(a)
    pushOther()
    this.get(a)
    pushOther()
    return this.op(op, 'select')
  }

  /** Repeats a body, which moves a pointer, until the pointer is at `end`; not at all where it is there already. */
  until(pointer: Local, end: Local, body: () => void): this {
    return this.block(() => {
      this.get(pointer).get(end).op('i32.eq').brIf(0)
      this.loop(() => {
        body()
        this.get(pointer).get(end).op('i32.ne').brIf(0)
      })
    })
  }

  encode(): number[] {
    const body: number[] = []
    unsigned(body, this.#locals.length)
    for (const type of this.#locals) body.push(1, typeCodes[type])
    for (const byte of this.#code) body.push(byte)
    body.push(0x0b)
    return body
  }

  /** The text format. */
  print(): string {
    const list = (word: string, types: readonly ValueType[]): string =>
      types.length ? ` (${word} ${types.join(' ')})` : ''
    return [`(func $${this.name}${list('param', this.params)}${list('local', this.#locals)}`, ...this.#text, ')'].join(
      '\n',
    )
  }
}

/** A function that the host supplies as `env.<name>`. */
export interface Import {
  readonly name: string
  readonly params: readonly ValueType[]
  readonly results: readonly ValueType[]
}

export interface ModuleSpec {
  /** They come first in the index space. */
  readonly imports: readonly Import[]
  readonly functions: readonly Func[]
  /** Names of the functions that are exported. */
  readonly exports: readonly string[]
  /** Pages: initial and maximum of the imported memory `env.memory`. */
  readonly memory: { readonly initial: number; readonly maximum: number; readonly shared: boolean }
  /** Mutable i32 globals, all 0 at first. */
  readonly globals: number
}

/** The binary of a module. Its own functions return nothing. */
export function encodeModule({
  imports,
  functions,
  exports,
  memory: mem,
  globals,
}: ModuleSpec): Uint8Array<ArrayBuffer> {
  const out: number[] = [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0]
  const section = (id: number, items: readonly number[][]): void => {
    const body: number[] = []
    unsigned(body, items.length)
    for (const item of items) for (const byte of item) body.push(byte)
    out.push(id)
    unsigned(out, body.length)
    for (const byte of body) out.push(byte)
  }
  const text = (s: string): number[] => {
    const bytes = [...new TextEncoder().encode(s)]
    const encoded: number[] = []
    unsigned(encoded, bytes.length)
    return [...encoded, ...bytes]
  }
  const number = (n: number): number[] => {
    const encoded: number[] = []
    unsigned(encoded, n)
    return encoded
  }
  const types = (list: readonly ValueType[]): number[] => [...number(list.length), ...list.map(t => typeCodes[t])]
  const signatures = new Map<string, { index: number; bytes: number[] }>()
  const signature = (params: readonly ValueType[], results: readonly ValueType[] = []): number => {
    const key = `${params}:${results}`
    const known = signatures.get(key) ?? { index: signatures.size, bytes: [0x60, ...types(params), ...types(results)] }
    signatures.set(key, known)
    return known.index
  }
  const imported = imports.map(f => [...text('env'), ...text(f.name), 0x00, ...number(signature(f.params, f.results))])
  const declared = functions.map(f => number(signature(f.params)))
  section(
    1,
    [...signatures.values()].map(s => s.bytes),
  )
  const memoryImport = [
    ...text('env'),
    ...text('memory'),
    0x02,
    mem.shared ? 0x03 : 0x01,
    ...number(mem.initial),
    ...number(mem.maximum),
  ]
  section(2, [memoryImport, ...imported])
  section(3, declared)
  section(
    6,
    Array.from({ length: globals }, () => [0x7f, 0x01, 0x41, 0x00, 0x0b]),
  )
  const index = new Map(functions.map((f, i) => [f.name, imports.length + i]))
  section(
    7,
    exports.map(name => [...text(name), 0x00, ...number(index.get(name) as number)]),
  )
  section(
    10,
    functions.map(f => {
      const body = f.encode()
      return [...number(body.length), ...body]
    }),
  )
  return new Uint8Array(out)
}

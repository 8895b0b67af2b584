/** The files of kernels/, embedded by `npm run kernels`; change them there. */
export const templates = {
  ceilings: `// What this device can do at most: the two kernels that all others are compared with.
// copy: every thread moves {{items}} vectors of 16 bytes, {{threads}} apart; memory traffic is 2 * {{vectors}} * 16 bytes.
// peak: every thread makes {{steps}} fused multiply-adds on each of 8 vectors in registers, and touches memory once.

@group(0) @binding(0) var<storage, read> source: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> target_: array<vec4f>;

@compute @workgroup_size({{threads}})
fn copy(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) thread: u32) {
  let block = workgroup.x * {{block}}u + thread;
  for (var item = 0u; item < {{items}}u; item++) {
    target_[block + item * {{threads}}u] = source[block + item * {{threads}}u];
  }
}

@compute @workgroup_size({{threads}})
fn peak(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) thread: u32) {
  let x = source[thread];
  let slope = source[thread + {{threads}}u];
  // Eight chains that do not wait for each other.
  var a = x;
  var b = x + 1;
  var c = x + 2;
  var d = x + 3;
  var e = x + 4;
  var f = x + 5;
  var g = x + 6;
  var h = x + 7;
  for (var step = 0u; step < {{steps}}u; step++) {
    a = fma(a, slope, x);
    b = fma(b, slope, x);
    c = fma(c, slope, x);
    d = fma(d, slope, x);
    e = fma(e, slope, x);
    f = fma(f, slope, x);
    g = fma(g, slope, x);
    h = fma(h, slope, x);
  }
  let sum = (a + b) + (c + d) + (e + f) + (g + h);
  // Never so, as nobody but the author knows: the work cannot be left out, nor does its result have to be written.
  if (sum.x == 12345.678) {
    target_[thread] = sum;
  }
}
`,
  contraction: `// A (batched) matrix product of two expressions, with an expression of the result at the end; a convolution is one too,
// whose factors are addressed through several loops at once.
// Launch: a workgroup computes {{tile_rows}} x {{tile_columns}} results of one batch element; each of its threads
// {{thread_rows}} x {{thread_columns}} of them, in registers. A value that came from global memory is used
// {{tile_columns}} (left) or {{tile_rows}} (right) times by the workgroup, and one that came from workgroup memory
// {{thread_columns}} or {{thread_rows}} times by a thread: that is what tiles are for.
// Memory: the left factor is read once for every {{tile_columns}} columns, the right one once for every {{tile_rows}} rows;
// results are written once.

const rows = {{rows}}u;
const columns = {{columns}}u;
const inner = {{inner}}u;
const batches = {{batches}}u;

const tile_rows = {{tile_rows}}u;
const tile_columns = {{tile_columns}}u;
// Inner positions between two barriers.
const tile_inner = {{tile_inner}}u;
const row_tiles = (rows + tile_rows - 1u) / tile_rows;
const column_tiles = (columns + tile_columns - 1u) / tile_columns;
const steps = (inner + tile_inner - 1u) / tile_inner;

// Everything is handled in vectors of four neighbouring rows or columns. A thread's own vectors lie the width of its
// workgroup's grid of threads apart: neighbours in the grid then read neighbouring vectors, and no two of them collide in
// a bank of workgroup memory.
const row_vectors = tile_rows / 4u;
const column_vectors = tile_columns / 4u;
const grid_rows = tile_rows / {{thread_rows}}u;
const grid_columns = tile_columns / {{thread_columns}}u;

// To load a tile, a thread keeps its four rows (or columns) and takes inner positions so far apart: what depends on rows
// alone is computed once, before the loop.
const left_lanes = grid_rows * grid_columns / row_vectors;
const right_lanes = grid_rows * grid_columns / column_vectors;

// Two tiles of each factor: one is multiplied while the next is on its way from memory.
const left_size = tile_inner * row_vectors;
const right_size = tile_inner * column_vectors;
var<workgroup> left_tiles: array<vec4f, 2u * left_size>;
var<workgroup> right_tiles: array<vec4f, 2u * right_size>;

@compute @workgroup_size(grid_rows * grid_columns)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) thread: u32) {
  runtime_zero = workgroup.z;
  let group = workgroup.y * 65535u + workgroup.x;
  let batch = group / (row_tiles * column_tiles);
  if (batch >= batches) {
    return;
  }
  let first_row = group / column_tiles % row_tiles * tile_rows;
  let first_column = group % column_tiles * tile_columns;

  // Neighbouring threads load what is neighbours in memory. Rows behind the last repeat it: their results are not stored.
  let left_vector = {{left_vector}};
  let left_lane = {{left_lane}};
  let right_vector = {{right_vector}};
  let right_lane = {{right_lane}};
  {{before}}

  // sum_i_j: results of row i of the thread, in its vector j of columns. Each has a name and no index, so that all are kept
  // in registers.
  {{sums}}
  let grid_row = thread / grid_columns;
  let grid_column = thread % grid_columns;

  // One step more than there are tiles: step s loads tile s and multiplies tile s - 1.
  for (var step = 0u; step <= steps; step++) {
    {{next}}
    if (step < steps) {
      let first_position = step * tile_inner;
      {{load}}
    }

    if (step > 0u) {
      let left_tile = (step - 1u) % 2u * left_size + grid_row;
      let right_tile = (step - 1u) % 2u * right_size + grid_column;
      for (var k = 0u; k < tile_inner; k++) {
        {{multiply}}
      }
    }

    if (step < steps) {
      let left_tile = step % 2u * left_size + left_vector;
      let right_tile = step % 2u * right_size + right_vector;
      {{store}}
    }
    workgroupBarrier();
  }

  // In an array for the loops below, which are too long to be written out.
  var results: array<f32, {{thread_rows}} * {{thread_columns}}>;
  {{results}}
  for (var j = 0u; j < {{thread_columns}}u; j++) {
    let column = first_column + (j / 4u * grid_columns + grid_column) * 4u + j % 4u;
    if (column >= columns) {
      continue;
    }
    {{column_body}}
    for (var i = 0u; i < {{thread_rows}}u; i++) {
      let row = first_row + (i / 4u * grid_rows + grid_row) * 4u + i % 4u;
      if (row < rows) {
        let reduced = results[j * {{thread_rows}}u + i];
        {{row_body}}
      }
    }
  }
}
`,
  elementwise: `// Computes every element of one or several results from scalar expressions; gathers, random numbers and all movement of
// data are part of the expressions.
// Launch: one thread computes {{items}} positions, {{threads}} apart, so that the threads of a workgroup always touch
// neighbours and each thread has several loads under way.
// Memory: every operand is read once where its index is the position, every result written once.

@compute @workgroup_size({{threads}})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) thread: u32) {
  runtime_zero = workgroup.z;
  let block = (workgroup.y * 65535u + workgroup.x) * {{block}}u;
  for (var item = 0u; item < {{items}}u; item++) {
    let position = block + item * {{threads}}u + thread;
    if (position < {{size}}) {
      {{body}}
    }
  }
}
`,
  far: `// Sine, cosine and remainder of the numbers that the expansions of compiler/math do not reach: |x| >= 2^20 (float32) or
// 2^50 (float64), remainders of any numbers, by integer arithmetic. Of smaller numbers than that sine and cosine make
// something cheap that no one uses. Sines and cosines are within 0.51 ULP, remainders exact.

// 2 / pi: word i has the bits from 2^(31 - 32 i) down.
fn two_over_pi(i: u32) -> u32 {
  const words = array<u32, 38>(
    0x00000000u, 0xa2f9836eu, 0x4e441529u, 0xfc2757d1u, 0xf534ddc0u, 0xdb629599u, 0x3c439041u, 0xfe5163abu,
    0xdebbc561u, 0xb7246e3au, 0x424dd2e0u, 0x06492eeau, 0x09d1921cu, 0xfe1deb1cu, 0xb129a73eu, 0xe88235f5u,
    0x2ebb4484u, 0xe99c7026u, 0xb45f7e41u, 0x3991d639u, 0x835339f4u, 0x9c845f8bu, 0xbdf9283bu, 0x1ff897ffu,
    0xde05980fu, 0xef2f118bu, 0x5a0a6d1fu, 0x6d367ecfu, 0x27cb09b7u, 0x4f463f66u, 0x9e5fea2du, 0x7527bac7u,
    0xebe5f17bu, 0x3d0739f7u, 0x8a5292eau, 0x6bfb5fb1u, 0x1f8d5d08u, 0x56033046u,
  );
  return words[i];
}

// 1 / k! as a multiple of 2^-63.
fn inverse_factorial(k: u32) -> vec2<u32> {
  const values = array<vec2<u32>, 20>(
    vec2(0x00000000u, 0x80000000u), vec2(0x00000000u, 0x80000000u),
    vec2(0x00000000u, 0x40000000u), vec2(0x55555555u, 0x15555555u),
    vec2(0x55555555u, 0x05555555u), vec2(0x11111111u, 0x01111111u),
    vec2(0x2d82d82eu, 0x002d82d8u), vec2(0x06806807u, 0x00068068u),
    vec2(0x00d00d01u, 0x0000d00du), vec2(0xe3a556c7u, 0x0000171du),
    vec2(0xc9f6ef14u, 0x0000024fu), vec2(0xcc8acfebu, 0x00000035u),
    vec2(0x7bb63bfeu, 0x00000004u), vec2(0x5849184fu, 0x00000000u),
    vec2(0x064e5d2au, 0x00000000u), vec2(0x006b9fd0u, 0x00000000u),
    vec2(0x0006b9fdu, 0x00000000u), vec2(0x0000654bu, 0x00000000u),
    vec2(0x000005a1u, 0x00000000u), vec2(0x0000004cu, 0x00000000u),
  );
  return values[k];
}

// x = m 2^k as (n + f) pi / 2 with |f| <= 1/2, from the 192 bits of 2 / pi that m turns into f and the last bits of n
// (Payne and Hanek 1983). |f| pi / 2 = (x, y) 2^(-64 - z), all bits significant; w is n and, above, the sign bit of f.
fn angle_far(m: vec2<u32>, k: i32) -> vec4<u32> {
  let first = u32(30 + k);
  let s = first & 31u;
  var product = vec4(0u);
  var carry = vec2(0u);
  for (var i = 6u; i > 0u; i--) {
    let word = (first >> 5u) + i;
    let window = (two_over_pi(word - 1u) << s) | ((two_over_pi(word) >> 1u) >> (31u - s));
    let low = i64_add(u32_product(window, m.x), vec2(carry.x, 0u));
    product = vec4(low.x, product.xyz);
    carry = i64_add(i64_add(u32_product(window, m.y), vec2(low.y, 0u)), vec2(carry.y, 0u));
  }
  let n = (product.x + 0x20000000u) >> 30u;
  let turned = (product << vec4(2u)) | vec4(product.yzw >> vec3(30u), 0u);
  let sign = turned.x & 0x80000000u;
  let size = select(turned, ~turned, sign != 0u);
  let zeros = u64_leading_zeros(size.yx);
  let shifted = select(size, vec4(size.yzw, 0u), zeros > 31u);
  let head = i64_shift_left(shifted.yx, zeros & 31u);
  let tail = (shifted.z >> 1u) >> (31u - (zeros & 31u));
  let half_pi = vec2(0x2168c234u, 0xc90fdaa2u);
  return vec4(u64_product(vec2(head.x | tail, head.y), half_pi), zeros - 1u, n | sign);
}

// sin(m 2^k + quarter pi / 2) by so many terms of the series: w is its sign bit, its size (x, y) 2^(z - 63).
fn sine_far(m: vec2<u32>, k: i32, quarter: u32, terms: u32) -> vec4<u32> {
  let angle = angle_far(m, k);
  let n = angle.w + quarter;
  let square = u64_shift_sticky(u64_product(angle.xy, angle.xy), min(2u * angle.z, 63u));
  // sin r / r and cos r are sums of (-r^2)^i / (2 i + 1)! and (-r^2)^i / (2 i)!.
  var sum = vec2(0u);
  for (var i = terms; i > 0u; i--) {
    sum = i64_sub(inverse_factorial(2u * (i - 1u) + (~n & 1u)), u64_product(sum, square));
  }
  let cosine = (n & 1u) == 1u;
  let sign = ((n << 30u) ^ select(angle.w, 0u, cosine)) & 0x80000000u;
  let size = select(u64_product(angle.xy, sum), sum, cosine);
  let value = f64_normalize(size, -i32(select(angle.z, 0u, cosine)));
  return vec4(value, sign);
}

fn f32_sine_far(x: f32, quarter: u32) -> f32 {
  let b = bitcast<u32>(x);
  let field = i32((b >> 23u) & 0xffu);
  if (field < 147) {
    return f32(quarter);
  }
  if (field == 255) {
    return bits(0x7fc00000u);
  }
  let r = sine_far(vec2((b & 0x7fffffu) | 0x800000u, 0u), field - 150, quarter, 6u);
  return f32_pack(r.w ^ select(0u, b & 0x80000000u, quarter == 0u), 127 + bitcast<i32>(r.z), r.xy);
}

fn sin_far(x: f32) -> f32 {
  return f32_sine_far(x, 0u);
}

fn cos_far(x: f32) -> f32 {
  return f32_sine_far(x, 1u);
}

fn f64_sine_far(x: vec2<u32>, quarter: u32) -> vec2<u32> {
  let field = f64_field(x);
  if (field < 1073) {
    return vec2(0u, quarter * 0x3ff00000u);
  }
  if (field == 2047) {
    return f64_nan();
  }
  let r = sine_far(u64_shift_sticky(f64_significand(x), 11u), field - 1075, quarter, 10u);
  return f64_pack(r.w ^ select(0u, x.y & 0x80000000u, quarter == 0u), 1023 + bitcast<i32>(r.z), r.xy);
}

fn f64_sin_far(x: vec2<u32>) -> vec2<u32> {
  return f64_sine_far(x, 0u);
}

fn f64_cos_far(x: vec2<u32>) -> vec2<u32> {
  return f64_sine_far(x, 1u);
}

// x % y with the sign of x, as fmod: long division of the significands, 8 bits at a time.
fn remainder_far(x: f32, y: f32) -> f32 {
  let a = bitcast<u32>(x) & 0x7fffffffu;
  let b = bitcast<u32>(y) & 0x7fffffffu;
  if (a >= 0x7f800000u || b > 0x7f800000u || b == 0u) {
    return bits(0x7fc00000u);
  }
  if (a < b) {
    return x;
  }
  let e = vec2<i32>(max(vec2(a, b) >> vec2(23u), vec2(1u)));
  let m = (vec2(a, b) & vec2(0x7fffffu)) | select(vec2(0u), vec2(0x800000u), vec2(a, b) >= vec2(0x800000u));
  var rest = m.x % m.y;
  for (var n = e.x - e.y; n > 0; n -= 8) {
    rest = (rest << u32(min(n, 8))) % m.y;
  }
  let r = f64_normalize(vec2(0u, rest), e.y + 8);
  return f32_pack(bitcast<u32>(x) & 0x80000000u, bitcast<i32>(r.z), r.xy);
}

// The same, 11 bits at a time.
fn f64_remainder_far(x: vec2<u32>, y: vec2<u32>) -> vec2<u32> {
  if (f64_field(x) == 2047 || f64_is_nan(y) || !f64_nonzero(y)) {
    return f64_nan();
  }
  if (i64_less(f64_abs(x), f64_abs(y))) {
    return x;
  }
  let a = f64_unpack(x);
  let b = f64_unpack(y);
  let divisor = u64_shift_sticky(b.xy, 11u);
  var rest = u64_divide_step(u64_shift_sticky(a.xy, 11u), divisor).xy;
  for (var n = bitcast<i32>(a.z) - bitcast<i32>(b.z); n > 0; n -= 11) {
    rest = u64_divide_step(i64_shift_left(rest, u32(min(n, 11))), divisor).xy;
  }
  let r = f64_normalize(rest, bitcast<i32>(b.z) + 11);
  return f64_pack(x.y & 0x80000000u, bitcast<i32>(r.z), r.xy);
}
`,
  first: `// The first occurrence of each row among the indices, -1 where there is none: by binary search among the sorted indices, which
// stand in the order of their positions within a row.
// Launch: one thread a row.
// Memory: the result is written once; log2({{count}}) cached reads of indices a row.

@compute @workgroup_size({{threads}})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) thread: u32) {
  let row = (workgroup.y * 65535u + workgroup.x) * {{threads}}u + thread;
  if (row >= {{rows}}u) {
    return;
  }
  var low = 0u;
  var high = {{count}}u;
  while (low < high) {
    let middle = (low + high) / 2u;
    if ({{sorted}}[middle] < i32(row)) {
      low = middle + 1u;
    } else {
      high = middle;
    }
  }
  var first = -1;
  if (low < {{count}}u) {
    if ({{sorted}}[low] == i32(row)) {
      first = {{permutation}}[low];
    }
  }
  {{output}}[row] = first;
}
`,
  float64: `// float64 and int64 arithmetic, which WGSL lacks, as functions of \`vec2<u32>\` (x low word, y high word). Results are
// those of IEEE 754, rounded to the nearest, halves to even; a NaN is 0x7ff80000_00000000. Only integers are computed
// with, so that no driver's idea of floating-point numbers matters.
//
// A finite number is m 2^(e - 1086), with a sign, a significand m of 64 bits and e as its exponent field if bit 63 of m
// is the leading one. What a significand loses to the right is remembered in its lowest bit (the sticky bit), which is
// enough to round correctly.
//
// Drivers inline every call and compile in more than linear time. So selects are preferred to branches, \`&\` to \`&&\`
// (which is a branch), and shifts are few; where a left shift does not vary, it is a product.

fn i64_add(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  let low = a.x + b.x;
  return vec2(low, a.y + b.y + u32(low < a.x));
}

fn i64_sub(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  return vec2(a.x - b.x, a.y - b.y - u32(a.x < b.x));
}

fn i64_less(a: vec2<u32>, b: vec2<u32>) -> bool {
  return select(bitcast<i32>(a.y) < bitcast<i32>(b.y), a.x < b.x, a.y == b.y);
}

// Shifts by 0 to 63; WGSL's own go up to 31.
fn i64_shift_left(a: vec2<u32>, n: u32) -> vec2<u32> {
  let s = n & 31u;
  let low = a.x << s;
  return select(vec2(low, (a.y << s) | ((a.x >> 1u) >> (31u - s))), vec2(0u, low), n > 31u);
}

fn i64_shift_right(a: vec2<u32>, n: u32) -> vec2<u32> {
  let s = n & 31u;
  let high = bitcast<u32>(bitcast<i32>(a.y) >> s);
  let sign = bitcast<u32>(bitcast<i32>(a.y) >> 31u);
  return select(vec2((a.x >> s) | ((a.y << 1u) << (31u - s)), high), vec2(high, sign), n > 31u);
}

// m / 2^n without a sign, n up to 63, with a sticky bit. 2^(32 - s) moves bits to the left, all of them out if s is 0.
fn u64_shift_sticky(m: vec2<u32>, n: u32) -> vec2<u32> {
  let far = n > 31u;
  let s = n & 31u;
  let left = 2u * (1u << (31u - s));
  let high = select(m.y, 0u, far);
  let low = select(m.x, m.y, far);
  let lost = (low * left) | select(0u, m.x, far);
  return vec2((low >> s) | (high * left) | u32(lost != 0u), high >> s);
}

// By the exponent of a float, as drivers make long code of countLeadingZeros. Without the bit after the leading one, no
// rounding reaches the next power of 2.
fn u32_leading_zeros(x: u32) -> u32 {
  return min(158u - (bitcast<u32>(f32(x & ~(x >> 1u))) >> 23u), 32u);
}

fn u64_leading_zeros(m: vec2<u32>) -> u32 {
  let near = m.y != 0u;
  return u32_leading_zeros(select(m.x, m.y, near)) + select(32u, 0u, near);
}

// a b of 32 bits each, by halves.
fn u32_product(a: u32, b: u32) -> vec2<u32> {
  let low = (a & 0xffffu) * (b & 0xffffu);
  let middle = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
  let cross = (a & 0xffffu) * (b >> 16u) + (middle & 0xffffu);
  return vec2((cross << 16u) | (low & 0xffffu), (a >> 16u) * (b >> 16u) + (middle >> 16u) + (cross >> 16u));
}

// a b / 2^64, rounded down.
fn u64_product(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  let low = u32_product(a.x, b.x);
  let middle = i64_add(u32_product(a.y, b.x), vec2(low.y, 0u));
  let cross = i64_add(u32_product(a.x, b.y), vec2(middle.x, 0u));
  return i64_add(i64_add(u32_product(a.y, b.y), vec2(middle.y, 0u)), vec2(cross.y, 0u));
}

fn f64_nan() -> vec2<u32> {
  return vec2(0u, 0x7ff80000u);
}

fn f64_is_nan(x: vec2<u32>) -> bool {
  return (x.y & 0x7fffffffu) + u32(x.x != 0u) > 0x7ff00000u;
}

fn f64_nonzero(x: vec2<u32>) -> bool {
  return ((x.y & 0x7fffffffu) | x.x) != 0u;
}

fn f64_neg(x: vec2<u32>) -> vec2<u32> {
  return vec2(x.x, x.y ^ 0x80000000u);
}

fn f64_abs(x: vec2<u32>) -> vec2<u32> {
  return vec2(x.x, x.y & 0x7fffffffu);
}

// The exponent field: 2047 is infinite or NaN.
fn f64_field(x: vec2<u32>) -> i32 {
  return i32((x.y >> 20u) & 0x7ffu);
}

// m of a finite number whose e is its exponent field or, if that is 0, 1.
fn f64_significand(x: vec2<u32>) -> vec2<u32> {
  let hidden = select(0x80000000u, 0u, (x.y & 0x7ff00000u) == 0u);
  return vec2(x.x * 2048u, ((x.y & 0xfffffu) * 2048u) | (x.x >> 21u) | hidden);
}

// m with its leading one moved to bit 63, and the bits of e; 0 gets an e that stays below all others.
fn f64_normalize(m: vec2<u32>, e: i32) -> vec3<u32> {
  let n = u64_leading_zeros(m);
  return vec3(i64_shift_left(m, n), bitcast<u32>(select(e - i32(n), -4096, n == 64u)));
}

fn f64_unpack(x: vec2<u32>) -> vec3<u32> {
  return f64_normalize(f64_significand(x), max(f64_field(x), 1));
}

// The float64 with a sign bit, the exponent field \`before\` + 1 (or 0 if bit 63 is) and the significand v, rounded.
fn f64_round_off(sign: u32, before: i32, v: vec2<u32>) -> vec2<u32> {
  let low = (v.x >> 11u) | (v.y * 0x200000u);
  let up = low + u32((v.x & 0x7ffu) + (low & 1u) > 0x400u);
  // The leading one adds 1 to the exponent field, and so does a carry.
  let high = (v.y >> 11u) + u32(up < low) + (u32(before) * 0x100000u);
  let finite = high < 0x7ff00000u;
  return vec2(select(0u, up, finite), select(0x7ff00000u, high, finite) | sign);
}

// The float64 nearest to m 2^(e - 1086), with a sign bit; m has a sticky bit and its leading one at bit 63.
fn f64_pack(sign: u32, e: i32, m: vec2<u32>) -> vec2<u32> {
  var v = m;
  // Seldom needed. A loop, for drivers in software run all of an \`if\`, and compile what is between loops in its square.
  for (var over = 1 - e; over > 0; over = 0) {
    v = u64_shift_sticky(m, u32(min(over, 63)));
  }
  return f64_round_off(sign, max(e - 1, 0), v);
}

// The same for float32, whose bias is 896 less: of m 2^(e - 190).
fn f32_pack(sign: u32, e: i32, m: vec2<u32>) -> f32 {
  let high = u64_shift_sticky(m, u32(32 + clamp(1 - e, 0, 31))).x;
  let kept = high >> 8u;
  let rounded = kept + u32((high & 0xffu) + (kept & 1u) > 0x80u) + (u32(clamp(e - 1, 0, 254)) << 23u);
  return bits(sign | min(rounded, 0x7f800000u));
}

fn f64_add(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  let swap = i64_sub(f64_abs(a), f64_abs(b)).y > 0x7fffffffu;
  let x = select(a, b, swap);
  let y = select(b, a, swap);
  let field = f64_field(x);
  let e = max(field, 1);
  // With a bit for the carry above.
  let m = f64_significand(x);
  let n = f64_significand(y);
  let larger = vec2((m.x >> 1u) | (m.y << 31u), m.y >> 1u);
  let smaller = u64_shift_sticky(n, u32(min(1 + e - max(f64_field(y), 1), 63)));
  let sum = select(i64_add(larger, smaller), i64_sub(larger, smaller), (x.y ^ y.y) > 0x7fffffffu);
  // A sum of subnormal size is a multiple of their unit: it keeps that, and needs no rounding.
  let left = min(u64_leading_zeros(sum), u32(e));
  let finite = f64_round_off(x.y & 0x80000000u, e - i32(left), i64_shift_left(sum, left));
  var value = select(finite, vec2(0u, x.y & y.y & 0x80000000u), (sum.x | sum.y) == 0u);
  if (field == 2047) {
    value = select(x, f64_nan(), f64_is_nan(x) | ((f64_field(y) == 2047) & (x.y != y.y)));
  }
  return value;
}

fn f64_sub(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  return f64_add(a, f64_neg(b));
}

// a b / 2^64 of significands of 53 bits, by columns of products of 14 bits, with a sticky bit.
fn f64_product(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  let p = vec4(a.x >> 8u, (a.x >> 22u) | (a.y * 1024u), a.y >> 4u, a.y >> 18u) & vec4(0x3fffu);
  let q = vec4(b.x >> 8u, (b.x >> 22u) | (b.y * 1024u), b.y >> 4u, b.y >> 18u) & vec4(0x3fffu);
  let c0 = p.x * q.x;
  let c1 = p.x * q.y + p.y * q.x + (c0 >> 14u);
  let c2 = p.x * q.z + p.y * q.y + p.z * q.x + (c1 >> 14u);
  let c3 = p.x * q.w + p.y * q.z + p.z * q.y + p.w * q.x + (c2 >> 14u);
  let c4 = p.y * q.w + p.z * q.z + p.w * q.y + (c3 >> 14u);
  let c5 = p.z * q.w + p.w * q.z + (c4 >> 14u);
  let c6 = p.w * q.w + (c5 >> 14u);
  let lost = ((c0 | c1 | c2) & 0x3fffu) | (c3 & 0x3fu);
  let low = (c5 * 0x400000u) | ((c4 & 0x3fffu) * 256u) | ((c3 & 0x3fffu) >> 6u) | u32(lost != 0u);
  return vec2(low, c6 * 16u + ((c5 & 0x3fffu) >> 10u));
}

fn f64_mul(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  let swap = (a.y & 0x7fffffffu) < (b.y & 0x7fffffffu);
  let x = select(a, b, swap);
  let y = select(b, a, swap);
  let sign = (a.y ^ b.y) & 0x80000000u;
  let field = f64_field(x);
  // If x is subnormal too, the product is 0 anyway.
  let unpacked = f64_unpack(y);
  let product = f64_product(f64_significand(x), unpacked.xy);
  let top = product.y >> 31u;
  let m = select(i64_add(product, product), product, top == 1u);
  let e = max(field, 1) + bitcast<i32>(unpacked.z) + i32(top) - 1023;
  var value = f64_pack(sign, e, m);
  if (field == 2047) {
    let invalid = f64_is_nan(x) | f64_is_nan(y) | !f64_nonzero(y);
    value = select(vec2(0u, sign | 0x7ff00000u), f64_nan(), invalid);
  }
  return value;
}

// r mod b and floor(r / b) for b from 2^52 to 2^53 and a quotient up to 2^11: the high words give it or 1 too much.
fn u64_divide_step(r: vec2<u32>, b: vec2<u32>) -> vec3<u32> {
  let q = r.y / b.y;
  let rest = i64_sub(r, i64_add(u32_product(q, b.x), vec2(0u, q * b.y)));
  let over = (rest.y >> 31u) == 1u;
  return vec3(select(rest, i64_add(rest, b), over), q - u32(over));
}

// By digits of 11 bits: the first is 0 or 1.
fn f64_div(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  let x = f64_unpack(a);
  let y = f64_unpack(b);
  let divisor = u64_shift_sticky(y.xy, 11u);
  var rest = u64_shift_sticky(x.xy, 11u);
  var quotient = vec2(0u);
  for (var digit = 0u; digit < 6u; digit++) {
    let step = u64_divide_step(rest, divisor);
    quotient = i64_shift_left(quotient, 11u);
    quotient.x |= step.z;
    rest = i64_shift_left(step.xy, 11u);
  }
  quotient.x |= u32((rest.x | rest.y) != 0u);
  let sign = (a.y ^ b.y) & 0x80000000u;
  let q = f64_normalize(quotient, bitcast<i32>(x.z) - bitcast<i32>(y.z) + 1031);
  var value = f64_pack(sign, bitcast<i32>(q.z), q.xy);
  let huge = vec2(f64_field(a) == 2047, f64_field(b) == 2047);
  let zero = vec2(!f64_nonzero(a), !f64_nonzero(b));
  if (any(huge | zero)) {
    let invalid = f64_is_nan(a) | f64_is_nan(b) | all(huge) | all(zero);
    let infinite = huge.x | zero.y;
    value = select(vec2(0u, sign | select(0u, 0x7ff00000u, infinite)), f64_nan(), invalid);
  }
  return value;
}

// Bit by bit: \`rest\` is 2^i (x - root^2) with x from 1 to 4, both with 60 bits after the point; \`twice\` is 2 root.
fn f64_sqrt(x: vec2<u32>) -> vec2<u32> {
  let v = f64_unpack(x);
  let e = bitcast<i32>(v.z) - 1023;
  var rest = u64_shift_sticky(v.xy, 3u - u32(e & 1));
  var twice = vec2(0u);
  var bit = vec2(0u, 0x10000000u);
  for (var i = 0; i < 55; i++) {
    let trial = i64_add(twice, bit);
    if (!i64_less(rest, trial)) {
      rest = i64_sub(rest, trial);
      twice = i64_add(trial, bit);
    }
    rest = i64_add(rest, rest);
    bit = vec2((bit.x >> 1u) | (bit.y << 31u), bit.y >> 1u);
  }
  twice.x |= u32((rest.x | rest.y) != 0u);
  let root = f64_pack(0u, 1023 + (e >> 1u), i64_shift_left(twice, 2u));
  let itself = !f64_nonzero(x) | all(x == vec2(0u, 0x7ff00000u));
  let invalid = f64_is_nan(x) | (x.y > 0x7fffffffu);
  return select(select(root, f64_nan(), invalid), x, itself);
}

// a b + c, rounded twice.
fn f64_fma(a: vec2<u32>, b: vec2<u32>, c: vec2<u32>) -> vec2<u32> {
  return f64_add(f64_mul(a, b), c);
}

// x rounded to an integer: toward 0 (way 0), away from 0 (1) or to the nearest, halves to even (2).
fn f64_to_integer(x: vec2<u32>, way: u32) -> vec2<u32> {
  let size = f64_abs(x);
  let e = f64_field(x);
  let unit = i64_shift_left(vec2(1u, 0u), u32(clamp(1075 - e, 0, 52)));
  let below = i64_sub(unit, vec2(1u, 0u));
  let odd = u32(any((size & unit) != vec2(0u)));
  // One less than half a unit if the integer is even, else half.
  let half = i64_add(i64_shift_right(below, 1u), vec2(odd, 0u));
  let most = select(below, vec2(0u), way == 0u);
  let r = i64_add(size, select(most, half, way == 2u)) & ~below;
  let one = select((way == 1u) & f64_nonzero(x), i64_less(vec2(0u, 0x3fe00000u), size), way == 2u);
  let value = select(select(r, vec2(0u, select(0u, 0x3ff00000u, one)), e < 1023), size, e > 1074);
  return vec2(value.x, value.y | (x.y & 0x80000000u));
}

fn f64_trunc(x: vec2<u32>) -> vec2<u32> {
  return f64_to_integer(x, 0u);
}

fn f64_floor(x: vec2<u32>) -> vec2<u32> {
  return f64_to_integer(x, x.y >> 31u);
}

fn f64_ceil(x: vec2<u32>) -> vec2<u32> {
  return f64_to_integer(x, 1u - (x.y >> 31u));
}

fn f64_round(x: vec2<u32>) -> vec2<u32> {
  return f64_to_integer(x, 2u);
}

// Integers that compare as the numbers do; both zeros are 0.
fn f64_order(x: vec2<u32>) -> vec2<u32> {
  return select(x, i64_sub(vec2(0u), f64_abs(x)), (x.y >> 31u) == 1u);
}

fn f64_less(a: vec2<u32>, b: vec2<u32>) -> bool {
  return !(f64_is_nan(a) | f64_is_nan(b)) & i64_less(f64_order(a), f64_order(b));
}

fn f64_less_equal(a: vec2<u32>, b: vec2<u32>) -> bool {
  return !(f64_is_nan(a) | f64_is_nan(b)) & !i64_less(f64_order(b), f64_order(a));
}

fn f64_equal(a: vec2<u32>, b: vec2<u32>) -> bool {
  return !(f64_is_nan(a) | f64_is_nan(b)) & all(f64_order(a) == f64_order(b));
}

// NaN if either is. Among equals, only those of zeros differ, by the sign: -0 is the lesser.
fn f64_maximum(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  let most = select(select(a, a & b, f64_equal(a, b)), b, f64_less(a, b));
  return select(most, f64_nan(), f64_is_nan(a) | f64_is_nan(b));
}

fn f64_minimum(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  let least = select(select(a, a | b, f64_equal(a, b)), b, f64_less(b, a));
  return select(least, f64_nan(), f64_is_nan(a) | f64_is_nan(b));
}

// m 2^(e - 1054), which no rounding is needed for.
fn f64_exact(sign: u32, e: i32, m: u32) -> vec2<u32> {
  let n = u32_leading_zeros(m);
  let v = m << (n & 31u);
  let size = vec2(v << 21u, (v >> 11u) + (u32(e - i32(n) - 1) << 20u));
  let value = select(size, vec2(0u), m == 0u);
  return vec2(value.x, value.y | sign);
}

fn f64_from_f32(x: f32) -> vec2<u32> {
  let b = bitcast<u32>(x);
  let sign = b & 0x80000000u;
  let field = (b >> 23u) & 0xffu;
  let fraction = b & 0x7fffffu;
  let hidden = select(0x800000u, 0u, field == 0u);
  let finite = f64_exact(sign, i32(max(field, 1u)) + 896, (hidden | fraction) << 8u);
  let huge = select(f64_nan(), vec2(0u, sign | 0x7ff00000u), fraction == 0u);
  return select(finite, huge, field == 255u);
}

fn f64_to_f32(x: vec2<u32>) -> f32 {
  if (f64_is_nan(x)) {
    return bits(0x7fc00000u);
  }
  return f32_pack(x.y & 0x80000000u, f64_field(x) - 896, f64_significand(x));
}

fn f64_from_u32(x: u32) -> vec2<u32> {
  return f64_exact(0u, 1054, x);
}

fn f64_from_i32(x: i32) -> vec2<u32> {
  let sign = bitcast<u32>(x) & 0x80000000u;
  return f64_exact(sign, 1054, select(bitcast<u32>(x), 0u - bitcast<u32>(x), sign != 0u));
}

// trunc |x|, but no more than \`limit\`, 2^width or 1 less; 0 for NaN.
fn f64_to_size(x: vec2<u32>, width: i32, limit: u32) -> u32 {
  let e = f64_field(x) - 1023;
  let size = f64_significand(x).y >> u32(clamp(31 - e, 0, 31));
  return select(select(size, limit, e >= width), 0u, (e < 0) | f64_is_nan(x));
}

fn f64_to_u32(x: vec2<u32>) -> u32 {
  return select(f64_to_size(x, 32, 0xffffffffu), 0u, (x.y >> 31u) == 1u);
}

fn f64_to_i32(x: vec2<u32>) -> i32 {
  let negative = x.y >> 31u;
  let size = f64_to_size(x, 31, 0x7fffffffu + negative);
  return bitcast<i32>(select(size, 0u - size, negative == 1u));
}
`,
  merge: `// Merges pairs of sorted runs of {{run}} elements of every row, stably: an element's place is its place in its own run,
// plus as many elements of the sibling run as belong before it (binary search).
// Launch: one thread an element. Neighbouring threads search the same stretch of the sibling run.
// Memory: keys and positions are read and written once, nearly in order, plus log2({{run}}) cached reads of keys.

const size = {{size}}u;
const row_length = {{length}}u;
const run = {{run}}u;

fn before(a: {{word}}, b: {{word}}) -> bool {
  return {{before}};
}

@compute @workgroup_size({{threads}})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) thread: u32) {
  let i = (workgroup.y * 65535u + workgroup.x) * {{threads}}u + thread;
  if (i >= size) {
    return;
  }
  let at = i % row_length;
  let row = i - at;
  let is_left = (at & run) == 0u;
  let sibling = (at / run * run) ^ run;
  var low = sibling;
  var high = min(sibling + run, row_length);
  let key = {{keys}}[i];
  while (low < high) {
    let middle = (low + high) / 2u;
    let other = {{keys}}[row + middle];
    // Equal elements of the left run stay in front.
    if (select(!before(key, other), before(other, key), is_left)) {
      low = middle + 1u;
    } else {
      high = middle;
    }
  }
  let place = row + at / (2u * run) * (2u * run) + at % run + low - sibling;
  {{merged}}[place] = {{positions}}[i];
  {{storeKey}}
}
`,
  reduce: `// Reduces loops to one value for each of {{count}} outputs: sums, products, maxima of an expression, with an expression of
// the result at the end.
// Launch: {{slots}} outputs a workgroup, {{lanes}} thread(s) for each. A thread combines the positions that lie {{lanes}} apart, a tree
// over the threads follows. {{order}}
// Memory: every operand is read once, every result written once.

const count = {{count}}u;
const inner = {{inner}}u;
const slots = {{slots}}u;
const lanes = {{lanes}}u;
// Positions that a thread evaluates before it combines them: their loads are under way together.
const ahead = {{ahead}}u;

var<workgroup> totals: array<{{type}}, slots * lanes>;

fn combine(a: {{type}}, b: {{type}}) -> {{type}} {
  return {{combination}};
}

@compute @workgroup_size(slots * lanes)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) thread: u32) {
  runtime_zero = workgroup.z;
  let first_output = (workgroup.y * 65535u + workgroup.x) * slots;
  let slot = {{slot}};
  let lane = {{lane}};
  let output = first_output + slot;
  var total = {{identity}};
  if (output < count) {
    {{before}}
    for (var next = lane; next < inner; next += ahead * lanes) {
      for (var i = 0u; i < ahead; i++) {
        let unlimited = next + i * lanes;
        // Behind the end the last position is evaluated once more and left out: no load waits for a branch.
        let position = min(unlimited, inner - 1u);
        {{body}}
        total = select(total, combine(total, {{value}}), unlimited < inner);
      }
    }
  }

  totals[lane * slots + slot] = total;
  for (var half = lanes / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) {
      totals[lane * slots + slot] = combine(totals[lane * slots + slot], totals[(lane + half) * slots + slot]);
    }
  }
  workgroupBarrier();

  if (thread < slots && first_output + thread < count) {
    let output = first_output + thread;
    let reduced = totals[thread];
    {{after}}
  }
}
`,
  scalar: `// Scalar functions that WGSL lacks, or has only for compilers that know NaN, infinities and the order of operations.
// A WGSL compiler may assume that floats are finite, reassociate and contract. So everything that must not be guessed at
// is computed on the bits: comparisons, tests, maxima, rounding to float16.
// There are no branches, and \`&\` stands for \`&&\`, which is one: drivers inline these functions, many to a kernel.

// The f32 with these bits; no compiler knows runtime_zero, so none can fold or refuse a NaN or an infinity.
fn bits(b: u32) -> f32 {
  return bitcast<f32>(b ^ runtime_zero);
}

// x, as a value that no compiler looks through.
fn keep(x: f32) -> f32 {
  return bitcast<f32>(bitcast<u32>(x) ^ runtime_zero);
}

fn is_nan(x: f32) -> bool {
  return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

// An integer with the order of the numbers; both zeros give 0.
fn order(x: f32) -> i32 {
  let b = bitcast<i32>(x);
  return select(b, i32(0x80000000u) - b, b < 0);
}

fn less(a: f32, b: f32) -> bool {
  return (order(a) < order(b)) & !is_nan(a) & !is_nan(b);
}

fn less_equal(a: f32, b: f32) -> bool {
  return (order(a) <= order(b)) & !is_nan(a) & !is_nan(b);
}

fn equal(a: f32, b: f32) -> bool {
  return (order(a) == order(b)) & !is_nan(a);
}

fn nonzero(x: f32) -> bool {
  return (bitcast<u32>(x) & 0x7fffffffu) != 0u;
}

// Integers with the order of the numbers, -0 below +0.
fn order_with_zeros(x: f32) -> i32 {
  let b = bitcast<i32>(x);
  return b ^ ((b >> 31u) & 0x7fffffff);
}

// NaN where an operand is; -0 is less than +0.
fn maximum(a: f32, b: f32) -> f32 {
  let larger = select(b, a, order_with_zeros(a) > order_with_zeros(b));
  return select(select(larger, b, is_nan(b)), a, is_nan(a));
}

fn minimum(a: f32, b: f32) -> f32 {
  let smaller = select(b, a, order_with_zeros(a) < order_with_zeros(b));
  return select(select(smaller, b, is_nan(b)), a, is_nan(a));
}

// Rounded to the nearest; drivers convert words from 2^31 on less carefully.
fn from_u32(x: u32) -> f32 {
  return fma(f32(x >> 16u), 65536.0, f32(x & 0xffffu));
}

// Truncated and kept within the type; NaN is 0.
fn to_i32(x: f32) -> i32 {
  let near = select(i32(x), i32(0x80000000u), order(x) <= order(-2147483648.0));
  return select(select(near, 0x7fffffff, order(x) >= order(2147483648.0)), 0, is_nan(x));
}

fn to_u32(x: f32) -> u32 {
  let near = select(u32(x), 0xffffffffu, order(x) >= order(4294967296.0));
  return select(near, 0u, is_nan(x) | (order(x) <= 0));
}

// Integer division rounded down and its remainder; both are 0 where the divisor is 0. -2^31 / -1 wraps.
fn div_i32(a: i32, b: i32) -> i32 {
  let d = select(b, 1, (b == 0) | (b == -1));
  let q = a / d;
  let floored = q - select(0, 1, (a != q * d) & ((a ^ d) < 0));
  return select(select(floored, -a, b == -1), 0, b == 0);
}

fn mod_i32(a: i32, b: i32) -> i32 {
  let d = select(b, 1, (b == 0) | (b == -1));
  let r = a % d;
  return r + select(0, d, (r != 0) & ((r ^ d) < 0));
}

fn div_u32(a: u32, b: u32) -> u32 {
  return select(a / select(b, 1u, b == 0u), 0u, b == 0u);
}

fn mod_u32(a: u32, b: u32) -> u32 {
  return a % select(b, 1u, b == 0u);
}

// The nearest number that a float16 can be, halves to even; infinity from 65520 on.
fn round_to_half(x: f32) -> f32 {
  let sign = bitcast<u32>(x) & 0x80000000u;
  let a = bitcast<u32>(x) & 0x7fffffffu;
  let usual = (a + 0xfffu + ((a >> 13u) & 1u)) & 0xffffe000u;
  // Below 2^-14 float16 has multiples of 2^-24.
  let small = bitcast<u32>(round(bitcast<f32>(a) * 16777216.0) * bitcast<f32>(0x33800000u));
  let finite = select(usual, small, a < 0x38800000u);
  let size = select(finite, 0x7f800000u, a >= 0x477ff000u);
  return select(bits(sign | size), x, is_nan(x));
}
`,
  scatter: `// Sums the updates of every element of the result, in the order of their indices: the same result from run to run, and
// no atomics.
// Launch: one thread an element of the result, so that the threads of a row read neighbouring columns of its updates.
// Memory: updates whose index is in range are read once, the result written once, starts and permutation by every column.

const width = {{width}}u;

fn update(place: u32, column: u32) -> {{type}} {
  return {{update}};
}

// Opaque to compilers where the order of additions matters.
fn plus(sum: {{type}}, x: {{type}}) -> {{type}} {
  return {{plus}};
}

@compute @workgroup_size({{threads}})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) thread: u32) {
  runtime_zero = workgroup.z;
  let i = (workgroup.y * 65535u + workgroup.x) * {{threads}}u + thread;
  if (i >= {{size}}u) {
    return;
  }
  let row = i / width;
  let column = i % width;
  let end = {{starts}}[row + 1u];
  var place = {{starts}}[row];
  var sum = {{zero}};
  // Four loads under way at a time.
  for (; place + 4u <= end; place += 4u) {
    let a = update(place, column);
    let b = update(place + 1u, column);
    let c = update(place + 2u, column);
    let d = update(place + 3u, column);
    sum = plus(plus(plus(plus(sum, a), b), c), d);
  }
  for (; place < end; place++) {
    sum = plus(sum, update(place, column));
  }
  {{output}}[i] = {{result}};
}
`,
  segments: `// Where each row's updates begin among the sorted indices: starts[row] is the number of indices below row, by binary
// search. Negative indices come before the first segment, too large ones after the last.
// Launch: one thread a row, and one for the end of the last.
// Memory: starts are written once; log2({{count}}) cached reads of indices a row.

@compute @workgroup_size({{threads}})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) thread: u32) {
  let row = (workgroup.y * 65535u + workgroup.x) * {{threads}}u + thread;
  if (row > {{rows}}u) {
    return;
  }
  var low = 0u;
  var high = {{count}}u;
  while (low < high) {
    let middle = (low + high) / 2u;
    if ({{sorted}}[middle] < i32(row)) {
      low = middle + 1u;
    } else {
      high = middle;
    }
  }
  {{starts}}[row] = low;
}
`,
  sort: `// Sorts tiles of rows: the positions of a tile's elements in stable ascending order, and their keys in that order where
// passes of merge.wgsl or a search follow. Runs of 1, 2, 4, ... elements are merged in workgroup memory: an element's
// place is its place in its own run, plus as many elements of the sibling run as belong before it (binary search).
// Launch: {{threads}} threads for {{slots}} elements: one tile of a long row, or the whole of several short rows.
// Memory: every element is read once, every position (and key) written once, by neighbouring threads.

const threads = {{threads}}u;
const slots = {{slots}}u;
const tile_size = {{tile}}u;
const tiles_per_row = {{tilesPerRow}}u;
const rows = {{rows}}u;
const row_length = {{length}}u;

var<workgroup> keys: array<{{word}}, slots>;
// Which slot stands where, before and after a merge.
var<workgroup> places: array<u32, 2u * slots>;

// Integers in the order of the floats: both zeros are equal, all NaN equal and last.
fn key_f32(x: f32) -> i32 {
  return select(order(x), 0x7fffffff, is_nan(x));
}

fn key_f64(x: vec2u) -> vec2u {
  let magnitude = x.y & 0x7fffffffu;
  if (magnitude > 0x7ff00000u || (magnitude == 0x7ff00000u && x.x != 0u)) {
    return vec2u(0xffffffffu);
  }
  if (magnitude == 0u && x.x == 0u) {
    return vec2u(0u, 0x80000000u);
  }
  return select(vec2u(x.x, x.y | 0x80000000u), ~x, x.y >= 0x80000000u);
}

fn before(a: {{word}}, b: {{word}}) -> bool {
  return {{before}};
}

// The elements in a tile: none beyond the last row.
fn extent(tile: u32) -> u32 {
  return select(0u, min(tile_size, row_length - tile % tiles_per_row * tile_size), tile / tiles_per_row < rows);
}

@compute @workgroup_size(threads)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) thread: u32) {
  runtime_zero = workgroup.z;
  let first_tile = (workgroup.y * 65535u + workgroup.x) * (slots / tile_size);
  for (var slot = thread; slot < slots; slot += threads) {
    let tile = first_tile + slot / tile_size;
    let offset = slot % tile_size;
    places[slot] = slot;
    if (offset < extent(tile)) {
      let i = tile / tiles_per_row * row_length + tile % tiles_per_row * tile_size + offset;
      keys[slot] = {{key}};
    }
  }
  workgroupBarrier();

  var now = 0u;
  for (var run = 1u; run < tile_size; run *= 2u) {
    for (var slot = thread; slot < slots; slot += threads) {
      let end = slot / tile_size * tile_size + extent(first_tile + slot / tile_size);
      if (slot < end) {
        let mine = places[now + slot];
        let key = keys[mine];
        let is_left = (slot & run) == 0u;
        let sibling = (slot / run * run) ^ run;
        var low = sibling;
        var high = min(sibling + run, end);
        while (low < high) {
          let middle = (low + high) / 2u;
          let other = keys[places[now + middle]];
          // Equal elements of the left run stay in front.
          if (select(!before(key, other), before(other, key), is_left)) {
            low = middle + 1u;
          } else {
            high = middle;
          }
        }
        places[slots - now + slot / (2u * run) * (2u * run) + slot % run + low - sibling] = mine;
      }
    }
    now = slots - now;
    workgroupBarrier();
  }

  for (var slot = thread; slot < slots; slot += threads) {
    let tile = first_tile + slot / tile_size;
    let offset = slot % tile_size;
    if (offset < extent(tile)) {
      let start = tile % tiles_per_row * tile_size;
      let i = tile / tiles_per_row * row_length + start + offset;
      let source = places[now + slot];
      {{positions}}[i] = i32(start + source % tile_size);
      {{storeKey}}
    }
  }
}
`,
} as const

export type TemplateName = keyof typeof templates

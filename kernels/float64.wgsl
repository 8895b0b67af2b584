// float64 and int64 arithmetic, which WGSL lacks, as functions of `vec2<u32>` (x low word, y high word). Results are
// those of IEEE 754, rounded to the nearest, halves to even; a NaN is 0x7ff80000_00000000. Only integers are computed
// with, so that no driver's idea of floating-point numbers matters.
//
// A finite number is m 2^(e - 1086), with a sign, a significand m of 64 bits and e as its exponent field if bit 63 of m
// is the leading one. What a significand loses to the right is remembered in its lowest bit (the sticky bit), which is
// enough to round correctly.
//
// Drivers inline every call and compile in more than linear time. So selects are preferred to branches, `&` to `&&`
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

// The float64 with a sign bit, the exponent field `before` + 1 (or 0 if bit 63 is) and the significand v, rounded.
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
  // Seldom needed. A loop, for drivers in software run all of an `if`, and compile what is between loops in its square.
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

// Bit by bit: `rest` is 2^i (x - root^2) with x from 1 to 4, both with 60 bits after the point; `twice` is 2 root.
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

// trunc |x|, but no more than `limit`, 2^width or 1 less; 0 for NaN.
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

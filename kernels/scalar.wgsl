// Scalar functions that WGSL lacks, or has only for compilers that know NaN, infinities and the order of operations.
// A WGSL compiler may assume that floats are finite, reassociate and contract. So everything that must not be guessed at
// is computed on the bits: comparisons, tests, maxima, rounding to float16.
// There are no branches, and `&` stands for `&&`, which is one: drivers inline these functions, many to a kernel.

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

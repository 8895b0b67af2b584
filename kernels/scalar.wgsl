// Scalar functions that WGSL lacks, or has only for compilers that know NaN, infinities and the order of operations.
// A WGSL compiler may assume that floats are finite, reassociate and contract. So everything that must not be guessed at
// is computed on the bits: comparisons, tests, maxima, rounding to float16.

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
  return order(a) < order(b) && !is_nan(a) && !is_nan(b);
}

fn less_equal(a: f32, b: f32) -> bool {
  return order(a) <= order(b) && !is_nan(a) && !is_nan(b);
}

fn equal(a: f32, b: f32) -> bool {
  return order(a) == order(b) && !is_nan(a);
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

// Truncated and kept within the type; NaN is 0.
fn to_i32(x: f32) -> i32 {
  if (is_nan(x)) {
    return 0;
  }
  return select(select(i32(x), i32(0x80000000u), order(x) <= order(-2147483648.0)), 0x7fffffff, order(x) >= order(2147483648.0));
}

fn to_u32(x: f32) -> u32 {
  if (is_nan(x) || order(x) <= 0) {
    return 0u;
  }
  return select(u32(x), 0xffffffffu, order(x) >= order(4294967296.0));
}

// Integer division rounded down and its remainder; both are 0 where the divisor is 0.
fn div_i32(a: i32, b: i32) -> i32 {
  if (b == 0) {
    return 0;
  }
  // -2^31 / -1 wraps.
  if (b == -1) {
    return -a;
  }
  return a / b - select(0, 1, a % b != 0 && ((a ^ b) < 0));
}

fn mod_i32(a: i32, b: i32) -> i32 {
  if (b == 0 || b == -1) {
    return 0;
  }
  let r = a % b;
  return r + select(0, b, r != 0 && ((r ^ b) < 0));
}

fn div_u32(a: u32, b: u32) -> u32 {
  if (b == 0u) {
    return 0u;
  }
  return a / b;
}

fn mod_u32(a: u32, b: u32) -> u32 {
  if (b == 0u) {
    return 0u;
  }
  return a % b;
}

// The nearest number that a float16 can be, halves to even; infinity from 65520 on.
fn round_to_half(x: f32) -> f32 {
  let sign = bitcast<u32>(x) & 0x80000000u;
  let a = bitcast<u32>(x) & 0x7fffffffu;
  if (a > 0x7f800000u) {
    return x;
  }
  if (a >= 0x477ff000u) {
    return bits(sign | 0x7f800000u);
  }
  if (a < 0x38800000u) {
    // Below 2^-14 float16 has multiples of 2^-24.
    return bits(sign | bitcast<u32>(round(bitcast<f32>(a) * 16777216.0) * bitcast<f32>(0x33800000u)));
  }
  return bits(sign | ((a + 0xfffu + ((a >> 13u) & 1u)) & 0xffffe000u));
}

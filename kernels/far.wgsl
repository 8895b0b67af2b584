// Sine, cosine and remainder of the numbers that the expansions of compiler/math do not reach: |x| >= 2^20 (float32) or
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

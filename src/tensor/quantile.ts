/** The quantile of the normal distribution, by exact operations and division alone: the same bits on every device. */

// biome-ignore-all lint/correctness/noPrecisionLoss: coefficients as they are published
import { add, astype, bitcast, bitwiseRightShift, div, less, mul, sqrt, sub, where } from './elementwise.js'
import { full, type Tensor } from './tensor.js'

/** ln u for a float64 in (0, 1], by exact operations and division alone: |error| < 4e-16 relative to 1 + |ln u|. */
function exactLog(u: Tensor): Tensor {
  // u = 2^e * m with m in [2/3, 4/3): the exponent from the bits of the float32 nearest to u.
  const word = bitcast(astype(mul(u, 1.5), 'float32'), 'int32')
  const e = sub(bitwiseRightShift(word, 23), 127)
  const m = mul(u, astype(bitcast(mul(sub(127, e), 1 << 23), 'float32'), 'float64'))
  // ln m = 2 atanh(s), s = (m - 1) / (m + 1), |s| <= 1/5.
  const s = div(sub(m, 1), add(m, 1))
  const s2 = mul(s, s)
  let series = full([], 1 / 25, 'float64')
  for (let n = 23; n >= 1; n -= 2) series = add(mul(series, s2), 1 / n)
  return add(mul(mul(s, 2), series), mul(astype(e, 'float64'), Math.LN2))
}

/** Coefficients of M. J. Wichura, "Algorithm AS 241: the percentage points of the normal distribution", 1988 (PPND16). */
const wichura = {
  central: [
    [
      2509.0809287301227, 33430.57558358813, 67265.7709270087, 45921.95393154987, 13731.69376550946, 1971.5909503065513,
      133.14166789178438, 3.3871328727963665,
    ],
    [
      5226.495278852854, 28729.085735721943, 39307.89580009271, 21213.794301586597, 5394.196021424751,
      687.1870074920579, 42.31333070160091, 1,
    ],
  ],
  middle: [
    [
      0.0007745450142783414, 0.022723844989269184, 0.2417807251774506, 1.2704582524523684, 3.6478483247632045,
      5.769497221460691, 4.630337846156546, 1.4234371107496835,
    ],
    [
      1.0507500716444169e-9, 0.0005475938084995345, 0.015198666563616457, 0.14810397642748008, 0.6897673349851,
      1.6763848301838038, 2.053191626637759, 1,
    ],
  ],
  tail: [
    [
      2.0103343992922881e-7, 2.7115555687434876e-5, 0.0012426609473880784, 0.026532189526576124, 0.29656057182850487,
      1.7848265399172913, 5.463784911164114, 6.657904643501103,
    ],
    [
      2.0442631033899397e-15, 1.421511758316446e-7, 1.8463183175100548e-5, 0.0007868691311456133, 0.014875361290850615,
      0.1369298809227358, 0.599832206555888, 1,
    ],
  ],
} as const

/**
 * The normal quantile Φ⁻¹ of a float64 in (0, 1). Of the three rational functions the right one is chosen first, then
 * one is computed.
 */
export function normalQuantile(p: Tensor): Tensor {
  const q = sub(p, 0.5)
  const isCentral = less(mul(q, q), 0.180625)
  const lower = less(q, 0)
  const r = sqrt(mul(exactLog(where(lower, p, sub(1, p))), -1))
  const isTail = less(5, r)
  const x = where(isCentral, sub(0.180625, mul(q, q)), where(isTail, sub(r, 5), sub(r, 1.6)))
  const { central, middle, tail } = wichura
  const chosen = (of: 0 | 1, i: number): Tensor =>
    where(isCentral, central[of][i], where(isTail, full([], tail[of][i], 'float64'), middle[of][i]))
  const horner = (of: 0 | 1): Tensor => {
    let sum = chosen(of, 0)
    for (let i = 1; i < central[of].length; i++) sum = add(mul(sum, x), chosen(of, i))
    return sum
  }
  const ratio = div(horner(0), horner(1))
  return where(isCentral, mul(q, ratio), where(lower, mul(ratio, -1), ratio))
}

/** Sine, cosine and arc tangent as basic operations; see exponential.ts for how coefficients and bounds were found. */

import type { Expr } from '../expr.js'
import type { Builder, Each } from './builder.js'

/** pi / 2 in parts, each a small multiple of 2^-11, 2^-23, 2^-35, 2^-47 or 2^-25, 2^-51, ..., and what remains. */
const halfPi: Each<readonly number[]> = {
  float32: [
    1.57080078125, -4.410743713378906e-6, -4.371395334601402e-8, 2.5650592760939617e-12, -1.7151245100058819e-15,
  ],
  float64: [
    1.5707963407039642, -1.3909067675399456e-8, 6.123234262925839e-17, -2.671890720037679e-24, -1.382333654893749e-32,
  ],
}
/** (sin r - r) / r^3 and (cos r - 1 + r^2 / 2) / r^4 in r^2, for |r| <= pi / 4; 2^-27.8, 2^-57.9 and 2^-33, 2^-63.8. */
const sinCoefficients: Each<readonly number[]> = {
  float32: [-0.16666653752326965, 0.008332106284797192, -0.00019507884280756116],
  float64: [
    -0.1666666666666663, 0.008333333333321842, -0.00019841269829361138, 2.7557313539762604e-6, -2.5050734632219395e-8,
    1.5895450048102335e-10,
  ],
}
const cosCoefficients: Each<readonly number[]> = {
  float32: [0.04166664555668831, -0.0013887308305129409, 2.443209996272344e-5],
  float64: [
    0.04166666666666659, -0.0013888888888872186, 2.4801587288295278e-5, -2.7557314015048126e-7, 2.087567806880667e-9,
    -1.1357335599662365e-11,
  ],
}

/**
 * x - n pi / 2 as a sum of two numbers, and n in the low bits of `i`. n = coarse + fine, each of so few bits that their
 * products with the parts of pi / 2 are exact, and subtracted from the largest down, so that the differences are too
 * (Cody and Waite 1980, in two stages).
 */
function reduceAngle(m: Builder, x: Expr): { i: Expr; high: Expr; low: Expr } {
  const parts = m.pick(halfPi)
  const step = m.pick({ float32: 2 ** 11, float64: 2 ** 25 })
  const less = (from: Expr, n: Expr, part: number): Expr => m.fma(n, -parts[part], from)
  const nearest = (y: Expr, magic: number): { i: Expr; n: Expr } => m.integerOf(m.fma(y, 2 / Math.PI, magic), magic)
  const coarse = nearest(x, m.magic * step).n
  const rest = less(m.keep(less(x, coarse, 0)), coarse, 1)
  const { i, n: fine } = nearest(rest, m.magic)
  const near = m.keep(less(less(m.keep(less(rest, fine, 0)), fine, 1), coarse, 2))
  const small = m.fma(fine, parts[2], m.mul(coarse, parts[3]))
  const nearer = m.keep(m.sub(near, small))
  const high = m.keep(less(nearer, fine, 3))
  const lost = m.add(m.keep(m.sub(m.sub(near, nearer), small)), less(m.sub(nearer, high), fine, 3))
  return { i, high, low: m.fma(m.add(m.keep(coarse), fine), -parts[4], lost) }
}

/**
 * sin(x + quarter pi / 2): sine or cosine of the reduced angle, by the parity of its quadrant. Within 1 and 1.5 ULP for
 * |x| < 2^20 and 2^50, also next to multiples of pi / 2 (float64: 0.9 for |x| < 100); 2 on a GPU. A reduction of larger
 * numbers takes more bits of pi than fit here; the far functions have them.
 */
function sine(m: Builder, x: Expr, quarter: 0 | 1): Expr {
  const size = m.abs(x)
  const { i, high, low } = reduceAngle(m, x)
  const z = m.mul(high, high)
  const angle = m.add(high, m.fma(m.mul(high, z), m.polynomial(z, sinCoefficients), low))
  const sin = quarter === 0 ? m.select(m.less(size, 2 ** -m.bits), x, angle) : angle
  const cosTail = m.fma(m.mul(z, z), m.polynomial(z, cosCoefficients), m.mul(m.neg(high), low))
  const h = m.mul(z, 0.5)
  const one = m.sub(1, h)
  const cos = m.add(one, m.add(m.sub(m.sub(1, one), h), cosTail))
  const n = quarter === 0 ? i : m.int('add', i, quarter)
  const width = m.pick({ float32: 32, float64: 64 })
  const odd = m.less(m.ofBits(m.int('or', m.int('shiftLeft', n, width - 1), m.oneBits)), 0)
  const sign = m.int('and', m.int('shiftLeft', n, width - 2), m.signBit)
  const value = m.ofBits(m.int('xor', m.bitsOf(m.select(odd, cos, sin)), sign))
  const near = m.less(size, m.pick({ float32: 2 ** 20, float64: 2 ** 50 }))
  return m.reach(near, value, quarter === 0 ? 'sinFar' : 'cosFar', x)
}

export const sin = (m: Builder, x: Expr): Expr => sine(m, x, 0)
export const cos = (m: Builder, x: Expr): Expr => sine(m, x, 1)

/** (atan t - t) / t^3 in t^2, for |t| <= 1/2, within 2^-27.5 and 2^-57.8. */
const atanCoefficients: Each<readonly number[]> = {
  float32: [-0.3333323299884796, 0.19994167983531952, -0.14174212515354156, 0.10155828297138214, -0.05125166103243828],
  float64: [
    -0.3333333333333298, 0.19999999999902995, -0.14285714276370848, 0.11111110658852173, -0.09090896222888548,
    0.0769207354570365, -0.06663806682045462, 0.05858271308814297, -0.05121879614127882, 0.04186142323478311,
    -0.027429030478827558, 0.010112639636179244,
  ],
}

/**
 * atan a = atan t, pi/4 + atan((a - 1) / (a + 1)) or pi/2 + atan(-1 / a), parted at 1/2 and 2. Within 1.5 and 1.5 ULP;
 * 3.6 on a GPU.
 */
export function atan(m: Builder, x: Expr): Expr {
  const a = m.abs(x)
  const middle = m.less(0.5, a)
  const large = m.less(2, a)
  const quotient = m.div(m.select(large, -1, m.sub(a, 1)), m.select(large, a, m.add(a, 1)))
  const t = m.select(middle, quotient, a)
  const base = m.select(large, Math.PI / 2, m.select(middle, Math.PI / 4, 0))
  const z = m.mul(t, t)
  // What the base lacks is in proportion to it.
  const lacking = m.pick({ float32: -2.7827534056188314e-8, float64: 3.8981718325193755e-17 })
  const tail = m.fma(m.mul(t, z), m.polynomial(z, atanCoefficients), m.mul(base, lacking))
  return m.withSign(m.add(base, m.keep(m.add(t, tail))), m.signOf(x))
}

/** Element-wise functions where they have branches, poles, kinks and limits: value and derivatives to order 3. */

import * as sp from 'saddlepoint'
import { describe } from 'vitest'
import { t, testAwkward } from './derivatives.js'

const { Infinity: inf, NaN: nan } = globalThis
const { PI: pi, LN2: ln2 } = Math

describe('at 0 and at the ends of the domain', () => {
  testAwkward([
    ['asin at 0', sp.asin, 0, 0, 1, 0, 1],
    ['asin at 1', sp.asin, 1, pi / 2, inf, nan, nan],
    ['asin at -1', sp.asin, -1, -pi / 2, inf, nan, nan],
    ['acos at 0', sp.acos, 0, pi / 2, -1, 0, -1],
    ['acos at -0', sp.acos, -0, pi / 2, -1, 0, -1],
    ['acos at 1', sp.acos, 1, 0, -inf, nan, nan],
    ['acos at -1', sp.acos, -1, pi, -inf, nan, nan],
    ['asinh at 0', sp.asinh, 0, 0, 1, 0, -1],
    ['asinh far out', sp.asinh, 1e200, Math.asinh(1e200), 1e-200, 0, 0],
    ['asinh far out below 0', sp.asinh, -1e10, Math.asinh(-1e10), 1e-10, 1e-20, 2e-30],
    ['acosh at 1', sp.acosh, 1, 0, inf, nan, nan],
    ['acosh far out', sp.acosh, 1e10, Math.acosh(1e10), 1e-10, -1e-20, 2e-30],
    ['atanh at 0', sp.atanh, 0, 0, 1, 0, 2],
    ['atanh at 1', sp.atanh, 1, inf, inf, inf, inf],
    ['sinh at 0', sp.sinh, 0, 0, 1, 0, 1],
    ['cosh at 0', sp.cosh, 0, 1, 0, 1, 0],
    ['sinh before overflow', sp.sinh, 709, Math.sinh(709), Math.cosh(709), Math.sinh(709), Math.cosh(709)],
    ['sinh after overflow', sp.sinh, -800, -inf, inf, -inf, inf],
    ['cosh before overflow', sp.cosh, -709, Math.cosh(709), -Math.sinh(709), Math.cosh(709), -Math.sinh(709)],
    ['tan at 0', sp.tan, 0, 0, 1, 0, 2],
    ['sign at 0', sp.sign, 0, 0, 0, 0, 0],
    ['log at 0', sp.log, 0, -inf, inf, -inf, inf],
    ['sqrt at 0', sp.sqrt, 0, 0, inf, -inf, inf],
    ['log2 at a power of 2', sp.log2, 8, 3, 1 / 8 / ln2, -1 / 64 / ln2, 2 / 512 / ln2],
    ['log10 at a power of 10', sp.log10, 100, 2, 0.01 / Math.LN10, -1e-4 / Math.LN10, 2e-6 / Math.LN10],
    ['remainder where it jumps', x => sp.remainder(x, 1), 2, 0, 1, 0, 0],
    ['floorDivide', x => sp.floorDivide(x, 2), 3, 1, 0, 0, 0],
    ['relu of NaN', sp.relu, nan, nan, 1, 0, 0],
  ])
})

describe('the angle and the length of a vector', () => {
  testAwkward([
    ['atan2 across the positive x axis', y => sp.atan2(y, 1), 0, 0, 1, 0, -2],
    ['atan2 across the negative x axis', y => sp.atan2(y, -1), 0, pi, -1, 0, 2],
    ['atan2 across the positive y axis', x => sp.atan2(1, x), 0, pi / 2, -1, 0, 2],
    ['atan2 across the negative y axis', x => sp.atan2(-1, x), 0, -pi / 2, 1, 0, -2],
    ['atan2 on the diagonal', y => sp.atan2(y, 1), 1, pi / 4, 0.5, -0.5, 0.5],
    ['atan2 of both, at the x axis', z => sp.atan2(z, sp.add(z, 1)), 0, 0, 1, -2, 4],
    ['atan2 of both, at the y axis', z => sp.atan2(sp.add(z, 1), z), 0, pi / 2, -1, 2, -4],
    ['atan2 at the origin, in y', y => sp.atan2(y, 0), 0, 0, 0, 0, 0],
    ['atan2 at the origin, in x', x => sp.atan2(0, x), 0, 0, 0, 0, 0],
    ['atan2 of infinities', y => sp.atan2(y, -inf), inf, (3 * pi) / 4, 0, 0, 0],
    ['hypot at the origin', x => sp.hypot(x, 0), 0, 0, 0, 0, 0],
    ['hypot of x and x at 0', x => sp.hypot(x, x), 0, 0, 0, 0, 0],
    ['hypot at an axis', x => sp.hypot(x, 1), 0, 1, 0, 1, 0],
    ['hypot on an axis', x => sp.hypot(x, 0), -2, 2, -1, 0, 0],
    ['hypot of large numbers', x => sp.hypot(x, 4e200), 3e200, 5e200, 0.6, 0.128e-200, 0],
    // The third derivative is beyond the range.
    ['hypot of small numbers', x => sp.hypot(x, 4e-200), 3e-200, 5e-200, 0.6, 0.128e200, nan],
    ['hypot with an infinity', x => sp.hypot(x, inf), 1, inf, 0, 0, 0],
  ])
})

describe('log-sum-exp of two', () => {
  testAwkward([
    ['logaddexp of equals', x => sp.logaddexp(x, 1e4), 1e4, 1e4 + ln2, 0.5, 0.25, 0],
    ['logaddexp with itself', x => sp.logaddexp(x, x), 5, 5 + ln2, 1, 0, 0],
    ['logaddexp with -∞', x => sp.logaddexp(x, -inf), 3, 3, 1, 0, 0],
    ['logaddexp at -∞', x => sp.logaddexp(x, 3), -inf, 3, 0, 0, 0],
    ['logaddexp of two -∞', x => sp.logaddexp(x, -inf), -inf, -inf, 0.5, 0, 0],
    ['logaddexp at ∞', x => sp.logaddexp(3, x), inf, inf, 1, 0, 0],
    ['logaddexp of two ∞', x => sp.logaddexp(x, inf), inf, inf, 0.5, 0, 0],
    ['logaddexp far apart', x => sp.logaddexp(x, 1e4), -1e4, 1e4, 0, 0, 0],
  ])
})

describe('activations', () => {
  testAwkward([
    ['sigmoid at ∞', sp.sigmoid, inf, 1, 0, 0, 0],
    ['sigmoid at -∞', sp.sigmoid, -inf, 0, 0, 0, 0],
    ['softplus at ∞', sp.softplus, inf, inf, 1, 0, 0],
    ['softplus at -∞', sp.softplus, -inf, 0, 0, 0, 0],
    ['logSigmoid at -∞', sp.logSigmoid, -inf, -inf, 1, 0, 0],
    ['elu at -∞', sp.elu, -inf, -1, 0, 0, 0],
    ['silu far right', sp.silu, 1e300, 1e300, 1, 0, 0],
    ['silu far left', sp.silu, -1e300, 0, 0, 0, 0],
    ['gelu far right', sp.gelu, 1e300, 1e300, 1, 0, 0],
    ['gelu far left', sp.gelu, -1e300, 0, 0, 0, 0],
    ['gelu by tanh far right', x => sp.gelu(x, 'tanh'), 1e300, 1e300, 1, 0, 0],
    ['gelu by tanh far left', x => sp.gelu(x, 'tanh'), -1e300, 0, 0, 0, 0],
    ['gelu by tanh at 0', x => sp.gelu(x, 'tanh'), 0, 0, 0.5, Math.sqrt(2 / pi), 0],
    ['tanh at ∞', sp.tanh, inf, 1, 0, 0, 0],
    ['atan at ∞', sp.atan, inf, pi / 2, 0, nan, nan],
    ['relu of a tensor of signs', sp.relu, [-1, -0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]],
    ['clip between tensors', x => sp.clip(x, t([0, 0]), t([1, 1])), [0, 2], [0, 1], [1, 0], [0, 0], [0, 0]],
  ])
})

/** Every operation and its gradients to order 3 on one device against another: what the tests of each device share. */

import * as sp from 'saddlepoint'
import { describe, expect, test } from 'vitest'
import { Rng } from '../oracle/property.js'
import { type Case, isFloat, listOf, type Tensor } from './cases.js'
import { files } from './catalog.js'

/** The results of a case, and the gradients of orders 1 to 3 of their sum with respect to the first float argument. */
function results({ f, args }: Case, dtype: sp.DType, order: number): Tensor[] {
  const cast = args.map(x => (isFloat(x) ? sp.astype(x, dtype) : x))
  const found = [...listOf(f(...cast))]
  const first = cast.findIndex(isFloat)
  let g = (x: Tensor): Tensor => {
    const ys = listOf(f(...cast.with(first, x))).filter(isFloat)
    return ys.map(y => sp.sum(y)).reduce((a, b) => sp.add(a, b))
  }
  for (let n = 0; n < order; n++) {
    const last = g
    g = x => sp.sum(sp.grad(last)(x))
    found.push(sp.grad(last)(cast[first]))
  }
  return found
}

/** The values of a case on a device; its tensors are made anew there. */
async function values(device: sp.Device, make: () => Case, dtype: sp.DType, order: number): Promise<number[][]> {
  await sp.setDevice(device)
  const found = results(make(), dtype, order)
  await sp.realize(found)
  return Promise.all(found.map(async t => [...(await t.data())]))
}

/** The largest difference relative to the largest finite magnitude; NaN equals NaN. */
function distance(got: readonly number[], want: readonly number[]): number {
  const scale = Math.max(1e-30, ...want.map(w => (Number.isFinite(w) ? Math.abs(w) : 0)))
  return Math.max(0, ...want.map((w, i) => (Object.is(got[i], w) || got[i] === w ? 0 : Math.abs(got[i] - w) / scale)))
}

/** For each dtype, the distance allowed and the highest order of derivatives. */
export type Bounds = Readonly<Partial<Record<sp.DType, { readonly bound: number; readonly order: number }>>>

/** A test for each operation: the device computes what the reference does. */
export function comparesOperations(reference: sp.Device, device: sp.Device, bounds: Bounds): void {
  describe.each(Object.entries(files))('%s', (_, catalog) => {
    for (const [name, { makes, flat }] of Object.entries(catalog)) {
      test(name, async () => {
        for (const make of makes) {
          for (const [dtype, { bound, order }] of Object.entries(bounds) as [
            sp.DType,
            { bound: number; order: number },
          ][]) {
            const orders = flat ? 0 : order
            const [want, got] = [
              await values(reference, () => make(new Rng(7)), dtype, orders),
              await values(device, () => make(new Rng(7)), dtype, orders),
            ]
            want.forEach((w, i) => {
              const error = distance(got[i], w)
              expect(error, `${dtype}, result ${i}: ${got[i]}, expected ${w}`).toBeLessThan(bound)
            })
          }
        }
      })
    }
  })
}

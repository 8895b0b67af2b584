/** The errors of the library's functions on its devices, through the public API. */

import * as sp from 'saddlepoint'
import type { Float } from '../../src/compiler/math/builder.js'
import { operandsOf, type Row } from './functions.js'
import { ulps } from './real.js'
import { hardPoints, rounded } from './samples.js'

export interface Worst {
  readonly ulps: number
  readonly at: readonly number[]
}
/** Of wasm both the device with fused multiply-add, where the machine has it, and the one without. */
export interface Devices {
  readonly reference: sp.Device
  readonly wasm: readonly sp.Device[]
}

const arrays = { float32: Float32Array, float64: Float64Array }
/** The values of a function by its name on a device, and undefined where the library lacks it. */
export async function evaluate(
  device: sp.Device,
  { name, operands }: Pick<Row, 'name' | 'operands'>,
  type: Float,
  points: readonly (readonly number[])[],
): Promise<ArrayLike<number>> {
  const f: unknown = Reflect.get(sp, name)
  if (typeof f !== 'function') throw new Error(`saddlepoint has no ${name}`)
  await sp.setDevice(device)
  const columns = Array.from({ length: operands }, (_, k) => sp.tensor(new arrays[type](points.map(p => p[k]))))
  const result: unknown = f(...columns)
  if (!(result instanceof sp.Tensor)) throw new Error(`${name} gives no tensor`)
  return result.data()
}

/** Points of a chunk, and how many of them are measured exactly: the first ones, and where devices disagree the most. */
const chunk = 2 ** 14
const plain = 48
const suspects = 48

/**
 * The worst errors over chunks of samples. A float32 result is first compared with that in float64 of the reference device,
 * a float64 result with the other device's; the suspects of each chunk are measured exactly.
 */
export async function measure(
  row: Row,
  type: Float,
  chunks: number,
  { reference, wasm }: Devices,
): Promise<{ reference: Worst; wasm: Worst }> {
  let worst: { reference: Worst; wasm: Worst } = { reference: { ulps: 0, at: [0] }, wasm: { ulps: 0, at: [0] } }
  const operands = operandsOf(row, type)
  const unit = type === 'float32' ? { relative: 2 ** -23, least: 2 ** -149 } : { relative: 2 ** -52, least: 2 ** -1074 }
  for (let c = 0; c < chunks; c++) {
    const points = Array.from({ length: chunk }, () => operands.next().value as readonly [number, number])
    const near = await evaluate(reference, row, 'float64', points)
    const ofReference = type === 'float32' ? await evaluate(reference, row, type, points) : near
    const ofWasm: ArrayLike<number>[] = []
    for (const device of wasm) ofWasm.push(await evaluate(device, row, type, points))
    const doubt = points.map((_, i) => {
      const last = Math.max(unit.least, unit.relative * Math.abs(near[i]))
      const errors = ofWasm.map(values =>
        values[i] === rounded(type, near[i]) ? 0 : Math.abs(values[i] - near[i]) / last,
      )
      const error = Math.max(...errors)
      return Number.isNaN(error) ? Infinity : error
    })
    const bySuspicion = points.map((_, i) => i).sort((i, j) => doubt[j] - doubt[i])
    const first = c === 0 ? hardPoints(type).length : plain
    const chosen = new Set([...bySuspicion.slice(0, suspects), ...points.keys()].slice(0, suspects + first))
    for (const i of chosen) {
      const [x, y] = points[i]
      const exact = row.exact(x, y)
      const judge = (values: ArrayLike<number>, before: Worst): Worst => {
        const error = ulps(values[i], exact, type, row.unit?.(x))
        return error > before.ulps ? { ulps: error, at: row.operands === 1 ? [x] : [x, y] } : before
      }
      worst = {
        reference: judge(ofReference, worst.reference),
        wasm: ofWasm.reduce<Worst>((before, values) => judge(values, before), worst.wasm),
      }
    }
  }
  return worst
}

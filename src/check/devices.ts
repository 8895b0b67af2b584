/** checkDevices: one program on two devices, its results compared in units in the last place. */

import { type DType, isFloat, type TypedArray } from '../graph/dtype.js'
import { knownOptions, type Names } from '../graph/options.js'
import { type Device, type DeviceName, getDevice, setDevice } from '../runtime/device.js'
import { tensor } from '../tensor/create.js'
import { realize } from '../tensor/realize.js'
import { leaves, namedLeaves, replaceLeaves } from '../tensor/tree.js'
import { largest, positionOf, ulp } from './compare.js'

export interface CheckDevicesOptions {
  /**
   * The device to trust and those to compare with it, by name or as `setDevice` returned them; reference and wasm by
   * default.
   */
  devices?: readonly (DeviceName | Device)[]
  /** The distance allowed, in units in the last place of the largest magnitude in the tensor; 64 by default. */
  ulps?: number
  /** Threads of the devices given by name. */
  threads?: number
}
const devicesNames: Names<CheckDevicesOptions> = { devices: true, ulps: true, threads: true }

interface Result {
  readonly name: string
  readonly shape: readonly number[]
  readonly dtype: DType
  readonly data: TypedArray
}

/**
 * Computes f on each device and compares the results. A float may differ by `ulps` units in the last place of the
 * largest magnitude in its tensor, for sums cancel; integers and bools must be equal; NaN equals NaN. The device in use
 * before is in use again afterwards, whatever happens. Tensors that f captures move along, so pass what is large as args.
 *
 * @param args tensors or trees of tensors, made anew on each device; other values are passed on to f as they are.
 * @throws if an element is too far off, naming the result, the position, both values and the distance.
 * @example await checkDevices((x, w) => softmax(matmul(x, w)), [x, w], { ulps: 16 })
 */
export async function checkDevices<A extends unknown[], R>(
  f: (...args: A) => R,
  args: A,
  options: CheckDevicesOptions = {},
): Promise<void> {
  const { devices = ['reference', 'wasm'], ulps = 64, threads } = knownOptions('checkDevices', options, devicesNames)
  if (devices.length < 2) throw new Error(`checkDevices: needs two devices or more to compare, not ${devices.length}`)
  if (!(ulps >= 0)) throw new Error(`checkDevices: ulps must be a number >= 0, not ${ulps}`)
  const host = await Promise.all(
    leaves(args).map(async t => ({ data: await t.data(), shape: t.shape, dtype: t.dtype })),
  )
  const before = await getDevice()
  const opened: Device[] = []
  const run = async (choice: DeviceName | Device): Promise<Result[]> => {
    const device = await setDevice(choice, typeof choice === 'string' ? { threads } : {})
    if (typeof choice === 'string') opened.push(device)
    const results = namedLeaves(
      f(
        ...replaceLeaves(
          args,
          host.map(h => tensor(h)),
        ),
      ),
    )
    await realize(results.map(r => r.tensor))
    return Promise.all(
      results.map(async ({ name, tensor: t }) => ({ name, shape: t.shape, dtype: t.dtype, data: await t.data() })),
    )
  }
  try {
    const [trusted, ...others] = devices
    const expected = await run(trusted)
    for (const other of others) {
      const got = await run(other)
      expected.forEach((e, i) => compare(e, got[i], nameOf(trusted), nameOf(other), ulps))
    }
  } finally {
    await setDevice(before)
    await Promise.all(opened.map(d => d.close()))
  }
}

const nameOf = (device: DeviceName | Device): string => (typeof device === 'string' ? device : device.name)

function compare({ name, shape, dtype, data }: Result, other: Result, from: string, to: string, ulps: number): void {
  const unit = isFloat(dtype) ? ulp(largest(data), dtype) : 1
  const allowed = isFloat(dtype) ? ulps : 0
  let worst = { k: -1, apart: allowed }
  data.forEach((a, k) => {
    const b = other.data[k]
    const same = a === b || (Number.isNaN(a) && Number.isNaN(b))
    // NaN and infinities are infinitely far from anything else.
    const apart = same ? 0 : Number.isFinite(a - b) ? Math.abs(a - b) / unit : Number.POSITIVE_INFINITY
    if (apart > worst.apart) worst = { k, apart }
  })
  if (worst.k < 0) return
  const at = `${name && ` ${name}`}${shape.length ? `[${positionOf(worst.k, shape)}]` : ''}`
  const distance = isFloat(dtype)
    ? `${worst.apart.toPrecision(3)} ULP of the largest magnitude apart (allowed ${ulps})`
    : `${dtype} must be equal`
  throw new Error(
    `checkDevices: result${at}: ${data[worst.k]} on ${from}, ${other.data[worst.k]} on ${to}: ${distance}`,
  )
}

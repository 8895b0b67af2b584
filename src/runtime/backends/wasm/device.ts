import type { Device, DeviceOptions } from '../../device.js'
export const wasmDevice = (_: DeviceOptions): Promise<Device> => Promise.reject(new Error('wasm: not yet'))

/** `saddlepoint devices`: what can compute here. */

import { type Command, Option } from 'commander'
import { type Device, type DeviceName, deviceNames, setDevice } from '../../runtime/device.js'
import { jsonOption, seedOption } from '../options.js'
import { type JsonOption, print } from '../output.js'

export const addDevices = (program: Command): Command =>
  program
    .command('devices')
    .description('Lists the devices and what they run on here.')
    .addOption(new Option('--device <name>', 'that one alone').choices(deviceNames))
    .addOption(seedOption('as every command takes it; nothing here is random'))
    .addOption(jsonOption())
    .action(showDevices)

interface Found {
  readonly device: string
  readonly threads?: number
  readonly description?: string
  /** Why it is not here. */
  readonly error?: string
}

async function showDevices({ device: only, ...options }: JsonOption & { readonly device?: DeviceName }): Promise<void> {
  const tries: readonly (readonly [string, () => Promise<Device>])[] = [
    ...deviceNames.map(name => [name, () => setDevice(name)] as const),
    ['webgpu, software', () => setDevice('webgpu', { software: true })],
  ]
  const found: Found[] = []
  for (const [name, open] of tries) {
    if (only && !name.startsWith(only)) continue
    try {
      const device = await open()
      found.push({ device: name, threads: device.threads, description: device.description })
      await device.close()
    } catch (error) {
      found.push({ device: name, error: error instanceof Error ? error.message : String(error) })
    }
  }
  const lines = found.map(({ device, description, error }) => device.padEnd(18) + (description ?? `not here: ${error}`))
  print(options, found, lines.join('\n'))
}

/**
 * The commands of `saddlepoint`: `inspect` shows what becomes of an expression, `devices` what can compute here, `tune`
 * measures tiles.
 */

import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { Command, CommanderError, Option } from 'commander'
import { type Device, type DeviceName, deviceNames, setDevice } from '../runtime/device.js'
import { inspect } from '../tensor/realize.js'
import { leaves } from '../tensor/tree.js'

const stages = ['graph', 'schedule', 'code'] as const
type Stage = (typeof stages)[number]

interface InspectOptions {
  readonly device: DeviceName
  readonly software?: true
  readonly stage?: Stage
  readonly export: string
}

/** Runs the command line and returns its exit code: 0, 1 for a failure, 2 for a wrong command line. */
export async function saddlepoint(args: readonly string[]): Promise<number> {
  const program = new Command('saddlepoint').description('Tensors with gradients of any order.').exitOverride()
  program
    .command('inspect')
    .description(
      'Prints the graph of an expression, its schedule of fused kernels, and beside each the code generated for it. ' +
        'The file exports tensors, a tree of them, or a function that makes one; nothing is computed.',
    )
    .argument('<file>', 'an ES module')
    .addOption(new Option('--device <name>', 'whose code').choices(deviceNames).default('wasm'))
    .option('--software', 'webgpu: use a driver in software')
    .addOption(new Option('--stage <name>', 'one of the three alone').choices(stages))
    .option('--export <name>', 'what the file exports it as', 'default')
    .action(showStages)
  program.command('devices').description('Lists the devices and what they run on here.').action(showDevices)
  program
    .command('tune')
    .description(
      'Measures which tiles of matrix products are the fastest on this machine and in this version of Node, and keeps the ' +
        'answer in your cache folder, where the wasm device finds it. Other work on the machine falsifies it.',
    )
    .action(showTiles)
  try {
    await program.parseAsync([...args], { from: 'user' })
    return 0
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
    console.error(`error: ${error instanceof Error ? error.message : error}`)
    return 1
  }
}

async function showStages(file: string, { device: name, software, stage, export: exported }: InspectOptions) {
  const path = resolve(file)
  if (!existsSync(path)) throw new Error(`inspect: there is no file ${path}`)
  const module: Record<string, unknown> = await import(pathToFileURL(path).href)
  if (!(exported in module))
    throw new Error(`inspect: ${file} exports no '${exported}', only ${Object.keys(module).join(', ') || 'nothing'}`)
  const device = await setDevice(name, { software })
  try {
    const given = module[exported]
    const tree: unknown = typeof given === 'function' ? await given() : given
    if (leaves(tree).length === 0) throw new Error(`inspect: '${exported}' of ${file} holds no tensors`)
    const printed = await inspect(tree)
    for (const one of stage ? [stage] : stages)
      console.log(stage ? printed[one] : `${one === 'graph' ? '' : '\n'}── ${one} ──\n${printed[one]}`)
  } finally {
    await device.close()
  }
}

async function showDevices(): Promise<void> {
  const tries: readonly (readonly [string, () => Promise<Device>])[] = [
    ...deviceNames.map(name => [name, () => setDevice(name)] as const),
    ['webgpu, software', () => setDevice('webgpu', { software: true })],
  ]
  for (const [name, open] of tries) {
    try {
      const device = await open()
      console.log(`${name.padEnd(18)}${device.description}`)
      await device.close()
    } catch (error) {
      console.log(`${name.padEnd(18)}not here: ${error instanceof Error ? error.message : error}`)
    }
  }
}

async function showTiles(): Promise<void> {
  const { tune } = await import('../runtime/backends/wasm/tune.js')
  console.log('rows  columns  GFLOP/s, one thread')
  const { tiles, file } = tune()
  for (const { rows, vectors, speed } of tiles) {
    const cells = [String(rows).padStart(4), String(4 * vectors).padStart(7)]
    console.log([...cells, (speed / 1e9).toFixed(1).padStart(7)].join('  '))
  }
  if (!file) throw new Error('tune: the answer is not kept')
  console.log(`kept in ${file}`)
}

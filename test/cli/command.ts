/** A built command as people run it; needs `npm run build`, as npm test does it. */

import { type SpawnOptions, spawn } from 'node:child_process'
import { join } from 'node:path'

export interface Ran {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

/** Runs a file of dist/cli to its end; Ctrl-C where standard error says something. */
export function runCommand(
  file: string,
  args: readonly string[],
  { interruptAt, ...options }: Pick<SpawnOptions, 'cwd' | 'env' | 'stdio'> & { readonly interruptAt?: string } = {},
): Promise<Ran> {
  const child = spawn(process.execPath, [join(import.meta.dirname, '../../dist/cli', file), ...args], options)
  let [out, err] = ['', '']
  child.stdout?.on('data', text => {
    out += text
  })
  child.stderr?.on('data', text => {
    const before = err
    err += text
    if (interruptAt !== undefined && err.includes(interruptAt) && !before.includes(interruptAt)) child.kill('SIGINT')
  })
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', code => resolve({ code, out, err }))
  })
}

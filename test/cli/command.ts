/** A built command as people run it; needs `npm run build`, as npm test does it. */

import { type SpawnOptions, spawn } from 'node:child_process'
import { join } from 'node:path'

export interface Ran {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

/**
 * Is loaded before the command and gives it Ctrl-C as soon as it has written the text: had this process to read the
 * text first, the command might be somewhere else, or at its end, by the time the signal comes.
 */
const interrupting = (text: string): string =>
  `data:text/javascript,${encodeURIComponent(`
  const write = process.stderr.write
  let written = ''
  process.stderr.write = function (chunk, ...rest) {
    written += chunk
    if (written.includes(${JSON.stringify(text)})) {
      process.stderr.write = write
      process.kill(process.pid, 'SIGINT')
    }
    return write.call(this, chunk, ...rest)
  }`)}`

/** Runs a file of dist/cli to its end; Ctrl-C where standard error says something. */
export function runCommand(
  file: string,
  args: readonly string[],
  { interruptAt, ...options }: Pick<SpawnOptions, 'cwd' | 'env' | 'stdio'> & { readonly interruptAt?: string } = {},
): Promise<Ran> {
  const preload = interruptAt === undefined ? [] : ['--import', interrupting(interruptAt)]
  const path = join(import.meta.dirname, '../../dist/cli', file)
  const child = spawn(process.execPath, [...preload, path, ...args], options)
  let [out, err] = ['', '']
  child.stdout?.on('data', text => {
    out += text
  })
  child.stderr?.on('data', text => {
    err += text
  })
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', code => resolve({ code, out, err }))
  })
}

/** Finds out before hours of work whether their results can be written after it. */

import { existsSync } from 'node:fs'
import { mkdir, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'

/** @throws naming the option, where the folder cannot be made or written to */
export const checkFolder = (option: string, path: string): Promise<void> => attempt(option, path, () => probe(path))

/** @throws naming the option, where no such file can be written */
export const checkFile = (option: string, path: string): Promise<void> =>
  attempt(option, path, async () => {
    if (path === '' || /[/\\]$/.test(path)) throw new Error('it names no file')
    if (existsSync(path) && !(await stat(path)).isFile()) throw new Error('it is there, and no file')
    await probe(dirname(path))
  })

async function attempt(option: string, path: string, write: () => Promise<unknown>): Promise<void> {
  try {
    await write()
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : cause
    throw new Error(`${option}: cannot write ${path}: ${why}: choose another place`, { cause })
  }
}

/** Makes a folder where it is missing, and a file in it, which it removes. */
async function probe(folder: string): Promise<void> {
  await makeFolder(folder)
  const file = join(folder, `.probe-${process.pid}`)
  await writeFile(file, '')
  await rm(file)
}

/** Makes a folder and those above it; mkdir's own `recursive` never returns where the kernel refuses, as in /proc. */
async function makeFolder(path: string): Promise<void> {
  if (existsSync(path)) return
  if (dirname(path) !== path) await makeFolder(dirname(path))
  await mkdir(path)
}

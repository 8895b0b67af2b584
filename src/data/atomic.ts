/** Files that appear whole or not at all. Node only; what stands in them is others' concern. */

import { demandNode } from '../runtime/environment.js'

/**
 * Looks whether a file could be written, before what it is to hold takes hours.
 * @throws Error that names the operation and the file: its folder is not there or may not be written in, or it is a folder
 */
export async function demandWritable(operation: string, path: string): Promise<void> {
  const node = demandNode(operation, 'leave it out, and keep the values yourself')
  const { access, constants, stat } = node.getBuiltinModule('fs/promises')
  const { dirname } = node.getBuiltinModule('path')
  const found = await stat(path).catch(() => undefined)
  if (found?.isDirectory()) throw new Error(`${operation}: ${path} is a folder; name a file in it`)
  // With the dot, what is a file is none.
  await access(`${dirname(path)}/.`, constants.W_OK).catch((cause: Error) => {
    throw new Error(`${operation}: cannot write ${path}: ${cause.message}`, { cause })
  })
}

/**
 * Writes a file in one piece: it appears whole under `path`, or the old file stays as it was and no other is left behind.
 * @throws what the file system throws, for instance when the disk is full
 */
export async function writeWhole(path: string, content: string | Uint8Array): Promise<void> {
  const node = demandNode('writeWhole', 'give the content to a download or to storage')
  const { open, rename, rm } = node.getBuiltinModule('fs/promises')
  // In the same folder, since a rename is atomic only within one file system.
  const temporary = `${path}.${node.getBuiltinModule('crypto').randomUUID()}.tmp`
  try {
    const file = await open(temporary, 'wx')
    try {
      await file.writeFile(content)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
  } catch (cause) {
    await rm(temporary, { force: true }).catch(() => undefined)
    throw cause
  }
}

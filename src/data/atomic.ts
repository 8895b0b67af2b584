/** Files that appear whole or not at all. Node only; what stands in them is others' concern. */

import { demandNode } from '../runtime/environment.js'

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

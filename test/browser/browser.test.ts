/**
 * The built package in Chromium: by an import map, bundled by esbuild and built by Vite. Devices are held against the
 * reference device in Node. A browser without an adapter for WebGPU is a failure.
 */

import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Browser, Page } from 'playwright-core'
import { setDevice } from 'saddlepoint'
import { firstImages, mnist } from 'saddlepoint/data'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import './app.js'
import { launch } from './chromium.js'
import { createProject, type Headers, serve } from './project.js'

const ways = ['plain', 'esbuild', 'vite'] as const
type Way = (typeof ways)[number]
/** Without further headers, the pages of a browser share no memory with workers. */
const devices = { wasm: /^WebAssembly SIMD.*, 1 thread$/, webgpu: /^WebGPU: .*swiftshader/i } as const
const deviceNames = ['wasm', 'webgpu'] as const

/** An idx file of bytes: idx.ts has the layout. */
function idx(shape: readonly number[], bytes: Uint8Array): Uint8Array {
  const start = 4 + 4 * shape.length
  const file = new Uint8Array(start + bytes.length)
  const header = new DataView(file.buffer)
  header.setUint32(0, 0x0800 + shape.length)
  shape.forEach((size, i) => header.setUint32(4 + 4 * i, size))
  file.set(bytes, start)
  return file
}

const { images, labels } = firstImages((await mnist()).train, 512)
const files = {
  'images.idx': idx(
    [512, 28, 28],
    Uint8Array.from(images, v => Math.round(v * 255)),
  ),
  'labels.idx': idx([512], Uint8Array.from(labels)),
}

const project = createProject(mkdtempSync(join(tmpdir(), 'saddlepoint-project-')))
const closers: (() => unknown)[] = [project.remove]
afterAll(async () => {
  for (const close of closers.reverse()) await close()
})

let browser: Browser
beforeAll(async () => {
  browser = await launch()
  closers.push(() => browser.close())
})

/** What pages take the machine to have. */
const processors = 3

/** An empty page, which waits as long as it takes, and what it complains of or prints. */
async function newPage(): Promise<{ page: Page; said: string[] }> {
  const page = await browser.newPage()
  page.setDefaultTimeout(0)
  await page.addInitScript(n => Object.defineProperty(navigator, 'hardwareConcurrency', { get: () => n }), processors)
  const said: string[] = []
  page.on('console', message => said.push(message.text()))
  page.on('pageerror', error => said.push(`thrown: ${error.stack}`))
  page.on('requestfailed', request => said.push(`not loaded: ${request.url()}`))
  return { page, said }
}

/** The folder of each way. */
const folders = new Map<Way, string | Promise<string>>([['plain', project.folder]])
const folderOf = (way: Way): string | Promise<string> => {
  const have = folders.get(way) ?? project.bundle(way as 'esbuild' | 'vite')
  folders.set(way, have)
  return have
}

/** The page of a way once its program runs, served with these headers, and what it wrote to the console. */
const open = new Map<string, Promise<{ page: Page; said: string[] }>>()
function visit(way: Way, headers: Headers = {}) {
  const key = way + JSON.stringify(headers)
  const have = open.get(key)
  if (have) return have
  const opening = (async () => {
    const { url, close } = await serve(await folderOf(way), files, headers)
    closers.push(close)
    const { page, said } = await newPage()
    await page.goto(way === 'plain' ? `${url}/plain.html` : `${url}/index.html`)
    // Modules have run at the load event.
    expect(said).toEqual([])
    return { page, said }
  })()
  open.set(key, opening)
  return opening
}

const failure = (what: Promise<unknown>): Promise<string> =>
  what.then(
    () => 'no error',
    (error: Error) => error.message,
  )

test.each(ways)('%s: loads without isolation and computes on both devices', async way => {
  const { page, said } = await visit(way)
  expect(await page.evaluate(() => [isSecureContext, crossOriginIsolated])).toEqual([true, false])
  for (const device of deviceNames) {
    const { description, slope } = await page.evaluate(name => app.hello(name), device)
    expect(description).toMatch(devices[device])
    // The slope of Σ (3x²)² is 36 x³.
    expect(slope).toEqual([36, 288])
  }
  expect(said).toEqual([])
})

test.each(ways)('%s: what needs Node, or isolation, says so', async way => {
  const { page } = await visit(way)
  expect(await failure(page.evaluate(() => app.hello('wasm', { threads: 2 })))).toMatch(
    /setDevice: threads need a page that is cross-origin isolated.*or use \{ threads: 1 \}/,
  )
  expect(await failure(page.evaluate(() => app.readIdx('images.idx')))).toMatch(
    /readIdx: this needs Node; in a browser fetch the bytes and give them to parseIdx/,
  )
})

test('a Content-Security-Policy that forbids WebAssembly is named', async () => {
  const { page } = await visit('esbuild', { 'content-security-policy': "script-src 'self'" })
  expect(await failure(page.evaluate(() => app.hello('wasm')))).toMatch(
    /setDevice: WebAssembly may not be compiled here; let script-src of the page's Content-Security-Policy allow/,
  )
  const allowed = await visit('esbuild', { 'content-security-policy': "script-src 'self' 'wasm-unsafe-eval'" })
  expect((await allowed.page.evaluate(() => app.hello('wasm'))).slope).toEqual([36, 288])
})

describe('threads in a page that is isolated', () => {
  const isolated = { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp' }

  test.each(ways)('%s: as many as there are processors, or as are asked for', async way => {
    const { page, said } = await visit(way, isolated)
    const { description, ...alone } = await page.evaluate(() => app.hello('wasm', { threads: 1 }))
    expect(description).toMatch(/, 1 thread$/)
    for (const threads of [undefined, 2, 4]) {
      const { description, ...together } = await page.evaluate(n => app.hello('wasm', { threads: n }), threads)
      expect(description).toMatch(new RegExp(`, ${threads ?? processors} threads$`))
      expect(together).toEqual(alone)
    }
    expect(said).toEqual([])
  })

  test('train to the bit as one thread does; the page may not sleep, so it waits awake', async () => {
    const { page } = await visit('vite', isolated)
    const trained = (threads: number) =>
      page.evaluate(async threads => {
        await app.setDevice('wasm', { threads })
        return app.trainFetched()
      }, threads)
    const alone = await trained(1)
    expect(await trained(2)).toEqual(alone)
    expect(await trained(3)).toEqual(alone)
  })

  test('are timed by a profile, and their ceilings measured', async () => {
    const { page } = await visit('esbuild', isolated)
    const table = await page.evaluate(() => app.profiled(2))
    expect(table).toMatch(/2 threads/)
    expect(table).toMatch(/GFLOP\/s/)
  })

  test("of a worker of the page's own", async () => {
    const { page } = await visit('esbuild', isolated)
    const { slope, product } = await page.evaluate(() => app.hello('wasm', { threads: 1 }))
    const description = expect.stringMatching(/2 threads$/)
    expect(await inWorker(page, "app.hello('wasm', { threads: 2 })")).toEqual({ description, slope, product })
  })

  test('are done without where a Content-Security-Policy forbids workers, unless they are asked for', async () => {
    const policy = { ...isolated, 'content-security-policy': "worker-src 'none'" }
    const { page, said } = await visit('esbuild', policy)
    expect((await page.evaluate(() => app.hello('wasm'))).description).toMatch(/, 1 thread$/)
    expect(said.join('\n')).toMatch(/setDevice: a thread did not start: .*worker-src blob:; going on with one thread/)
    expect(await failure(page.evaluate(() => app.hello('wasm', { threads: 2 })))).toMatch(
      /setDevice: a thread did not start: a Content-Security-Policy must allow worker-src blob:; use \{ threads: 1 \}/,
    )
  })
})

/** What an expression gives in a worker that has loaded the page's program. */
const inWorker = (page: Page, expression: string): Promise<unknown> =>
  page.evaluate(
    expression =>
      new Promise((resolve, reject) => {
        const code = `import '${location.origin}/browser/app.js'; postMessage(await ${expression})`
        const worker = new Worker(URL.createObjectURL(new Blob([code], { type: 'text/javascript' })), {
          type: 'module',
        })
        worker.onmessage = ({ data }) => resolve(data)
        worker.onerror = ({ message }) => reject(new Error(message))
      }),
    expression,
  )

test('esbuild: the bundle runs in a worker', async () => {
  const { page } = await visit('esbuild')
  expect(await inWorker(page, "app.hello('webgpu')")).toMatchObject({ slope: [36, 288] })
})

describe('docs/browser.md', async () => {
  const text = readFileSync(new URL('../../docs/browser.md', import.meta.url), 'utf8')
  const [html] = [...text.matchAll(/^```html\n(.*?)^```/gms)].map(([, code]) => code)
  const importMap = html.slice(0, html.indexOf('</script>'))
  const blocks = [...text.matchAll(/^```js\n(.*?)^```/gms)].map(([, code]) => code)
  const visitPage = async (content: string) => {
    writeFileSync(join(project.folder, 'docs.html'), content)
    const { url, close } = await serve(project.folder, {})
    closers.push(close)
    const { page, said } = await newPage()
    await page.goto(`${url}/docs.html`)
    return { page, said }
  }

  test('the page without a bundler', async () => {
    const { page } = await visitPage(html)
    await page.waitForFunction(() => document.body.textContent?.includes('WebAssembly'))
    expect(await page.textContent('body')).toMatch(/^WebAssembly SIMD.*, 1 thread: 5,5$/)
  })

  test.each(blocks.map((code, i) => ({ name: `block ${i + 1}`, code })))(
    '$name prints what it says',
    async ({ code }) => {
      const watch = '<link rel="icon" href="data:,"><script>onerror = () => { globalThis.ended = true }</script>'
      const script = `<script type="module">${code}\nglobalThis.ended = true</script>`
      const { page, said } = await visitPage(`${watch}${importMap}</script>${script}`)
      const promised = [...code.matchAll(/console\.log\(.*\) \/\/ (.+)$/gm)].map(m => m[1].replace(/\s/g, ''))
      await page.waitForFunction(() => 'ended' in globalThis)
      expect(said.map(line => line.replace(/\s/g, ''))).toEqual(promised)
    },
  )
})

/** A program or two for each kind of kernel; all of them run on the same devices in Node. */
const chosen = {
  floating: [
    'element-wise, one loop',
    'special functions',
    'sum of columns',
    'sum of rows',
    'max of rows and columns',
    'softmax',
    'matmul, ragged',
    'conv',
    'conv, gradient of the kernel',
    'second derivative through pooling',
    'gradient of an embedding',
    'gather along an axis',
    'sort',
  ],
  exact: ['uniform bits', 'normal', 'permutation', 'rounding', 'argmax'],
}
/** Relative to the largest magnitude of the result; float32, as in test/runtime/devices.test.ts. */
const bound = 1e-5

describe.each(deviceNames)('%s against the reference in Node', device => {
  let page: Page
  beforeAll(async () => {
    ;({ page } = await visit('plain'))
    const description = await page.evaluate(async name => (await app.setDevice(name)).description, device)
    expect(description).toMatch(devices[device])
    await setDevice('reference')
  })

  test.each(chosen.floating)('%s', async name => {
    const [want, got] = [await app.compute(name), await page.evaluate(n => app.compute(n), name)]
    expect(got.length).toBe(want.length)
    expect(got.every(Number.isFinite)).toBe(true)
    const scale = want.reduce((most, v) => Math.max(most, Math.abs(v)), 1e-30)
    expect(want.reduce((most, v, i) => Math.max(most, Math.abs(got[i] - v)), 0) / scale).toBeLessThan(bound)
  })

  test.each(chosen.exact)('to the bit: %s', async name => {
    expect(await page.evaluate(n => app.compute(n), name)).toEqual(await app.compute(name))
  })
})

test.each(deviceNames)('adversarial training in a page built by Vite, on %s', async device => {
  const { page, said } = await visit('vite')
  said.length = 0
  await page.evaluate(async name => void (await app.setDevice(name)), device)
  const epochs = await page.evaluate(() => app.trainFetched())
  await setDevice('reference')
  const want = await app.train(files['images.idx'], files['labels.idx'], { write: () => {} })
  expect(epochs.length).toBe(want.length)
  // Pixels changed by one rounding move these losses by up to 5e-4, a learning rate 1 % higher by 2e-3 and more.
  epochs.forEach(({ loss }, i) => expect(Math.abs(loss / want[i].loss - 1)).toBeLessThan(1e-3))
  expect(epochs[1].loss).toBeLessThan(0.7 * epochs[0].loss)
  // Progress goes to the console.
  expect(said[0]).toMatch(/^training: 0% \(0\/32\)/)
  expect(said.at(-1)).toMatch(/^training: 100% \(32\/32\)/)
})

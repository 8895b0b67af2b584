import fs, { mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PNG } from 'pngjs'
import { describe, expect, test, vi } from 'vitest'
import { curvesSvg, figureSvg } from '../../src/cli/mnist/report/figure.js'
import { reportHtml } from '../../src/cli/mnist/report/html.js'
import {
  caveats,
  type Run,
  resultColumns,
  resultRows,
  type Sample,
  settings,
  writeReport,
} from '../../src/cli/mnist/report/index.js'
import { svgToPng } from '../../src/cli/mnist/report/png.js'
import { formatTable } from '../../src/cli/table.js'

/** Whether the disk is full: a file takes a few bytes. */
let full = false
const fail = async (write: (part: string) => Promise<unknown>): Promise<never> => {
  await write('<!')
  throw new Error('ENOSPC: no space left on device, write')
}
const { open } = fs
vi.spyOn(fs, 'open').mockImplementation(async (...args) => {
  const handle = await open(...args)
  if (full) handle.writeFile = () => fail(part => handle.write(part))
  return handle
})

const model = { parameters: 93322, secondsPerEpoch: 41.26 }
const run: Run = {
  device: 'wasm <&> "fast"',
  threads: 4,
  seed: 42,
  train: 8000,
  test: 2000,
  epochs: 5,
  secondsTotal: 431,
  epsilon: 0.2,
  multiplier: 0.2,
  norm: 'linf',
  batchSize: 32,
  models: [
    { ...model, name: 'base', clean: 0.978, fgsmTransfer: 0.4545, fgsm: 0.4545, pgd40: 0.086 },
    { ...model, name: 'adversarial', clean: 0.98, fgsmTransfer: 0.902, fgsm: 0.909, pgd40: 0.427 },
  ],
}
const sample = (label: number, base: number, adversarial: number, fill = 0): Sample => ({
  pixels: new Float32Array(784).fill(fill),
  label,
  base,
  adversarial,
})
const curves = ['base', 'adversarial'].flatMap(name =>
  Array.from({ length: 600 }, (_, i) => ({
    model: name,
    step: i + 1,
    epoch: i / 100,
    loss: 2 / (i + 1),
    accuracy: i / 600,
  })),
)
const dark = (png: PNG): number => {
  let count = 0
  for (let i = 0; i < png.data.length; i += 4) if (png.data[i] < 100) count++
  return count
}

describe('formatTable', () => {
  test('aligns numbers to the right and text to the left', () => {
    const table = formatTable(
      ['model', 'n', 'clean'],
      [
        ['base', 93322, '9.5 %'],
        ['adversarial', 7, '100.0 %'],
      ],
    )
    expect(table.split('\n')).toEqual([
      'model             n    clean',
      '-----------  ------  -------',
      'base         93,322    9.5 %',
      'adversarial       7  100.0 %',
    ])
  })
  test('one word among numbers makes a text column, and no rows are a table too', () => {
    expect(formatTable(['n'], [['none'], [5]]).split('\n')[3]).toBe('5')
    expect(formatTable(['n'], [[1 / 3]])).toMatch(/\n0\.33333$/)
    expect(formatTable(['a', 'b'], [])).toBe('a  b\n-  -')
  })
  test('a ragged row is refused', () => {
    expect(() => formatTable(['a', 'b'], [['x', 1], ['y']])).toThrow('row 1 has 1 cells for 2 columns')
  })
})

describe('results', () => {
  test('keep transfer and white-box apart, in the order of the columns', () => {
    expect(resultColumns).toEqual([
      'model',
      'parameters',
      'clean',
      'FGSM transfer',
      'FGSM white-box',
      'PGD-40 white-box',
      's / epoch',
    ])
    expect(resultRows(run)[1]).toEqual(['adversarial', '93,322', '98.00 %', '90.20 %', '90.90 %', '42.70 %', '41.3'])
  })
  test('a small run says so, a full one does not', () => {
    expect(caveats(run).join(' ')).toMatch(/±2\.2 percentage points.+reduced run \(8,000 of 60,000/)
    const full = caveats({ ...run, train: 60000, test: 10000 })
    expect(full.join(' ')).toContain('±1.0 percentage points')
    expect(full.join(' ')).not.toContain('reduced')
    expect(caveats({ ...run, train: 60000, test: 10000, epochs: 1 }).join(' ')).toContain('epochs: 1 of 5')
  })
  test('times are readable', () => {
    expect(settings(run).at(-1)).toEqual(['Time in all', '7 min 11 s'])
    expect(settings({ ...run, secondsTotal: 119.7 }).at(-1)).toEqual(['Time in all', '2 min 0 s'])
  })
})

describe('figureSvg', () => {
  test('marks wrong predictions, and those only', () => {
    const svg = figureSvg([sample(5, 3, 5)])
    expect(svg).toMatch(/>true: 5 \/ <tspan class="wrong"[^>]*>base: 3 ✗<\/tspan> \/ adv: 5</)
    expect(figureSvg([sample(5, 5, 5)])).not.toContain('✗')
    expect(figureSvg([sample(5, 5, 2)])).toMatch(/base: 5 \/ <tspan[^>]*>adv: 2 ✗/)
  })
  test('has 4 columns', () => {
    const svg = figureSvg(Array.from({ length: 9 }, () => sample(1, 1, 1)))
    const places = [...svg.matchAll(/<image x="(\d+)" y="(\d+)"/g)]
    expect(new Set(places.map(place => place[1])).size).toBe(4)
    expect(new Set(places.map(place => place[2])).size).toBe(3)
  })
  test('embeds the pixels exactly, clipped to 0..1', () => {
    const pixels = new Float32Array(784)
    pixels.set([-3, 0, 0.5, 1, 7, NaN])
    pixels[783] = 1
    const svg = figureSvg([{ ...sample(1, 1, 1), pixels }])
    const png = PNG.sync.read(Buffer.from(svg.match(/base64,([^"]+)/)?.[1] ?? '', 'base64'))
    expect([png.width, png.height]).toEqual([28, 28])
    expect([0, 1, 2, 3, 4, 5, 783].map(k => png.data[4 * k])).toEqual([0, 0, 128, 255, 255, 0, 255])
  })
  test('a sample of another size is refused, no samples are not', () => {
    expect(() => figureSvg([sample(1, 1, 1), { ...sample(1, 1, 1), pixels: new Float32Array(783) }])).toThrow(
      'sample 1 has 783 pixels',
    )
    expect(figureSvg([])).toContain('no samples')
  })
})

describe('curvesSvg', () => {
  test('draws a line for each model in each chart, in different dashes', async () => {
    const svg = await curvesSvg(curves)
    for (const text of [
      'training loss',
      '(adversarial: with the added term)',
      'training accuracy',
      'training step',
      'base',
      'adversarial',
      '100%',
    ])
      expect(svg).toContain(`>${text}<`)
    const lines = [
      ...svg.matchAll(
        /<path aria-label="[^"]*" role="graphics-symbol" aria-roledescription="line mark" d="([^"]+)"[^>]*>/g,
      ),
    ]
    expect(lines).toHaveLength(4)
    expect(new Set(lines.map(([line]) => line.match(/stroke-dasharray="([^"]+)"/)?.[1])).size).toBe(2)
    // 600 readings a model are averaged down to at most 250.
    for (const [, path] of lines) expect(path.split(/[MLC]/).length).toBeLessThan(252)
  })
  test('averages, does not pick', async () => {
    const zigzag = Array.from({ length: 1000 }, (_, i) => ({
      model: 'base',
      step: i,
      epoch: 0,
      loss: i % 2 ? 0 : 100,
      accuracy: 0.5,
    }))
    const svg = await curvesSvg(zigzag)
    expect(svg).toContain('training loss: 50')
    expect(svg).not.toContain('>100<')
  })
  test('few points are shown as points, and none at all are an empty chart', async () => {
    expect(await curvesSvg(curves.filter(({ step }) => step % 100 === 0))).toContain('aria-roledescription="point"')
    expect(await curvesSvg(curves)).not.toContain('aria-roledescription="point"')
    expect(await curvesSvg([])).toContain('training loss')
    const one = await curvesSvg(curves.filter(({ step }) => step === 19))
    expect(one).toContain('>19<')
    expect(one).not.toMatch(/>19\.0/)
  })
})

describe('svgToPng', () => {
  const svg = (content: string) => `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 50">${content}</svg>`
  const draw = async (content: string) => PNG.sync.read(Buffer.from(await svgToPng(svg(content), 200)))
  test('has the asked width, and white paper', async () => {
    const png = await draw('')
    expect([png.width, png.height, dark(png)]).toEqual([200, 100, 0])
    expect([...png.data.subarray(0, 4)]).toEqual([255, 255, 255, 255])
  })
  test('draws text, the cross included, without fonts of the machine', async () => {
    expect(dark(await draw('<text x="5" y="30">digits</text>'))).toBeGreaterThan(200)
    expect(dark(await draw('<text x="5" y="30" font-family="Nowhere Sans">digits</text>'))).toBeGreaterThan(200)
    const [cross, missing] = [
      await draw('<text x="5" y="30">✗</text>'),
      await draw('<text x="5" y="30">\u{10fffd}</text>'),
    ]
    expect(dark(cross)).toBeGreaterThan(20)
    expect(cross.data.equals(missing.data)).toBe(false)
  })
  test('pixels of the figure stay crisp: only the greys that were given', async () => {
    const checks = sample(1, 1, 1)
    for (let k = 0; k < 784; k++) checks.pixels[k] = (k + Math.floor(k / 28)) % 2
    const png = PNG.sync.read(Buffer.from(await svgToPng(figureSvg([checks]), 1760)))
    const greys = new Set<number>()
    // The inside of the first digit, at two pixels for each unit of the SVG.
    for (let y = 70; y < 380; y++) for (let x = 60; x < 380; x++) greys.add(png.data[4 * (y * png.width + x)])
    expect([...greys].sort()).toEqual([0, 255])
  })
  test('what is no SVG and no width is refused', async () => {
    await expect(svgToPng('<p>hello', 100)).rejects.toThrow('svgToPng: not an SVG that can be drawn')
    await expect(svgToPng(svg(''), 0)).rejects.toThrow('svgToPng: width 0')
  })
})

describe('the page', () => {
  const page = reportHtml({ ...run, norm: '<script>alert(1)</script>' }, '<svg id="curves"/>', '<svg id="figure"/>')
  test('escapes every text', () => {
    expect(page).not.toContain('<script')
    expect(page).toContain('&lt;script&gt;alert(1)&lt;/script&gt;, ε = 0.2')
    expect(page).toContain('wasm &lt;&amp;&gt; &quot;fast&quot;, 4 threads')
  })
  test('holds results, settings, explanation and figures, and closes what it opens', () => {
    for (const text of [
      '<td>90.20 %</td>',
      '<td>8.60 %</td>',
      '7 min 11 s',
      'Transfer means',
      'White-box means',
      'reduced run',
      '<svg id="curves"/>',
      '<svg id="figure"/>',
    ]) {
      expect(page).toContain(text)
    }
    const open: string[] = []
    for (const [, close, tag, self] of page
      .replace(/<style>.*<\/style>/s, '')
      .matchAll(/<(\/?)([a-z]\w*)[^>]*?(\/?)>/g)) {
      if (close) expect(open.pop()).toBe(tag)
      else if (!self && tag !== 'meta') open.push(tag)
    }
    expect(open).toEqual([])
  })
})

describe('writeReport', () => {
  test('writes a page without requests and two pictures', async () => {
    const folder = join(await mkdtemp(join(tmpdir(), 'saddlepoint-report-')), 'made', 'here')
    const paths = await writeReport(folder, run, curves, [sample(5, 3, 5, 0.4), sample(1, 1, 1)])
    expect(paths).toEqual(['report.html', 'figure.png', 'curves.png'].map(name => join(folder, name)))
    const page = await readFile(paths[0], 'utf8')
    expect(page.match(/(?:src|href|url|@import)[\s=("']+(?!data:)[^\s"')]+/g)).toBeNull()
    expect(page).not.toContain('<script')
    for (const path of paths.slice(1)) {
      const png = PNG.sync.read(await readFile(path))
      expect(png.width).toBe(1760)
      expect(dark(png)).toBeGreaterThan(1000)
    }
  })
  test('a folder that is a file is refused by name', async () => {
    const path = join(await mkdtemp(join(tmpdir(), 'saddlepoint-report-')), 'file')
    await writeFile(path, '')
    await expect(writeReport(path, run, [], [])).rejects.toThrow(`writeReport: cannot write into ${path}`)
  })
  test('a full disk leaves the old report and no broken file', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'saddlepoint-report-'))
    await writeFile(join(folder, 'report.html'), 'old')
    full = true
    try {
      await expect(writeReport(folder, run, [], [])).rejects.toThrow(`writeReport: cannot write into ${folder}: ENOSPC`)
    } finally {
      full = false
    }
    expect(await readdir(folder)).toEqual(['report.html'])
    expect(await readFile(join(folder, 'report.html'), 'utf8')).toBe('old')
  })
})

// What the examples share: their command lines, tables and figures.
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { random, setDevice } from 'saddlepoint'
import { firstImages, imageDataset, mnist } from 'saddlepoint/data'
import { Conv2d, crossEntropy, Flatten, Linear, MaxPool2d, Sequential } from 'saddlepoint/nn'
import { adam } from 'saddlepoint/optim'
import { Trainer } from 'saddlepoint/train'

/**
 * Runs an example: its options are numbers with these defaults, beside files that some take, --device and --out, a folder for its
 * results.
 * What the task returns, { table, figure }, is printed and written there.
 */
export async function example(name, about, defaults, task) {
  const numbers = Object.fromEntries(Object.keys({ seed: 0, ...defaults }).map(key => [key, { type: 'string' }]))
  const text = {
    device: { type: 'string' },
    out: { type: 'string' },
    folder: { type: 'string' },
    cifar: { type: 'string' },
    weights: { type: 'string' },
    help: { type: 'boolean' },
  }
  try {
    const { values } = parseArgs({ options: { ...numbers, ...text } })
    if (values.help) {
      const given = Object.entries({ seed: 0, ...defaults }).map(([key, value]) => `  --${key} ${value}`)
      console.log(
        [about, '', 'Options and their defaults:', ...given, `  --device wasm`, `  --out results/${name}`].join('\n'),
      )
      return
    }
    const options = { seed: 0, ...defaults }
    for (const key of Object.keys(options)) {
      if (values[key] === undefined) continue
      options[key] = Number(values[key])
      if (values[key].trim() === '' || !(options[key] >= 0))
        throw new Error(`--${key} must be a number >= 0, not '${values[key]}'`)
    }
    const device = await setDevice(values.device ?? 'wasm')
    console.log(`${about}\n${device.description}\n`)
    const began = performance.now()
    const { table, figure } = await task({
      ...options,
      folder: values.folder,
      cifar: values.cifar,
      weights: values.weights,
    })
    const seconds = Math.round((performance.now() - began) / 1000)
    console.log(`\n${printTable(table)}\n`)
    const out = values.out ?? join('results', name)
    await mkdir(out, { recursive: true })
    await writeFile(
      join(out, 'results.json'),
      `${JSON.stringify({ options, device: device.description, seconds, table }, null, 2)}\n`,
    )
    await writeFile(join(out, 'figure.svg'), await svg(figure))
    console.log(`${seconds} s; figure.svg and results.json are in ${out}`)
    await device.close()
  } catch (error) {
    console.error(`${name}: ${error.message}`)
    process.exitCode = 1
  }
}

/** Rows of one shape as text, numbers to the right. */
export function printTable(rows) {
  const names = Object.keys(rows[0])
  const cell = value =>
    typeof value === 'number' ? (Number.isInteger(value) ? String(value) : value.toFixed(3)) : String(value)
  const widths = names.map(name => Math.max(name.length, ...rows.map(row => cell(row[name]).length)))
  const line = (texts, isNumber) =>
    texts
      .map((t, i) => (isNumber(i) ? t.padStart(widths[i]) : t.padEnd(widths[i])))
      .join('  ')
      .trimEnd()
  const isNumber = i => typeof rows[0][names[i]] === 'number'
  return [
    line(names, isNumber),
    ...rows.map(row =>
      line(
        names.map(n => cell(row[n])),
        isNumber,
      ),
    ),
  ].join('\n')
}

/** A Vega-Lite specification as SVG. */
async function svg(spec) {
  const [{ parse, View }, { compile }] = await Promise.all([import('vega'), import('vega-lite')])
  const { spec: compiled } = compile({
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    width: 420,
    height: 260,
    background: 'white',
    ...spec,
  })
  const view = new View(parse(compiled), { renderer: 'none' })
  const text = await view.toSVG()
  view.finalize()
  return text
}

/** The tutorial's network for digits. */
export function network(key) {
  const keys = random.split(key, 5)
  const relu = x => x.relu()
  return new Sequential([
    new Conv2d(1, 32, 3, { key: keys.at(0) }),
    relu,
    new MaxPool2d(2),
    new Conv2d(32, 64, 3, { key: keys.at(1) }),
    relu,
    new MaxPool2d(2),
    new Conv2d(64, 64, 3, { key: keys.at(2) }),
    relu,
    new Flatten(),
    new Linear(576, 64, { key: keys.at(3) }),
    relu,
    new Linear(64, 10, { key: keys.at(4) }),
  ])
}

export const logits = (model, { image }, ctx) => model.apply(image, ctx)
export const loss = (model, batch, ctx) => crossEntropy(logits(model, batch, ctx), batch.label)

/** The first digits of MNIST, as data sets. */
export async function digits({ train, test }) {
  const all = await mnist()
  return { train: imageDataset(firstImages(all.train, train)), test: imageDataset(firstImages(all.test, test)) }
}

/** A network trained on digits with what `method` makes of the loss; seconds a step as well. */
export async function trained(name, data, { epochs, seed, batch = 64 }, method = l => l) {
  const model = network(random.key(seed))
  const trainer = new Trainer({ model, loss, optimizer: adam({ learningRate: 1e-3 }), seed }).use(method)
  const { epochs: records } = await trainer.fit(data, { epochs, batchSize: batch })
  const seconds = records.reduce((s, r) => s + r.seconds, 0)
  console.log(
    `trained ${name}: loss ${records.at(-1).train.loss.toFixed(3)}, ${((1000 * seconds) / trainer.step).toFixed(0)} ms a step`,
  )
  return { name, model, milliseconds: (1000 * seconds) / trainer.step }
}

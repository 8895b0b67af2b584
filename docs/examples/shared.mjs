// What the examples share: their command lines, tables and figures.
import { existsSync } from 'node:fs'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { random, setDevice } from 'saddlepoint'
import { firstImages, imageDataset, mnist } from 'saddlepoint/data'
import { Conv2d, crossEntropy, Flatten, Linear, MaxPool2d, Sequential } from 'saddlepoint/nn'
import { adam } from 'saddlepoint/optim'
import { Trainer } from 'saddlepoint/train'

/**
 * Runs an example: its options are numbers with these defaults, paths where the default is undefined, --device, and --out, a folder
 * for its results.
 * What the task returns, { table, figure }, is printed and written there.
 */
export async function example(name, about, defaults, task) {
  const options = { seed: 0, ...defaults }
  try {
    const values = given([...Object.keys(options), 'device', 'out'])
    if (values.help) {
      const lines = Object.entries(options).map(([key, value]) => `  --${key} ${value ?? '<path>'}`)
      console.log(
        [about, '', 'Options and their defaults:', ...lines, `  --device wasm`, `  --out results/${name}`].join('\n'),
      )
      return
    }
    for (const [key, usual] of Object.entries(options))
      if (values[key] !== undefined)
        options[key] = usual === undefined ? values[key] : numberOf(key, values[key], usual)
    const out = values.out ?? join('results', name)
    await checkFolder(out)
    const device = await setDevice(values.device ?? 'wasm')
    console.log(`${about}\n${device.description}\n`)
    const began = performance.now()
    const { table, figure } = await task(options)
    const seconds = Math.round((performance.now() - began) / 1000)
    console.log(`\n${printTable(table)}\n`)
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

/** The texts of the options of these names that are given, and whether help is asked for. */
function given(names) {
  const texts = Object.fromEntries(names.map(key => [key, { type: 'string' }]))
  try {
    return parseArgs({ options: { ...texts, help: { type: 'boolean' } } }).values
  } catch (error) {
    throw new Error(`${error.message}; --help lists the options`)
  }
}

/** The number that an option is given: a count, unless its default is a fraction; seeds may be 0, as by default. */
function numberOf(key, text, usual) {
  const number = text.trim() === '' ? Number.NaN : Number(text)
  const isWhole = Number.isInteger(usual)
  const least = isWhole ? Math.min(usual, 1) : 0
  if (number >= least && (isWhole ? Number.isSafeInteger(number) : number < Infinity)) return number
  throw new Error(`--${key} must be ${isWhole ? 'an integer' : 'a number'} >= ${least}, not '${text}'`)
}

/** Finds out before the work whether its results can be written after it. */
async function checkFolder(out) {
  try {
    await makeFolder(out)
    const file = join(out, `.probe-${process.pid}`)
    await writeFile(file, '')
    await rm(file)
  } catch (error) {
    throw new Error(`--out: cannot write to '${out}': ${error.message}: choose another folder`)
  }
}

/** Makes a folder and those above it; mkdir's own `recursive` never returns where the kernel refuses, as in /proc. */
async function makeFolder(path) {
  if (existsSync(path)) return
  if (dirname(path) !== path) await makeFolder(dirname(path))
  await mkdir(path)
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

/** A network trained on digits with what `method` makes of the loss; the milliseconds of a step as well. */
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

import { mkdtemp, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CommanderError } from 'commander'
import { random, type Tensor } from 'saddlepoint'
import { countParameters } from 'saddlepoint/nn'
import { adam } from 'saddlepoint/optim'
import { Trainer } from 'saddlepoint/train'
import { beforeAll, describe, expect, test } from 'vitest'
import { regularizationOf } from '../../src/cli/mnist/job.js'
import { parseSettings, stepsInWords } from '../../src/cli/mnist/settings.js'
import { loss } from '../../src/cli/mnist/training.js'
import { network } from '../../src/cli/tasks/network.js'
import { readSafetensors } from '../../src/data/safetensors.js'
import { type Ran, runCommand } from './command.js'

const command = (args: readonly string[], interruptAt?: string): Promise<Ran> =>
  runCommand('mnist/index.js', args, { interruptAt })

let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'saddlepoint-mnist-'))
})
const tiny = (out: string, ...more: string[]): string[] => [
  '--train',
  '96',
  '--test',
  '12',
  '--epochs',
  '1',
  '--threads',
  '1',
  '--out',
  out,
  '--json',
  `${out}/r.json`,
  ...more,
]

test('the network of the tutorial has 93,322 parameters', () => {
  expect(countParameters(network(random.key(0)))).toBe(93_322)
})

describe('a tiny run', () => {
  test('prints one table, writes the report, the models and the JSON, and does it again number for number', async () => {
    const [a, b] = [join(folder, 'a'), join(folder, 'deep/er/b')]
    const first = await command(tiny(a, '--seed', '3'))
    expect(first).toMatchObject({ code: 0 })
    const table = first.out.split('\n').filter(line => /^(model|base|adversarial) /.test(line))
    expect(table.length).toBe(3)
    expect(table[0]).toMatch(/model +parameters +clean +FGSM transfer +FGSM white-box +PGD-40 white-box +s \/ epoch/)
    expect(first.out).toContain('Transfer means')
    expect(first.out).toContain('reduced run (96 of 60,000 training images, 12 of 10,000')
    expect((await readdir(a)).sort()).toEqual([
      'adversarial.safetensors',
      'base.safetensors',
      'curves.png',
      'figure.png',
      'r.json',
      'report.html',
    ])
    for (const name of ['figure.png', 'curves.png'])
      expect((await readFile(join(a, name))).subarray(1, 4).toString()).toBe('PNG')

    const results = JSON.parse(await readFile(join(a, 'r.json'), 'utf8'))
    expect(Object.keys(results)).toEqual([
      'device',
      'threads',
      'seed',
      'train',
      'test',
      'epochs',
      'secondsTotal',
      'models',
    ])
    expect(results).toMatchObject({ threads: 1, seed: 3, train: 96, test: 12, epochs: 1 })
    expect(results.models.map((m: { name: string }) => m.name)).toEqual(['base', 'adversarial'])
    for (const model of results.models) {
      expect(Object.keys(model)).toEqual([
        'name',
        'parameters',
        'clean',
        'fgsmTransfer',
        'fgsm',
        'pgd40',
        'secondsPerEpoch',
      ])
      expect(model.parameters).toBe(93_322)
      for (const rate of [model.clean, model.fgsmTransfer, model.fgsm, model.pgd40])
        expect(rate >= 0 && rate <= 1 && Number.isInteger(Math.round(rate * 12 * 1e9) / 1e9)).toBe(true)
      expect(model.secondsPerEpoch).toBeGreaterThan(0)
    }
    expect(results.models[0].fgsm).toBe(results.models[0].fgsmTransfer)

    expect((await command(tiny(b, '--seed', '3'))).code).toBe(0)
    const again = JSON.parse(await readFile(join(b, 'r.json'), 'utf8'))
    const numbers = (r: typeof results) =>
      r.models.map(({ secondsPerEpoch: _, ...rest }: { secondsPerEpoch: number }) => rest)
    expect(numbers(again)).toEqual(numbers(results))
    for (const name of ['base', 'adversarial']) {
      const [x, y] = await Promise.all([a, b].map(f => readSafetensors(join(f, `${name}.safetensors`))))
      expect(x.tensors).toEqual(y.tensors)
    }
    // Same first weights, same order: without its term, the adversarial model is the base model.
    const c = join(folder, 'c')
    expect((await command(tiny(c, '--seed', '3', '--multiplier', '0'))).code).toBe(0)
    const [plain, off] = await Promise.all(['base', 'adversarial'].map(n => readFile(join(c, `${n}.safetensors`))))
    expect(off.equals(plain)).toBe(true)
    expect(plain.equals(await readFile(join(a, 'base.safetensors')))).toBe(true)
  })

  test('Ctrl-C ends it after the step, with what is kept and exit code 130', async () => {
    const out = join(folder, 'stopped')
    const { code, err } = await command(tiny(out, '--train', '960'), 'training base: 26%')
    expect(code).toBe(130)
    const checkpoint = join(out, 'base.checkpoint.safetensors')
    expect(err).toContain(`stopped while training base: no report; kept ${checkpoint} (for Trainer.load)`)
    expect(await readdir(out)).toEqual(['base.checkpoint.safetensors'])
    const trainer = new Trainer({
      model: network(random.key(1)),
      loss,
      optimizer: adam(),
      metrics: { accuracy: loss },
    })
    await trainer.load(checkpoint)
    expect(trainer.step).toBeGreaterThan(7)
    expect(trainer.step).toBeLessThan(30)
    const later = await command(tiny(out, '--train', '960'), 'training adversarial: 26%')
    expect(later.code).toBe(130)
    expect(later.err).toContain(
      `stopped while training adversarial: no report; kept ${join(out, 'base.safetensors')}, ${join(out, 'adversarial.checkpoint.safetensors')} (`,
    )
    expect((await readdir(out)).sort()).toEqual(['adversarial.checkpoint.safetensors', 'base.safetensors'])
    expect((await stat(join(out, 'base.safetensors'))).size).toBeGreaterThan(4 * 93_322)
  })
})

describe('the command line', () => {
  const parse = (...args: string[]) => parseSettings(args)

  test('has the defaults of the tutorial, and its size with --full', () => {
    const common = { batchSize: 32, epsilon: 0.2, multiplier: 0.2, norm: 'linf', seed: 0, out: 'out' }
    expect(parse()).toMatchObject(common)
    expect(parse('--full')).toMatchObject({ ...common, train: 60_000, test: 10_000, epochs: 5 })
    expect(parse('--full', '--epochs', '1')).toMatchObject({ train: 60_000, epochs: 1 })
    expect(parse('--norm', 'l2', '--epsilon', '1.5', '--device', 'reference')).toMatchObject({
      norm: 'l2',
      epsilon: 1.5,
      device: 'reference',
    })
  })

  test('says all of the regularisation, in options and in words', async () => {
    const settings = parse('--step-size', '0.1', '--iterations', '2', '--radius', '0.3', '--random-init', '--clip')
    const mask = regularizationOf(parse('--border', '13')).featureMask as Tensor
    expect(regularizationOf(settings)).toEqual({
      ...{ multiplier: 0.2, norm: 'linf', stepSize: 0.1, iterations: 2 },
      ...{ epsilon: 0.3, randomInit: true, clipMin: 0, clipMax: 1 },
    })
    expect(stepsInWords(settings)).toBe('2 steps of 0.1, within 0.3 from a random start, clipped to 0..1')
    expect(regularizationOf(parse())).toEqual({ multiplier: 0.2, norm: 'linf', stepSize: 0.2, iterations: 1 })
    expect(stepsInWords(parse())).toBe(undefined)
    // The four pixels in the middle.
    expect(mask.shape).toEqual([28, 28, 1])
    const open = Array.from(await mask.data()).flatMap((m, i) => (m === 1 ? [i] : []))
    expect(open).toEqual([13 * 28 + 13, 13 * 28 + 14, 14 * 28 + 13, 14 * 28 + 14])
  })

  test('wrong options give one line and exit code 2, help 0', async () => {
    const wrong: readonly (readonly string[])[] = [
      ['--train', '0'],
      ['--epochs', '1.5'],
      ['--epsilon', '-1'],
      ['--seed', 'x'],
      ['--norm', 'l3'],
      ['--device', 'abacus'],
      ['--threads', '65'],
      ['--frobnicate'],
      ['--border', '14'],
      ['--random-init'],
      ['extra'],
    ]
    const write = process.stderr.write
    const lines: string[] = []
    process.stderr.write = text => lines.push(String(text)) > 0
    try {
      for (const args of wrong) expect(() => parse(...args)).toThrow(CommanderError)
    } finally {
      process.stderr.write = write
    }
    expect(lines.length).toBe(wrong.length)
    for (const line of lines) expect(line).toMatch(/^error: .+\n$/)
    const [help, bad] = await Promise.all([command(['--help']), command(['--train', 'many'])])
    expect(help).toMatchObject({ code: 0, err: '', out: expect.stringContaining('--multiplier <x>') })
    expect(bad).toEqual({
      code: 2,
      out: '',
      err: "error: option '--train <n>' argument 'many' is invalid. It must be an integer >= 1.\n",
    })
  })

  test('what cannot work is said before training', async () => {
    const file = join(folder, 'file')
    await writeFile(file, '')
    const runs = [
      { args: ['--out', file], says: `--out: cannot write ${file}: ` },
      { args: ['--out', '/proc/nowhere'], says: '--out: cannot write /proc/nowhere: ' },
      { args: ['--json', folder], says: `--json: cannot write ${folder}: ` },
      { args: ['--json', join(folder, 'r.json'), '--train', '60001'], says: '--train 60001' },
      { args: ['--train', '60001'], says: '--train 60001: there are 60000 such images' },
      { args: ['--data', folder], says: `${folder} holds none of train-` },
    ]
    for (const { args, says } of runs) {
      const { code, out, err } = await command(['--out', join(folder, 'unused'), ...args])
      expect({ code, out }).toEqual({ code: 1, out: '' })
      expect(err).toMatch(/^error: .+\n$/)
      expect(err).toContain(says)
    }
    // No results, no file of them.
    expect(await readdir(folder)).not.toContain('r.json')
    expect(await readdir(join(folder, 'unused'))).toEqual([])
  })
})

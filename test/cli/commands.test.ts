/** The command `saddlepoint`, as people run it. */

import { spawn } from 'node:child_process'
import { closeSync, existsSync, openSync } from 'node:fs'
import { mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { parseNamed } from '../../src/cli/named.js'
import { readSafetensors } from '../../src/data/safetensors.js'
import { type Ran, runCommand } from './command.js'

const root = join(import.meta.dirname, '../..')
const moons = join(root, 'docs/examples/task.mjs')
let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'saddlepoint-commands-'))
})

/** Runs a command in the folder; Ctrl-C where standard error says something. */
const saddlepoint = (args: readonly string[], interruptAt?: string): Promise<Ran> =>
  runCommand('saddlepoint.js', args, {
    cwd: folder,
    env: { ...process.env, SADDLEPOINT_THREADS: '1' },
    interruptAt,
  })

/** What a command prints with --json. */
async function json(...args: string[]) {
  const { code, out, err } = await saddlepoint([...args, '--json'])
  expect({ code, err: code === 0 ? '' : err }).toEqual({ code: 0, err: '' })
  return JSON.parse(out)
}

/** A file of weights, trained in a moment. */
const weights = (name: string, ...more: string[]): Promise<Ran> =>
  saddlepoint(['train', moons, '--epochs', '15', '--out', name, ...more])

describe('train', () => {
  test('prints a table, writes weights that learned, and does it again number for number', async () => {
    const { code, out, err } = await weights('a.safetensors', '--use', 'adversarialTraining:steps=3', '--use', 'sam')
    expect(code).toBe(0)
    expect(out).toMatch(/, 162 parameters, adversarialTraining:steps=3, sam\n/)
    expect(out.split('\n').filter(line => /^ +\d+ /.test(line))).toHaveLength(15)
    expect(out).toContain('wrote a.safetensors')
    expect(err).toContain('training: 100%')
    expect(await readdir(folder)).not.toContain('a.checkpoint.safetensors')
    const again = await json(
      ...['train', moons, '--epochs', '15', '--out', 'b.safetensors'],
      ...['--use', 'adversarialTraining:steps=3', '--use', 'sam'],
    )
    expect(again).toMatchObject({ parameters: 162, seed: 0, weights: 'b.safetensors' })
    expect(again.epochs).toHaveLength(15)
    expect(again.epochs[14].validation.accuracy).toBeGreaterThan(0.8)
    const [a, b] = await Promise.all(['a', 'b'].map(name => readFile(join(folder, `${name}.safetensors`))))
    expect(a.equals(b)).toBe(true)
    await weights('c.safetensors', '--use', 'adversarialTraining:steps=3', '--use', 'sam', '--seed', '1')
    expect(a.equals(await readFile(join(folder, 'c.safetensors')))).toBe(false)
  })

  test('Ctrl-C keeps a checkpoint, from which --resume goes on to the same weights', async () => {
    const args = ['train', moons, '--epochs', '60', '--batch-size', '16']
    expect((await saddlepoint([...args, '--out', 'whole.safetensors'])).code).toBe(0)
    const cut = await saddlepoint([...args, '--out', 'cut.safetensors'], 'training: 25%')
    expect(cut.code).toBe(130)
    expect(cut.out).toBe('')
    expect(cut.err).toMatch(/stopped after \d+ steps; the same command with --resume goes on from cut\.checkpoint/)
    const anew = await saddlepoint([...args, '--out', 'cut.safetensors'])
    expect(anew.code).toBe(1)
    expect(anew.err).toContain('cut.checkpoint.safetensors is of a training that was interrupted or is still running')
    const other = await saddlepoint([...args, '--out', 'cut.safetensors', '--resume', '--seed', '3'])
    expect(other).toMatchObject({
      code: 1,
      err: expect.stringMatching(/is about .*"seed":0.* this trainer about .*"seed":3/),
    })
    const fewer = await saddlepoint([...args, '--out', 'cut.safetensors', '--resume', '--epochs', '1'])
    expect(fewer).toMatchObject({ code: 1, err: expect.stringMatching(/has \d+ epochs; ask for more/) })
    expect((await saddlepoint([...args, '--out', 'cut.safetensors', '--resume'])).code).toBe(0)
    const [whole, resumed] = await Promise.all(['whole', 'cut'].map(n => readFile(join(folder, `${n}.safetensors`))))
    expect(resumed.equals(whole)).toBe(true)
    expect(await readdir(folder)).not.toContain('cut.checkpoint.safetensors')
  })

  test('Ctrl-C before the first step promises nothing', async () => {
    const slow = join(folder, 'slow.mjs')
    await writeFile(
      slow,
      `import task from ${JSON.stringify(moons)}
      export default async () => {
        console.error('waiting')
        await new Promise(resolve => setTimeout(resolve, 1000))
        return task()
      }`,
    )
    const { code, err } = await saddlepoint(['train', slow, '--out', 'slow.safetensors'], 'waiting')
    expect(code).toBe(130)
    expect(err).toContain('stopped before the first step: nothing was written')
    expect((await readdir(folder)).filter(name => name.startsWith('slow.c'))).toEqual([])
  })

  test('text: the embedding is the place, unless the options say otherwise', async () => {
    const args = ['train', 'wordnet', '--train', '64', '--test', '32', '--epochs', '1', '--out', 'text.safetensors']
    for (const method of ['fgm', 'trades:steps=1', 'gradientPenalty:on=/^embedding/']) {
      const { code, err } = await saddlepoint([...args, '--use', method])
      expect({ method, code, err: code ? err : '' }).toEqual({ method, code: 0, err: '' })
    }
    const { code, err } = await saddlepoint([...args, '--use', 'fgm:on=nothing'])
    expect(code).toBe(1)
    expect(err).toMatch(/fgm: .*nothing.*embedding\.weight/)
    const attacked = await json('attack', 'wordnet', '--weights', 'text.safetensors', '--test', '32')
    expect(attacked.attacks.map((a: { name: string }) => a.name)).toEqual(['fgsm', 'pgd'])
    for (const { accuracy } of attacked.attacks) expect(accuracy).toBeLessThanOrEqual(attacked.clean)
    const kept = await saddlepoint(['attack', 'wordnet', '--weights', 'text.safetensors', '--out', 'x.safetensors'])
    expect(kept.err).toContain("--out: what is attacked here are the vectors that 'embedding' looks up")
    const wrong = await saddlepoint(['attack', 'wordnet', '--weights', 'text.safetensors', '--use', 'apgd'])
    expect(wrong.err).toContain("the vectors that 'embedding' looks up: use fgsm, pgd, bim")
    const judged = await json('evaluate', 'wordnet', '--weights', 'text.safetensors', '--test', '32', '--steps', '2')
    expect(judged.models[0].curve.map((p: { epsilon: number }) => p.epsilon)).toEqual([
      0, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2,
    ])
    expect(judged.models[0].ensemble).toBe(undefined)
  }, 120_000)
})

describe('attack', () => {
  test('counts what every attack leaves, and writes examples in the ball', async () => {
    await weights('plain.safetensors')
    const uses = ['fgsm', 'pgd:steps=10', 'apgd:steps=10', 'deepFool', 'pgd:steps=10,epsilon=1000'].flatMap(use => [
      '--use',
      use,
    ])
    const result = await json('attack', moons, '--weights', 'plain.safetensors', ...uses, '--out', 'adv.safetensors')
    expect(result.examples).toBe(200)
    const [fgsm, pgd, apgd, deepFool, far] = result.attacks
    for (const { accuracy } of result.attacks) expect(accuracy).toBeLessThanOrEqual(result.clean)
    expect(apgd.accuracy).toBeLessThanOrEqual(fgsm.accuracy)
    expect(far.accuracy).toBeLessThan(0.5)
    expect(deepFool.distance).toBeGreaterThan(pgd.distance)
    expect(fgsm.gradients).toMatchObject({ gradients: 200, zero: 0, nonFinite: 0 })
    const { tensors } = await readSafetensors(join(folder, 'adv.safetensors'))
    expect(Object.keys(tensors).sort()).toEqual(
      ['apgd', 'deepFool', 'fgsm', 'pgd', 'pgd-2'].flatMap(name => [`${name}.label`, `${name}.point`]).sort(),
    )
    const [moved, kept] = [tensors['fgsm.point'].data, tensors['deepFool.point'].data]
    expect(moved).not.toEqual(kept)
    expect([fgsm, deepFool].map(({ norm, epsilon }) => [norm, epsilon])).toEqual([
      ['l2', 0.15],
      ['l2', undefined],
    ])
    // Both start from the same points: at most one radius, and what DeepFool needed, apart.
    const lengths = Array.from({ length: 200 }, (_, i) =>
      Math.hypot(...[0, 1].map(k => Number(moved[2 * i + k]) - Number(tensors['pgd.point'].data[2 * i + k]))),
    )
    expect(Math.max(...lengths)).toBeLessThanOrEqual(0.3 + 1e-6)
  })
})

test('the options of all attacks are looked at before the first one runs', async () => {
  await weights('kept.safetensors')
  const args = ['attack', moons, '--weights', 'kept.safetensors', '--use', 'fgsm', '--use']
  for (const [use, says] of [
    ['carliniWagner', 'carliniWagner: needs the valid range'],
    ['pgd:steps=0', 'pgd: steps must be an integer >= 1, not 0'],
    ['pgd:foo=1', "pgd: has no option 'foo'"],
    ['pgd:features=none', "features names 'none', but the batch has"],
    ['apgd:loss=none', "apgd: unknown loss 'none'"],
  ])
    expect(await saddlepoint([...args, use])).toEqual({
      ...{ code: 1, out: '' },
      err: expect.stringMatching(new RegExp(`^error: --use ${use}: .*${says}.*\n$`)),
    })
})

test('an attack that is stopped takes no results of those before it with it', async () => {
  await weights('kept.safetensors')
  const args = ['attack', moons, '--weights', 'kept.safetensors', '--out', 'kept-adv.safetensors']
  const slow = 'apgd:steps=1000000'
  const { code, out, err } = await saddlepoint([...args, '--use', 'pgd:restarts=2,steps=3', '--use', slow], slow)
  expect(code).toBe(130)
  expect(out).toMatch(/pgd:restarts=2,steps=3 +l2 0\.15 +\d/)
  expect(out).toContain('wrote kept-adv.safetensors')
  expect(err).toContain(`stopped during ${slow}: the examples are of the attacks before it`)
  const { tensors } = await readSafetensors(join(folder, 'kept-adv.safetensors'))
  expect(Object.keys(tensors).sort()).toEqual(['pgd.label', 'pgd.point'])
})

describe('evaluate', () => {
  test('curves, the ensemble, transfer, and JSON of the same', async () => {
    await weights('p.safetensors')
    await weights('q.safetensors', '--seed', '1')
    const files = ['--weights', 'p.safetensors', '--weights', 'q.safetensors']
    const small = ['--test', '60', '--steps', '5', '--ensemble', 'steps=5,queries=20,attacks=apgd-ce+square']
    const result = await json('evaluate', moons, ...files, ...small)
    expect(result.threat).toMatchObject({ epsilon: 0.15, norm: 'l2' })
    for (const { clean, curve, ensemble, masked } of result.models) {
      expect(curve[0]).toEqual({ epsilon: 0, accuracy: clean })
      const accuracies = curve.map((p: { accuracy: number }) => p.accuracy)
      expect(accuracies).toEqual([...accuracies].sort((a, b) => b - a))
      expect(ensemble.accuracies.map((a: { attack: string }) => a.attack)).toEqual(['apgd-ce', 'square'])
      expect(ensemble.accuracies.at(-1).accuracy).toBeLessThanOrEqual(clean)
      expect(masked).toBe(0)
    }
    expect(result.transfer).toHaveLength(2)
    for (const [i, row] of result.transfer.entries()) expect(row[i]).toBeLessThanOrEqual(result.models[i].clean)
    const { out, code } = await saddlepoint([
      'evaluate',
      moons,
      ...files,
      ...small,
      '--no-ensemble',
      '--epsilon',
      '0.2',
    ])
    expect(code).toBe(0)
    expect(out).toContain('l2, epsilon 0.2')
    expect(out).toMatch(/made from +p\.safetensors +q\.safetensors/)
    expect(out).not.toContain('ensemble')
  }, 120_000)
})

test('Ctrl-C takes no models with it that are judged', async () => {
  await weights('first.safetensors')
  await weights('second.safetensors', '--seed', '1')
  // PGD takes ten times as long as a command may go on before it hears the signal: a tenth of a second.
  const files = ['--weights', 'first.safetensors', '--weights', 'second.safetensors']
  const args = ['evaluate', moons, ...files, '--steps', '10000']
  const small = ['--test', '60', '--ensemble', 'steps=5,queries=50,attacks=apgd-ce+square', '--json']
  const { code, out, err } = await saddlepoint([...args, ...small], 'of second.safetensors')
  expect(code).toBe(130)
  expect(err).toContain('stopped during second.safetensors\n')
  // The unit of this progress is the percent, and no example.
  expect(err).not.toContain('/100)')
  const { models } = JSON.parse(out)
  expect(models.map((m: { weights: string }) => m.weights)).toEqual(['first.safetensors'])
  const none = await saddlepoint([...args, ...small], 'of first.safetensors')
  expect(none).toMatchObject({
    ...{ code: 130, out: '' },
    err: expect.stringContaining('stopped during first.safetensors: there is no result'),
  })
}, 120_000)

test('where there is no GPU, a variable keeps a command from going on in software', async () => {
  const nowhere = { VK_ICD_FILENAMES: '/nowhere.json', VK_DRIVER_FILES: '/nowhere.json' }
  for (const SADDLEPOINT_SOFTWARE of ['0', 'no', 'false']) {
    const env = { ...process.env, ...nowhere, SADDLEPOINT_SOFTWARE }
    const args = ['inspect', moons, '--device', 'webgpu', '--stage', 'graph']
    const { code, out, err } = await runCommand('saddlepoint.js', args, { cwd: folder, env })
    expect({ code, out }).toEqual({ code: 1, out: '' })
    expect(err).toMatch(/^error: setDevice: /m)
    expect(err).not.toContain('software: many times slower')
  }
})

/** An endless file to read, and a full disk to write to; Linux has it. */
const full = '/dev/full'

test.skipIf(!existsSync(full))('weights that are no file are refused', async () => {
  for (const command of ['attack', 'evaluate'])
    expect(await saddlepoint([command, moons, '--weights', full])).toEqual({
      ...{ code: 1, out: '' },
      err: `error: --weights: ${full} is no file; saddlepoint train --out writes one\n`,
    })
})

test.skipIf(!existsSync(full))('a full disk is an error in a line', async () => {
  const stdout = openSync(full, 'w')
  const { code, err } = await runCommand('saddlepoint.js', ['devices', '--device', 'reference'], {
    cwd: folder,
    stdio: ['ignore', stdout, 'pipe'],
  })
  closeSync(stdout)
  expect(code).toBe(1)
  expect(err).toMatch(/^error: cannot write to standard output: ENOSPC.*\n$/)
})

test('a reader that has seen enough ends a command quietly', async () => {
  const child = spawn(process.execPath, [join(root, 'dist/cli/saddlepoint.js'), 'inspect', moons], { cwd: folder })
  let err = ''
  child.stderr.on('data', text => {
    err += text
  })
  child.stdout.destroy()
  const code = await new Promise(resolve => child.on('close', resolve))
  expect({ code, err }).toEqual({ code: 0, err: '' })
})

describe('inspect', () => {
  test('shows the loss of a task, its gradient, its schedule and its code', async () => {
    const all = await json('inspect', moons, '--use', 'gradientPenalty:on=/weight/')
    expect(Object.keys(all)).toEqual(['name', 'device', 'graph', 'gradient', 'schedule', 'code'])
    expect(all.graph).toMatch(/%0 = .*\n/)
    expect(all.gradient.split('\n').length).toBeGreaterThan(all.graph.split('\n').length)
    expect(all.code).toContain('f32x4.')
    const plain = await json('inspect', moons, '--stage', 'graph')
    for (const method of ['freeTraining', 'proximal'])
      expect((await json('inspect', moons, '--stage', 'graph', '--use', method)).graph).not.toBe(plain.graph)
    expect(plain.graph.split('\n').length).toBeLessThan(all.graph.split('\n').length)
  })

  test('shows an expression, and the gradient of its sum', async () => {
    const source = `import { tensor } from ${JSON.stringify(join(root, 'dist/index.js'))}
      export default () => tensor([1, 2, 3]).square()
      export const pair = [tensor([1]), tensor([2]).exp()]
      export const none = 1`
    const path = join(folder, 'expression.mjs')
    await writeFile(path, source)
    expect((await saddlepoint(['inspect', path, '--stage', 'gradient'])).out).toContain('add:float32[3](%0, %0)')
    expect((await saddlepoint(['inspect', path, '--export', 'pair', '--stage', 'graph'])).out).toContain('exp')
    const none = await saddlepoint(['inspect', path, '--export', 'none'])
    expect(none).toMatchObject({ code: 1, err: `error: inspect: 'none' of ${path} holds no tensors\n` })
    const other = await saddlepoint(['inspect', path, '--export', 'other'])
    expect(other.err).toContain("exports no 'other', only default, none, pair")
    const use = await saddlepoint(['inspect', path, '--use', 'sam'])
    expect(use.err).toContain('--use is for tasks')
  })
})

test('devices lists what is here', async () => {
  const found = await json('devices')
  expect(found.map((d: { device: string }) => d.device)).toEqual(['reference', 'wasm', 'webgpu', 'webgpu, software'])
  expect(found[0]).toEqual({ device: 'reference', threads: 1, description: 'float64 JavaScript' })
  expect(await json('devices', '--device', 'reference', '--seed', '1')).toEqual([found[0]])
})

test('what is wrong is said in one line, with an exit code', async () => {
  await weights('moons.safetensors')
  await writeFile(join(folder, 'empty.mjs'), 'export default { model: () => [] }')
  await writeFile(join(folder, 'broken.safetensors'), 'no')
  await writeFile(join(folder, 'syntax.mjs'), 'export default {')
  const variant = (name: string, change: string): Promise<void> =>
    writeFile(
      join(folder, name),
      `import task from ${JSON.stringify(moons)}
      import { dataset } from ${JSON.stringify(join(root, 'dist/data/index.js'))}
      const { columns } = (await task()).train.slice(0, 3)
      const { label, ...rest } = columns
      export default async () => ({ ...(await task()), ${change} })`,
    )
  await variant('threat.mjs', "threat: 'hard'")
  await variant('unlabelled.mjs', 'train: dataset(rest)')
  await variant('classes.mjs', 'train: dataset({ ...rest, label: { ...label, data: Int32Array.of(0, 2, 1) } })')
  const wrong: readonly (readonly [number, string, string[]])[] = [
    [2, "unknown command 'frobnicate'", ['frobnicate']],
    [2, "unknown option '--frob'", ['train', '--frob']],
    [2, 'It must be an integer >= 1', ['attack', '--test', '0']],
    [2, 'Allowed choices are linf, l2', ['evaluate', '--norm', 'l3']],
    [1, 'nor a task of that name; tasks are mnist, wordnet', ['train', 'nothing']],
    [1, 'empty.mjs: a task, its default export, needs logits', ['train', 'empty.mjs']],
    [2, "There is no 'fgsm'; one of fgm, pgd", ['train', moons, '--use', 'fgsm']],
    [2, "Expected option=value, found 'steps'", ['train', moons, '--use', 'trades:steps']],
    [1, 'adversarialTraining: steps must be an integer >= 1', ['train', moons, '--use', 'adversarialTraining:steps=0']],
    [1, '--out: cannot write /proc/none/x', ['train', moons, '--out', '/proc/none/x']],
    [1, 'there are no weights at none.safetensors', ['attack', moons, '--weights', 'none.safetensors']],
    [2, "There is no 'fgm'; one of fgsm", ['attack', moons, '--weights', 'moons.safetensors', '--use', 'fgm']],
    [1, 'broken.safetensors', ['attack', moons, '--weights', 'broken.safetensors']],
    [
      1,
      'there is no checkpoint none.checkpoint.safetensors',
      ['train', moons, '--resume', '--out', 'none.safetensors'],
    ],
    [2, "Expected option=value, found 'foo'", ['evaluate', moons, '--ensemble', 'foo']],
    [2, 'Give --epsilon', ['evaluate', moons, '--ensemble', 'epsilon=9']],
    [2, "The option 'key' cannot be given", ['attack', moons, '--use', 'pgd:key=1']],
    [1, '--out: cannot write folder/', ['train', moons, '--out', 'folder/']],
    [1, '--out: cannot write :', ['train', moons, '--out', '']],
    [1, 'is no file; a task is an ES module', ['train', '/tmp']],
    [1, 'syntax.mjs: Unexpected', ['train', 'syntax.mjs']],
    [1, 'needs threat, an object', ['train', 'threat.mjs']],
    [1, 'needs train, a dataset({ ... }) with rows and a column label of int32', ['train', 'unlabelled.mjs']],
    [1, 'row 1 of train has the label 2, and logits have 2 classes', ['train', 'classes.mjs']],
    [1, 'does not fit', ['evaluate', 'mnist', '--weights', 'moons.safetensors']],
  ]
  for (const [code, says, args] of wrong) {
    const ran = await saddlepoint(args)
    expect({ args, code: ran.code, out: ran.out }).toEqual({ args, code, out: '' })
    expect(ran.err.trimEnd().split('\n').at(-1)).toMatch(/^error: /)
    expect(ran.err).toContain(says)
  }
}, 120_000)

test('every command has help, with its device and its JSON', async () => {
  const top = await saddlepoint(['--help'])
  expect(top.code).toBe(0)
  for (const command of ['train', 'attack', 'evaluate', 'inspect', 'devices', 'tune']) {
    expect(top.out).toContain(`  ${command} `)
    const { code, out } = await saddlepoint([command, '--help'])
    expect(code).toBe(0)
    expect(out).toContain('--json')
    expect(out).not.toContain('[]')
    if (command !== 'tune') for (const option of ['--seed', '--device']) expect(out).toContain(option)
  }
})

test('a method and its options are read from one word', () => {
  expect(parseNamed('sam')).toEqual({ text: 'sam', name: 'sam', options: {} })
  expect(parseNamed('fgm:on=/embed/,epsilon=1e-1,mode=replace,throughAttack=true')).toMatchObject({
    name: 'fgm',
    options: { on: /embed/, epsilon: 0.1, mode: 'replace', throughAttack: true },
  })
  expect(parseNamed('apgd:target=1+3,epsilon=1e+2,features=x').options).toEqual({
    ...{ target: [1, 3], epsilon: 100, features: ['x'] },
  })
  expect(() => parseNamed('fgm:on=')).toThrow("Expected option=value, found 'on='")
})

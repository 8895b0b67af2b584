/** The examples of docs/examples, each by its own command on a small size: a table of the right rows and a figure. */

import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'

const root = fileURLToPath(new URL('../../', import.meta.url))
const node = promisify(execFile)

type Row = Record<string, number | string>

async function run(name: string, ...args: string[]): Promise<{ table: Row[]; stdout: string }> {
  const out = await mkdtemp(join(tmpdir(), 'saddlepoint-example-'))
  try {
    const { stdout } = await node(
      process.execPath,
      [join(root, 'docs/examples', `${name}.mjs`), ...args, '--out', out],
      { cwd: root },
    )
    const { table } = JSON.parse(await readFile(join(out, 'results.json'), 'utf8')) as { table: Row[] }
    expect(await readFile(join(out, 'figure.svg'), 'utf8')).toMatch(/^<svg[\s\S]*<\/svg>$/)
    for (const row of table) for (const value of Object.values(row)) expect(value).not.toBe(null)
    return { table, stdout }
  } finally {
    await rm(out, { recursive: true })
  }
}

describe('each on a small size', () => {
  test('vanishing: gradients die under the clipped loss alone', async () => {
    const { table } = await run('vanishing', '--train', '1200', '--epochs', '6', '--test', '20', '--steps', '10')
    const [clipped, ...others] = table
    expect(table).toHaveLength(4)
    expect(clipped['zero gradients']).toBeGreaterThan(0)
    for (const row of others) expect(row['zero gradients']).toBe(0)
  })

  test('robustness: five models, and what each attack leaves', async () => {
    const small = [
      '--train',
      '256',
      '--test',
      '16',
      '--epochs',
      '1',
      '--steps',
      '3',
      '--queries',
      '5',
      '--targets',
      '1',
    ]
    const { table, stdout } = await run('robustness', ...small)
    expect(table.map(row => row.model)).toEqual(['plain', 'FGSM', 'fast', 'PGD', 'TRADES'])
    for (const row of table) expect(row.AutoAttack).toBeLessThanOrEqual(Number(row.clean))
    expect(stdout).toContain("Accuracy of the column's model on examples made from the row's")
  })

  test('second-order: six ways to train', async () => {
    const { table } = await run(
      'second-order',
      '--train',
      '192',
      '--test',
      '16',
      '--epochs',
      '1',
      '--steps',
      '3',
      '--iterations',
      '2',
    )
    expect(table.map(row => row.method)).toEqual([
      'plain',
      'input gradient',
      'Jacobian',
      'curvature',
      'alignment',
      'PGD-5',
    ])
    for (const row of table) expect(Number.isFinite(row['top eigenvalue'])).toBe(true)
  })

  test('madry: what each attack leaves', async () => {
    const small = [
      '--train',
      '200',
      '--test',
      '12',
      '--epochs',
      '1',
      '--steps',
      '3',
      '--queries',
      '5',
      '--targets',
      '1',
    ]
    const { table } = await run('madry', ...small)
    expect(table.map(row => row.attack)).toEqual(['none', 'apgd-ce', 'apgd-t', 'fab-t', 'square'])
  })

  test('text-fgm: nine ways to train', async () => {
    const { table } = await run(
      'text-fgm',
      '--train',
      '64',
      '--test',
      '32',
      '--epochs',
      '1',
      '--seeds',
      '2',
      '--vocabulary',
      '500',
    )
    expect(table).toHaveLength(9)
    for (const row of table) expect(row['under attack']).toBeLessThanOrEqual(Number(row.accuracy))
  })
})

test('regularization: the main job', async () => {
  const out = await mkdtemp(join(tmpdir(), 'saddlepoint-example-'))
  const small = ['--train', '64', '--test', '8', '--epochs', '1', '--iterations', '2', '--clip', '--border', '2']
  const { stdout } = await node(process.execPath, [
    join(root, 'docs/examples/regularization.mjs'),
    ...small,
    '--out',
    out,
  ])
  expect(stdout).toContain('Regularisation          2 steps of 0.2, clipped to 0..1, without 2 pixels at each border')
  expect(stdout).toMatch(/\nadversarial +93,322 /)
  expect(await readFile(join(out, 'report.html'), 'utf8')).toContain('2 steps of 0.2, clipped')
  await rm(out, { recursive: true })
})

test.each([
  ['vanishing', ['--train', 'many'], "--train must be an integer >= 1, not 'many'"],
  ['madry', ['--epochs', '0'], "--epochs must be an integer >= 1, not '0'"],
  ['robustness', ['--steps', '2.5'], "--steps must be an integer >= 1, not '2.5'"],
  ['robustness', ['--seed=-1'], "--seed must be an integer >= 0, not '-1'"],
  ['second-order', ['--epsilon', ''], "--epsilon must be a number >= 0, not ''"],
  ['second-order', ['--folder', '/tmp'], "Unknown option '--folder'; --help lists the options"],
  ['text-fgm', ['--cifar', 'x'], "Unknown option '--cifar'; --help lists the options"],
  ['text-fgm', ['--out', '/proc/none/x'], "--out: cannot write to '/proc/none/x': "],
])('%s %j is said in a line, before any work', async (name, args, says) => {
  const command = [join(root, 'docs/examples', `${name}.mjs`), ...args]
  await expect(node(process.execPath, command, { cwd: root })).rejects.toMatchObject({
    ...{ code: 1, stdout: '' },
    stderr: expect.stringMatching(new RegExp(`^${name}: [^\n]*\n$`)),
    message: expect.stringContaining(says),
  })
})

test('help lists the options of an example and their defaults', async () => {
  const help = await node(process.execPath, [join(root, 'docs/examples/vanishing.mjs'), '--help'], { cwd: root })
  for (const option of ['--seed 0', '--epsilon 0.2', '--cifar <path>']) expect(help.stdout).toContain(`  ${option}\n`)
  expect(help.stdout).not.toContain('--folder')
})

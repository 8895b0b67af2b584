/** `npm run profile`: examples by name, and a step's time split without remainder. */

import { execFile } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))
const profile = (...args: string[]) =>
  promisify(execFile)(process.execPath, ['bench/profile.mjs', ...args], { cwd: root, timeout: 120_000 })

test.each([
  [['vgg'], "unknown example 'vgg'; one of:\n  cnn\n  cnn-fgsm"],
  [[], 'no example given; one of:\n  cnn'],
  [['mlp', '--steps', 'some'], '--steps must be an integer > 0, not some'],
  [['mlp', '--threads', '65'], "profile: --threads: needs integers from 1 to 64, not '65'\n"],
  [['mlp', '--trace', '/proc/none/x'], "profile: --trace: cannot write '/proc/none/x': "],
])('%j is an error with a way out', async (args, stderr) => {
  await expect(profile(...args)).rejects.toMatchObject({ code: 2, stderr: expect.stringContaining(stderr) })
})

test('help lists the examples and the options', async () => {
  const { stdout } = await profile('--help')
  expect(stdout).toContain('Usage: npm run profile -- <example> [options]')
  expect(stdout).toMatch(/Examples: cnn, cnn-fgsm, .*\n[\s\S]*\n {2}--trace <file> .*\n/)
})

test('the parts of a step are its whole; the trace has a line for each thread', async () => {
  const trace = join(tmpdir(), `trace-${process.pid}.json`)
  try {
    const { stdout } = await profile('text-mean', '--threads', '2', '--steps', '3', '--trace', trace)
    const [, whole] = /^text-mean, ms a step, .*: ([\d.]+)$/m.exec(stdout) ?? []
    const parts = [...stdout.matchAll(/^([a-z ]+?) +(-?[\d.]+) +-?[\d.]+ %$/gm)].map(([, name, ms]) => [
      name,
      Number(ms),
    ])
    const names = ['graph building', 'planning', 'kernels', 'idle', 'between kernels', 'the rest']
    expect(parts.map(([name]) => name)).toEqual(names)
    for (const [, ms] of parts) expect(ms).toBeGreaterThanOrEqual(0)
    expect(parts.reduce((n, [, ms]) => n + Number(ms), 0)).toBeCloseTo(Number(whole), 1.5)
    const { traceEvents } = JSON.parse(readFileSync(trace, 'utf8')) as { traceEvents: { tid?: number }[] }
    expect([...new Set(traceEvents.flatMap(({ tid }) => tid ?? []))].sort()).toEqual([0, 1])
  } finally {
    rmSync(trace, { force: true })
  }
})

/** Which versions of Node a command starts on; package.json says the same to npm. */

import { afterEach, expect, test, vi } from 'vitest'
import { launch } from '../../src/cli/launch.js'

afterEach(() => {
  vi.unstubAllGlobals()
  vi.restoreAllMocks()
})

test.each([
  ['18.20.0', false],
  ['20.18.3', false],
  ['20.19.0', true],
  ['21.7.3', false],
  ['22.2.0', false],
  ['22.3.0', true],
  ['24.0.0', true],
])('Node %s: %s', async (version, starts) => {
  const { stdout } = process
  const stub = { versions: { node: version }, argv: ['node', 'saddlepoint', 'x'], stdout, exitCode: 0 }
  vi.stubGlobal('process', stub)
  const complaint = vi.spyOn(console, 'error').mockImplementation(() => {})
  const command = vi.fn(async () => 7)
  const before = stdout.listeners('error')
  await launch(async () => command)
  for (const l of stdout.listeners('error')) if (!before.includes(l)) stdout.off('error', l as () => void)
  expect(command.mock.calls).toEqual(starts ? [[['x']]] : [])
  expect(stub.exitCode).toBe(starts ? 7 : 1)
  if (!starts) expect(complaint.mock.calls[0][0]).toContain(`this is Node ${version}`)
})

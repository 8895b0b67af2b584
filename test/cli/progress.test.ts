import { Writable } from 'node:stream'
import { expect, test } from 'vitest'
import { percentages, progress } from '../../src/train/progress.js'

/** A terminal or a pipe, and what has been written to it. */
function screen(isTTY: boolean) {
  const chunks: string[] = []
  const stream = new Writable({
    write(chunk, _encoding, done) {
      chunks.push(String(chunk))
      done()
    },
  })
  return { stream: Object.assign(stream, { isTTY, columns: 120 }), text: () => chunks.join('') }
}

/** What a run of `steps` of `total` writes to a terminal or to a pipe. */
async function written(isTTY: boolean, total: number, steps: readonly number[]): Promise<string> {
  const { stream, text } = screen(isTTY)
  const shown = await progress(total, 'training base', stream)
  for (const step of steps) shown.update(step, { loss: 0.123456, epoch: '1/5' })
  shown.stop()
  return text()
}
const upTo = (n: number) => Array.from({ length: n }, (_, i) => i + 1)

test('a pipe gets five plain lines', async () => {
  const text = await written(false, 200, upTo(200))
  expect(text.replaceAll(/\d+ s left/g, 'N s left').split('\n')).toEqual([
    'training base: 0% (0/200)',
    'training base: 25% (50/200)  loss 0.1235  epoch 1/5  N s left',
    'training base: 50% (100/200)  loss 0.1235  epoch 1/5  N s left',
    'training base: 75% (150/200)  loss 0.1235  epoch 1/5  N s left',
    'training base: 100% (200/200)  loss 0.1235  epoch 1/5',
    '',
  ])
  expect(text).toMatch(/^[\x20-\x7e\n]*$/)
})

test('anything that takes text will do, and gets lines', async () => {
  const lines: string[] = []
  for (const isTTY of [false, true]) {
    const shown = await progress(2, 'job', { isTTY, write: text => lines.push(text) })
    shown.update(2)
  }
  expect(lines).toEqual(Array(2).fill(['job: 0% (0/2)\n', 'job: 100% (2/2)\n']).flat())
})

test('a jump gives one line, and an early stop is said', async () => {
  expect((await written(false, 100, [10, 80, 81])).match(/\d+%/g)).toEqual(['0%', '80%', '81%'])
  expect(await written(false, 100, [80, 81])).toMatch(/81% \(81\/100\) {2}stopped\n$/)
  expect((await written(false, 1, [1])).match(/\d+%/g)).toEqual(['0%', '100%'])
})

test('a terminal gets a bar with the fields and the time left', async () => {
  const text = await written(true, 200, upTo(200))
  expect(text).toContain('training base ████████████████████████████ 100% | 200/200 |')
  expect(text).toContain('loss 0.1235  epoch 1/5')
  expect(text).toContain(' left |')
})

test('a job that knows its percentage alone shows no count', async () => {
  for (const isTTY of [false, true]) {
    const { stream, text } = screen(isTTY)
    const shown = await percentages('judging', stream)
    shown.update(33)
    shown.update(100)
    shown.stop()
    expect(text()).toContain('100%')
    expect(text()).not.toContain('100/100')
    if (!isTTY) expect(text()).toMatch(/^judging: 33% {2}\d+ s left$/m)
  }
})

test('a total that is no count is refused', async () => {
  for (const total of [0, -3, 1.5, NaN]) await expect(progress(total, 'x')).rejects.toThrow(`progress: total ${total}`)
})

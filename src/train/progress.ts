/**
 * How far a long job is: a bar with the time left on a terminal, a few plain lines elsewhere (logs, pipes).
 * It writes to stderr, so that stdout stays the job's own.
 */

import { importPackage, node } from '../runtime/environment.js'

export type Fields = Readonly<Record<string, string | number>>

export interface Progress {
  /** `step` of the total are done; `fields` are shown beside, numbers to 4 digits. */
  update(step: number, fields?: Fields): void
  stop(): void
}

/** Where progress is shown: standard error, or anything else that takes text. Only a stream of Node can show a bar. */
export interface Screen {
  readonly isTTY?: boolean
  write(text: string): unknown
}

const browserConsole: Screen = { write: text => console.info(text.trimEnd()) }

const isStream = (screen: Screen): screen is Screen & NodeJS.WritableStream => 'pipe' in screen && 'on' in screen

const shown = (fields: Fields): string =>
  Object.entries(fields)
    .map(([name, value]) => `${name} ${typeof value === 'number' ? +value.toPrecision(4) : value}`)
    .join('  ')

/**
 * Begins to show the progress of `total` steps.
 * @param stream where to, standard error or a browser's console if absent; a bar when it is a terminal, else lines at
 *   0, 25, 50, 75 and 100 % without control characters
 */
export async function progress(total: number, label: string, stream?: Screen): Promise<Progress> {
  if (!Number.isInteger(total) || total < 1) throw new Error(`progress: total ${total}: needs a positive integer`)
  return begun({ total, label, isCounted: true }, stream)
}

/** `progress` of a job that knows its percentage alone: no step is counted. */
export const percentages = (label: string, stream?: Screen): Promise<Progress> =>
  begun({ total: 100, label, isCounted: false }, stream)

interface Job {
  readonly total: number
  readonly label: string
  /** Whether the steps are shown beside the percentage. */
  readonly isCounted: boolean
}

async function begun(job: Job, stream: Screen | undefined): Promise<Progress> {
  const screen = stream ?? node?.stderr ?? browserConsole
  const drawn = screen.isTTY && isStream(screen) ? await bar(job, screen) : undefined
  return drawn ?? lines(job, screen)
}

async function bar({ total, label, isCounted }: Job, stream: NodeJS.WritableStream): Promise<Progress | undefined> {
  // Loaded only when it is shown, so that training needs no terminal; a program bundled into one file may lack it.
  const loaded = await importPackage('cli-progress').catch(() => undefined)
  if (!loaded) return undefined
  const format = `{label} {bar} {percentage}% | ${isCounted ? '{value}/{total} | ' : ''}{eta_formatted} left | {fields}`
  const view = new loaded.SingleBar({
    format,
    stream,
    barCompleteChar: '█',
    barIncompleteChar: '░',
    barsize: 28,
    etaBuffer: 50,
  })
  view.start(total, 0, { label, fields: '' })
  return {
    update: (step, fields = {}) => view.update(step, { fields: shown(fields) }),
    stop: () => view.stop(),
  }
}

function lines({ total, label, isCounted }: Job, stream: Screen): Progress {
  const began = performance.now()
  let last = 0
  let next = 0
  const print = (step: number, rest: string[]) => {
    const percent = Math.floor((100 * step) / total)
    const done = `${label}: ${percent}%${isCounted ? ` (${step}/${total})` : ''}`
    stream.write(`${[done, ...rest].filter(Boolean).join('  ')}\n`)
  }
  const update = (step: number, fields: Fields = {}) => {
    last = step
    if (step < next * total) return
    next = (Math.floor((4 * step) / total) + 1) / 4
    const left = ((performance.now() - began) / 1000 / step) * (total - step)
    print(step, [shown(fields), step > 0 && step < total ? `${Math.round(left)} s left` : ''])
  }
  update(0)
  return {
    update,
    stop() {
      if (last < total) print(last, ['stopped'])
    },
  }
}

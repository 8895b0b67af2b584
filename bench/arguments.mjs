// The command lines of the scripts: what is wrong with one is said in a line, and the script ends.
import { closeSync, existsSync, mkdirSync, openSync, rmSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { parseArgs } from 'node:util'

/** What `task` returns; what it throws is printed as an error of this script's user. */
export async function orComplain(script, task) {
  try {
    return await task()
  } catch (error) {
    console.error(`${script}: ${error.message}`)
    process.exit(2)
  }
}

/**
 * The options and at most `most` other arguments; --help prints what the script is about and its options, and ends it. An option is
 * that of parseArgs with `value`, a word for what it takes, and `about`.
 */
export const argumentsOf = (script, { usage = `npm run ${script} -- [options]`, about, options, most = 0 }) =>
  orComplain(script, () => {
    const help = { type: 'boolean', default: false, about: 'this text' }
    const all = { ...options, help }
    const { values, positionals } = parseArgs({ allowPositionals: most > 0, options: all })
    if (values.help) {
      console.log(helpOf(usage, about, all))
      process.exit(0)
    }
    if (positionals.length > most) throw new Error(`one example at a time, not ${positionals.join(' and ')}`)
    return { values, positionals }
  })

function helpOf(usage, about, options) {
  const rows = Object.entries(options).map(([name, option]) => [
    `--${name}${option.value ? ` <${option.value}>` : ''}`,
    `${option.about}${option.default ? ` (default: ${option.default})` : ''}`,
  ])
  const width = Math.max(...rows.map(([flags]) => flags.length))
  const lines = rows.map(([flags, text]) => `  ${flags.padEnd(width)}  ${text}`)
  return [`Usage: ${usage}`, '', about, '', 'Options:', ...lines].join('\n')
}

/** @throws naming the option, unless each is a number of threads that a device may have */
export function checkThreads(texts) {
  for (const text of texts)
    if (!(Number.isInteger(Number(text)) && Number(text) >= 1 && Number(text) <= 64))
      throw new Error(`--threads: needs integers from 1 to 64, not '${text}'`)
}

/** Finds out before the measuring whether its results can be written after it. @throws naming the option */
export function checkFile(option, path) {
  try {
    if (path === '' || /[/\\]$/.test(path)) throw new Error('it names no file')
    makeFolder(dirname(path))
    const isNew = !existsSync(path)
    if (!isNew && !statSync(path).isFile()) throw new Error('it is there, and no file')
    closeSync(openSync(path, 'a'))
    if (isNew) rmSync(path)
  } catch (error) {
    throw new Error(`${option}: cannot write '${path}': ${error.message}: choose another place`)
  }
}

/** Makes a folder and those above it; mkdir's own `recursive` never returns where the kernel refuses, as in /proc. */
function makeFolder(path) {
  if (existsSync(path)) return
  if (dirname(path) !== path) makeFolder(dirname(path))
  mkdirSync(path)
}

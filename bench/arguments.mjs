// The command lines of the scripts: what is wrong with one is said in a line, and the script ends.
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

/** The options and at most `most` other arguments. */
export const argumentsOf = (script, options, most = 0) =>
  orComplain(script, () => {
    const { values, positionals } = parseArgs({ allowPositionals: most > 0, options })
    if (positionals.length > most) throw new Error(`one example at a time, not ${positionals.join(' and ')}`)
    return { values, positionals }
  })

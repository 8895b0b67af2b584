/** Starts a command, unless Node is older than its code can be loaded by: to be imported by files that import nothing else. */

/** @param load imports the command; it gets the arguments and gives the exit code. */
export async function launch(load: () => Promise<(args: string[]) => Promise<number>>): Promise<void> {
  const { node } = process.versions
  const [major, minor] = node.split('.').map(Number)
  // 22.3 has the function that gives out Node's own modules, which 20 got later.
  if (major < 20 || major === 21 || (major === 20 && minor < 19) || (major === 22 && minor < 3)) {
    console.error(
      `error: saddlepoint needs Node 20.19, or 22.3 or newer, and this is Node ${node}: see https://nodejs.org`,
    )
    process.exitCode = 1
    return
  }
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    // A reader such as head has seen enough.
    if (error.code === 'EPIPE') process.exit()
    console.error(`error: cannot write to standard output: ${error.message}`)
    process.exit(1)
  })
  const command = await load()
  process.exitCode = await command(process.argv.slice(2))
}

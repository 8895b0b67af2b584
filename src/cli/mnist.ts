/** The command of the main job. It only looks at Node's version, before anything that an older Node cannot even load. */

const { node } = process.versions
const [major, minor] = node.split('.').map(Number)
if (major < 20 || (major === 20 && minor < 19)) {
  console.error(`error: saddlepoint needs Node 20.19 or newer, and this is Node ${node}: see https://nodejs.org`)
  process.exitCode = 1
} else {
  const { main } = await import('./main.js')
  process.exitCode = await main(process.argv.slice(2))
}

export {}

#!/usr/bin/env node
/** The command `saddlepoint`, as installed with the package. It only looks at Node's version, before an older Node fails to load it. */

const { node } = process.versions
const [major, minor] = node.split('.').map(Number)
if (major < 20 || (major === 20 && minor < 19)) {
  console.error(`error: saddlepoint needs Node 20.19 or newer, and this is Node ${node}: see https://nodejs.org`)
  process.exitCode = 1
} else {
  const { saddlepoint } = await import('./commands.js')
  process.exitCode = await saddlepoint(process.argv.slice(2))
}

export {}

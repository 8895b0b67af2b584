/** Where readers' bytes come from: files, folders and optional packages, with errors that name them. Formats are others' concern. */

import { demandNode } from '../runtime/environment.js'

/**
 * Node's files, for an operation that needs them.
 * @param elsewhere what to do in a browser
 * @throws outside Node
 */
export function filesFor(operation: string, elsewhere: string) {
  const node = demandNode(operation, elsewhere)
  const { readFile } = node.getBuiltinModule('fs/promises')
  const { dirname, join } = node.getBuiltinModule('path')
  return {
    join,
    /** The bytes of a file, or an error that names it. */
    read: (path: string) =>
      readFile(path).catch((cause: Error) => {
        throw new Error(`${operation}: cannot read ${path}: ${cause.message}`, { cause })
      }),
    /**
     * The folder of an npm package that holds data.
     * @param instead the way out where the package is missing, beside installing it
     */
    packageFolder(name: string, instead: string): string {
      const { createRequire } = node.getBuiltinModule('module')
      const { fileURLToPath } = node.getBuiltinModule('url')
      // The program's own folder too: package managers with strict layouts hide its packages from this library.
      const paths = [dirname(fileURLToPath(import.meta.url)), node.cwd()]
      try {
        return dirname(createRequire(import.meta.url).resolve(`${name}/package.json`, { paths }))
      } catch (cause) {
        const wayOut = `run \`npm install ${name}\`, or ${instead}`
        throw new Error(`${operation}: the npm package '${name}' is not installed: ${wayOut}`, { cause })
      }
    },
  }
}

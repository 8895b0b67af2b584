/** Where readers' bytes come from: files, folders and optional packages, with errors that name them. Formats are others' concern. */

import { knownOptions } from '../graph/options.js'
import { demandNode, importPackage, type NodePackages } from '../runtime/environment.js'

/**
 * Node's files, for an operation that needs them.
 * @param elsewhere what to do in a browser
 * @throws outside Node
 */
export function filesFor(operation: string, elsewhere: string) {
  const node = demandNode(operation, elsewhere)
  const { readdir, readFile } = node.getBuiltinModule('fs/promises')
  const { dirname, join } = node.getBuiltinModule('path')
  return {
    join,
    /** The bytes of a file, or an error that names it. */
    read: (path: string) =>
      readFile(path).catch((cause: Error) => {
        throw new Error(`${operation}: cannot read ${path}: ${cause.message}`, { cause })
      }),
    /** What a folder holds, in the order of the names, or an error that names it. */
    async list(folder: string) {
      const entries = await readdir(folder, { withFileTypes: true }).catch((cause: Error) => {
        throw new Error(`${operation}: cannot read the folder ${folder}: ${cause.message}`, { cause })
      })
      return entries.sort((a, b) => (a.name < b.name ? -1 : 1))
    },
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

/** The folder that options name. @throws where they name none. */
export function folderOf(operation: string, options: { readonly folder: string }): string {
  const { folder } = knownOptions(operation, options, { folder: true })
  if (typeof folder === 'string') return folder
  throw new Error(`${operation}: folder ${String(folder)}: needs the path of a folder`)
}

/**
 * The module of an optional package, loaded now.
 * @throws Error that says how to install it
 */
export async function demandPackage<K extends keyof NodePackages>(
  operation: string,
  name: K,
): Promise<NodePackages[K]> {
  try {
    return await importPackage(name)
  } catch (cause) {
    const [install] = /^(@[^/]+\/)?[^/]+/.exec(name) ?? [name]
    const wayOut = `run \`npm install ${install}\`; a browser needs '${name}' in its import map`
    throw new Error(`${operation}: the npm package '${install}' cannot be loaded: ${wayOut}`, { cause })
  }
}

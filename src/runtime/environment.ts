/** What the library needs to know of where it runs, and its only way to what Node alone has. */

/** Bundlers for browsers put stand-ins with less in the place of Node's process. */
const { process: found } = globalThis as { process?: Partial<NodeJS.Process> }

const isNodeProcess = (p: Partial<NodeJS.Process> | undefined): p is NodeJS.Process => p?.versions?.node !== undefined

/**
 * Node's process; undefined elsewhere. Node's modules come from its `getBuiltinModule`: bundlers for browsers fail on an
 * import of one even where it never runs.
 */
export const node = isNodeProcess(found) ? found : undefined

export const isNode = node !== undefined

/**
 * Node's process, for an operation that needs it.
 *
 * @param instead what to do elsewhere.
 * @throws outside Node.
 */
export function demandNode(operation: string, instead: string): NodeJS.Process {
  if (node) return node
  throw new Error(`${operation}: this needs Node; in a browser ${instead}`)
}

/** The environment variable of that name, where there is an environment. */
export const environment = (name: string): string | undefined => node?.env[name] || undefined

const noes = ['0', 'no', 'false']
/** Whether an environment variable says no; one that is not set says nothing. */
export const saysNo = (name: string): boolean => noes.includes(environment(name) ?? '')
/** Whether an environment variable says yes. */
export const saysYes = (name: string): boolean => environment(name) !== undefined && !saysNo(name)

export interface NodePackages {
  readonly '@huggingface/tokenizers': typeof import('@huggingface/tokenizers')
  readonly 'cli-progress': typeof import('cli-progress')
  readonly 'csv-parse/sync': typeof import('csv-parse/sync')
  readonly 'jpeg-js': typeof import('jpeg-js')
  readonly pngjs: typeof import('pngjs')
  readonly webgpu: { create(flags: string[]): GPU }
}

/** A package that only some programs need: named by a parameter, so that bundlers for browsers do not look for it. */
export const importPackage = async <K extends keyof NodePackages>(name: K): Promise<NodePackages[K]> =>
  import(/* webpackIgnore: true */ /* @vite-ignore */ name)

/** What the library needs to know of where it runs. */

interface NodeProcess {
  readonly versions?: { readonly node?: string }
  readonly env?: Readonly<Record<string, string | undefined>>
}
const { process } = globalThis as { process?: NodeProcess }

export const isNode = process?.versions?.node !== undefined

/** The environment variable of that name, where there is an environment. */
export const environment = (name: string): string | undefined => process?.env?.[name] || undefined

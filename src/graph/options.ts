/** The options that functions take: one that is misspelt, or that another function takes, would else be ignored in silence. */

/** Each option by its name: none missing, none too many. */
export type Names<O> = { readonly [K in keyof Required<O>]: true }

/**
 * Options, given back. @throws unless they are an object of known names: some libraries take a number where these take
 * options, and `sum(x, 0)` would else sum everything.
 */
export function knownOptions<O extends object>(op: string, options: O, names: Names<NoInfer<O>>): O {
  // A tensor is known by its node.
  if (typeof options !== 'object' || options === null || Array.isArray(options) || 'node' in options)
    throw new Error(`${op}: expects its options as an object, not ${inWords(options)}; it takes ${listed(names)}`)
  for (const name in options)
    if (!Object.hasOwn(names, name)) throw new Error(`${op}: has no option '${name}'; it takes ${listed(names)}`)
  return options
}

const listed = (names: object): string => Object.keys(names).join(', ')

/** A value in the words of an error. */
export function inWords(x: unknown): string {
  if (typeof x === 'string') return `'${x}'`
  if (typeof x === 'bigint') return `${x}n`
  return Array.isArray(x) ? `an array of ${x.length}` : typeof x === 'function' ? 'a function' : String(x)
}

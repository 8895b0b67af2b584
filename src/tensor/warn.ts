/** Warnings: what is wrong with a computation that has an answer. */

const warned = new Set<string>()

/** Warns once in the life of the program; of several messages with one key, the first. */
export function warnOnce(message: string, key = message): void {
  if (warned.has(key)) return
  warned.add(key)
  console.warn(message)
}

/** What commands print: a table and lines for people, or JSON. */

import { type Cell, formatTable } from './table.js'

export interface JsonOption {
  readonly json?: true
}

/** Prints a result as JSON if that is asked for, and else as people read it; progress and warnings go to standard error. */
export function print({ json }: JsonOption, result: unknown, text: string): void {
  console.log(json ? JSON.stringify(result, null, 2) : text)
}

export const percent = (share: number): string => `${(100 * share).toFixed(2)} %`

/** Rows of one shape as a table, their keys on top. */
export const tableOf = (rows: readonly Readonly<Record<string, Cell>>[]): string =>
  rows.length === 0
    ? ''
    : formatTable(
        Object.keys(rows[0]),
        rows.map(row => Object.values(row)),
      )

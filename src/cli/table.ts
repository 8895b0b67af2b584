/** Tables of plain text for a terminal. What stands in the cells is the caller's concern. */

export type Cell = string | number

const numeric = /^[-+±]?\d[\d,.]*(e[-+]?\d+)?\s?(%|s|ms)?$/

const text = (cell: Cell): string =>
  typeof cell === 'string' ? cell : Number.isInteger(cell) ? cell.toLocaleString('en-US') : String(+cell.toPrecision(5))

/**
 * A table for a monospace font; columns whose cells are all numbers (`98.5 %` and `3 s` count) are right-aligned.
 * @throws Error when a row has more or fewer cells than there are columns
 */
export function formatTable(columns: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const cells = rows.map((row, i) => {
    if (row.length !== columns.length) {
      throw new Error(`formatTable: row ${i} has ${row.length} cells for ${columns.length} columns: ${row.join(' | ')}`)
    }
    return row.map(text)
  })
  const layout = columns.map((title, k) => ({
    width: Math.max(title.length, ...cells.map(row => row[k].length)),
    right: rows.length > 0 && rows.every(row => typeof row[k] === 'number' || numeric.test(row[k])),
  }))
  const line = (row: readonly string[]) =>
    row
      .map((cell, k) => (layout[k].right ? cell.padStart(layout[k].width) : cell.padEnd(layout[k].width)))
      .join('  ')
      .trimEnd()
  return [line(columns), layout.map(({ width }) => '-'.repeat(width)).join('  '), ...cells.map(line)].join('\n')
}

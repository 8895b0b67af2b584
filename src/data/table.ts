/**
 * Labelled texts from a table: CSV or TSV, by the names of two columns. Quotes and line ends are left to the package
 * csv-parse, loaded when the first table is parsed.
 */

import { knownOptions, type Names } from '../graph/options.js'
import { demandPackage, filesFor } from './files.js'
import { decodeText, type TextOptions, type TextSet, textNames, textSet } from './text.js'

export interface TableOptions extends TextOptions {
  /** The column that holds the text. */
  readonly text: string
  /** The column that holds the label. */
  readonly label: string
  /** What stands between two columns; ',' by default. */
  readonly separator?: string
  /** Whether "..." may hold separators and line ends; by default it may, but not where tabs separate. */
  readonly quotes?: boolean
  /** The names of the columns, where the file has no header. */
  readonly columns?: readonly string[]
}
const tableNames: Names<TableOptions> = {
  ...textNames,
  text: true,
  label: true,
  separator: true,
  quotes: true,
  columns: true,
}

/**
 * Parses a table whose first line is a header, unless `columns` are given; blank lines are passed over.
 * @param name what errors call the data, usually its path
 * @throws Error naming the line, what was expected there and what was found
 */
export async function parseTable(
  content: string | Uint8Array,
  options: TableOptions,
  name = 'table',
): Promise<TextSet> {
  knownOptions('parseTable', options, tableNames)
  const { text, label, separator = ',', quotes = separator !== '\t', columns, classes, encoding } = options
  const what = `table: ${name}`
  const records = await recordsOf(what, decodeText(what, content, encoding), separator, quotes)
  const header = columns ?? records[0]?.fields ?? []
  const [textAt, labelAt] = [text, label].map(column => {
    const at = header.indexOf(column)
    if (at >= 0) return at
    const found = header.length > 0 ? header.map(h => `'${h}'`).join(', ') : 'an empty file'
    throw new Error(`${what}: line 1: expected a column '${column}', found ${found}`)
  })
  const rows = (columns ? records : records.slice(1)).map(({ fields, line }) => {
    if (fields.length === header.length) return { text: fields[textAt], label: fields[labelAt], line }
    const why = fields.length < header.length ? 'a separator is missing' : 'a field that holds a separator needs quotes'
    throw new Error(`${what}: line ${line}: expected ${header.length} columns, found ${fields.length}: ${why}`)
  })
  return textSet(what, rows, classes)
}

/** Reads a table from a file. Node only. */
export async function readTable(path: string, options: TableOptions): Promise<TextSet> {
  knownOptions('readTable', options, tableNames)
  const { read } = filesFor('readTable', 'fetch the file and give its bytes to parseTable')
  return parseTable(await read(path), options, path)
}

async function recordsOf(what: string, text: string, separator: string, quotes: boolean) {
  const { CsvError, parse } = await demandPackage('parseTable', 'csv-parse/sync')
  const records: { fields: string[]; line: number }[] = []
  try {
    parse(text, {
      delimiter: separator,
      quote: quotes ? '"' : null,
      record_delimiter: ['\r\n', '\n', '\r'],
      skip_empty_lines: true,
      // The count is checked against the header, whose length is not known here.
      relax_column_count: true,
      on_record(fields: string[], { lines }) {
        records.push({ fields, line: lines })
        return null
      },
    })
  } catch (cause) {
    if (!(cause instanceof CsvError)) throw cause
    throw new Error(`${what}: line ${cause.lines}: expected quotes around whole fields, found: ${cause.message}`, {
      cause,
    })
  }
  return records
}

/** `saddlepoint tune`: measures tiles. */

import type { Command } from 'commander'
import { saysYes } from '../../runtime/environment.js'
import { jsonOption } from '../options.js'
import { type JsonOption, print } from '../output.js'

export const addTune = (program: Command): Command =>
  program
    .command('tune')
    .description(
      'Measures which tiles of matrix products are the fastest on this machine and in this version of Node, and keeps the ' +
        'answer in your cache folder, where the wasm device finds it. Other work on the machine falsifies it.',
    )
    .addOption(jsonOption())
    .action(showTiles)

async function showTiles(options: JsonOption): Promise<void> {
  const { tune } = await import('../../runtime/backends/wasm/tune.js')
  const { tiles, file } = tune(saysYes('SADDLEPOINT_REVECTORIZE'))
  const lines = tiles.map(({ rows, vectors, speed }) =>
    [String(rows).padStart(4), String(4 * vectors).padStart(7), (speed / 1e9).toFixed(1).padStart(7)].join('  '),
  )
  const result = { tiles: tiles.map(({ rows, vectors, speed }) => ({ rows, columns: 4 * vectors, speed })), file }
  print(
    options,
    result,
    ['rows  columns  GFLOP/s, one thread', ...lines, ...(file ? [`kept in ${file}`] : [])].join('\n'),
  )
  if (!file) throw new Error('tune: the answer is not kept')
}

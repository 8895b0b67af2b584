/** The optional packages of readers where they are absent. */
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { encode } from 'jpeg-js'
import { PNG } from 'pngjs'
import { expect, test, vi } from 'vitest'
import { imageFolder } from '../../src/data/image-folder.js'
import { parseTable } from '../../src/data/table.js'
import { wordPiece } from '../../src/data/wordpiece.js'

vi.mock('../../src/runtime/environment.js', async original => ({
  ...(await original<typeof import('../../src/runtime/environment.js')>()),
  importPackage: (name: string) => Promise.reject(new Error(`Cannot find package '${name}'`)),
}))

test.each([
  ['pngjs', PNG.sync.write(new PNG({ width: 1, height: 1 }))],
  ['jpeg-js', encode({ width: 1, height: 1, data: Buffer.alloc(4) }).data],
])('%s is asked for where an image needs it', async (name, bytes) => {
  const folder = await mkdtemp(join(tmpdir(), 'saddlepoint-packages-'))
  await mkdir(join(folder, 'a'))
  await writeFile(join(folder, 'a', 'image'), bytes)
  await expect(imageFolder(folder)).rejects.toThrow(
    `imageFolder: the npm package '${name}' cannot be loaded: run \`npm install ${name}\``,
  )
})

test('the packages of tables and of WordPiece are named as they are installed', async () => {
  await expect(parseTable('x,y', { text: 'x', label: 'y' })).rejects.toThrow(
    /parseTable: .+ run `npm install csv-parse`; a browser needs 'csv-parse\/sync' in its import map/,
  )
  await expect(wordPiece(['[CLS]', '[SEP]', '[UNK]', '[PAD]'])).rejects.toThrow(
    'run `npm install @huggingface/tokenizers`;',
  )
})

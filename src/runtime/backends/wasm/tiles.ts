/**
 * The shape of the tiles that matrix products are computed in. How fast each is depends on how the engine's compiler
 * allots registers: on one a tile of 6 rows is the best, on another it spills and takes twice the time. Results do not
 * depend on the tile: every element is the same sum in the same order.
 */

import type { Features } from './engine.js'

/** Rows of a tile and vectors of its columns. */
export interface Tile {
  readonly rows: number
  readonly vectors: number
}

/** A tile with the speed that it reaches in a large product, in any unit. */
export interface TimedTile extends Tile {
  readonly speed: number
}

/**
 * What is worth measuring, with GFLOP/s on one thread of an AMD EPYC for those who do not measure. Engines as that of
 * Node 20 load a step's factors before they multiply: all of them and the sums must fit into 15 registers.
 */
const candidates: readonly TimedTile[] = [
  { rows: 2, vectors: 4, speed: 52 },
  { rows: 3, vectors: 3, speed: 51 },
  { rows: 4, vectors: 2, speed: 48 },
  { rows: 6, vectors: 2, speed: 25 },
]

/** The same where two vectors are one: registers hold twice as much, and as many sums hide the latency of an operation. */
const pairedCandidates: readonly TimedTile[] = [
  { rows: 4, vectors: 4, speed: 92 },
  { rows: 6, vectors: 4, speed: 91 },
  { rows: 6, vectors: 2, speed: 65 },
  { rows: 2, vectors: 4, speed: 50 },
]

export const candidatesFor = ({ paired }: Pick<Features, 'paired'>): readonly TimedTile[] =>
  paired ? pairedCandidates : candidates

/** Instructions of one inner position: a multiply-add for each vector of each row, and the loads. */
const instructions = (rows: number, vectors: number): number => rows * vectors + (rows + vectors) / 2

/** The time that a product of so many rows and vectors takes with a tile, rows and columns that it wastes included. */
function costOf({ rows, vectors, speed }: TimedTile, allRows: number, allVectors: number): number {
  const rest = instructions(allRows % rows, vectors) / instructions(rows, vectors)
  const tiles = Math.floor(allRows / rows) + (allRows % rows === 0 ? 0 : rest)
  return (tiles * rows * Math.ceil(allVectors / vectors) * vectors) / speed
}

/** The tile that suits a product best; the first of equals. */
export function chooseTile(rows: number, vectors: number, tiles: readonly TimedTile[]): Tile {
  return tiles.reduce((best, tile) => (costOf(tile, rows, vectors) < costOf(best, rows, vectors) ? tile : best))
}

/**
 * The shape of the tiles that matrix products are computed in. How fast each is depends on how the engine's compiler
 * allots registers: on one a tile of 6 rows is the best, on another it spills and takes twice the time. Results do not
 * depend on the tile: every element is the same sum in the same order.
 */

/** Rows of a tile, vectors of its columns, and steps of the innermost loop that are written out. */
export interface Tile {
  readonly rows: number
  readonly vectors: number
  readonly unroll: number
}

/** A tile with the speed that it reaches in a large product, in any unit. */
export interface TimedTile extends Tile {
  readonly speed: number
}

const timed = (rows: number, vectors: number, unroll: number, speed: number): TimedTile => ({
  rows,
  vectors,
  unroll,
  speed,
})

/** What is worth measuring. */
export const candidates: readonly Tile[] = [1, 4].flatMap(unroll => [
  { rows: 4, vectors: 2, unroll },
  { rows: 6, vectors: 2, unroll },
  { rows: 3, vectors: 3, unroll },
  { rows: 2, vectors: 4, unroll },
  { rows: 8, vectors: 1, unroll },
])

/** Until somebody measures: for V8 of Node 20, which moves all loads of a loop's body to its front, in GFLOP/s ... */
export const cautiousTiles: readonly TimedTile[] = [timed(4, 2, 1, 45), timed(2, 4, 1, 45), timed(3, 3, 1, 44)]
/** ... and for newer ones. */
export const boldTiles: readonly TimedTile[] = [timed(6, 2, 4, 47), timed(4, 2, 4, 45), timed(2, 4, 4, 43)]

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

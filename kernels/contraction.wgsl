// A (batched) matrix product of two expressions, with an expression of the result at the end; a convolution is one too,
// whose factors are addressed through several loops at once.
// Launch: a workgroup computes {{tile_rows}} x {{tile_columns}} results of one batch element; each of its threads
// {{thread_rows}} x {{thread_columns}} of them, in registers. A value that came from global memory is used
// {{tile_columns}} (left) or {{tile_rows}} (right) times by the workgroup, and one that came from workgroup memory
// {{thread_columns}} or {{thread_rows}} times by a thread: that is what tiles are for.
// Memory: the left factor is read once for every {{tile_columns}} columns, the right one once for every {{tile_rows}} rows;
// results are written once.

const rows = {{rows}}u;
const columns = {{columns}}u;
const inner = {{inner}}u;
const batches = {{batches}}u;

const tile_rows = {{tile_rows}}u;
const tile_columns = {{tile_columns}}u;
// Inner positions between two barriers.
const tile_inner = {{tile_inner}}u;
const row_tiles = (rows + tile_rows - 1u) / tile_rows;
const column_tiles = (columns + tile_columns - 1u) / tile_columns;
const steps = (inner + tile_inner - 1u) / tile_inner;

// Everything is handled in vectors of four neighbouring rows or columns. A thread's own vectors lie the width of its
// workgroup's grid of threads apart: neighbours in the grid then read neighbouring vectors, and no two of them collide in
// a bank of workgroup memory.
const row_vectors = tile_rows / 4u;
const column_vectors = tile_columns / 4u;
const grid_rows = tile_rows / {{thread_rows}}u;
const grid_columns = tile_columns / {{thread_columns}}u;

// To load a tile, a thread keeps its four rows (or columns) and takes inner positions so far apart: what depends on rows
// alone is computed once, before the loop. Four numbers that are neighbours in memory are one load; if they are neighbours
// along the inner loop, a thread loads four of them for each of its rows, and keeps what it got as columns of that block.

// Two tiles of each factor: one is multiplied while the next is on its way from memory.
const left_size = tile_inner * row_vectors;
const right_size = tile_inner * column_vectors;
var<workgroup> left_tiles: array<vec4f, 2u * left_size>;
var<workgroup> right_tiles: array<vec4f, 2u * right_size>;

@compute @workgroup_size(grid_rows * grid_columns)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) thread: u32) {
  runtime_zero = workgroup.z;
  let group = workgroup.y * 65535u + workgroup.x;
  let batch = group / (row_tiles * column_tiles);
  if (batch >= batches) {
    return;
  }
  let first_row = group / column_tiles % row_tiles * tile_rows;
  let first_column = group % column_tiles * tile_columns;

  // Neighbouring threads load what is neighbours in memory. Rows behind the last repeat rows: their results are not stored.
  let left_vector = {{left_vector}};
  let left_lane = {{left_lane}};
  let right_vector = {{right_vector}};
  let right_lane = {{right_lane}};
  {{before}}

  // sum_i_j: results of row i of the thread, in its vector j of columns. Each has a name and no index, so that all are kept
  // in registers.
  {{sums}}
  let grid_row = thread / grid_columns;
  let grid_column = thread % grid_columns;

  // One step more than there are tiles: step s loads tile s and multiplies tile s - 1.
  for (var step = 0u; step <= steps; step++) {
    {{next}}
    if (step < steps) {
      let first_position = step * tile_inner;
      {{load}}
    }

    if (step > 0u) {
      let left_tile = (step - 1u) % 2u * left_size + grid_row;
      let right_tile = (step - 1u) % 2u * right_size + grid_column;
      for (var k = 0u; k < tile_inner; k++) {
        {{multiply}}
      }
    }

    if (step < steps) {
      let left_tile = step % 2u * left_size + left_vector;
      let right_tile = step % 2u * right_size + right_vector;
      {{store}}
    }
    workgroupBarrier();
  }

  // In an array for the loops below, which are too long to be written out.
  var results: array<f32, {{thread_rows}} * {{thread_columns}}>;
  {{results}}
  for (var j = 0u; j < {{thread_columns}}u; j++) {
    let column = first_column + (j / 4u * grid_columns + grid_column) * 4u + j % 4u;
    if (column >= columns) {
      continue;
    }
    {{column_body}}
    for (var i = 0u; i < {{thread_rows}}u; i++) {
      let row = first_row + (i / 4u * grid_rows + grid_row) * 4u + i % 4u;
      if (row < rows) {
        let reduced = results[j * {{thread_rows}}u + i];
        {{row_body}}
      }
    }
  }
}

// A (batched) product of matrices of float16 values on the matrix units of a GPU, added up in float32, with an expression of
// the result at the end.
// Launch: a workgroup of {{threads}} threads computes {{tile_rows}} x {{tile_columns}} results of one batch element; a
// subgroup of 32 threads a quarter of them, in matrices of {{m}} x {{n}} that its threads hold together.
// Memory: as in contraction.wgsl: the left factor is read once for every {{tile_columns}} columns, the right one once for
// every {{tile_rows}} rows; results are written once.

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

// One inner position after another, so that four neighbouring rows (or columns) are neighbours here too.
var<workgroup> left_tile: array<f16, tile_inner * tile_rows>;
var<workgroup> right_tile: array<f16, tile_inner * tile_columns>;
var<workgroup> results: array<f32, tile_rows * tile_columns>;

fn store_left(position: u32, vector: u32, values: vec4f) {
  let place = position * tile_rows + vector * 4u;
  for (var i = 0u; i < 4u; i++) {
    left_tile[place + i] = f16(values[i]);
  }
}

fn store_right(position: u32, vector: u32, values: vec4f) {
  let place = position * tile_columns + vector * 4u;
  for (var i = 0u; i < 4u; i++) {
    right_tile[place + i] = f16(values[i]);
  }
}

@compute @workgroup_size({{threads}})
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(local_invocation_index) thread: u32,
  @builtin(subgroup_id) subgroup: u32,
) {
  runtime_zero = workgroup.z;
  let group = workgroup.y * 65535u + workgroup.x;
  let batch = group / (row_tiles * column_tiles);
  if (batch >= batches) {
    return;
  }
  let first_row = group / column_tiles % row_tiles * tile_rows;
  let first_column = group % column_tiles * tile_columns;

  let left_vector = {{left_vector}};
  let left_lane = {{left_lane}};
  let right_vector = {{right_vector}};
  let right_lane = {{right_lane}};
  {{before}}

  // The quarter of this subgroup, and its matrices: sum_i_j is the j-th of the i-th row of them.
  let own_row = subgroup / 2u * (tile_rows / 2u);
  let own_column = subgroup % 2u * (tile_columns / 2u);
  {{sums}}

  for (var step = 0u; step < steps; step++) {
    {{next}}
    let first_position = step * tile_inner;
    {{load}}
    // All have multiplied what is there.
    workgroupBarrier();
    {{store}}
    workgroupBarrier();
    for (var k = 0u; k < tile_inner; k += {{k}}u) {
      {{multiply}}
    }
  }

  {{results}}
  workgroupBarrier();
  for (var i = thread; i < tile_rows * tile_columns; i += {{threads}}u) {
    let row = first_row + i / tile_columns;
    let column = first_column + i % tile_columns;
    if (row < rows && column < columns) {
      let reduced = results[i];
      {{column_body}}
      {{row_body}}
    }
  }
}

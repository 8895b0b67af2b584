// Sorts tiles of rows: the positions of a tile's elements in stable ascending order, and their keys in that order where
// passes of merge.wgsl or a search follow. Runs of 1, 2, 4, ... elements are merged in workgroup memory: an element's
// place is its place in its own run, plus as many elements of the sibling run as belong before it (binary search).
// Launch: {{threads}} threads for {{slots}} elements: one tile of a long row, or the whole of several short rows.
// Memory: every element is read once, every position (and key) written once, by neighbouring threads.

const threads = {{threads}}u;
const slots = {{slots}}u;
const tile_size = {{tile}}u;
const tiles_per_row = {{tilesPerRow}}u;
const rows = {{rows}}u;
const row_length = {{length}}u;

var<workgroup> keys: array<{{word}}, slots>;
// Which slot stands where, before and after a merge.
var<workgroup> places: array<u32, 2u * slots>;

// Integers in the order of the floats: both zeros are equal, all NaN equal and last.
fn key_f32(x: f32) -> i32 {
  return select(order(x), 0x7fffffff, is_nan(x));
}

fn key_f64(x: vec2u) -> vec2u {
  let magnitude = x.y & 0x7fffffffu;
  if (magnitude > 0x7ff00000u || (magnitude == 0x7ff00000u && x.x != 0u)) {
    return vec2u(0xffffffffu);
  }
  if (magnitude == 0u && x.x == 0u) {
    return vec2u(0u, 0x80000000u);
  }
  return select(vec2u(x.x, x.y | 0x80000000u), ~x, x.y >= 0x80000000u);
}

fn before(a: {{word}}, b: {{word}}) -> bool {
  return {{before}};
}

// The elements in a tile: none beyond the last row.
fn extent(tile: u32) -> u32 {
  return select(0u, min(tile_size, row_length - tile % tiles_per_row * tile_size), tile / tiles_per_row < rows);
}

@compute @workgroup_size(threads)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) thread: u32) {
  runtime_zero = workgroup.z;
  let first_tile = (workgroup.y * 65535u + workgroup.x) * (slots / tile_size);
  for (var slot = thread; slot < slots; slot += threads) {
    let tile = first_tile + slot / tile_size;
    let offset = slot % tile_size;
    places[slot] = slot;
    if (offset < extent(tile)) {
      let i = tile / tiles_per_row * row_length + tile % tiles_per_row * tile_size + offset;
      keys[slot] = {{key}};
    }
  }
  workgroupBarrier();

  var now = 0u;
  for (var run = 1u; run < tile_size; run *= 2u) {
    for (var slot = thread; slot < slots; slot += threads) {
      let end = slot / tile_size * tile_size + extent(first_tile + slot / tile_size);
      if (slot < end) {
        let mine = places[now + slot];
        let key = keys[mine];
        let is_left = (slot & run) == 0u;
        let sibling = (slot / run * run) ^ run;
        var low = sibling;
        var high = min(sibling + run, end);
        while (low < high) {
          let middle = (low + high) / 2u;
          let other = keys[places[now + middle]];
          // Equal elements of the left run stay in front.
          if (select(!before(key, other), before(other, key), is_left)) {
            low = middle + 1u;
          } else {
            high = middle;
          }
        }
        places[slots - now + slot / (2u * run) * (2u * run) + slot % run + low - sibling] = mine;
      }
    }
    now = slots - now;
    workgroupBarrier();
  }

  for (var slot = thread; slot < slots; slot += threads) {
    let tile = first_tile + slot / tile_size;
    let offset = slot % tile_size;
    if (offset < extent(tile)) {
      let start = tile % tiles_per_row * tile_size;
      let i = tile / tiles_per_row * row_length + start + offset;
      let source = places[now + slot];
      {{positions}}[i] = i32(start + source % tile_size);
      {{storeKey}}
    }
  }
}

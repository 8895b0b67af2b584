// Merges pairs of sorted runs of {{run}} elements of every row, stably: an element's place is its place in its own run,
// plus as many elements of the sibling run as belong before it (binary search).
// Launch: one thread an element. Neighbouring threads search the same stretch of the sibling run.
// Memory: keys and positions are read and written once, nearly in order, plus log2({{run}}) cached reads of keys.

const size = {{size}}u;
const row_length = {{length}}u;
const run = {{run}}u;

fn before(a: {{word}}, b: {{word}}) -> bool {
  return {{before}};
}

@compute @workgroup_size({{threads}})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) thread: u32) {
  let i = (workgroup.y * 65535u + workgroup.x) * {{threads}}u + thread;
  if (i >= size) {
    return;
  }
  let at = i % row_length;
  let row = i - at;
  let is_left = (at & run) == 0u;
  let sibling = (at / run * run) ^ run;
  var low = sibling;
  var high = min(sibling + run, row_length);
  let key = {{keys}}[i];
  while (low < high) {
    let middle = (low + high) / 2u;
    let other = {{keys}}[row + middle];
    // Equal elements of the left run stay in front.
    if (select(!before(key, other), before(other, key), is_left)) {
      low = middle + 1u;
    } else {
      high = middle;
    }
  }
  let place = row + at / (2u * run) * (2u * run) + at % run + low - sibling;
  {{merged}}[place] = {{positions}}[i];
  {{storeKey}}
}

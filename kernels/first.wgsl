// The first occurrence of each row among indices whose segments are known: the one that opens its segment, -1 where the
// segment is empty.
// Launch: one thread a row.
// Memory: starts are read twice, from a cache the second time, an index a row, and the result is written once.

@compute @workgroup_size({{threads}})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) thread: u32) {
  let row = (workgroup.y * 65535u + workgroup.x) * {{threads}}u + thread;
  if (row >= {{rows}}u) {
    return;
  }
  let start = {{starts}}[row];
  var first = -1;
  if (start < {{starts}}[row + 1u]) {
    first = {{permutation}}[start];
  }
  {{output}}[row] = first;
}

// Where each row's updates begin among the sorted indices: starts[row] is the number of indices below row, by binary
// search. Negative indices come before the first segment, too large ones after the last.
// Launch: one thread a row, and one for the end of the last.
// Memory: starts are written once; log2({{count}}) cached reads of indices a row.

@compute @workgroup_size({{threads}})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) thread: u32) {
  let row = (workgroup.y * 65535u + workgroup.x) * {{threads}}u + thread;
  if (row > {{rows}}u) {
    return;
  }
  var low = 0u;
  var high = {{count}}u;
  while (low < high) {
    let middle = (low + high) / 2u;
    if ({{sorted}}[middle] < i32(row)) {
      low = middle + 1u;
    } else {
      high = middle;
    }
  }
  {{starts}}[row] = low;
}

// The first occurrence of each row among the indices, -1 where there is none: by binary search among the sorted indices, which
// stand in the order of their positions within a row.
// Launch: one thread a row.
// Memory: the result is written once; log2({{count}}) cached reads of indices a row.

@compute @workgroup_size({{threads}})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) thread: u32) {
  let row = (workgroup.y * 65535u + workgroup.x) * {{threads}}u + thread;
  if (row >= {{rows}}u) {
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
  var first = -1;
  if (low < {{count}}u) {
    if ({{sorted}}[low] == i32(row)) {
      first = {{permutation}}[low];
    }
  }
  {{output}}[row] = first;
}

// Takes rows through several kernels, each of which needs of those before it only the same row: softmax, normalisation.
// Launch: {{rows}} row(s) a workgroup, {{lanes}} thread(s) for each.
// Memory: every operand is read once in each kernel; what only these kernels know stays in the workgroup where it has room.

const count = {{count}}u;
const rows = {{rows}}u;
const lanes = {{lanes}}u;

{{declarations}}

@compute @workgroup_size(rows * lanes)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) thread: u32) {
  runtime_zero = workgroup.z;
  let first_row = (workgroup.y * 65535u + workgroup.x) * rows;
  let row = first_row + thread / lanes;
  let is_row = row < count;
  let lane = thread % lanes;
  {{members}}
}

// Computes every element of one or several results from scalar expressions; gathers, random numbers and all movement of
// data are part of the expressions.
// Launch: one thread computes {{items}} positions, {{threads}} apart, so that the threads of a workgroup always touch
// neighbours and each thread has several loads under way.
// Memory: every operand is read once where its index is the position, every result written once.

@compute @workgroup_size({{threads}})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) thread: u32) {
  runtime_zero = workgroup.z;
  let block = (workgroup.y * 65535u + workgroup.x) * {{block}}u;
  for (var item = 0u; item < {{items}}u; item++) {
    let position = block + item * {{threads}}u + thread;
    if (position < {{size}}) {
      {{body}}
    }
  }
}

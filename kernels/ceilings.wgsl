// What this device can do at most: the two kernels that all others are compared with.
// copy: every thread moves {{items}} vectors of 16 bytes, {{threads}} apart; memory traffic is 2 * {{vectors}} * 16 bytes.
// peak: every thread makes {{steps}} fused multiply-adds on each of 8 vectors in registers, and touches memory once.

@group(0) @binding(0) var<storage, read> source: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> target_: array<vec4f>;

@compute @workgroup_size({{threads}})
fn copy(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) thread: u32) {
  let block = workgroup.x * {{block}}u + thread;
  for (var item = 0u; item < {{items}}u; item++) {
    target_[block + item * {{threads}}u] = source[block + item * {{threads}}u];
  }
}

@compute @workgroup_size({{threads}})
fn peak(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) thread: u32) {
  let x = source[thread];
  let slope = source[thread + {{threads}}u];
  // Eight chains that do not wait for each other.
  var a = x;
  var b = x + 1;
  var c = x + 2;
  var d = x + 3;
  var e = x + 4;
  var f = x + 5;
  var g = x + 6;
  var h = x + 7;
  for (var step = 0u; step < {{steps}}u; step++) {
    a = fma(a, slope, x);
    b = fma(b, slope, x);
    c = fma(c, slope, x);
    d = fma(d, slope, x);
    e = fma(e, slope, x);
    f = fma(f, slope, x);
    g = fma(g, slope, x);
    h = fma(h, slope, x);
  }
  let sum = (a + b) + (c + d) + (e + f) + (g + h);
  // Never so, as nobody but the author knows: the work cannot be left out, nor does its result have to be written.
  if (sum.x == 12345.678) {
    target_[thread] = sum;
  }
}

// Reduces loops to one value for each of {{count}} outputs: sums, products, maxima of an expression, with an expression of
// the result at the end.
// Launch: {{slots}} outputs a workgroup, {{lanes}} thread(s) for each. A thread combines the positions that lie {{lanes}} apart, a tree
// over the threads follows. {{order}}
// Memory: every operand is read once, every result written once.

const count = {{count}}u;
const inner = {{inner}}u;
const slots = {{slots}}u;
const lanes = {{lanes}}u;
// Positions that a thread evaluates before it combines them: their loads are under way together.
const ahead = {{ahead}}u;

{{declaration}}
var<workgroup> totals: array<{{type}}, slots * lanes>;

fn combine(a: {{type}}, b: {{type}}) -> {{type}} {
  return {{combination}};
}

@compute @workgroup_size(slots * lanes)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) thread: u32) {
  runtime_zero = workgroup.z;
  let first_output = (workgroup.y * 65535u + workgroup.x) * slots;
  let slot = {{slot}};
  let lane = {{lane}};
  let output = first_output + slot;
  var total = {{identity}};
  if (output < count) {
    {{before}}
    for (var next = lane; next < inner; next += ahead * lanes) {
      for (var i = 0u; i < ahead; i++) {
        let unlimited = next + i * lanes;
        // Behind the end the last position is evaluated once more and left out: no load waits for a branch.
        let position = min(unlimited, inner - 1u);
        {{body}}
        if (unlimited < inner) {
          total = combine(total, {{value}});
        }
      }
    }
  }

  totals[lane * slots + slot] = total;
  for (var half = lanes / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) {
      totals[lane * slots + slot] = combine(totals[lane * slots + slot], totals[(lane + half) * slots + slot]);
    }
  }
  workgroupBarrier();

  if (thread < slots && first_output + thread < count) {
    let output = first_output + thread;
    let result = totals[thread];
    {{after}}
  }
}

// Sums the updates of every element of the result, in the order of their indices: the same result from run to run, and
// no atomics.
// Launch: one thread an element of the result, so that the threads of a row read neighbouring columns of its updates.
// Memory: updates whose index is in range are read once, the result written once, starts and permutation by every column.

const width = {{width}}u;

fn update(place: u32, column: u32) -> {{type}} {
  return {{update}};
}

// Opaque to compilers where the order of additions matters.
fn plus(sum: {{type}}, x: {{type}}) -> {{type}} {
  return {{plus}};
}

@compute @workgroup_size({{threads}})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) thread: u32) {
  runtime_zero = workgroup.z;
  let i = (workgroup.y * 65535u + workgroup.x) * {{threads}}u + thread;
  if (i >= {{size}}u) {
    return;
  }
  let row = i / width;
  let column = i % width;
  let end = {{starts}}[row + 1u];
  var place = {{starts}}[row];
  var sum = {{zero}};
  // Four loads under way at a time.
  for (; place + 4u <= end; place += 4u) {
    let a = update(place, column);
    let b = update(place + 1u, column);
    let c = update(place + 2u, column);
    let d = update(place + 3u, column);
    sum = plus(plus(plus(plus(sum, a), b), c), d);
  }
  for (; place < end; place++) {
    sum = plus(sum, update(place, column));
  }
  {{output}}[i] = {{result}};
}

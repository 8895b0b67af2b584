// The {{outputs}} output(s) of a row, {{slots}} at a time with {{shares}} thread(s) for each.
for (var turn = 0u; turn < {{outputs}}u; turn += {{slots}}u) {
  let slot = {{slot}};
  let share = {{share}};
  let place = thread - lane + share * {{slots}}u + slot;
  let is_output = is_row && turn + slot < {{outputs}}u;
  let output = row * {{outputs}}u + turn + slot;
  var total = {{identity}};
  if (is_output) {
    {{before}}
    for (var position = share; position < {{inner}}u; position += {{shares}}u) {
      {{body}}
      total = {{combine}}(total, {{value}});
    }
  }

  {{totals}}[place] = total;
  for (var half = {{shares}}u / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (share < half) {
      {{totals}}[place] = {{combine}}({{totals}}[place], {{totals}}[place + half * {{slots}}u]);
    }
  }
  workgroupBarrier();

  if (is_output && share == 0u) {
    let result = {{totals}}[place];
    {{after}}
  }
}

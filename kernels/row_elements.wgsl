// Every element of a row.
if (is_row) {
  for (var next = lane; next < {{length}}u; next += lanes) {
    let position = row * {{length}}u + next;
    {{body}}
  }
}

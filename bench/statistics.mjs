// The arithmetic of the benchmark: medians, comparison in pairs, slopes, agreement of values.

export function median(list) {
  const sorted = [...list].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/**
 * Two sides measured by turns, [A B] [A B] ...: the median time of each, and the median over rounds of the ratio of their
 * medians, in which what slows the machine for seconds cancels.
 * @param rounds pairs of lists of milliseconds: [ours, theirs]
 */
export function paired(rounds) {
  const [ours, theirs] = [0, 1].map(side => median(rounds.flatMap(round => round[side])))
  return { ours, theirs, ratio: median(rounds.map(([a, b]) => median(a) / median(b))) }
}

/** Which of the ceilings work takes longer at: its task, and how much of that the work is. */
export function boundOf({ flops = 0, bytes = 0 }, { flopsPerSecond, bytesPerSecond }) {
  return flops / flopsPerSecond >= bytes / bytesPerSecond
    ? { task: 'compute', work: flops }
    : { task: 'copy', work: bytes }
}

/** The slope of the least-squares line through (log x, log y): the power with which y grows. */
export function slope(points) {
  const logs = points.map(([x, y]) => [Math.log(x), Math.log(y)])
  const mean = k => logs.reduce((sum, p) => sum + p[k], 0) / logs.length
  const [mx, my] = [mean(0), mean(1)]
  const spread = logs.reduce((sum, [x]) => sum + (x - mx) ** 2, 0)
  return logs.reduce((sum, [x, y]) => sum + (x - mx) * (y - my), 0) / spread
}

/** The first value that is further than `tolerance`, relative, from what is expected: 'wrong: got x, expected y'. */
export function disagreement(values, expected, tolerance = 1e-4) {
  const i = expected.findIndex((y, i) => !(Math.abs(values[i] - y) <= tolerance * Math.abs(y)))
  return i < 0 ? undefined : `wrong: got ${values[i]}, expected ${expected[i]}${i ? ` (value ${i + 1})` : ''}`
}

/** The answer that most sides agree with; the earlier one where as many agree with another. */
export function consensus(answers) {
  const votes = answers.map(expected => answers.filter(values => !disagreement(values, expected)).length)
  return answers[votes.indexOf(Math.max(...votes))]
}

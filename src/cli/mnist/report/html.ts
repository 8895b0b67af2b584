/** The report as one page that needs nothing else: no script, no request. The figures come as SVG text. */

import { caveats, explanation, resultColumns, resultRows, settings } from './results.js'
import type { Run } from './types.js'

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}
const escapeText = (text: string): string => text.replace(/[&<>"']/g, character => entities[character])

const css = `
:root { color-scheme: light dark; --ink: #1c1f24; --soft: #5b6370; --paper: #fff; --line: #d9dde3; --tint: #f5f6f8; --wrong: #c62828 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8eb; --soft: #a0a8b4; --paper: #15181c; --line: #333941; --tint: #1d2127; --wrong: #ff8a80 }
}
@media print {
  :root { color-scheme: light; --ink: #000; --soft: #444; --paper: #fff; --line: #bbb; --tint: #fff; --wrong: #c62828 }
  main { max-width: none; padding: 0 }
  table, figure, .note { break-inside: avoid }
  h2 { break-after: avoid }
}
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif }
main { max-width: 60rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem }
h1 { font-size: 1.75rem; line-height: 1.25; margin: 0 0 .35rem }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .75rem }
p { margin: .5rem 0; max-width: 46rem }
.lead, figcaption { color: var(--soft) }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .45rem .9rem; border-bottom: 1px solid var(--line); text-align: left; font-weight: normal }
.results { width: 100% }
.results th, .results td { text-align: right; white-space: nowrap }
.results th:first-child { text-align: left }
.results thead th { color: var(--soft); font-size: .875rem; border-bottom-width: 2px }
.results tbody th { font-weight: 600 }
.settings th { color: var(--soft); padding-left: 0 }
.note { margin: 1rem 0; padding: .6rem 1rem; background: var(--tint); border-left: 4px solid var(--soft); max-width: 48rem }
figure { margin: 0 }
figcaption { font-size: .9rem; margin-top: .5rem; max-width: 46rem }
svg { display: block; max-width: 100%; height: auto }
svg image { image-rendering: pixelated }
svg .wrong { fill: var(--wrong) }
`

/** The page; every text of the run is escaped. `curves` and `figure` are SVG and stand as they are. */
export function reportHtml(run: Run, curves: string, figure: string): string {
  const cells = (tag: string, texts: readonly string[]) =>
    texts.map(text => `<${tag}>${escapeText(text)}</${tag.split(' ')[0]}>`).join('')
  const rows = resultRows(run).map(
    ([name, ...rest]) => `<tr>${cells('th scope="row"', [name])}${cells('td', rest)}</tr>`,
  )
  const set = settings(run).map(([name, value]) => `<tr>${cells('th scope="row"', [name])}${cells('td', [value])}</tr>`)
  const size = `${run.train.toLocaleString('en-US')} training and ${run.test.toLocaleString('en-US')} test images`
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Adversarial regularisation on MNIST</title>
<style>${css}</style>
</head>
<body>
<main>
<h1>Adversarial regularisation on MNIST</h1>
<p class="lead">The same network trained twice, with and without adversarial regularisation: ${escapeText(size)}.</p>

<h2>Accuracy on the test images</h2>
<div class="scroll"><table class="results">
<thead><tr>${cells('th scope="col"', resultColumns)}</tr></thead>
<tbody>${rows.join('\n')}</tbody>
</table></div>
<p class="note"><strong>How to read this.</strong> ${escapeText(explanation)}</p>
<p class="note"><strong>How far to trust it.</strong> ${caveats(run).map(escapeText).join(' ')}</p>

<h2>Training</h2>
<figure>
${curves}
<figcaption>Loss and accuracy on the training batches, not on the test images. The adversarial model's loss may
include its term for perturbed images, so compare the shapes of the loss curves, not their heights.</figcaption>
</figure>

<h2>Perturbed digits</h2>
<figure>
${figure}
<figcaption>Test images perturbed with the base model's gradient (${escapeText(run.norm)}, ε = ${run.epsilon}), clipped to black and white.
A prediction in bold with a cross is wrong.</figcaption>
</figure>

<h2>Settings</h2>
<div class="scroll"><table class="settings"><tbody>
${set.join('\n')}
</tbody></table></div>
</main>
</body>
</html>
`
}

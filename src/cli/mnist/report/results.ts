/**
 * What a run says in words and cells: its settings, its results, what the columns mean and how far to trust them.
 * Shared by the terminal and the page, so that both say the same.
 */

import type { Run } from './types.js'

const count = (n: number): string => n.toLocaleString('en-US')
const percent = (fraction: number): string => (Number.isFinite(fraction) ? `${(100 * fraction).toFixed(2)} %` : 'none')
const seconds = (s: number): string =>
  s < 90 ? `${s.toFixed(1)} s` : `${Math.floor(Math.round(s) / 60)} min ${Math.round(s) % 60} s`

export const settings = (run: Run): readonly (readonly [string, string])[] => [
  ['Device', `${run.device}, ${run.threads} ${run.threads === 1 ? 'thread' : 'threads'}`],
  ['Training images', count(run.train)],
  ['Test images', count(run.test)],
  ['Epochs', count(run.epochs)],
  ['Batch size', count(run.batchSize)],
  ['Perturbation', `${run.norm}, ε = ${run.epsilon}`],
  ['Adversarial multiplier', String(run.multiplier)],
  ...(run.steps === undefined ? [] : [['Regularisation', run.steps] as const]),
  ['Seed', String(run.seed)],
  ['Time in all', seconds(run.secondsTotal)],
]

export const resultColumns: readonly string[] = [
  'model',
  'parameters',
  'clean',
  'FGSM transfer',
  'FGSM white-box',
  'PGD-40 white-box',
  's / epoch',
]

export const resultRows = (run: Run): readonly (readonly string[])[] =>
  run.models.map(model => [
    model.name,
    count(model.parameters),
    percent(model.clean),
    percent(model.fgsmTransfer),
    percent(model.fgsm),
    percent(model.pgd40),
    model.secondsPerEpoch.toFixed(1),
  ])

export const explanation =
  'Transfer means that the perturbed images were made from the base model and then shown to both models, as the ' +
  'tutorial does: the adversarial model faces an attack that was never aimed at it. White-box means that each model ' +
  'faces images made from its own gradients. Only the white-box columns measure robustness; a high transfer number ' +
  'does not. For the base model, FGSM transfer and FGSM white-box are the same attack.'

/** What the tutorial itself ran on; its published numbers compare with a run of this size only. */
const full = { train: 60_000, test: 10_000, epochs: 5 }

/** How far to trust the numbers of a run of this size, as sentences. */
export function caveats(run: Run): readonly string[] {
  // Half of the normal 95% interval of a proportion, at the reading where it is widest.
  const readings = run.models.flatMap(model => [model.clean, model.fgsmTransfer, model.fgsm, model.pgd40])
  const spread = Math.max(...readings.map(p => (Number.isFinite(p) ? p * (1 - p) : 0)), 0)
  const margin = (196 * Math.sqrt(spread / run.test)).toFixed(1)
  const size = `One run with one seed, tested on ${count(run.test)} images`
  const noise = `${size}: the sampling error alone is up to ±${margin} percentage points (95 %), and another seed adds to it.`
  const smaller = run.train < full.train || run.test < full.test || run.epochs < full.epochs
  const reduced =
    `This is a reduced run (${count(run.train)} of 60,000 training images, ${count(run.test)} of 10,000 test images, ` +
    `epochs: ${run.epochs} of 5): do not compare it with published numbers of the full recipe.`
  return smaller ? [noise, reduced] : [noise]
}

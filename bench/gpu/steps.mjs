// Training steps with Adam, plain and robust: the loss alone, with the loss on a perturbed leaf added (FGM; PGD of three
// steps), or with a penalty on the leaf's gradient. The leaf is the image, each example by itself, or BERT's word matrix.
import { compile, grad, mapTree, maximum, realize, stopGradient, valueAndGrad } from 'saddlepoint'
import { adversarialRegularization } from 'saddlepoint/adversarial'
import { adam } from 'saddlepoint/optim'
import { disposeTree, finish, timed } from './measure.mjs'
import { buildBatch, buildModel, lossOf } from './networks.mjs'

export const variants = ['plain', 'fgm', 'pgd3', 'penalty']
/** How far each step goes (l2), how many there are, the ball they stay in; the weight of the penalty. */
export const settings = {
  fgm: { stepSize: 0.5, iterations: 1 },
  pgd3: { stepSize: 0.25, iterations: 3, epsilon: 0.5 },
  penalty: 0.1,
}

/** L + 0.1 · mean over examples of ‖∂L_i/∂x_i‖², where ∂L_i/∂x_i is n times the slope of the mean. */
const imagePenalty = loss => (model, batch) => {
  const [value, slope] = valueAndGrad(image => loss(model, { ...batch, image }))(batch.image)
  return value.add(
    slope
      .square()
      .sum()
      .mul(settings.penalty * batch.image.shape[0]),
  )
}

const withWords = (model, words) => mapTree(model, (t, name) => (name === 'word.weight' ? words : t))
const norm = x => x.square().sum().sqrt()

/** L(W) + L(W + δ): δ climbs along the gradient of the whole matrix, and stays in the ball. */
const wordAttack =
  (loss, { stepSize, iterations, epsilon }) =>
  (model, batch) => {
    const at = words => loss(withWords(model, words), batch)
    const { weight } = model.word
    let delta
    for (let i = 0; i < iterations; i++) {
      const slope = grad(at)(i === 0 ? weight : weight.add(delta))
      const stride = slope.mul(norm(slope).reciprocal().mul(stepSize))
      const moved = i === 0 ? stride : delta.add(stride)
      delta = stopGradient(epsilon ? moved.div(maximum(norm(moved).div(epsilon), 1)) : moved)
    }
    return at(weight).add(at(weight.add(delta)))
  }
const wordPenalty = loss => (model, batch) => {
  const [value, slope] = valueAndGrad(words => loss(withWords(model, words), batch))(model.word.weight)
  return value.add(slope.square().sum().mul(settings.penalty))
}

/** The loss of a variant, a function of model, batch and context. */
export function robustLoss(spec, variant) {
  const loss = lossOf(spec)
  if (variant === 'plain') return loss
  if (spec.kind === 'bert') return variant === 'penalty' ? wordPenalty(loss) : wordAttack(loss, settings[variant])
  return variant === 'penalty'
    ? imagePenalty(loss)
    : adversarialRegularization({ ...settings[variant], multiplier: 1, norm: 'l2' })(loss)
}

/**
 * Measures a training step on a fresh device: `first` with compilation, then as `timed` has it, the losses of the first
 * steps, and the memory in use. The state is donated from step to step; the loss is read once per sample.
 */
export async function measureStep(device, { spec, variant, batchSize }, howOften) {
  const context = { training: true }
  const loss = robustLoss(spec, variant)
  const optimizer = adam({ learningRate: 1e-4 })
  const step = compile(
    (params, state, batch) => {
      const [value, slopes] = valueAndGrad(m => loss(m, batch, context))(params)
      return { ...optimizer.update(slopes, state, params), value }
    },
    { donate: [0, 1] },
  )
  const batch = buildBatch(spec, batchSize)
  const params = buildModel(spec)
  let now = { params, state: optimizer.init(params) }
  await realize(now, batch)
  const losses = []
  try {
    const times = await timed(
      device,
      async () => {
        now = await step(now.params, now.state, batch)
        if (losses.length < 3) losses.push(await finish(now.value))
        return now.value
      },
      howOften,
    )
    const megabytes = device.bytesInUse / 1e6
    return { ...times, losses, examplesPerSecond: batchSize / (times.wall / 1000), megabytes }
  } finally {
    disposeTree([now.params, now.state, batch])
  }
}

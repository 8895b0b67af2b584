// A task for the command line: two moons of points in the plane, and a small network that tells them apart.
//   npx saddlepoint train docs/examples/task.mjs --use adversarialTraining --epochs 20
//   npx saddlepoint evaluate docs/examples/task.mjs
import { random } from 'saddlepoint'
import { dataset } from 'saddlepoint/data'
import { Linear, Sequential } from 'saddlepoint/nn'

/** n points [n, 2] along two half circles, with a little noise, and which of the two they belong to. */
async function moons(n, key) {
  const noise = await random.normal(key, [n, 2]).mul(0.08).data()
  const point = new Float32Array(2 * n)
  const label = Int32Array.from({ length: n }, (_, i) => i % 2)
  for (const [i, moon] of label.entries()) {
    const angle = (Math.PI * i) / n
    point[2 * i] = (moon ? 1 - Math.cos(angle) : Math.cos(angle)) + noise[2 * i]
    point[2 * i + 1] = (moon ? 0.5 - Math.sin(angle) : Math.sin(angle)) + noise[2 * i + 1]
  }
  return dataset({
    point: { dtype: 'float32', shape: [n, 2], data: point },
    label: { dtype: 'int32', shape: [n], data: label },
  })
}

export default async () => ({
  model: key => {
    const [a, b] = [random.foldIn(key, 0), random.foldIn(key, 1)]
    return new Sequential([new Linear(2, 32, { key: a }), x => x.tanh(), new Linear(32, 2, { key: b })])
  },
  logits: (model, { point }) => model.apply(point),
  train: await moons(1000, random.key(1)),
  test: await moons(200, random.key(2)),
  threat: { epsilon: 0.15, norm: 'l2' },
})

import { grad, namedLeaves, ones, random, square, type Tensor, tensor } from 'saddlepoint'
import { checkGrads } from 'saddlepoint/check'
import { MultiHeadAttention, type MultiHeadAttentionOptions, Sequential } from 'saddlepoint/nn'
import { describe, expect, test } from 'vitest'
import { expectClose } from '../oracle/close.js'
import { wave } from './wave.js'

const key = random.key(1)
const f64 = { key, dtype: 'float64' } as const

/** Weights that another program can make too. */
function known(options: Partial<MultiHeadAttentionOptions> = {}): MultiHeadAttention {
  const layer = new MultiHeadAttention(4, 2, { ...f64, ...options })
  const { query, key, value, output } = layer
  ;[query, key, value, output].forEach((l, i) => {
    l.weight.assign(wave((i + 1) / 10, ...l.weight.shape))
    l.bias?.assign(wave((i + 5) / 10, 4))
  })
  return layer
}

// Numbers computed with torch.nn.MultiheadAttention.
describe('multi-head attention', () => {
  const [x, source] = [wave(0.9, 1, 3, 4), wave(1.1, 1, 2, 3)]
  const mask = tensor([
    [true, false],
    [true, true],
    [false, true],
  ])

  test('to another source, with a mask; value and gradients', async () => {
    const layer = known({ sourceDim: 3 })
    const apply = (m: MultiHeadAttention, x: Tensor): Tensor => m.apply(x, undefined, { source, mask })
    await expectClose(
      apply(layer, x).flatten(),
      [
        0.82324707917, 0.849887262646, 0.293831693334, -0.61169955695, 0.623129874255, 0.652258174638, 0.129892009759,
        -0.716067364761, 1.7287651605, 1.86417581264, 1.25675685212, 0.147837500867,
      ],
      1e-10,
    )
    const loss = (m: MultiHeadAttention, x: Tensor): Tensor => square(apply(m, x)).sum()
    await expectClose(
      grad((x: Tensor) => loss(layer, x))(x).flatten(),
      [0, 0, 0, 0, -0.186404013923, -0.0721154613747, 0.0535585368495, 0.170776819751, 0, 0, 0, 0],
      1e-10,
    )
    await expectClose(
      grad(loss)(layer, x).key.weight.flatten(),
      [
        0.686602783665, 0.876185132906, -0.465890576363, -0.358664955663, 0.56410707142, 0.719866334806,
        -0.382771778511, -0.294676110516, -0.174849224336, -0.22312797808, 0.118642988115, 0.0913370740493,
      ],
      1e-10,
    )
  })
  test('to itself, causally, without bias, inside a Sequential', async () => {
    const layer = known({ causal: true, bias: false })
    expect(namedLeaves(layer).map(l => l.name)).toEqual(['query.weight', 'key.weight', 'value.weight', 'output.weight'])
    await expectClose(
      new Sequential([layer]).apply(x).flatten(),
      [
        0.0745461041251, 0.0409309284012, 0.000853659072228, -0.039358384254, 1.33701473842, 1.40322592514,
        1.24789859242, 0.895555510764, 1.55479903253, 1.62136961871, 1.43196159279, 1.01647831734,
      ],
      1e-10,
    )
  })
  test('derivatives to order 2, with respect to weights, input, source and mask', async () => {
    const layer = new MultiHeadAttention(4, 2, { ...f64, sourceDim: 3 })
    await checkGrads(
      (m: MultiHeadAttention, x: Tensor, source: Tensor, mask: Tensor) => m.apply(x, undefined, { source, mask }),
      [layer, x, source, wave(0.8, 1, 2, 3, 2)],
      { order: 2 },
    )
  })
  test('each position may see more leading axes; one head, an empty batch', () => {
    expect(known().apply(ones([2, 5, 3, 4], 'float64')).shape).toEqual([2, 5, 3, 4])
    expect(new MultiHeadAttention(3, 1, { key }).apply(ones([2, 3])).shape).toEqual([2, 3])
    expect(known().apply(ones([0, 3, 4], 'float64')).shape).toEqual([0, 3, 4])
    expect(new MultiHeadAttention(4, 2, { key, outputDim: 6 }).apply(ones([2, 3, 4])).shape).toEqual([2, 3, 6])
  })
  test('dropout in training alone, with a key', async () => {
    const layer = known({ dropout: 0.5 })
    const still = await layer.apply(x).data()
    expect(await layer.apply(x, { training: false, key }).data()).toEqual(still)
    expect(await layer.apply(x, { training: true, key }).data()).not.toEqual(still)
    expect(() => layer.apply(x, { training: true })).toThrow('MultiHeadAttention: training needs a random key')
    expect(await known().apply(x, { training: true }).data()).toEqual(still)
  })
  test('wrong arguments are named', () => {
    const layer = known({ sourceDim: 3 })
    expect(() => new MultiHeadAttention(4, 3, { key })).toThrow(
      'MultiHeadAttention: dim 4 does not divide into 3 heads',
    )
    expect(() => new MultiHeadAttention(4, 0, { key })).toThrow('MultiHeadAttention: heads must be a positive integer')
    expect(() => new MultiHeadAttention(4, 2, { key, dropout: 1 })).toThrow('dropout must lie in [0, 1), not 1')
    // @ts-expect-error no key
    expect(() => new MultiHeadAttention(4, 2)).toThrow('MultiHeadAttention: its first weights need a random key')
    expect(() => layer.apply(x)).toThrow('MultiHeadAttention: was made for 3 on the last axis, got [1,3,4]')
    expect(() => layer.apply(source)).toThrow('MultiHeadAttention: was made for 4 on the last axis, got [1,2,3]')
    expect(() => known().apply(ones([4]))).toThrow('MultiHeadAttention: needs a time axis, [..., time, dim], got [4]')
  })
})

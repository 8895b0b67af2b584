/** Convolutions and pooling: values that torch finds, and convTranspose2d as the adjoint of conv2d. */

import * as sp from 'saddlepoint'
import { expect, test } from 'vitest'
import { wave } from '../nn/wave.js'
import { expectClose } from '../oracle/close.js'
import { testValues } from './rows.js'

testValues([
  [
    'conv1d',
    () => sp.conv1d(wave(1, 1, 4, 2), wave(0.7, 3, 2, 2)),
    [1, 2, 2],
    [1.72879182775, 0.619790027141, 1.03721893948, 2.17484352156],
  ],
  [
    'conv1d with stride, padding and dilation',
    () => sp.conv1d(wave(1, 1, 5, 1), wave(0.7, 2, 1, 2), { stride: 2, padding: 1, dilation: 2 }),
    [1, 3, 2],
    [0.784914055906, 0.304603862954, -0.0674935173322, 0.642547035808, -0.487545553223, -0.745790814656],
  ],
  [
    'conv1d in groups',
    () => sp.conv1d(wave(1, 1, 3, 4), wave(0.7, 2, 2, 2), { groups: 2 }),
    [1, 2, 2],
    [1.93789158601, -1.31161565034, -0.469039344419, 2.18913837379],
  ],
  [
    'conv1d, more padding before',
    () => sp.conv1d(wave(1, 1, 3, 1), wave(0.7, 2, 1, 1), { padding: [1, 0] }),
    [1, 3, 1],
    [0.829227354772, 1.43815739546, 0.724852159159],
  ],
  [
    'conv1d of the same length',
    () => sp.conv1d(wave(1, 1, 4, 1), wave(0.7, 2, 1, 1), { padding: 'same' }),
    [1, 4, 1],
    [1.43815739546, 0.724852159159, -0.65487880944, -0.487545553223],
  ],
  ['conv1d of no batch', () => sp.conv1d(sp.zeros([0, 4, 2]), wave(0.7, 3, 2, 2)), [0, 2, 2], []],
  ['conv1d of no channels', () => sp.conv1d(sp.zeros([1, 4, 0]), sp.zeros([3, 0, 2])), [1, 2, 2], [0, 0, 0, 0]],
  ['conv1d to no channels', () => sp.conv1d(sp.zeros([1, 4, 2]), sp.zeros([3, 2, 0])), [1, 2, 0], []],
  [
    'depthwiseConv2d',
    () => sp.depthwiseConv2d(wave(1, 1, 3, 3, 2), wave(0.7, 2, 2, 2, 2)),
    [1, 2, 2, 4],
    [
      0.635140800817, 0.98682914202, 2.98466210048, 2.16054586294, 0.115120639314, 1.61207370126, -0.444329975899,
      -0.0166537817904, 0.493248566323, 0.325961970208, 2.62065231527, 1.80332614683, 0.320427319547, 2.05725179867,
      0.4336967314, 0.645788083195,
    ],
  ],
  [
    'depthwiseConv2d with stride, padding and dilation',
    () => sp.depthwiseConv2d(wave(1, 1, 4, 4, 2), wave(0.7, 2, 2, 2, 1), { stride: 2, padding: 1, dilation: 2 }),
    [1, 2, 2, 2],
    [
      0.982442991024, 0.338720581919, -0.288097195208, 0.649407714206, -1.80279494236, -0.35075935539, -0.0214096182871,
      -1.20942202543,
    ],
  ],
  [
    'depthwiseConv2d of no channels',
    () => sp.depthwiseConv2d(sp.zeros([1, 3, 3, 0]), sp.zeros([2, 2, 0, 3])),
    [1, 2, 2, 0],
    [],
  ],
  [
    'convTranspose2d',
    () => sp.convTranspose2d(wave(1, 1, 2, 2, 2), wave(0.7, 2, 2, 1, 2)),
    [1, 3, 3, 1],
    [
      1.43815739546, 0.376090689363, -0.131703755158, -1.98080142091, -0.31375440193, 1.23764072079, 0.579906330843,
      0.0257227834272, -1.27000705437,
    ],
  ],
  [
    'convTranspose2d with stride, padding and more at the end',
    () =>
      sp.convTranspose2d(wave(1, 1, 2, 2, 1), wave(0.7, 3, 3, 1, 1), { stride: 2, padding: 1, outputPadding: [1, 0] }),
    [1, 4, 3, 1],
    [
      -0.295173908058, -0.428801860594, -0.318966286312, -0.392125885608, -1.24492266368, -1.31979994411,
      -0.0495025319188, -0.376516647964, 0.265473622028, -0.0890843530245, 0.745895366528, 0.477744166746,
    ],
  ],
  [
    'convTranspose2d with dilation',
    () => sp.convTranspose2d(wave(1, 1, 2, 1, 1), wave(0.7, 2, 2, 1, 1), { dilation: [2, 3] }),
    [1, 4, 4, 1],
    [
      0.542090491711, 0, 0, 0.829227354772, 0.585785485321, 0, 0, 0.896066903745, 0.726365635849, 0, 0, 0.281882808611,
      0.784914055906, 0, 0, 0.304603862954,
    ],
  ],
  [
    'convTranspose2d in groups',
    () => sp.convTranspose2d(wave(1, 1, 1, 2, 4), wave(0.7, 1, 2, 3, 4), { groups: 2, stride: [1, 2] }),
    [1, 1, 4, 6],
    [
      1.43815739546, -1.0876955152, 0.611544633073, -0.131703755158, 0.339100446134, -0.507312276999, -0.0647265159974,
      -0.48957109426, 0.987296160713, 0.616901476034, -0.655204428422, 0.617795024295, -0.893105905714, 0.579906330843,
      -0.199695495117, 0.898540274655, -1.27000705437, 1.49471776421, -0.203591217183, 0.583351881504, -0.895703133266,
      -1.5467058865, 1.41996391719, -1.12913756495,
    ],
  ],
  [
    'convTranspose2d, padded more than the kernel reaches',
    () => sp.convTranspose2d(wave(1, 1, 4, 4, 1), wave(0.7, 2, 2, 1, 1), { padding: 2 }),
    [1, 1, 1, 1],
    [-0.706800730048],
  ],
  [
    'convTranspose2d of no batch',
    () => sp.convTranspose2d(sp.zeros([0, 2, 2, 1]), sp.zeros([2, 2, 3, 1])),
    [0, 3, 3, 3],
    [],
  ],
  [
    'convTranspose2d of no channels',
    () => sp.convTranspose2d(sp.zeros([1, 1, 1, 0]), sp.zeros([2, 2, 1, 0])),
    [1, 2, 2, 1],
    [0, 0, 0, 0],
  ],
  [
    'convTranspose1d',
    () => sp.convTranspose1d(wave(1, 1, 3, 2), wave(0.7, 2, 1, 2)),
    [1, 4, 1],
    [1.43815739546, 0.376090689363, -1.02480966087, -0.921353296663],
  ],
  [
    'convTranspose1d with all options',
    () =>
      sp.convTranspose1d(wave(1, 1, 3, 4), wave(0.7, 3, 1, 4), {
        stride: 3,
        padding: 1,
        outputPadding: 2,
        dilation: 2,
        groups: 2,
      }),
    [1, 11, 2],
    [
      0, 0, -1.0876955152, 0.339100446134, -0.893105905714, 0.898540274655, 0.611544633073, -0.507312276999,
      0.579906330843, -1.27000705437, -0.270611439404, -1.04294648208, -0.199695495117, 1.49471776421, 0.329591367489,
      1.32116357294, 0, 0, -0.350485260076, -1.44671318613, 0, 0,
    ],
  ],
  [
    'maxPool1d',
    () => sp.maxPool1d(wave(1, 1, 5, 2), 2),
    [1, 2, 2],
    [0.841470984808, 0.909297426826, 0.656986598719, 0.989358246623],
  ],
  [
    'maxPool1d with stride and padding',
    () => sp.maxPool1d(wave(1, 1, 5, 1), 3, { stride: 2, padding: 1 }),
    [1, 3, 1],
    [0.909297426826, 0.909297426826, -0.756802495308],
  ],
  [
    'avgPool1d',
    () => sp.avgPool1d(wave(1, 1, 5, 2), 2),
    [1, 2, 2],
    [0.491295496434, 0.0762474657589, -0.150968837972, 0.354971374212],
  ],
  [
    'avgPool1d with stride and padding',
    () => sp.avgPool1d(wave(1, 1, 5, 1), 3, { stride: 1, padding: 1 }),
    [1, 5, 1],
    [0.583589470545, 0.630629473231, 0.0978716465259, -0.524868920637, -0.571908923324],
  ],
  [
    'maxPool2d with stride and padding',
    () => sp.maxPool2d(wave(1, 1, 4, 3, 1), 3, { stride: 2, padding: 1 }),
    [1, 2, 2, 1],
    [0.909297426826, 0.909297426826, 0.989358246623, 0.989358246623],
  ],
  [
    'avgPool2d with stride',
    () => sp.avgPool2d(wave(1, 1, 3, 3, 2), 2, { stride: 1 }),
    [1, 2, 2, 2],
    [
      0.512924019207, 0.149458016813, -0.351418996978, -0.529203005599, 0.534889990236, 0.287010293691, -0.224745343258,
      -0.529871148082,
    ],
  ],
  ['pooling of no batch', () => sp.maxPool2d(sp.zeros([0, 4, 4, 2]), 2), [0, 2, 2, 2], []],
  ['pooling of no channels', () => sp.avgPool2d(sp.zeros([1, 4, 4, 0]), 3, { stride: 1 }), [1, 2, 2, 0], []],
])

test('convTranspose2d is the adjoint of conv2d', async () => {
  const w = wave(0.7, 3, 2, 2, 4)
  for (const options of [
    { stride: 2, padding: 1, groups: 2 },
    { dilation: 2, padding: 'valid', groups: 2 },
    { stride: 2, padding: 'same', groups: 2 },
  ] as const) {
    const x = wave(0.3, 1, 6, 6, 4)
    const [y, [pulled]] = pullOf(x, w, options)
    const { stride = 1, padding } = { stride: 1, ...options }
    // Rows that the convolution does not reach are the output padding.
    const again = sp.convTranspose2d(wave(1, ...y.shape), w, options)
    const extra = [1, 2].map(d => x.shape[d] - again.shape[d])
    expect(
      extra.every(n => n >= 0 && n < stride),
      `${padding}`,
    ).toBe(true)
    await expectClose(
      sp.convTranspose2d(wave(1, ...y.shape), w, { ...options, outputPadding: [extra[0], extra[1]] }),
      pulled,
    )
  }
})
function pullOf(x: sp.Tensor, w: sp.Tensor, options: sp.ConvOptions): [sp.Tensor, sp.Tensor[]] {
  const [y, pull] = sp.vjp((z: sp.Tensor) => sp.conv2d(z, w, options), x)
  return [y, pull(wave(1, ...y.shape))]
}

test('convTranspose2d, same: the input times the stride, and what is added at the end', () => {
  const x = sp.ones([1, 3, 2, 1])
  for (const kernel of [1, 2, 3, 4])
    for (const stride of [1, 2, 3]) {
      const options = { stride, padding: 'same', outputPadding: [0, 1] } as const
      const y = sp.convTranspose2d(x, sp.ones([kernel, kernel, 1, 1]), options)
      expect(y.shape).toEqual([1, 3 * stride, 2 * stride + 1, 1])
    }
})

test('pools of whole channels', async () => {
  const x = sp.stack([wave(1, 2, 3, 2), wave(2, 2, 3, 2)], 3)
  await expectClose(
    sp.globalAvgPool2d(x),
    sp.stack([wave(1, 2, 6).mean({ axis: 1 }), wave(2, 2, 6).mean({ axis: 1 })], 1),
  )
  await expectClose(
    sp.globalMaxPool2d(x),
    sp.stack([wave(1, 2, 6).max({ axis: 1 }), wave(2, 2, 6).max({ axis: 1 })], 1),
  )
})

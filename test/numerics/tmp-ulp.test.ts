import * as sp from 'saddlepoint'
import { test } from 'vitest'
import { functions } from './functions.js'
import { measure } from './measure.js'
test('x', async () => {
  const reference = await sp.setDevice('reference')
  const wasm = [await sp.setDevice('wasm', { threads: 1 })]
  const names = (process.env.FN ?? '').split(',')
  for (const row of functions.filter(f => names.includes(f.name))) {
    const cells = []
    for (const type of ['float32', 'float64'] as const) {
      const w = await measure(row, type, Number(process.env.CH ?? 6), { reference, wasm })
      for (const d of ['wasm', 'reference'] as const) cells.push(`${w[d].ulps.toFixed(2)} @${w[d].at}`)
    }
    console.log(row.name, cells.join(' | '))
  }
  for (const name of ['cosh', 'silu', 'sinh', 'sigmoid', 'asin', 'acos', 'acosh', 'asinh', 'exp']) {
    const f = Reflect.get(sp, name) as (x: sp.Tensor) => sp.Tensor
    const x = sp.tensor(new Float32Array(1e6).map((_, i) => (i % 1000) / 1001 + (name==='acosh' ? 1 : 0)))
    for (let i = 0; i < 3; i++) await f(x).data()
    const t: number[] = []
    for (let i = 0; i < 15; i++) { const s = performance.now(); await f(x).data(); t.push(performance.now() - s) }
    console.log(name, 'ms', Math.min(...t).toFixed(2))
  }
}, 600000)

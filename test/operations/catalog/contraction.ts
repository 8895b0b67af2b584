/** Products that sum over shared axes. */

import * as sp from 'saddlepoint'
import { binary, type Catalog, chosen, type Make, normal, smooth } from '../cases.js'

/** Operands of an einsum; letters have the sizes 1 to 3, and 'z' is broadcast where a row has it. */
const einsum =
  (spec: string, ...shapes: string[]): Make =>
  r => {
    const sizes = Object.fromEntries([...'bijkz'].map(name => [name, r.int(1, 3)]))
    const shape = (names: string): number[] => [...names].map(name => (name === '1' ? 1 : sizes[name]))
    return { f: (...xs) => sp.sin(sp.einsum(spec, ...xs)), args: shapes.map(names => normal(r, shape(names))) }
  }

export const contraction: Catalog = {
  matmul: smooth(
    r => {
      const [m, k, n, b] = r.shape(4)
      const [left, right] = [r.pick([[], [b], [1, b]]), r.pick([[], [b], [2, 1]])]
      return { f: sp.matmul, args: [normal(r, [...left, m, k]), normal(r, [...right, k, n])] }
    },
    r => {
      const [m, k] = r.shape(2)
      return {
        f: sp.matmul,
        args: r.pick([
          [normal(r, [m, k]), normal(r, [k])],
          [normal(r, [k]), normal(r, [k, m])],
        ]),
      }
    },
    chosen(x => sp.matmul(x, sp.matrixTranspose(x)), { rank: [2, 3] }),
  ),
  tensordot: smooth(
    r => {
      const axes = r.int(0, 2)
      const shared = r.shape(axes)
      return {
        f: (a, b) => sp.tensordot(a, b, axes),
        args: [normal(r, [...r.shape(r.int(0, 1)), ...shared]), normal(r, [...shared, ...r.shape(r.int(0, 1))])],
      }
    },
    r => {
      const [i, j, k] = r.shape(3)
      return {
        f: (a, b) =>
          sp.tensordot(a, b, [
            [2, 0],
            [0, -1],
          ]),
        args: [normal(r, [i, k, j]), normal(r, [j, 2, i])],
      }
    },
  ),
  dot: smooth(r => {
    const [i, j] = r.shape(2)
    return { f: sp.dot, args: [normal(r, r.pick([[j], [i, j]])), normal(r, [j, i])] }
  }),
  outer: smooth(binary(sp.outer)),
  trace: smooth(chosen((x, r) => sp.trace(x, { offset: r.int(-1, 1) }), { rank: [2, 3] })),
  einsum: smooth(
    einsum('ij,jk', 'ij', 'jk'),
    einsum('bij,bjk->bik', 'bij', 'bjk'),
    einsum('ii->i', 'ii'),
    einsum('iji->j', 'iji'),
    einsum('i,j,jk->ki', 'i', 'j', 'jk'),
    einsum('ij,ij->', 'ij', 'ij'),
    einsum('...ij,...j->i...', 'zbij', '1bj'),
  ),
}

import { expect, test } from 'vitest'
import { Recent } from '../../src/runtime/recent.js'

test('values by their hash, the oldest of all go first', () => {
  const recent = new Recent<{ name: string }>(3)
  const [a, b, c, d, e] = ['a', 'b', 'c', 'd', 'e'].map(name => ({ name }))
  expect([recent.add(1, a), recent.add(2, b), recent.add(1, c)]).toEqual([false, false, false])
  expect(recent.at(1)).toEqual([a, c])
  expect(recent.add(1, d)).toBe(true)
  expect([recent.at(1), recent.at(2), recent.at(3)]).toEqual([[c, d], [b], []])
  recent.delete(c)
  recent.delete(a)
  expect(recent.size).toBe(2)
  expect(recent.add(2, e)).toBe(false)
  expect(recent.at(2)).toEqual([b, e])
})

import type { Catalog } from '../cases.js'

export const contraction: Catalog = {}

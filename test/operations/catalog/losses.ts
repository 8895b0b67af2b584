import type { Catalog } from '../cases.js'

export const losses: Catalog = {}

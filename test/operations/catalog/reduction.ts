import type { Catalog } from '../cases.js'

export const reduction: Catalog = {}

import type { Catalog } from '../cases.js'

export const indexing: Catalog = {}

import type { Catalog } from '../cases.js'

export const neural: Catalog = {}

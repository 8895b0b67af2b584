import type { Catalog } from '../cases.js'

export const movement: Catalog = {}

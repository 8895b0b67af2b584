#!/usr/bin/env node
/** The command `saddlepoint`, as installed with the package. */

import { launch } from './launch.js'

await launch(async () => (await import('./commands/index.js')).saddlepoint)

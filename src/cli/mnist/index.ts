/** The command of the main job. */

import { launch } from '../launch.js'

await launch(async () => (await import('./main.js')).main)

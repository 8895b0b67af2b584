// Adversarial regularisation by the tutorial's recipe, with all of its options: the main job, as `npm start` runs it in the repository
// after a build. --help lists the options; the report, with its figure and table, goes to the folder --out.
import { main } from '../../dist/cli/mnist/main.js'

process.exitCode = await main(process.argv.slice(2))

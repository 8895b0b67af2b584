/** The command `saddlepoint`. */

import { Command } from 'commander'
import { exitCode } from '../session.js'
import { addAttack } from './attack.js'
import { addDevices } from './devices.js'
import { addEvaluate } from './evaluate.js'
import { addInspect } from './inspect.js'
import { addTrain } from './train.js'
import { addTune } from './tune.js'

/** Runs the command line and returns its exit code. */
export function saddlepoint(args: readonly string[]): Promise<number> {
  const program = new Command('saddlepoint')
    .description('Robust training from the command line. Every command has --help.')
    .exitOverride()
    .addHelpText('after', '\nExit codes: 0, 1 for a failure, 2 for a wrong command line, 130 for Ctrl-C.')
  for (const add of [addTrain, addAttack, addEvaluate, addInspect, addDevices, addTune]) add(program)
  return exitCode(program.parseAsync([...args], { from: 'user' }))
}

/** The neighbourhood of examples that training against attacks searches, and how it sees the model there. */

import type { Context } from '../nn/context.js'
import { attackContext } from './gradient.js'
import { type AscentOptions, checkCounts, checkRequired, checkSizes } from './method.js'
import type { PlaceOptions } from './places.js'
import { checkNorm, type Norm } from './steps.js'

/** Attacks see the model in evaluation mode, with the key of the pass. */
export const attackPass = (ctx: Context): Context => attackContext(ctx, false)

export interface BallOptions extends PlaceOptions {
  /** The radius of the ball. */
  epsilon: number
  /** Default 'linf'. */
  norm?: Norm
  steps?: number
  stepSize?: number
}

export interface Ball extends AscentOptions {
  epsilon: number
}

export function checkedBall(op: string, options: BallOptions, steps: number, stepSize: number): Ball {
  const ball = { norm: options.norm ?? 'linf', epsilon: options.epsilon, steps, stepSize }
  checkNorm(op, ball.norm)
  checkRequired(op, { epsilon: ball.epsilon })
  checkCounts(op, { steps })
  checkSizes(op, { stepSize: ball.stepSize })
  return ball
}

/** Where features are perturbed, the column of labels is none of them. */
export const besideLabels = (options: PlaceOptions, label: string): PlaceOptions =>
  options.on === undefined ? { ...options, labelKeys: options.labelKeys ?? [label] } : options

/** Dawn's empty backend: it has every feature and computes nothing, but judges WGSL as for a GPU. */

import { createRequire } from 'node:module'

export interface Judge {
  /** What Dawn finds wrong or doubtful in some code, by line. */
  messages(code: string): Promise<string[]>
  close(): void
}

export async function openJudge(): Promise<Judge> {
  const { create } = createRequire(import.meta.url)('webgpu') as typeof import('webgpu')
  const instance = create(['backend=null', 'enable-dawn-features=allow_unsafe_apis'])
  const adapter = await instance.requestAdapter()
  if (!adapter) throw new Error('Dawn has no empty backend')
  const requiredFeatures = ['shader-f16', 'subgroups', 'chromium-experimental-subgroup-matrix'] as GPUFeatureName[]
  const device = await adapter.requestDevice({ requiredFeatures })
  // Without its instance a device crashes.
  let held: GPU | undefined = instance
  return {
    messages: async code => {
      if (!held) throw new Error('closed')
      const { messages } = await device.createShaderModule({ code }).getCompilationInfo()
      return messages.map(m => `${m.lineNum}: ${m.message}\n  ${code.split('\n')[m.lineNum - 1]}`)
    },
    close: () => {
      device.destroy()
      held = undefined
    },
  }
}

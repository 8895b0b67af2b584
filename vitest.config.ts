import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

const src = fileURLToPath(new URL('./src', import.meta.url))

// The tests run src as it is, of which one file is made from kernels/.
execFileSync(process.execPath, [fileURLToPath(new URL('./kernels/embed.mjs', import.meta.url))])

/**
 * What `vitest run --mode ...` runs: everything, ten times the cases, everything on the GPU (with a twentieth of the random
 * cases, since each compiles shaders of its own), the writing of documents, or the mutants.
 */
const modes: Readonly<Record<string, { include: string[]; env: Record<string, string> }>> = {
  test: { include: ['test/**/*.test.ts'], env: {} },
  deep: { include: ['test/**/*.test.ts'], env: { RUNS: '10' } },
  webgpu: { include: ['test/**/*.test.ts'], env: { SADDLEPOINT_DEVICE: 'webgpu', RUNS: '0.05' } },
  docs: { include: ['test/documents/*.test.ts'], env: { UPDATE_DOCS: '1' } },
  mutate: { include: ['test/mutants/*.mutate.ts'], env: {} },
}

/** Milliseconds after which a test counts as hanging. A driver in software compiles the shaders of one test for minutes. */
const patience = (mode: string): number => (mode === 'webgpu' ? 3_600_000 : 600_000)

export default defineConfig(({ mode }) => ({
  resolve: {
    alias: [
      { find: /^saddlepoint$/, replacement: `${src}/index.ts` },
      { find: /^saddlepoint\/(.*)$/, replacement: `${src}/$1/index.ts` },
    ],
  },
  test: { ...modes[mode], testTimeout: patience(mode), hookTimeout: patience(mode), pool: 'forks', maxWorkers: 2 },
}))

import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

const src = fileURLToPath(new URL('./src', import.meta.url))

export default defineConfig({
  resolve: {
    alias: [
      { find: /^saddlepoint$/, replacement: `${src}/index.ts` },
      { find: /^saddlepoint\/(.*)$/, replacement: `${src}/$1/index.ts` },
    ],
  },
  test: { include: ['test/**/*.test.ts'], testTimeout: 600_000, hookTimeout: 600_000, pool: 'forks', maxWorkers: 2 },
})

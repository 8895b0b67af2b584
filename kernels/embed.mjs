/**
 * Writes the templates of this folder into src/runtime/backends/webgpu/templates.ts, where bundlers and browsers find them.
 * A file that is as it should be is left alone: others may be reading it.
 */

import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const folder = new URL('./', import.meta.url)
const target = fileURLToPath(new URL('../src/runtime/backends/webgpu/templates.ts', import.meta.url))

/** The text of the generated module. */
function embed() {
  const names = readdirSync(folder)
    .filter(name => name.endsWith('.wgsl'))
    .sort()
  const rows = names.map(name => {
    const text = readFileSync(new URL(name, folder), 'utf8')
      .replaceAll('\\', '\\\\')
      .replaceAll('`', '\\`')
      .replaceAll('${', '\\${')
    return `  ${name.slice(0, -'.wgsl'.length)}: \`${text}\`,\n`
  })
  return `/** The files of kernels/, embedded by \`npm run kernels\` and by builds and tests; change them there. */\nexport const templates = {\n${rows.join('')}} as const\n\nexport type TemplateName = keyof typeof templates\n`
}

const text = embed()
if (!existsSync(target) || readFileSync(target, 'utf8') !== text) writeFileSync(target, text)

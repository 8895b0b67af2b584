// Lines of code per folder of src and kernels: blank lines, lines that are comments alone, and what is generated do not count.
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'

const codeLines = text => {
  let inComment = false
  return text.split('\n').filter(line => {
    const t = line.trim()
    if (inComment) {
      inComment = !t.includes('*/')
      return false
    }
    if (t.startsWith('/*')) {
      inComment = !t.includes('*/')
      return false
    }
    return t !== '' && !t.startsWith('//')
  }).length
}

const files = folder =>
  readdirSync(folder).flatMap(name => {
    const path = join(folder, name)
    return statSync(path).isDirectory()
      ? files(path)
      : /\.(ts|wgsl)$/.test(name) && name !== 'templates.ts'
        ? [path]
        : []
  })

const totals = new Map()
for (const root of ['src', 'kernels']) {
  for (const path of files(root)) {
    const folder = path
      .split('/')
      .slice(0, root === 'src' ? 2 : 1)
      .join('/')
    const key = folder.endsWith('.ts') ? root : folder
    const { lines, count } = totals.get(key) ?? { lines: 0, count: 0 }
    totals.set(key, { lines: lines + codeLines(readFileSync(path, 'utf8')), count: count + 1 })
  }
}
let all = 0
for (const [folder, { lines, count }] of totals) {
  console.log(`${folder.padEnd(18)} ${String(lines).padStart(6)} lines in ${count} files`)
  all += lines
}
console.log(`${'total'.padEnd(18)} ${String(all).padStart(6)} lines`)

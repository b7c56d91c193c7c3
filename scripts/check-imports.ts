/** Checks the import directions of src, and that the check sees: planted violations have to be found. */
import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

const ROOT = resolve(import.meta.dirname, '..')

const PLANTED = [
  ['src/gateway/routes/planted.ts', '../../vault/clear-pin.ts'],
  ['src/pin/planted.ts', '../hsm/self-test.ts'],
  ['src/vault/planted.ts', 'pkcs11js'],
  ['src/client/planted.ts', '../bytes.ts'],
  ['src/client/planted-package.ts', 'yaml'],
  ['src/rows/planted.ts', '../client/client.ts'],
] as const

/** Runs dependency-cruiser over a tree's src. */
function cruise(tree: string): { clean: boolean; findings: string } {
  const cruiser = join(tree, 'node_modules/dependency-cruiser/bin/dependency-cruiser.mjs')
  const rules = join(ROOT, 'scripts/dependency-cruiser.cjs')
  const { status, stdout, stderr } = spawnSync(process.execPath, [cruiser, '-c', rules, 'src'], {
    cwd: tree,
    encoding: 'utf8',
  })
  return { clean: status === 0, findings: stdout + stderr }
}

const { clean, findings } = cruise(ROOT)
process.stdout.write(findings)
if (!clean) process.exitCode = 1

// A cruiser that reads no module finds nothing either, and says that all is well.
const copy = mkdtempSync(join(tmpdir(), 'pinbridge-imports-'))
try {
  cpSync(join(ROOT, 'src'), join(copy, 'src'), { recursive: true })
  for (const name of ['node_modules', 'package.json', 'tsconfig.json']) symlinkSync(join(ROOT, name), join(copy, name))
  for (const [file, forbidden] of PLANTED) writeFileSync(join(copy, file), `import '${forbidden}'\n`)
  const planted = cruise(copy)
  for (const [file, forbidden] of PLANTED) {
    if (!planted.clean && planted.findings.includes(file)) continue
    process.stderr.write(`the check of import directions is blind: it does not see ${file} import ${forbidden}\n`)
    process.exitCode = 1
  }
} finally {
  rmSync(copy, { recursive: true, force: true })
}

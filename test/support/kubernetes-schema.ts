/**
 * Holds manifests against the Kubernetes API's own description, as the package kubernetes-types has it (made from the OpenAPI document of
 * Kubernetes 1.30): the compiler refuses a member that is unknown, missing or of another type wherever it stands.
 */
import { join } from 'node:path'
import ts from 'typescript'
import type { Manifest } from './manifests.ts'

const ROOT = new URL('../..', import.meta.url).pathname
/** Beside the tests, so that packages are found from it; it is never written. */
const FILE = join(ROOT, 'test/manifests-under-test.ts')

/** What is wrong with manifests, a sentence each. */
export function schemaProblems(manifests: readonly Manifest[]): string[] {
  const source = manifests.map((manifest, i) => {
    const [group, version] = manifest.apiVersion.includes('/')
      ? manifest.apiVersion.split('/')
      : ['core', manifest.apiVersion]
    const module = `kubernetes-types/${group.split('.')[0]}/${version}`
    return `const manifest${i}: import('${module}').${manifest.kind} = ${JSON.stringify(manifest, null, 1)}\n`
  })
  const options: ts.CompilerOptions = {
    strict: true,
    noEmit: true,
    types: [],
    lib: ['lib.es2022.d.ts'],
    module: ts.ModuleKind.Preserve,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
  }
  const host = ts.createCompilerHost(options)
  const files: ts.CompilerHost = {
    ...host,
    fileExists: (name) => name === FILE || host.fileExists(name),
    getSourceFile: (name, version) =>
      name === FILE ? ts.createSourceFile(name, source.join(''), version) : host.getSourceFile(name, version),
  }
  const program = ts.createProgram([FILE], options, files)
  const diagnostics = [
    ...program.getOptionsDiagnostics(),
    ...ts.getPreEmitDiagnostics(program, program.getSourceFile(FILE)),
  ]
  return diagnostics.map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, ' '))
}

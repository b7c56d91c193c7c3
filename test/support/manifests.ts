/** What kustomize makes of deploy/kubernetes, as far as the files there ask for it: resources, one configuration map, components, JSON patches. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse, parseAllDocuments } from 'yaml'

export const KUBERNETES = new URL('../../deploy/kubernetes', import.meta.url).pathname

/** A manifest; what is asked of it is checked by whoever asks. */
export type Manifest = any

/** All that a kustomization may say here; what else one says is not understood, and nothing is made of it. */
const UNDERSTOOD = ['apiVersion', 'kind', 'namespace', 'resources', 'configMapGenerator', 'generatorOptions', 'patches']

/** Makes the manifests of the base with the named components. */
export function buildManifests(components: readonly string[] = []): Manifest[] {
  const { namespace, resources, configMapGenerator, generatorOptions } = readKustomization(KUBERNETES)
  if (!generatorOptions.disableNameSuffixHash) throw new Error('names with a hash are not understood')
  const manifests = resources.flatMap(readManifests)
  for (const { name, files } of configMapGenerator) {
    const data = Object.fromEntries(files.map((file: string) => [file, readFileSync(join(KUBERNETES, file), 'utf8')]))
    manifests.push({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data })
  }
  for (const component of components) {
    for (const { target, patch } of readKustomization(join(KUBERNETES, 'components', component)).patches) {
      const kind = new RegExp(`^(?:${target.kind})$`)
      const targets = manifests.filter(
        (manifest: Manifest) => kind.test(manifest.kind) && manifest.metadata.name === target.name,
      )
      if (targets.length !== 1) throw new Error(`${component} patches ${targets.length} manifests`)
      for (const step of parse(patch)) applyStep(targets[0], step)
    }
  }
  for (const { kind, metadata } of manifests) if (kind !== 'Namespace') metadata.namespace = namespace
  return manifests
}

/** The one manifest of a kind and, if it is said, a name. */
export function onlyOne(manifests: readonly Manifest[], kind: string, name?: string): Manifest {
  const found = manifests.filter((each) => each.kind === kind && (name === undefined || each.metadata.name === name))
  if (found.length !== 1) throw new Error(`${found.length} of kind ${kind}`)
  return found[0]
}

function readKustomization(folder: string): Manifest {
  const kustomization = parse(readFileSync(join(folder, 'kustomization.yaml'), 'utf8'))
  const strange = Object.keys(kustomization).filter((member) => !UNDERSTOOD.includes(member))
  if (strange.length > 0) throw new Error(`not understood: ${strange.join(', ')}`)
  return kustomization
}

/** Aliases become copies of their own, so that a patch changes one place. */
function readManifests(file: string): Manifest[] {
  const documents = parseAllDocuments(readFileSync(join(KUBERNETES, file), 'utf8'), { uniqueKeys: true })
  return [...documents].map((document) => {
    for (const error of document.errors) throw error
    return JSON.parse(JSON.stringify(document.toJS()))
  })
}

/** One step of a JSON patch (RFC 6902). */
function applyStep(manifest: Manifest, { op, path, value }: { op: string; path: string; value?: unknown }): void {
  const names = path.split('/').slice(1)
  const last = names.pop()!
  const parent = names.reduce((at, name) => at[name], manifest)
  if (op === 'test') {
    if (JSON.stringify(parent[last]) !== JSON.stringify(value)) throw new Error(`${path} is another`)
  } else if (op === 'add' && Array.isArray(parent)) parent.splice(last === '-' ? parent.length : Number(last), 0, value)
  else if (op === 'add') parent[last] = value
  else if (!(last in parent)) throw new Error(`${path} is not there`)
  else if (op === 'replace') parent[last] = value
  else if (op === 'remove' && Array.isArray(parent)) parent.splice(Number(last), 1)
  else if (op === 'remove') delete parent[last]
  else throw new Error(`${op} is not understood`)
}

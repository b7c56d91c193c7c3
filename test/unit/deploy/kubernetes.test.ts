import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parse, parseAllDocuments } from 'yaml'
import { schemaProblems } from '../../support/kubernetes-schema.ts'
import { buildManifests, KUBERNETES, onlyOne, type Manifest } from '../../support/manifests.ts'
import { temporaryFolder } from '../../support/service.ts'

const ROOT = new URL('../../..', import.meta.url).pathname
const DOCKERFILE = readFileSync(join(ROOT, 'Dockerfile'), 'utf8')
const VARIANTS = [[], ['stateful'], ['hsm-daemon'], ['stateful', 'hsm-daemon'], ['hsm-daemon', 'stateful']]

/** What runs the pods: a Deployment, or a StatefulSet. */
function workloadOf(manifests: readonly Manifest[]): Manifest {
  return manifests.find(({ kind }) => kind === 'Deployment') ?? onlyOne(manifests, 'StatefulSet')
}

describe.each(VARIANTS.map((components) => [components.join(' and ') || 'the base', components] as const))(
  'the manifests: %s',
  (_name, components) => {
    const manifests = buildManifests(components)
    const workload = workloadOf(manifests)
    const { template } = workload.spec
    const pod = template.spec
    const main = pod.containers[0]
    const containers: Manifest[] = [...pod.initContainers, ...pod.containers]
    const config = parse(onlyOne(manifests, 'ConfigMap').data['pinbridge.yaml'])

    it('are what the Kubernetes API takes, without an unknown member', () => {
      expect(schemaProblems(manifests)).toEqual([])
    })

    it('select the pods that there are, in one namespace', () => {
      const { name } = onlyOne(manifests, 'Namespace').metadata
      for (const { kind, metadata } of manifests) if (kind !== 'Namespace') expect(metadata.namespace).toBe(name)
      const selectors = [
        workload.spec.selector.matchLabels,
        ...manifests.filter(({ kind }) => kind === 'Service').map(({ spec }) => spec.selector),
        onlyOne(manifests, 'PodDisruptionBudget').spec.selector.matchLabels,
        onlyOne(manifests, 'NetworkPolicy', 'pinbridge').spec.podSelector.matchLabels,
        ...pod.topologySpreadConstraints.map(({ labelSelector }: Manifest) => labelSelector.matchLabels),
      ]
      for (const selector of selectors) {
        expect(Object.keys(selector)).not.toEqual([])
        expect(template.metadata.labels).toMatchObject(selector)
      }
      expect(pod.serviceAccountName).toBe(onlyOne(manifests, 'ServiceAccount').metadata.name)
    })

    it('lead to the ports that the configuration has, by their names', () => {
      const { api, management } = config.listeners
      expect([api.host, management.host]).toEqual(['0.0.0.0', '0.0.0.0'])
      const ports = { api: api.port, management: management.port }
      expect(Object.fromEntries(main.ports.map((port: Manifest) => [port.name, port.containerPort]))).toEqual(ports)
      for (const [service, name] of [
        ['pinbridge', 'api'],
        ['pinbridge-management', 'management'],
      ] as const) {
        const port = { name, port: ports[name], targetPort: name, protocol: 'TCP' }
        expect(onlyOne(manifests, 'Service', service).spec.ports).toEqual([port])
      }
      for (const probe of [main.startupProbe, main.livenessProbe, main.readinessProbe]) {
        expect(probe.httpGet.port).toBe('management')
      }
      expect(main.readinessProbe.httpGet.path).toBe('/readyz')
      expect([main.startupProbe.httpGet.path, main.livenessProbe.httpGet.path]).toEqual(['/healthz', '/healthz'])
    })

    it('deny all traffic but that of the adapter, of monitoring, and to HSM, store, names and collector', () => {
      const denied = onlyOne(manifests, 'NetworkPolicy', 'default-deny').spec
      expect(denied).toEqual({ podSelector: {}, policyTypes: ['Ingress', 'Egress'] })
      const { ingress, egress, policyTypes } = onlyOne(manifests, 'NetworkPolicy', 'pinbridge').spec
      expect(policyTypes).toEqual(['Ingress', 'Egress'])
      const portsOf = (rules: Manifest[]) => rules.map(({ ports }) => ports.map(({ port }: Manifest) => port))
      expect(portsOf(ingress)).toEqual([[config.listeners.api.port], [config.listeners.management.port]])
      const store = new URL(config.limits.store.url)
      expect(portsOf(egress)).toEqual([[53, 53], [1792], [Number(store.port)], [4318]])
      for (const { from, to } of [...ingress, ...egress]) {
        for (const peer of from ?? to) {
          // One item with both: a list of two would let in whoever fits either.
          expect(Object.keys(peer).sort().join()).toMatch(/^(ipBlock|namespaceSelector,podSelector)$/)
        }
      }
      expect(store.hostname.split('.')[1]).toBe(
        egress[2].to[0].namespaceSelector.matchLabels['kubernetes.io/metadata.name'],
      )
      expect(config.clients[0].dnsName.split('.')).toEqual([
        ingress[0].from[0].podSelector.matchLabels['app.kubernetes.io/name'],
        ingress[0].from[0].namespaceSelector.matchLabels['kubernetes.io/metadata.name'],
        'svc',
      ])
    })

    it('meet every point of the Pod Security Standard “restricted”', () => {
      expect(onlyOne(manifests, 'Namespace').metadata.labels['pod-security.kubernetes.io/enforce']).toBe('restricted')
      expect(restrictedProblems(pod)).toEqual([])
    })

    it('run the image as it is: its user, its command, its configuration', () => {
      const [, user, group] = /^USER (\d+):(\d+)$/m.exec(DOCKERFILE)!
      const { runAsUser, runAsGroup, fsGroup } = pod.securityContext
      // Of one number: what is root's and of this group is a secret kept.
      expect([runAsUser, runAsGroup, fsGroup].map(String)).toEqual([user, group, user])
      expect([main.command, main.args, main.env, main.envFrom]).toEqual([undefined, undefined, undefined, undefined])
      const [, path] = /^ENV PINBRIDGE_CONFIG=(.*)$/m.exec(DOCKERFILE)!
      expect(mountOf(main, path!)).toMatchObject({ name: 'config', mountPath: dirname(path!), readOnly: true })
      const [, entry] = /^ENTRYPOINT (.*)$/m.exec(DOCKERFILE)!
      const audit = pod.initContainers.find(({ name }: Manifest) => name === 'audit-directory')
      expect(audit.command[0]).toBe(JSON.parse(entry!)[0])
      expect(audit.image).toBe(main.image)
      for (const { image } of containers) expect(image).toMatch(/@sha256:[0-9a-f]{64}$/)
    })

    it('mount every file that the configuration names, read-only but for the record and /tmp', () => {
      const { api } = config.listeners
      const { store } = config.limits
      const named: [string, string][] = [
        [api.certificate, 'tls'],
        [api.privateKey, 'tls'],
        [api.clientCa, 'client-ca'],
        [config.hsm.pinFile, 'hsm-pin'],
        [store.passwordFile, 'limit-store'],
        [store.caFile, 'limit-store'],
        [config.hsm.module, 'hsm-client'],
        [config.audit.directory, 'audit'],
      ]
      for (const [path, volume] of named) expect(mountOf(main, path)?.name).toBe(volume)
      const writable = main.volumeMounts.filter(({ readOnly }: Manifest) => !readOnly).map(({ name }: Manifest) => name)
      expect(writable.filter((name: string) => name !== 'hsm-socket')).toEqual(['audit', 'tmp'])
      const claims = (workload.spec.volumeClaimTemplates ?? []).map(({ metadata }: Manifest) => metadata)
      const volumes = [...pod.volumes, ...claims].map(({ name }) => name)
      expect(new Set(containers.flatMap(({ volumeMounts }) => volumeMounts.map(({ name }: Manifest) => name)))).toEqual(
        new Set(volumes),
      )
      expect(new Set(volumes).size).toBe(volumes.length)
      for (const { volumeMounts } of containers)
        for (const mount of volumeMounts) expect(mount).not.toHaveProperty('subPath')
    })

    it('ask for secrets closed to all but their owner, each in a volume by itself', () => {
      const secrets = pod.volumes.filter(({ secret }: Manifest) => secret)
      for (const { secret } of secrets) expect(secret.defaultMode).toBe(0o400)
      expect(pod.volumes.find(({ name }: Manifest) => name === 'config').configMap.defaultMode).toBe(0o444)
      const names = secrets.map(({ secret }: Manifest) => secret.secretName)
      expect(new Set(names).size).toBe(names.length)
      const readme = readFileSync(join(ROOT, 'README.md'), 'utf8')
      expect(names.filter((name: string) => !new RegExp(`create secret \\w+ ${name} `).test(readme))).toEqual([])
    })

    it('leave time for the requests that were accepted, and memory for the vaults', () => {
      const shutdownMs = Number(config.limits.shutdownMs)
      const seconds = Number(main.lifecycle.preStop.sleep.seconds) + shutdownMs / 1000
      expect(pod.terminationGracePeriodSeconds).toBeGreaterThanOrEqual(seconds + 10)
      for (const { resources } of containers) {
        // No swap for such a container.
        expect(resources.requests.memory).toBe(resources.limits.memory)
        expect(resources.limits).not.toHaveProperty('cpu')
      }
      const [, gibibytes] = /^(\d+)Gi$/.exec(main.resources.limits.memory)!
      const vaultMiB = Number(config.hsm.recycle?.rssMiB ?? 512)
      expect(Number(gibibytes) * 1024).toBeGreaterThanOrEqual((Number(config.hsm.vaults) + 1) * vaultMiB + 400)
    })
  },
)

describe('the base', () => {
  const manifests = buildManifests()
  const { spec } = onlyOne(manifests, 'Deployment')

  it('starts the next pod before one goes, and lets one node be drained', () => {
    expect(spec.strategy).toEqual({ type: 'RollingUpdate', rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } })
    expect(onlyOne(manifests, 'PodDisruptionBudget').spec.maxUnavailable).toBe(1)
    expect(spec.replicas).toBeGreaterThan(2)
  })

  it.each<[string, (manifest: Manifest) => unknown]>([
    ['a misspelt member', ({ spec }) => (spec.template.spec.containers[0].livenesProbe = {})],
    ['a member in the wrong place', ({ spec }) => (spec.runAsNonRoot = true)],
    ['a text for a number', ({ spec }) => (spec.replicas = '3')],
    ['a member that is missing', ({ spec }) => delete spec.selector],
    ['another version’s kind', (manifest) => (manifest.apiVersion = 'apps/v1beta1')],
  ])('would not pass with %s', (_what, spoil) => {
    const spoilt = structuredClone(manifests)
    spoil(onlyOne(spoilt, 'Deployment'))
    expect(schemaProblems(spoilt)).not.toEqual([])
  })

  it.each<[string, (pod: Manifest) => unknown]>([
    ['root', (pod) => (pod.securityContext.runAsUser = 0)],
    [
      'a container that may gain privileges',
      ({ containers }) => delete containers[0].securityContext.allowPrivilegeEscalation,
    ],
    ['a capability', ({ initContainers }) => (initContainers[0].securityContext.capabilities.add = ['NET_ADMIN'])],
    ['no seccomp filter', (pod) => delete pod.securityContext.seccompProfile],
    ['a folder of the node', ({ volumes }) => volumes.push({ name: 'x', hostPath: { path: '/' } })],
    ['the node’s network', (pod) => (pod.hostNetwork = true)],
  ])('would not be restricted with %s', (_what, spoil) => {
    const pod = structuredClone(spec.template.spec)
    spoil(pod)
    expect(restrictedProblems(pod)).toHaveLength(1)
  })
})

const kubectl = spawnSync('kubectl', ['version', '--client']).status === 0

// Where kubectl is not, what this project reads of kustomize's language is not held against kustomize itself.
it.skipIf(!kubectl).each(VARIANTS.map((components) => [components.join(' and ') || 'the base', components] as const))(
  'kustomize makes the same: %s',
  (_name, components) => {
    const folder = temporaryFolder()
    try {
      cpSync(KUBERNETES, join(folder.path, 'base'), { recursive: true })
      writeFileSync(
        join(folder.path, 'kustomization.yaml'),
        JSON.stringify({ resources: ['base'], components: components.map((name) => `base/components/${name}`) }),
      )
      const text = execFileSync('kubectl', ['kustomize', folder.path], { encoding: 'utf8' })
      const made = [...parseAllDocuments(text)].map((document) => document.toJS())
      const inOrder = (all: Manifest[]) => all.toSorted((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1))
      expect(inOrder(made)).toEqual(inOrder(buildManifests(components)))
    } finally {
      folder.dispose()
    }
  },
)

function nameOf({ kind, metadata }: Manifest): string {
  return `${kind}/${metadata.name}`
}

/** The mount that a path lies in. */
function mountOf({ volumeMounts }: Manifest, path: string): Manifest {
  return volumeMounts.find(({ mountPath }: Manifest) => path.startsWith(`${mountPath}/`))
}

/** What the Pod Security Standard “restricted” (kubernetes.io, Pod Security Standards), and the baseline under it, object to. */
function restrictedProblems(pod: Manifest): string[] {
  const own = pod.securityContext ?? {}
  const problems: string[] = []
  const must = (isSo: boolean, sentence: string) => {
    if (!isSo) problems.push(sentence)
  }
  for (const member of ['hostNetwork', 'hostPID', 'hostIPC']) must(!pod[member], member)
  const kinds = 'configMap csi downwardAPI emptyDir ephemeral persistentVolumeClaim projected secret'.split(' ')
  for (const { name, ...volume } of pod.volumes) must(kinds.includes(Object.keys(volume).join()), `volume ${name}`)
  must(!own.sysctls?.length && !own.seLinuxOptions && !own.windowsOptions && !own.appArmorProfile, 'pod options')
  for (const { name, securityContext = {}, ports = [] } of [...pod.initContainers, ...pod.containers]) {
    const { privileged, capabilities = {}, procMount, seLinuxOptions, appArmorProfile } = securityContext
    must(!privileged, `${name}: privileged`)
    must(securityContext.allowPrivilegeEscalation === false, `${name}: may gain privileges`)
    must(capabilities.drop?.includes('ALL') === true, `${name}: keeps capabilities`)
    must(
      (capabilities.add ?? []).every((one: string) => one === 'NET_BIND_SERVICE'),
      `${name}: has capabilities`,
    )
    must(!procMount && !seLinuxOptions && !appArmorProfile, `${name}: options`)
    must(
      ports.every(({ hostPort }: Manifest) => !hostPort),
      `${name}: a port of the node`,
    )
    must(
      securityContext.runAsUser !== 0 && (securityContext.runAsNonRoot ?? own.runAsNonRoot) === true,
      `${name}: root`,
    )
    const { seccompProfile = own.seccompProfile } = securityContext
    must(['RuntimeDefault', 'Localhost'].includes(seccompProfile?.type), 'seccomp')
  }
  must(own.runAsUser !== 0, 'root')
  return [...new Set(problems)]
}

/**
 * What a kubelet puts before a container starts, in a folder instead of the container's root: volumes with the owners, modes and links
 * that it gives them (pkg/volume/util/atomic_writer.go and pkg/volume/volume_linux.go of Kubernetes).
 *
 * Only root can: the files of Secrets are root's.
 */
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import type { Manifest } from './manifests.ts'

/** The texts of Secrets and ConfigMaps, by their names. */
export type Contents = Readonly<Record<string, Readonly<Record<string, string>>>>

export class Kubelet {
  readonly #root: string
  readonly #pod: Manifest
  readonly #places: readonly (readonly [name: string, path: string])[]
  #writes = 0

  constructor(root: string, pod: Manifest) {
    this.#root = root
    this.#pod = pod
    this.#places = pod.containers[0].volumeMounts.map(({ name, mountPath }: Manifest) => [name, mountPath])
  }

  /** A text of the manifests with the container's paths where they are here. */
  placed(text: string): string {
    const paths = this.#places.map(([, path]) => path).filter((path) => path !== '/tmp')
    return paths.reduce((placed, path) => placed.replaceAll(path, join(this.#root, path)), text)
  }

  /** Where a volume is mounted here. */
  pathOf(volume: string): string {
    return join(this.#root, this.#places.find(([name]) => name === volume)![1])
  }

  /** Mounts every volume of the pod, and of a claim what its driver gives: an empty file system that is root's. */
  mount(contents: Contents): void {
    for (const [name] of this.#places) {
      const { configMap, secret, emptyDir } = this.#pod.volumes.find((volume: Manifest) => volume.name === name)
      mkdirSync(this.pathOf(name), { recursive: true })
      chmodSync(this.pathOf(name), configMap || secret || emptyDir ? 0o777 : 0o755)
      if (secret) this.project(name, contents[secret.secretName]!)
      else if (configMap) this.project(name, contents[configMap.name]!)
      else this.own(this.pathOf(name), 0o660)
    }
  }

  /** Writes a Secret or a ConfigMap into its volume, or a new state of it in the place of the old, in one rename. */
  project(volume: string, files: Readonly<Record<string, string>>): void {
    const { configMap, secret } = this.#pod.volumes.find(({ name }: Manifest) => name === volume)
    const folder = this.pathOf(volume)
    const before = readdirSync(folder).filter((name) => /^\.\.\d/.test(name))
    const data = `..2026_11_23_20_00_00.${++this.#writes}`
    mkdirSync(join(folder, data), { mode: 0o755 })
    for (const [name, text] of Object.entries(files)) {
      writeFileSync(join(folder, data, name), text)
      chmodSync(join(folder, data, name), (configMap ?? secret).defaultMode)
    }
    this.own(folder, 0o440)
    symlinkSync(data, join(folder, '..data_tmp'))
    renameSync(join(folder, '..data_tmp'), join(folder, '..data'))
    for (const name of Object.keys(files)) {
      if (!lstatSync(join(folder, name), { throwIfNoEntry: false })) symlinkSync(`..data/${name}`, join(folder, name))
    }
    for (const name of before) rmSync(join(folder, name), { recursive: true })
  }

  /** Gives a volume to the pod's group, as `fsGroup` asks: with what is in it, unless only the root is looked at and is right. */
  remount(volume: string, policy: 'Always' | 'OnRootMismatch' = this.#pod.securityContext.fsGroupChangePolicy): void {
    const path = this.pathOf(volume)
    const { gid, mode } = lstatSync(path)
    const isRight = gid === this.#pod.securityContext.fsGroup && (mode & 0o2770) === 0o2770
    if (policy === 'Always' || !isRight) this.own(path, 0o660)
  }

  private own(path: string, mask: number): void {
    const stats = lstatSync(path)
    if (stats.isSymbolicLink()) return
    const isFolder = stats.isDirectory()
    if (isFolder) for (const name of readdirSync(path)) this.own(join(path, name), mask)
    chownSync(path, stats.uid, this.#pod.securityContext.fsGroup)
    chmodSync(path, (stats.mode & 0o7777) | mask | (isFolder ? 0o2110 : 0))
  }
}

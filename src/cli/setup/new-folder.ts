/** The files of a set-up while it is made: all of them are taken back unless it is kept. */
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join, resolve } from 'node:path'
import { EX_CANTCREAT } from '../../exit-codes.ts'
import { CommandError } from '../command-error.ts'

/** A folder that was absent or empty. */
export class NewFolder {
  readonly path: string
  readonly #made: string[] = []
  #modeBefore: number | undefined

  private constructor(path: string) {
    this.path = path
  }

  /**
   * Looks at the folder and makes nothing yet.
   *
   * @throws CommandError (73) if it is no folder, or not an empty one.
   */
  static at(given: string): NewFolder {
    const path = resolve(given)
    if (existsSync(path) && (!statSync(path).isDirectory() || readdirSync(path).length > 0)) {
      throw new CommandError(EX_CANTCREAT, '--dir: this is no folder, or not an empty one; nothing in it was touched')
    }
    return new NewFolder(path)
  }

  /** Makes the folder, if it is not there, and closes it to others. */
  make(): void {
    if (!existsSync(this.path)) return this.makeDirectory(this.path)
    this.#modeBefore = statSync(this.path).mode & 0o7777
    chmodSync(this.path, 0o700)
  }

  /** Makes a directory that is not there, mode 0700, and those above it that are missing; one that is there stays as it is. */
  makeDirectory(path: string): void {
    const first = mkdirSync(path, { recursive: true, mode: 0o711 })
    if (first === undefined) return
    this.#made.push(first, path)
    chmodSync(path, 0o700)
  }

  /** Writes a file that is not there yet, in the folder unless its path says otherwise; returns its path. */
  write(name: string, content: string | Uint8Array, mode = 0o600): string {
    const path = resolve(this.path, name)
    writeFileSync(path, content, { mode, flag: 'wx' })
    this.#made.push(path)
    chmodSync(path, mode)
    return path
  }

  /** Gives a file of the folder the name that is looked for, now that it is known to be right. */
  rename(from: string, to: string): string {
    const path = join(this.path, to)
    renameSync(join(this.path, from), path)
    this.#made.push(path)
    return path
  }

  /** Takes a file along that somebody else may make meanwhile: it goes if the set-up goes. */
  adopt(path: string): void {
    this.#made.push(path)
  }

  /** Gives what was made here to another user; what was there before stays its owner's. */
  give(paths: readonly string[], { uid, gid }: { readonly uid: number; readonly gid: number }): void {
    for (const path of paths.filter((each) => this.#made.includes(each) && existsSync(each))) chownSync(path, uid, gid)
  }

  /** Gives the folder, and everything that was made, to another user. */
  giveAll(owner: { readonly uid: number; readonly gid: number }): void {
    this.give(this.#made, owner)
    chownSync(this.path, owner.uid, owner.gid)
  }

  /** Lets other users reach files of the folder that they know the names of, and list nothing. */
  letThrough(): void {
    chmodSync(this.path, 0o711)
  }

  /** Takes back everything that was made. */
  undo(): void {
    for (const path of this.#made.toReversed()) rmSync(path, { recursive: true, force: true })
    this.#made.length = 0
    if (this.#modeBefore !== undefined) chmodSync(this.path, this.#modeBefore)
  }
}

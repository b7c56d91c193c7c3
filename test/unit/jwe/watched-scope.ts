import { SecretScope } from '../../../src/secret.ts'

/** A scope that remembers what it lent, so that a test can look at the slices after the scope has ended. */
export class WatchedScope extends SecretScope {
  readonly taken: Buffer[] = []

  override take(bytes: number): Buffer {
    const slice = super.take(bytes)
    this.taken.push(slice)
    return slice
  }

  /** Whether every slice holds a byte that is not zero. */
  get allUsed(): boolean {
    return this.taken.length > 0 && this.taken.every((slice) => slice.some((byte) => byte !== 0))
  }

  /** Whether every byte of every slice is zero. */
  get allWiped(): boolean {
    return this.taken.every((slice) => slice.every((byte) => byte === 0))
  }
}

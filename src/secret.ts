/**
 * Where secret bytes live: slices of a scope's own memory, wiped together when the scope ends (M-4).
 *
 * A Buffer of 64 bytes or less starts on the V8 heap and is copied out when native code asks for its address, so that
 * fill(0) clears only the copy. Slices of an explicit ArrayBuffer are outside the heap from the start and have no copy.
 */

const SLAB_BYTES = 4096

/**
 * The secret bytes of one operation: `using secrets = new SecretScope()` wipes every slice on every way out.
 *
 * A slice must not be used after its scope has ended; memory is never handed to another scope, so that a late reader
 * finds zeros and not another request's PIN.
 */
export class SecretScope implements Disposable {
  readonly #slabs: Buffer[] = []
  #free: Buffer = Buffer.from(new ArrayBuffer(0))

  /** Returns `bytes` zeroed bytes that this scope wipes. */
  take(bytes: number): Buffer {
    if (bytes > this.#free.length) {
      const slab = Buffer.from(new ArrayBuffer(Math.max(SLAB_BYTES, bytes)))
      this.#slabs.push(slab)
      this.#free = slab
    }
    const slice = this.#free.subarray(0, bytes)
    this.#free = this.#free.subarray(bytes)
    return slice
  }

  /** Moves `source` into this scope and wipes it where it was. */
  adopt(source: Uint8Array): Buffer {
    const slice = this.take(source.length)
    slice.set(source)
    source.fill(0)
    return slice
  }

  [Symbol.dispose](): void {
    for (const slab of this.#slabs) slab.fill(0)
    this.#slabs.length = 0
    this.#free = Buffer.from(new ArrayBuffer(0))
  }
}

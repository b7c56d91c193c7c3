/** Measures at start whether calls block the loop or go to threads. */
import type { KeyEntry } from '../../config/schema.ts'
import { SecretScope } from '../../secret.ts'
import type { PublicKey } from '../hsm.ts'
import { isJweKey } from '../key-pairs.ts'
import type { MacForm } from '../mac-keys.ts'
import { opensOwnJwe } from '../self-test.ts'
import type { CallMode, CallModes } from './calls.ts'
import { blockBytesOf, cipherOf } from './mechanisms.ts'
import type { Pkcs11Hsm } from './pkcs11-hsm.ts'

/** The fastest run of each kind of call in milliseconds; undefined where no key is there to measure it with. */
export type Measured = { readonly [kind in keyof CallModes]: number | undefined }

/**
 * An Init and an operation above this go to a thread; below it the hop would cost more than the call, and a token that
 * computes in this process would leave clear blocks on the stacks of threads, which nothing wipes.
 */
const SYNC_BELOW_MS = 0.2
/** For key agreement, whose asynchronous form leaks in the binding: a call this long is worth more than some hundred bytes. */
const ECDH_SYNC_BELOW_MS = 1
const MEASURED_RUNS = 10
/** After so long it is known well enough that a call is slow. */
const MEASURED_MS = 50

/** Measures each kind of call on a key that makes it, and sets the adapter's modes by it. */
export async function chooseModes(
  hsm: Pkcs11Hsm,
  keys: readonly KeyEntry[],
  publicKeys: ReadonlyMap<KeyEntry, PublicKey>,
  macFormOf: (key: KeyEntry) => MacForm | undefined,
): Promise<Measured> {
  const measured: { -readonly [kind in keyof Measured]: Measured[kind] } = {
    rsa: undefined,
    ecdh: undefined,
    cipher: undefined,
  }
  for (const [kind, algorithm] of [
    ['rsa', 'RSA'],
    ['ecdh', 'EC'],
  ] as const) {
    const key = keys.find((one) => isJweKey(one) && one.algorithm.startsWith(algorithm))
    const publicKey = key && publicKeys.get(key)
    if (publicKey === undefined) continue
    measured[kind] = await fastestMs(() => opensOwnJwe(hsm, key!, publicKey))
  }
  const zone = keys.find((key) => key.purpose === 'zone-pin' || key.purpose === 'seccos-pin')
  if (zone) {
    measured.cipher = await fastestMs(async () => {
      using secrets = new SecretScope()
      const block = secrets.take(blockBytesOf(cipherOf(zone.algorithm)))
      if (zone.direction === 'in') await hsm.decipherBlocks(zone, block, secrets)
      else await hsm.encipherBlocks(zone, block)
    })
  }
  const mac = keys.find((key) => macFormOf(key) !== undefined)
  if (!zone && mac) {
    // The answer to a MAC of zeros is no, and takes as long.
    const { algorithm } = macFormOf(mac)!
    measured.cipher = await fastestMs(() => hsm.verifyMac(mac, algorithm, Buffer.alloc(16), Buffer.alloc(8)))
  }
  hsm.modes.rsa = modeOf(measured.rsa, SYNC_BELOW_MS)
  hsm.modes.ecdh = modeOf(measured.ecdh, ECDH_SYNC_BELOW_MS)
  hsm.modes.cipher = modeOf(measured.cipher, SYNC_BELOW_MS)
  return measured
}

function modeOf(ms: number | undefined, syncBelowMs: number): CallMode {
  return ms === undefined || ms < syncBelowMs ? 'sync' : 'async'
}

/** The fastest run counts: a busy machine makes any of them slow, and none faster than the token is. */
async function fastestMs(run: () => Promise<unknown>): Promise<number | undefined> {
  let fastest = Infinity
  const first = performance.now()
  for (let i = 0; i < MEASURED_RUNS && performance.now() - first < MEASURED_MS; i++) {
    const start = performance.now()
    try {
      await run()
    } catch {
      // The key's known answer fails next, and names the key.
      return undefined
    }
    fastest = Math.min(fastest, performance.now() - start)
  }
  return fastest
}

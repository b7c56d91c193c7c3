/** The keys of a token through graphene-pk11: one session, every call synchronous, each key looked up once. */
import { hash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import graphene, { type Key, type Session } from 'graphene-pk11'
import pkcs11 from 'pkcs11js'
import { openGcm } from './plain-jwe.ts'
import { Refusal, xor } from './plain-pin-block.ts'
import type { KeyHolder, KnownKey } from './plain-routes.ts'

const BLOCK_BYTES = 8
const HASH_BYTES = 32
const LABEL_HASH = hash('sha256', '', 'buffer')

/** What a derived Z has to be for its value to be read. */
const READABLE_SECRET = {
  class: graphene.ObjectClass.SECRET_KEY,
  keyType: graphene.KeyType.GENERIC_SECRET,
  token: false,
  sensitive: false,
  extractable: true,
  valueLen: 32,
}

/** The token of a configuration file. */
interface Token {
  readonly module: string
  readonly tokenLabel: string
  readonly pinFile: string
  readonly environment?: Readonly<Record<string, string>>
}

/** Opens the token and logs in. */
export function openHsm(token: Token, keys: readonly KnownKey[]): KeyHolder {
  Object.assign(process.env, token.environment)
  const module = graphene.Module.load(token.module)
  module.initialize()
  const slot = [...module.getSlots(true)].find((each) => each.getToken().label.trimEnd() === token.tokenLabel)
  if (slot === undefined) throw new Error('no token carries this label')
  const session = slot.open(graphene.SessionFlag.SERIAL_SESSION)
  session.login(readFileSync(token.pinFile, 'utf8').trimEnd())

  const found = new Map<string, Key>()
  /** Finds a key by its id, which is also the kid of a JWE key. */
  const keyOf = (id: string): Key => {
    const key = found.get(id) ?? findKey(session, keys, id)
    found.set(id, key)
    return key
  }
  return {
    decipher: (key, block) => session.createDecipher('DES3_ECB', keyOf(key)).once(block, Buffer.alloc(BLOCK_BYTES)),
    encipher: (key, block) => session.createCipher('DES3_ECB', keyOf(key)).once(block, Buffer.alloc(BLOCK_BYTES)),
    // graphene has no name for this mechanism.
    verifyCmac: (key, message, mac) => session.createVerify(pkcs11.CKM_DES3_CMAC, keyOf(key)).once(message, mac),
    sharedSecret: (kid, point) => {
      const params = new graphene.EcdhParams(graphene.EcKdf.NULL, null, point)
      const secret = session.deriveKey({ name: 'ECDH1_DERIVE', params }, keyOf(kid), READABLE_SECRET)
      const z: Buffer = secret.getAttribute('value')
      secret.destroy()
      return z
    },
    // SoftHSM 2.6 does OAEP with SHA-1 alone, so that it is asked for the bare RSA operation.
    unwrapCek: (kid, encryptedKey) => {
      const out = Buffer.alloc(encryptedKey.length)
      return unpadOaep(session.createDecipher('RSA_X_509', keyOf(kid)).once(encryptedKey, out))
    },
    openContent: openGcm,
  }
}

function findKey(session: Session, keys: readonly KnownKey[], id: string): Key {
  const entry = keys.find((each) => each.id === id)
  if (entry === undefined) throw new Refusal(403, 'ERR_KEY_USE_FORBIDDEN')
  const isPair = entry.alg !== undefined
  const { PRIVATE_KEY, SECRET_KEY } = graphene.ObjectClass
  const objects = session.find({ class: isPair ? PRIVATE_KEY : SECRET_KEY, id: Buffer.from(`${id}.v${entry.version}`) })
  return objects.items(0).toType<Key>()
}

/** EME-OAEP decoding with SHA-256 and an empty label (RFC 8017 section 7.1.2). */
function unpadOaep(em: Buffer): Buffer {
  const maskedDb = em.subarray(1 + HASH_BYTES)
  const seed = xor(em.subarray(1, 1 + HASH_BYTES), mgf1(maskedDb, HASH_BYTES))
  const db = xor(maskedDb, mgf1(seed, maskedDb.length))
  const end = db.indexOf(1, HASH_BYTES)
  const isPadded = end > 0 && db.subarray(HASH_BYTES, end).every((byte) => byte === 0)
  if (em[0] !== 0 || !isPadded || !db.subarray(0, HASH_BYTES).equals(LABEL_HASH)) {
    throw new Refusal(422, 'ERR_JWE_DECRYPTION_FAILED')
  }
  return db.subarray(end + 1)
}

function mgf1(seed: Buffer, bytes: number): Buffer {
  const rounds = Array.from({ length: Math.ceil(bytes / HASH_BYTES) }, (_, counter) =>
    hash('sha256', Buffer.concat([seed, Buffer.of(0, 0, 0, counter)]), 'buffer'),
  )
  return Buffer.concat(rounds).subarray(0, bytes)
}

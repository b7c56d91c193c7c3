/** A SoftHSM token with a key that signs transcripts, and a configuration that holds just this: what ceremonies need. */
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse, stringify } from 'yaml'
import type { KeyEntry } from '../../src/config/schema.ts'
import type { PublicKey } from '../../src/hsm/hsm.ts'
import { KeyMaker } from '../../src/hsm/pkcs11/make-keys.ts'
import { openToken, type Token } from '../../src/hsm/pkcs11/module.ts'
import { publicKeyKcv } from '../../src/key-block/kcv.ts'
import { temporaryFolder } from './service.ts'
import { makeTestToken, type TestToken } from './tokens.ts'

/** A token for ceremonies. */
export interface CeremonyToken {
  readonly token: TestToken
  /** For the files of a test; HOME of the commands. */
  readonly folder: string
  readonly config: string
  readonly signer: { readonly kcv: string; readonly publicKey: PublicKey }
  /** The keys of the configuration as it is now. */
  readonly keys: () => KeyEntry[]
  /** Lends the open token. */
  readonly lend: <T>(work: (token: Token, maker: KeyMaker) => T | Promise<T>) => Promise<T>
  readonly dispose: () => Promise<void>
}

/** Makes one. */
export async function makeCeremonyToken(): Promise<CeremonyToken> {
  const token = await makeTestToken('softhsm')
  const folder = temporaryFolder()
  const config = join(folder.path, 'etc', 'pinbridge.yaml')
  mkdirSync(join(folder.path, 'etc'))
  Object.assign(process.env, token.members.environment)
  const lend: CeremonyToken['lend'] = async (work) => {
    const opened = openToken(token.members, token.pin)
    try {
      return await work(opened, await KeyMaker.open(opened, 'development'))
    } finally {
      opened.close()
    }
  }
  const planned = {
    id: 'transcript',
    version: 1,
    state: 'active',
    purpose: 'transcript-sign',
    algorithm: 'EC-P256',
  } as const
  const unmade: KeyEntry = { ...planned, origin: 'generated', kcv: '' }
  const publicKey = await lend((_, maker) => maker.generateKeyPair(unmade))
  const kcv = publicKeyKcv(publicKey)
  const nowhere = { certificate: 'none.pem', privateKey: 'none.pem', clientCa: 'none.pem' }
  const listeners = { api: { host: '127.0.0.1', port: 0, ...nowhere }, management: { port: 0 } }
  const hsm = token.members
  writeFileSync(config, stringify({ environment: 'development', hsm, keys: [{ ...unmade, kcv }], listeners }))
  chmodSync(config, 0o600)
  return {
    ...{ token, folder: folder.path, config, lend, signer: { kcv, publicKey } },
    keys: () => parse(readFileSync(config, 'utf8')).keys as KeyEntry[],
    dispose: async () => {
      await token.dispose()
      folder.dispose()
    },
  }
}

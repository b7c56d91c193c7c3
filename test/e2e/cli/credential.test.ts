/** `pinbridge credential` on a real token, and what IBM Digital Asset Haven, by its simulator, makes of what it prints. */
import { execFile } from 'node:child_process'
import { createDecipheriv, createPrivateKey, createPublicKey, generateKeyPairSync, randomBytes } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { AsymmetricKeySigner } from '@dfns/sdk-keysigner'
import { calculateJwkThumbprint } from 'jose'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { KeyEntry } from '../../../src/config/schema.ts'
import { KeyCatalogue } from '../../../src/hsm/key-catalogue.ts'
import { listKeyObjects } from '../../../src/hsm/pkcs11/list-key-objects.ts'
import { computeCheck } from '../../../src/hsm/self-test.ts'
import { symmetricKcv } from '../../../src/key-block/kcv.ts'
import { SecretScope } from '../../../src/secret.ts'
import { startHaven, type Haven } from '../../haven/simulator.ts'
import { makeCeremonyToken, type CeremonyToken } from '../../support/ceremony-token.ts'
import { PseudoTerminal } from '../../support/pseudo-terminal.ts'
import { editConfig, pinbridge } from '../../support/service.ts'

const ORIGIN = 'https://app.bank.example'
const WRAPPING_KEY = Buffer.from('00112233445566778899aabbccddeeff0102030405060708090a0b0c0d0e0f10', 'hex')
const NODE = new URL('../../../node_modules/.bin/node', import.meta.url).pathname
const CLI = new URL('../../../dist/cli/main.js', import.meta.url).pathname
const WALLETS = { wallets: [{ network: 'EthereumSepolia' }] }

let token: CeremonyToken
let haven: Haven

const at = (name: string) => join(token.folder, name)
const credential = (...args: string[]) => pinbridge(['credential', ...args, '--config', token.config])
/** Signs without a question. */
const made = async (...args: string[]) => {
  const { code, stdout, stderr } = await credential(...args, '--yes')
  expect(code, stderr).toBe(0)
  return JSON.parse(stdout)
}
/** Everything that a command may change. */
const state = async () => ({
  config: readFileSync(token.config, 'utf8'),
  objects: await token.lend((open) => listKeyObjects(open).map(({ kind, id }) => `${kind} ${id}`)),
})
const begin = async () => {
  const { body } = await haven.post('/auth/registration/delegated', { email: 'customer-1', kind: 'EndUser' })
  return { challenge: body.challenge as string, session: body.temporaryAuthenticationToken as string }
}
const register = (body: object, session?: string) =>
  haven.post('/auth/registration/enduser', { ...body, ...WALLETS }, session)
const jsonOf = (base64url: string) => JSON.parse(Buffer.from(base64url, 'base64url').toString())

beforeAll(async () => {
  token = await makeCeremonyToken()
  haven = await startHaven(ORIGIN)
  using secrets = new SecretScope()
  const unproven: KeyEntry = {
    ...{ id: 'rescue-wrap', version: 1, state: 'active', purpose: 'credential-wrap', algorithm: 'AES-256' },
    ...{ kcv: symmetricKcv('AES', WRAPPING_KEY, secrets), origin: 'imported' },
  }
  const check = await token.lend(async (_, maker) => {
    maker.importSecretKey(unproven, undefined, WRAPPING_KEY)
    return computeCheck(await maker.find([unproven], new KeyCatalogue([unproven], [])), unproven, undefined)
  })
  editConfig(token.config, (config) => config.keys.push({ ...unproven, check }))
})
afterAll(async () => {
  await haven.close()
  await token.dispose()
})

describe('pinbridge credential create', () => {
  it.for([['EC-P256'], ['Ed25519']] as const)('makes a key of %s that Haven registers', async ([algorithm]) => {
    const { challenge, session } = await begin()
    const id = `user-${algorithm.toLowerCase()}`
    const args = ['--id', id, '--algorithm', algorithm, '--origin', ORIGIN, '--challenge', challenge]
    const firstFactorCredential = await made('create', ...args)
    expect(firstFactorCredential.credentialKind).toBe('Key')
    const { status, body } = await register({ firstFactorCredential }, session)
    expect([status, body.credential?.kind]).toEqual([200, 'Key'])
    const { publicKey } = haven.credentials.get(firstFactorCredential.credentialInfo.credId)!
    expect(publicKey.asymmetricKeyType).toBe(algorithm === 'Ed25519' ? 'ed25519' : 'ec')
    // The entry, the name of the credential, and `keys public` are of that key, by other implementations.
    const thumbprint = await calculateJwkThumbprint(publicKey.export({ format: 'jwk' }))
    expect(firstFactorCredential.credentialInfo.credId).toBe(thumbprint)
    expect(token.keys().find((key) => key.id === id)).toMatchObject({
      ...{ purpose: 'credential-sign', algorithm, state: 'active', origin: 'generated' },
      kcv: Buffer.from(thumbprint, 'base64url').subarray(0, 5).toString('hex').toUpperCase(),
    })
    const shown = await pinbridge(['keys', 'public', id, '--format', 'pem', '--config', token.config])
    expect(createPublicKey(shown.stdout).equals(publicKey)).toBe(true)
    const { code, stdout } = await pinbridge(['keys', 'show', id, '--json', '--config', token.config])
    const [privateKey] = JSON.parse(stdout).tokens[0].objects.filter(({ kind }: any) => kind === 'private')
    expect([code, privateKey.flags.CKA_EXTRACTABLE, privateKey.flags.CKA_NEVER_EXTRACTABLE]).toEqual([0, false, true])
  })

  it('makes a recovery credential whose private key is what encryptedPrivateKey carries', async () => {
    const { challenge, session } = await begin()
    const common = ['--origin', ORIGIN, '--challenge', challenge]
    const firstFactorCredential = await made('create', '--id', 'owner', ...common)
    const out = at('recovery.json')
    const args = [
      'create',
      '--id',
      'rescue',
      '--recovery',
      '--wrap-key',
      'rescue-wrap',
      ...common,
      '--out',
      out,
      '--json',
    ]
    const { key, file, publicKeyThumbprint } = await made(...args)
    expect([key.id, file]).toEqual(['rescue', out])
    const recoveryCredential = JSON.parse(readFileSync(out, 'utf8'))
    expect(recoveryCredential).toMatchObject({
      credentialKind: 'RecoveryKey',
      credentialInfo: { credId: publicKeyThumbprint },
    })
    expect((await register({ firstFactorCredential, recoveryCredential }, session)).status).toBe(200)
    const { encryptedPrivateKey, publicKey } = haven.credentials.get(publicKeyThumbprint)!
    expect(encryptedPrivateKey).toMatch(/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/)
    const decipher = createDecipheriv('id-aes256-wrap-pad', WRAPPING_KEY, Buffer.from('a65959a6', 'hex'))
    const pkcs8 = Buffer.concat([decipher.update(Buffer.from(encryptedPrivateKey!, 'base64')), decipher.final()])
    const recovered = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' })
    expect(createPublicKey(recovered).equals(publicKey)).toBe(true)
    // What stays in the token cannot leave any more, and says that it has been outside.
    const { code, stdout } = await pinbridge(['keys', 'show', 'rescue', '--json', '--config', token.config])
    const shown = JSON.parse(stdout)
    const [{ flags }] = shown.tokens[0].objects.filter(({ kind }: any) => kind === 'private')
    expect([code, shown.origin, flags.CKA_EXTRACTABLE, flags.CKA_SIGN]).toEqual([0, 'imported', false, true])

    // The recovery: a key that the token keeps signs for new credentials, and ends those before.
    const started = (await haven.post('/auth/recover/user/delegated', {})).body
    const fresh = ['--origin', ORIGIN, '--challenge', started.challenge]
    const newCredentials = { firstFactorCredential: await made('create', '--id', 'owner-2', ...fresh) }
    const signed = Buffer.from(JSON.stringify(newCredentials)).toString('base64url')
    writeFileSync(at('signed.txt'), `${signed}\n`)
    const recovery = await made(
      'assert',
      'rescue',
      '--recovery',
      '--challenge-file',
      at('signed.txt'),
      '--origin',
      ORIGIN,
    )
    const session2 = started.temporaryAuthenticationToken
    const recover = (body: object) => haven.post('/auth/recover/user', body, session2)
    expect((await recover({ recovery: { ...recovery, kind: 'Key' }, newCredentials })).status).toBe(400)
    expect((await recover({ recovery, newCredentials })).status).toBe(200)
    expect(haven.credentials.get(firstFactorCredential.credentialInfo.credId)!.isActive).toBe(false)
  })

  it('gives the client data of the newer pages if it is told to', async () => {
    const challenge = randomBytes(32).toString('base64url')
    const { credentialInfo } = await made('create', '--id', 'short', '--no-origin', '--challenge', challenge)
    expect(jsonOf(credentialInfo.clientData)).toEqual({ challenge, type: 'key.create' })
  })
})

describe('Haven refuses what is damaged', () => {
  let challenge: string
  let session: string
  let good: any
  const withInfo = (info: object) => ({ ...good, credentialInfo: { ...good.credentialInfo, ...info } })
  const encoded = (text: string) => Buffer.from(text).toString('base64url')
  const resigned = (change: (attestation: any) => object) =>
    withInfo({ attestationData: encoded(JSON.stringify(change(jsonOf(good.credentialInfo.attestationData)))) })
  const refused = async (firstFactorCredential: object, message: string, status = 400) => {
    const { status: answered, body } = await register({ firstFactorCredential }, session)
    expect([answered, body.error?.message]).toEqual([status, expect.stringContaining(message)])
  }

  beforeAll(async () => {
    ;({ challenge, session } = await begin())
    good = await made(
      'attest',
      'user-ec-p256',
      '--origin',
      ORIGIN,
      '--challenge',
      challenge,
      '--cred-id',
      'second-name',
    )
  })

  it('in shape: another kind, another member, padding', async () => {
    await refused({ ...good, credentialKind: 'RecoveryKey' }, 'body')
    await refused({ ...good, encryptedPrivateKey: 'x' }, 'body')
    await refused(withInfo({ credId: 'with=padding=' }), 'body')
    await refused(withInfo({ clientData: Buffer.from(good.credentialInfo.clientData).toString('base64') }), '')
  })

  it('in client data: another order, another origin, another challenge', async () => {
    const clientData = jsonOf(good.credentialInfo.clientData)
    const reversed = Object.fromEntries(Object.entries(clientData).reverse())
    await refused(withInfo({ clientData: encoded(JSON.stringify(reversed)) }), 'client data')
    await refused(
      withInfo({ clientData: encoded(JSON.stringify({ ...clientData, crossOrigin: true })) }),
      'client data',
    )
    for (const [origin, other] of [
      ['https://elsewhere.example', challenge],
      [ORIGIN, (await begin()).challenge],
    ] as const) {
      await refused(await made('attest', 'user-ec-p256', '--origin', origin, '--challenge', other), 'client data')
    }
  })

  it('in the signature: one bit, another key, DER that is none', async () => {
    await refused(
      resigned((data) => ({
        ...data,
        signature: data.signature.replace(/.$/, (x: string) => (x === '0' ? '1' : '0')),
      })),
      'wrong',
    )
    const { publicKey } = jsonOf(
      (await made('attest', 'user-ed25519', '--origin', ORIGIN, '--challenge', challenge)).credentialInfo
        .attestationData,
    )
    await refused(
      resigned((data) => ({ ...data, publicKey })),
      'wrong',
    )
    await refused(
      resigned((data) => ({ ...data, signature: Buffer.from(data.signature, 'hex').toString('base64') })),
      'hex',
    )
    await refused(
      resigned(({ publicKey: pem, signature }) => ({ publicKey: pem.trimEnd(), signature })),
      'wrong',
    )
  })

  it('without a session, of a taken name, and a second time', async () => {
    expect((await register({ firstFactorCredential: good })).status).toBe(401)
    await refused(withInfo({ credId: [...haven.credentials.keys()][0] }), 'taken', 409)
    expect((await register({ firstFactorCredential: good }, session)).status).toBe(200)
    await refused(withInfo({ credId: 'third-name' }), 'Not Authorized', 401)
  })
})

describe('pinbridge credential assert', () => {
  it.for([['EC-P256'], ['Ed25519']] as const)(
    'signs actions with a key of %s as the SDK would',
    async ([algorithm]) => {
      const id = `acting-${algorithm.toLowerCase()}`
      const { challenge, session } = await begin()
      const args = ['--id', id, '--algorithm', algorithm, '--origin', ORIGIN, '--challenge', challenge]
      expect((await register({ firstFactorCredential: await made('create', ...args) }, session)).status).toBe(200)
      const action = (await haven.post('/auth/action/init', {})).body
      const firstFactor = await made('assert', id, '--challenge', action.challenge)
      // The same challenge under a key of the SDK's own: shape and client data are the same bytes.
      const { credId } = firstFactor.credentialAssertion
      expect(action.allowCredentials.key).toContainEqual({ type: 'public-key', id: credId })
      const privateKey = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }) as string
      const theirs = await new AsymmetricKeySigner({ credId, privateKey }).sign(action)
      const { signature, ...others } = firstFactor.credentialAssertion
      const { signature: _, ...theirOthers } = theirs.credentialAssertion
      expect([firstFactor.kind, others]).toEqual([theirs.kind, theirOthers])
      expect(signature).toMatch(/^[A-Za-z0-9_-]+$/)
      const { challengeIdentifier } = action
      const act = (assertion: object) => haven.post('/auth/action', { challengeIdentifier, firstFactor: assertion })
      // What another key signed is refused, and so is the right answer the second time.
      expect((await act(theirs)).body.error.message).toBe('the signature is wrong')
      expect((await act(firstFactor)).status).toBe(200)
      expect((await act(firstFactor)).status).toBe(401)
      const again = (await haven.post('/auth/action/init', {})).body
      const withOrigin = await made('assert', id, '--challenge', again.challenge, '--origin', ORIGIN)
      const answer = { challengeIdentifier: again.challengeIdentifier, firstFactor: withOrigin }
      expect((await haven.post('/auth/action', answer)).status).toBe(200)
    },
  )
})

describe('what is refused before anything is signed', () => {
  const CHALLENGE = randomBytes(24).toString('base64url')
  const GIVEN = ['--origin', ORIGIN, '--challenge', CHALLENGE]

  it.for([
    ['a challenge with JSON around it', 65, 'user-ec-p256', `{"challenge":"${CHALLENGE}"}`, 'not base64url'],
    ['a key for another purpose', 77, 'transcript', CHALLENGE, 'signs no challenge'],
  ] as const)('%s', async ([, code, name, challenge, sentence]) => {
    const before = await state()
    const answer = await credential('attest', name, '--origin', ORIGIN, '--challenge', challenge, '--yes')
    expect([answer.code, answer.stdout]).toEqual([code, ''])
    expect(answer.stderr).toContain(sentence)
    expect(await state()).toEqual(before)
  })

  it.for([
    ['a wrapping key that is none', 77, ['--recovery', '--wrap-key', 'transcript'], 'transcript-sign key'],
    ['a key that is there', 64, ['--id', 'user-ec-p256'], 'there is a key user-ec-p256 already'],
    [
      'a kind of key that the token does not wrap',
      69,
      ['--recovery', '--wrap-key', 'rescue-wrap', '--algorithm', 'Ed25519', '--out', 'OUT'],
      'wraps no private key of Ed25519',
    ],
  ] as const)('create: %s', async ([, code, args, sentence]) => {
    const before = await state()
    const out = at('refused.json')
    const given = ['--id', 'refused', ...GIVEN, ...args.map((arg) => (arg === 'OUT' ? out : arg))]
    const answer = await credential('create', ...given, '--yes')
    expect([answer.code, answer.stdout, existsSync(out)]).toEqual([code, '', false])
    expect(answer.stderr).toContain(sentence)
    expect(await state()).toEqual(before)
  })

  it('a file that is there, which stays as it is', async () => {
    const out = at('there.json')
    writeFileSync(out, 'precious')
    const answer = await credential('create', '--id', 'refused', ...GIVEN, '--out', out, '--yes')
    expect([answer.code, readFileSync(out, 'utf8')]).toEqual([73, 'precious'])
    expect(token.keys().some(({ id }) => id === 'refused')).toBe(false)
  })

  it('a request, a certificate, and a key that nobody else could unwrap with', async () => {
    const csr = await pinbridge(['certs', 'csr', 'user-ec-p256', '--subject', 'CN=x', '--config', token.config])
    expect([csr.code, csr.stderr]).toEqual([77, expect.stringContaining('signs challenges')])
    const generate = ['keys', 'generate', '--id', 'wrap-2', '--purpose', 'credential-wrap', '--algorithm', 'AES-256']
    const lonely = await pinbridge([...generate, '--config', token.config])
    expect([lonely.code, lonely.stderr]).toEqual([64, expect.stringContaining('--exportable')])
  })

  it('anything, where nobody can be asked and --yes is not said', async () => {
    const before = await state()
    // A session of its own has no terminal, whoever runs the tests; and what is piped in is nobody's yes.
    const args = ['--wait', NODE, CLI, 'credential', 'create', '--id', 'refused', ...GIVEN, '--config', token.config]
    const running = promisify(execFile)('setsid', args)
    running.child.stdin!.on('error', () => {}).end('y\n')
    const answer = await running.catch((error: unknown) => error)
    expect(answer).toMatchObject({ code: 64, stdout: '', stderr: expect.stringContaining('say --yes') })
    expect(await state()).toEqual(before)
  })
})

describe('at a terminal', () => {
  const CHALLENGE = randomBytes(24).toString('base64url')
  const start = (...args: string[]) =>
    PseudoTerminal.pinbridge([
      'credential',
      ...args,
      '--origin',
      ORIGIN,
      '--challenge',
      CHALLENGE,
      '--config',
      token.config,
    ])

  it('what is signed is shown, and nothing happens without a yes', async () => {
    const before = await state()
    for (const [answer, code] of [
      ['', 64],
      ['\x03', 130],
    ] as const) {
      const terminal = start('create', '--id', 'asked')
      const shown = await terminal.expect('[y/N]')
      for (const part of ['new key asked@1 of EC-P256', ORIGIN, CHALLENGE, 'SHA-256']) expect(shown).toContain(part)
      terminal.type(answer === '\x03' ? answer : `${answer}\r`)
      expect(await terminal.end()).toMatchObject({ code, restored: true })
      expect(await state()).toEqual(before)
    }
  })

  it('a yes signs', async () => {
    const terminal = start('assert', 'user-ed25519', '--recovery')
    const shown = await terminal.answer('[y/N]', 'y')
    expect(shown).toContain('ends every other credential')
    await terminal.expect('"signature"')
    expect((await terminal.end()).code).toBe(0)
  })

  it('the challenge may come by standard input meanwhile', async () => {
    writeFileSync(at('challenge.txt'), `${CHALLENGE}\n`)
    const words = [NODE, CLI, 'credential', 'assert', 'user-ed25519', '--challenge-file', '-', '--config', token.config]
    const terminal = PseudoTerminal.spawn(['sh', '-c', `exec ${words.join(' ')} <${at('challenge.txt')}`])
    expect(await terminal.answer('[y/N]', 'y')).toContain(CHALLENGE)
    expect((await terminal.end()).code).toBe(0)
  })
})

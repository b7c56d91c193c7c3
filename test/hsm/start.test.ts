import { randomBytes } from 'node:crypto'
import pkcs11 from 'pkcs11js'
import { afterAll, beforeAll, describe, expect, it, type TestContext } from 'vitest'
import type { KeyEntry } from '../../src/config/schema.ts'
import { KeyCatalogue } from '../../src/hsm/key-catalogue.ts'
import { keyShapes } from '../../src/hsm/pkcs11/key-shapes.ts'
import type { OpenHsm } from '../../src/hsm/pkcs11/open-hsm.ts'
import { publicKeyTemplate, storedKeyTemplate } from '../../src/hsm/pkcs11/templates.ts'
import { agreed } from '../support/oracles.ts'
import { makeHsm, type Opened, type TestHsm } from '../support/hsm.ts'

let hsm: TestHsm
/** What the self-test has found of the token. */
let can: OpenHsm['can']
let made = 0

beforeAll(async () => {
  hsm = await makeHsm()
  const open = await hsm.open()
  can = open.can
  open.close()
})
afterAll(() => hsm.dispose())

type Attributes = Record<number, Buffer | string | number | boolean>

interface Made {
  readonly attributes?: Attributes
  readonly entry?: Partial<KeyEntry>
  readonly times?: number
}

/** Makes a zone key and its catalogue entry; `attributes` and `entry` say what is wrong with them. */
function makeKey({ attributes = {}, entry = {}, times = 1 }: Made = {}): KeyEntry {
  const id = `made-${++made}`
  const value = Buffer.from(randomBytes(16).map((byte) => byte | 1))
  const kcv = agreed((oracle) => oracle.ecb('TDEA', value.toString('hex'), '0'.repeat(16))).slice(0, 6)
  const key: KeyEntry = {
    id,
    version: 1,
    state: 'active',
    purpose: 'zone-pin',
    direction: 'both',
    algorithm: 'TDEA-128',
    formats: ['ISO-0'],
    kcv,
    origin: 'imported',
    check: kcv,
    ...entry,
  }
  const right: Attributes = {
    [pkcs11.CKA_CLASS]: pkcs11.CKO_SECRET_KEY,
    [pkcs11.CKA_KEY_TYPE]: pkcs11.CKK_DES2,
    [pkcs11.CKA_VALUE]: value,
    [pkcs11.CKA_TOKEN]: true,
    [pkcs11.CKA_PRIVATE]: true,
    [pkcs11.CKA_MODIFIABLE]: false,
    [pkcs11.CKA_ID]: Buffer.from(`${id}.v1`),
    [pkcs11.CKA_LABEL]: `dev:zone-pin:${id}:v1`,
    [pkcs11.CKA_SENSITIVE]: true,
    [pkcs11.CKA_EXTRACTABLE]: false,
    [pkcs11.CKA_ENCRYPT]: true,
    [pkcs11.CKA_DECRYPT]: true,
    [pkcs11.CKA_SIGN]: false,
    [pkcs11.CKA_VERIFY]: false,
    [pkcs11.CKA_DERIVE]: false,
    [pkcs11.CKA_WRAP]: false,
    [pkcs11.CKA_UNWRAP]: false,
  }
  const template = Object.entries({ ...right, ...attributes }).map(([type, member]) => ({
    type: Number(type),
    value: member,
  }))
  hsm.spoil(({ lib, anchor }) => {
    for (let n = 0; n < times; n++) lib.C_CreateObject(anchor.handle, template)
  })
  return key
}

/** Makes a key twice; the test is skipped if the token keeps one object of a CKA_ID. */
function makeKeyTwice(context: TestContext): KeyEntry {
  const key = makeKey({ times: 2 })
  const kept = hsm.spoil(({ anchor }) => anchor.find({ id: Buffer.from(`${key.id}.v1`) } as never).length)
  if (kept !== 2) hsm.skip(context, 'the token keeps one object of a CKA_ID, the latest')
  return key
}

/** Makes a key with one attribute wrong; the test is skipped if the token makes none like that. */
function makeWrongKey(context: TestContext, attribute: number, value: boolean): KeyEntry {
  const key = makeKey({ attributes: { [attribute]: value } })
  const read = hsm.spoil(({ lib, anchor }) => {
    const handle = anchor.find({ id: Buffer.from(`${key.id}.v1`) } as never).items(0).handle
    return lib.C_GetAttributeValue(anchor.handle, handle, [{ type: attribute }])[0]!.value
  })
  if ((read[0] !== 0) !== value) hsm.skip(context, `the token gives every key the attribute as ${!value}`)
  return key
}

const also =
  (...keys: KeyEntry[]) =>
  (opened: Opened) =>
    void opened.keys.push(...keys)

async function expectProblems(key: KeyEntry, ...sentences: string[]): Promise<void> {
  const { reason, problems } = await hsm.refusal(also(key))
  expect([reason, problems]).toEqual(['keys-unusable', sentences.map((sentence) => `key ${key.id}: ${sentence}`)])
}

describe('a token with a key', () => {
  it('as it must be is opened', async () => {
    const key = makeKey()
    const open = await hsm.open(also(key))
    expect(open.keys.map(({ id }) => id)).toContain(key.id)
    open.close()
  })

  it.for([
    ['that the token can give out', pkcs11.CKA_EXTRACTABLE, true, 'CKA_EXTRACTABLE must be false'],
    ['whose value can be read', pkcs11.CKA_SENSITIVE, false, 'CKA_SENSITIVE must be true'],
    ['that works before login', pkcs11.CKA_PRIVATE, false, 'CKA_PRIVATE must be true'],
    ['whose attributes can be changed', pkcs11.CKA_MODIFIABLE, true, 'CKA_MODIFIABLE must be false'],
    ['that does not encipher', pkcs11.CKA_ENCRYPT, false, 'CKA_ENCRYPT must be true'],
    ['that does not decipher', pkcs11.CKA_DECRYPT, false, 'CKA_DECRYPT must be true'],
    ['that signs too', pkcs11.CKA_SIGN, true, 'CKA_SIGN must be false'],
    ['that verifies too', pkcs11.CKA_VERIFY, true, 'CKA_VERIFY must be false'],
    ['that derives too', pkcs11.CKA_DERIVE, true, 'CKA_DERIVE must be false'],
    ['that wraps too', pkcs11.CKA_WRAP, true, 'CKA_WRAP must be false'],
    ['that unwraps too', pkcs11.CKA_UNWRAP, true, 'CKA_UNWRAP must be false'],
  ] as const)('%s is refused by name', async ([, attribute, value, sentence], context) => {
    await expectProblems(makeWrongKey(context, attribute, value), sentence)
  })

  it('that is private and recovers what it signs is refused by name', async () => {
    const key: KeyEntry = {
      id: `made-${++made}`,
      version: 1,
      state: 'active',
      purpose: 'jwe-decrypt',
      algorithm: 'RSA-2048',
      kcv: '0102030405',
      d1Profile: 'd1',
      alg: 'RSA-OAEP-256',
      enc: 'A256GCM',
      origin: 'imported',
    }
    const usage = keyShapes(key, undefined, can)[0]![0]!.usage
    const privateTemplate = storedKeyTemplate(key, 'private', usage, 'development').map((attribute) =>
      attribute.type === pkcs11.CKA_SIGN_RECOVER ? { ...attribute, value: true } : attribute,
    )
    hsm.spoil(({ lib, anchor }) => {
      const mechanism = { mechanism: pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN }
      lib.C_GenerateKeyPair(anchor.handle, mechanism, publicKeyTemplate(key, 'development'), privateTemplate)
    })
    const { reason, problems } = await hsm.refusal(also(key))
    expect(reason).toBe('keys-unusable')
    expect(problems).toContain(`key ${key.id}: CKA_SIGN_RECOVER must be false`)
    expect(problems.filter((problem) => problem.includes('must be'))).toHaveLength(1)
  })

  it.each([
    ['in', 'CKA_ENCRYPT'],
    ['out', 'CKA_DECRYPT'],
  ] as const)('of direction %s that works the other way too is refused', async (direction, attribute) => {
    await expectProblems(makeKey({ entry: { direction } }), `${attribute} must be false`)
  })

  it.each([
    ['of another purpose', 'dev:prw:made:v1'],
    ['of another id', 'dev:zone-pin:other:v1'],
    ['of production', 'pinbridge:zone-pin:made:v1'],
    ['of nobody', ''],
  ])('labelled as one %s is refused', async (_name, label) => {
    await expectProblems(
      makeKey({ attributes: { [pkcs11.CKA_LABEL]: label } }),
      'its CKA_LABEL does not name this purpose, id and version',
    )
  })

  it('of another version is not found', async () => {
    await expectProblems(makeKey({ entry: { version: 2 } }), '0 objects carry its CKA_ID, one is needed')
  })

  it('of another version under the right CKA_ID is refused by its label', async () => {
    const key = makeKey({ attributes: { [pkcs11.CKA_ID]: Buffer.from(`made-${made + 1}.v2`) }, entry: { version: 2 } })
    await expectProblems(key, 'its CKA_LABEL does not name this purpose, id and version')
  })

  it('that is there twice is refused', async (context) => {
    await expectProblems(makeKeyTwice(context), '2 objects carry its CKA_ID, one is needed')
  })

  it('that is missing is refused', async () => {
    await expectProblems(
      makeKey({ attributes: { [pkcs11.CKA_ID]: Buffer.from('elsewhere') } }),
      '0 objects carry its CKA_ID, one is needed',
    )
  })

  it('that is of another type is refused', async () => {
    const triple = { [pkcs11.CKA_KEY_TYPE]: pkcs11.CKK_DES3, [pkcs11.CKA_VALUE]: randomBytes(24) }
    await expectProblems(makeKey({ attributes: triple }), 'its CKA_KEY_TYPE is not that of TDEA-128')
  })

  it('that is of another length is refused, by its length or else by its known answer', async () => {
    const attributes = { [pkcs11.CKA_KEY_TYPE]: pkcs11.CKK_AES }
    const key = makeKey({ attributes, entry: { algorithm: 'AES-256', formats: ['ISO-4'] } })
    const tellsLength = hsm.spoil(({ lib, anchor }) => {
      const handle = anchor.find({ id: Buffer.from(`${key.id}.v1`) } as never).items(0).handle
      try {
        return lib.C_GetAttributeValue(anchor.handle, handle, [{ type: pkcs11.CKA_VALUE_LEN }]).length > 0
      } catch {
        return false
      }
    })
    const { reason, problems } = await hsm.refusal(also(key))
    expect([reason, problems]).toEqual(
      tellsLength
        ? ['keys-unusable', [`key ${key.id}: it is not 256 bits long`]]
        : ['self-test-failed', [`key ${key.id}: it does not give its known answer`]],
    )
  })

  it('that is said to be generated and was imported is refused by each mark that the token keeps', async () => {
    expect(can.originMarks.length).toBeGreaterThan(0)
    const { reason, problems } = await hsm.refusal(also(makeKey({ entry: { origin: 'generated' } })))
    expect(reason).toBe('keys-unusable')
    const marks = ['CKA_LOCAL', 'CKA_ALWAYS_SENSITIVE', 'CKA_NEVER_EXTRACTABLE']
    const told = marks.filter((mark) => problems.includes(`key made-${made}: ${mark} must be true`))
    // An imported key may have a mark in this token; one that it does not have is enough.
    expect(told.length).toBeGreaterThan(0)
    expect(problems).toHaveLength(told.length)
    if (hsm.kind === 'softhsm') expect(told).toEqual(marks)
  })

  it('of another value is refused by its known answer', async () => {
    const key = makeKey({ entry: { check: 'A1B2C3' } })
    const { reason, problems } = await hsm.refusal(also(key))
    expect([reason, problems]).toEqual(['self-test-failed', [`key ${key.id}: it does not give its known answer`]])
  })

  it('that is wrong in several ways, and several such keys, are all told at once', async () => {
    const one = makeKey({ attributes: { [pkcs11.CKA_EXTRACTABLE]: true, [pkcs11.CKA_WRAP]: true } })
    const other = makeKey({ attributes: { [pkcs11.CKA_ID]: Buffer.from('nowhere') } })
    const { problems } = await hsm.refusal(also(one, other))
    expect(problems).toEqual([
      `key ${one.id}: CKA_EXTRACTABLE must be false`,
      `key ${one.id}: CKA_WRAP must be false`,
      `key ${other.id}: 0 objects carry its CKA_ID, one is needed`,
    ])
  })

  it('that is retired is not looked for, and one that is pending is held against the catalogue as any other', async () => {
    const open = await hsm.open(also(makeKey({ entry: { state: 'retired', version: 7 } })))
    open.close()
    const pending = makeKey({ entry: { state: 'pending', version: 7 } })
    const { problems } = await hsm.refusal(also(pending))
    expect(problems).toContain(`key ${pending.id}: 0 objects carry its CKA_ID, one is needed`)
  })
})

const edited = (id: string, edit: (key: any) => void) => (opened: Opened) =>
  edit(opened.keys.find((key) => key.id === id))

describe('the development keys', () => {
  it.for(['jwe-ec', 'jwe-rsa'])('are refused when the KCV of %s is another', async (id, context) => {
    hsm.needs(context, id)
    const { reason, problems } = await hsm.refusal(edited(id, (key) => (key.kcv = '0102030405')))
    expect([reason, problems]).toEqual(['keys-unusable', [`key ${id}: its KCV is not the catalogue's`]])
  })

  it('are refused when one kid names two of them', async (context) => {
    hsm.needs(context, 'jwe-ec', 'jwe-rsa')
    const open = await hsm.open((opened) => {
      for (const key of opened.keys) if (key.purpose === 'jwe-decrypt') key.kid = 'one'
    })
    const catalogue = new KeyCatalogue([...open.keys], [])
    expect(() => catalogue.learnPublicKeys(open.publicKeys)).toThrow('key jwe-rsa: its kid is that of key jwe-ec too')
    open.close()
  })

  it.for(['zpk-out', 'zpk-aes', 'seccos-pin', 'prw-aes', 'pin-mac-aes', 'audit-mac', 'limit-hash'])(
    'are refused when the KCV of %s, which its use can compute, is another',
    async (id, context) => {
      hsm.needs(context, id)
      const { reason, problems } = await hsm.refusal(
        edited(id, (key) => (key.kcv = key.algorithm.startsWith('AES') ? '0102030405' : '010203')),
      )
      expect([reason, problems]).toEqual(['self-test-failed', [`key ${id}: its KCV is not the catalogue's`]])
    },
  )

  const WITH_CHECKS = ['zpk-in', 'zpk-out', 'zpk-aes', 'seccos-pin', 'prw', 'pin-mac', 'prw-aes', 'pin-mac-aes']
  it.for([...WITH_CHECKS, 'audit-mac', 'limit-hash'])(
    'are refused when the known answer of %s is another or missing',
    async (id, context) => {
      hsm.needs(context, id)
      const failed = ['self-test-failed', [`key ${id}: it does not give its known answer`]]
      const flip = (key: any) => (key.check = `${key.check[0] === '0' ? '1' : '0'}${key.check.slice(1)}`)
      for (const edit of [flip, (key: any) => delete key.check]) {
        const { reason, problems } = await hsm.refusal(edited(id, edit))
        expect([reason, problems]).toEqual(failed)
      }
    },
  )

  it('are refused in production, each by its name', async () => {
    const { reason, problems } = await hsm.refusal((opened) => {
      opened.environment = 'production'
    })
    expect(reason).toBe('keys-unusable')
    const names = [...hsm.setUp.keys.map(({ id }) => id), 'pin-mac.cbc']
    const refused = problems.filter((problem) => problem.endsWith(': is a development key, which production refuses'))
    expect(refused.map((problem) => problem.slice('key '.length, problem.indexOf(':'))).sort()).toEqual(names.sort())
  })

  it.each([
    ['prw', 'seccos-3des', 'outputHex'],
    ['prw', 'dk-aes', 'messageHex'],
    ['pin-mac', 'seccos-3des', 'outputHex'],
    ['pin-mac', 'dk-aes', 'keyHex'],
  ])('are refused when a known answer of the profile %s %s has another %s', async (kind, id, member) => {
    const { reason, problems } = await hsm.refusal((opened) => {
      const profile: any = opened.profiles.find((one) => one.kind === kind && one.id === id)
      const answer = profile.knownAnswers[0]
      // Not the lowest bit of a byte, which is parity in a TDEA key.
      answer[member] = `${answer[member][0] === '8' ? '7' : '8'}${answer[member].slice(1)}`
    })
    expect([reason, problems]).toEqual([
      'self-test-failed',
      [`profile ${kind} ${id}: a known answer does not come out`],
    ])
  })

  it('are refused when the catalogue gives one another purpose, direction or use than its label or flags', async () => {
    const asPrw = { purpose: 'prw', use: ['generate'], profile: 'seccos-3des' }
    const { problems } = await hsm.refusal(edited('zpk-out', (key) => Object.assign(key, asPrw)))
    expect(problems).toContain('key zpk-out: its CKA_LABEL does not name this purpose, id and version')
    expect(problems).toContain('key zpk-out: CKA_DECRYPT must be false')
    const outward = await hsm.refusal(edited('zpk-in', (key) => (key.direction = 'both')))
    expect(outward.problems).toEqual(['key zpk-in: CKA_ENCRYPT must be true'])
  })

  it('are refused when the catalogue gives a MAC key less than its flags do', async (context) => {
    if (can.cmac.TDEA.chosen !== 'native') hsm.skip(context, `a composed CMAC has one flag (${can.cmac.TDEA.why})`)
    const verifying = await hsm.refusal(edited('prw', (key) => (key.use = ['verify'])))
    expect(verifying.problems).toEqual(['key prw: CKA_SIGN must be false'])
  })

  it('do without the MAC key if its second object is missing, and are refused with another value in it', async () => {
    const find = (token: Parameters<Parameters<typeof hsm.spoil>[0]>[0]) =>
      token.anchor.find({ id: Buffer.from('pin-mac.cbc.v1') } as never)
    const k1 = hsm.value('pin-mac').slice(0, 16)
    const other = `${k1.slice(0, 2) === 'FE' ? '01' : 'FE'}${k1.slice(2)}`
    hsm.spoil((token) => token.lib.C_DestroyObject(token.anchor.handle, find(token).items(0).handle))
    const without = await hsm.open()
    expect([...without.unavailable].map(([key, { reason }]) => [key.id, reason])).toEqual([
      ['pin-mac', 'its second object pin-mac.cbc is not in the token'],
    ])
    expect(without.keys.map(({ id }) => id)).toEqual(
      hsm.setUp.keys.map(({ id }) => id).filter((id) => id !== 'pin-mac'),
    )
    without.close()
    const flags = [
      pkcs11.CKA_DECRYPT,
      pkcs11.CKA_SIGN,
      pkcs11.CKA_VERIFY,
      pkcs11.CKA_DERIVE,
      pkcs11.CKA_WRAP,
      pkcs11.CKA_UNWRAP,
      pkcs11.CKA_EXTRACTABLE,
      pkcs11.CKA_MODIFIABLE,
    ]
    const create = (value: string) =>
      hsm.spoil(({ lib, anchor }) =>
        lib.C_CreateObject(anchor.handle, [
          { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
          { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_DES3 },
          { type: pkcs11.CKA_VALUE, value: Buffer.from(value.repeat(3), 'hex') },
          { type: pkcs11.CKA_ID, value: Buffer.from('pin-mac.cbc.v1') },
          { type: pkcs11.CKA_LABEL, value: 'dev:pin-mac:pin-mac.cbc:v1' },
          ...[pkcs11.CKA_TOKEN, pkcs11.CKA_PRIVATE, pkcs11.CKA_SENSITIVE, pkcs11.CKA_ENCRYPT].map((type) => ({
            type,
            value: true,
          })),
          ...flags.map((type) => ({ type, value: false })),
        ]),
      )
    create(other)
    const wrong = await hsm.refusal()
    expect([wrong.reason, wrong.problems]).toEqual([
      'self-test-failed',
      ['key pin-mac: it does not give its known answer'],
    ])
    hsm.spoil((token) => token.lib.C_DestroyObject(token.anchor.handle, find(token).items(0).handle))
    create(k1)
    const open = await hsm.open()
    open.close()
  })
})

describe('a token', () => {
  it('that is not there is told as absent, without its label', async () => {
    const { reason, problems } = await hsm.refusal((opened) => {
      opened.tokenLabel = 'another-token'
    })
    expect([reason, problems]).toEqual(['token-absent', ['hsm.tokenLabel: 0 tokens carry this label, one is needed']])
  })
})

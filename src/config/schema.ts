/**
 * The configuration file's schema: one YAML document, where an unknown member is an error. Rules between members are in
 * rules.ts. A `description` says what a value must be: problems are worded with it, and never with the value.
 */
import { Type, type Static } from 'typebox'
import { Profile } from '../pin-change/profile.ts'

const strict = { additionalProperties: false } as const
const id = Type.String({
  pattern: '^[A-Za-z0-9._-]{1,64}$',
  description: '1 to 64 letters, digits, dots, underscores or hyphens',
})
const path = Type.String({ minLength: 1, maxLength: 4096 })
const hex = (bytes: string) =>
  Type.String({
    pattern: `^(?:[0-9A-Fa-f]{2})${bytes}$`,
    description: `${bytes.replace(/\{(\d+),(\d+)\}/, '$1 to $2')} bytes in hex`,
  })
// A member of D1's JSON payload: visible ASCII that JSON writes as it is, so that it is compared byte for byte.
const payloadMember = (name: string) =>
  Type.String({
    pattern: '^[!#-\\[\\]-~]{1,64}$',
    description: '1 to 64 visible ASCII characters, without quotation mark and backslash',
    default: name,
  })
const date = Type.String({
  pattern: '^20[0-9]{2}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])$',
  description: 'a day written as 2026-11-23, in quotes',
})
const choice = <T extends string[]>(...values: [...T]) => Type.Enum(values, { type: 'string' })

/** What keys of the running service are for. */
const SERVING_PURPOSES = [
  'jwe-decrypt',
  'zone-pin',
  'seccos-pin',
  'prw',
  'pin-mac',
  'audit-mac',
  'limit-hash',
  'jwe-open',
  'assertion-sign',
] as const
/** What keys are for that commands use and no vault is given: to carry keys, to sign transcripts, for TLS, and as credentials. */
const OFFLINE_PURPOSES = ['key-transport', 'transcript-sign', 'tls-sign', 'credential-sign', 'credential-wrap'] as const

/** What a key is for: it serves this and nothing else. */
export const PURPOSES = [...SERVING_PURPOSES, ...OFFLINE_PURPOSES] as const

/** Algorithm and length of a key. */
export const ALGORITHMS = [
  'TDEA-128',
  'TDEA-192',
  'AES-128',
  'AES-192',
  'AES-256',
  'EC-P256',
  'Ed25519',
  'RSA-2048',
  'RSA-3072',
  'RSA-4096',
] as const

const key = Type.Object(
  {
    id,
    version: Type.Integer({ minimum: 1, maximum: 9999 }),
    state: choice('pending', 'active', 'retiring', 'retired'),
    purpose: choice(...PURPOSES),
    // zone-pin and seccos-pin: which way PIN blocks go, seen from here.
    direction: Type.Optional(choice('in', 'out', 'both')),
    // prw and pin-mac: generate, verify; key-transport: import, export of key blocks.
    use: Type.Optional(
      Type.Array(choice('generate', 'verify', 'import', 'export'), { minItems: 1, uniqueItems: true }),
    ),
    algorithm: choice(...ALGORITHMS),
    kcv: hex('{3,5}'),
    check: Type.Optional(hex('{3,16}')),
    formats: Type.Optional(
      Type.Array(choice('ISO-0', 'ISO-1', 'ISO-3', 'ISO-4', 'SECCOS'), { minItems: 1, uniqueItems: true }),
    ),
    // zone-pin and seccos-pin: whether `pinbridge migrate` may use it, for millions of PIN blocks at once.
    migrate: Type.Optional(Type.Boolean()),
    // Whether its value may leave the token, wrapped: a key that another party needs too, until it has it.
    exportable: Type.Optional(Type.Boolean()),
    // A key-transport key of TDEA: whether it reads key blocks of versions A and C, for which it is three objects.
    legacyBlocks: Type.Optional(Type.Boolean()),
    profile: Type.Optional(id),
    d1Profile: Type.Optional(id),
    kid: Type.Optional(Type.String({ minLength: 1, maxLength: 256 })),
    alg: Type.Optional(choice('ECDH-ES', 'RSA-OAEP-256')),
    enc: Type.Optional(choice('A256GCM')),
    // assertion-sign: whom an assertion speaks for, and whom it is meant for; a caller chooses neither.
    issuerId: Type.Optional(
      Type.String({
        pattern: '^[A-Za-z0-9_-]{10}$',
        description: '10 letters, digits, underscores or hyphens, as D1 gave it',
      }),
    ),
    audience: Type.Optional(Type.String({ minLength: 1, maxLength: 1024 })),
    origin: choice('generated', 'imported'),
    // When it was made, and the last day it should be used: for whoever plans its replacement.
    created: Type.Optional(date),
    expires: Type.Optional(date),
  },
  strict,
)

const d1Profile = Type.Object(
  {
    id,
    // D1's public pages leave the names of `type` open: ours on the left, the wire's on the right.
    types: Type.Object(
      {
        ISO0: Type.Optional(Type.String({ minLength: 1, maxLength: 32 })),
        '3DES_SECCOS': Type.Optional(Type.String({ minLength: 1, maxLength: 32 })),
      },
      { ...strict, minProperties: 1 },
    ),
    members: Type.Object(
      {
        pinBlock: payloadMember('pinBlock'),
        prw: payloadMember('prw'),
        mac: payloadMember('mac'),
        counter: payloadMember('counter'),
        transactionId: payloadMember('transactionId'),
      },
      { ...strict, default: {} },
    ),
    innerKey: Type.Optional(id),
    seccos: Type.Optional(Type.Object({ pinKey: id, prwKey: id, macKey: id }, strict)),
    hexCase: Type.Enum(['upper', 'lower'], { type: 'string', default: 'upper' }),
    // Whether a PIN change counter is accepted once for a card; a pin/set must then carry one.
    counterOnce: Type.Boolean({ default: false }),
  },
  strict,
)

const recipient = Type.Object(
  {
    kid: Type.String({ minLength: 1, maxLength: 256 }),
    publicKey: Type.Object(
      {
        kty: choice('EC', 'RSA'),
        crv: Type.Optional(choice('P-256')),
        x: Type.Optional(Type.String()),
        y: Type.Optional(Type.String()),
        n: Type.Optional(Type.String()),
        e: Type.Optional(Type.String()),
      },
      strict,
    ),
    alg: choice('ECDH-ES', 'RSA-OAEP-256'),
    enc: choice('A256GCM'),
    // What may be sealed to it: PINs, by pin/get, or data of cards and consumers, by jwe/seal; neither serves the other.
    use: Type.Enum(['pin', 'data'], { type: 'string', default: 'pin' }),
    profile: Type.Optional(id),
    development: Type.Boolean({ default: false }),
  },
  strict,
)

/** The operations a client can be granted; SECCOS translation is one of its own, and so are batches. */
export const GRANTABLE_OPERATIONS = [
  'pin/set',
  'pin/get',
  'pin-blocks/translate',
  'pin-blocks/translate-seccos',
  'pin-blocks/translate-batch',
  'prw/generate',
  'prw/verify',
  'mac/generate',
  'mac/verify',
  'd1/assertion',
  'jwe/seal',
  'jwe/open',
  'jwks',
  'keys',
] as const

const grant = Type.Object(
  {
    operations: Type.Array(choice(...GRANTABLE_OPERATIONS), { minItems: 1, uniqueItems: true }),
    keys: Type.Array(id, { default: [], uniqueItems: true }),
    formats: Type.Array(choice('ISO-0', 'ISO-1', 'ISO-3', 'ISO-4', 'SECCOS'), { default: [], uniqueItems: true }),
    recipients: Type.Array(Type.String({ minLength: 1 }), { default: [], uniqueItems: true }),
  },
  strict,
)

const client = Type.Object(
  {
    id,
    // The certificate's DNS name (subjectAltName); the common name is never looked at.
    dnsName: Type.String({
      pattern: '^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$',
      description: 'a DNS name in lower case',
    }),
    // The `sub` of its tokens, where callers have tokens.
    subject: Type.Optional(Type.String({ minLength: 1, maxLength: 256 })),
    grants: Type.Array(grant, { default: [] }),
  },
  strict,
)

// What a caller shows beside its certificate.
const authentication = Type.Object(
  {
    // JWTs of this issuer that are bound to the certificate (RFC 8705).
    bearer: Type.Optional(
      Type.Object(
        {
          issuer: Type.String({ minLength: 1, maxLength: 1024 }),
          audience: Type.String({ minLength: 1, maxLength: 1024 }),
          jwks: path,
          clockSkewS: Type.Integer({ minimum: 0, maximum: 300, default: 30 }),
          // Where it is false, a request without a token goes by its certificate alone.
          required: Type.Boolean(),
        },
        strict,
      ),
    ),
  },
  { ...strict, default: {} },
)

// What a new PIN must not be; the list is the issuer's policy and no secret.
const weakPins = Type.Object(
  {
    repeated: Type.Boolean({ default: false }),
    rising: Type.Boolean({ default: false }),
    falling: Type.Boolean({ default: false }),
    list: Type.Array(Type.String({ pattern: '^[0-9]{4,12}$', description: '4 to 12 digits' }), {
      default: [],
      uniqueItems: true,
      maxItems: 10_000,
    }),
  },
  { ...strict, default: {} },
)

const count = (value: number) => Type.Integer({ minimum: 1, maximum: 1_000_000_000, default: value })
const ms = (value: number, minimum = 1) => Type.Integer({ minimum, maximum: 86_400_000, default: value })
const port = Type.Integer({ minimum: 0, maximum: 65_535 })

const YEAR_MS = 365 * 86_400_000

/** A server that nodes share their guessing budgets and used change counters in: Redis, or Valkey. */
const limitStore = Type.Object(
  {
    url: Type.String({
      pattern: '^rediss?://(?:[A-Za-z0-9._-]+@)?(?:\\[[0-9a-f:.]+\\]|[A-Za-z0-9.-]+)(?::[0-9]{1,5})?(?:/[0-9]{1,2})?$',
      description: 'redis://host:port or rediss://host:port, without a password',
    }),
    passwordFile: Type.Optional(path),
    // Whoever signed the server's certificate; by default the authorities that come with node.
    caFile: Type.Optional(path),
    timeoutMs: Type.Integer({ minimum: 10, maximum: 5000, default: 200 }),
    prefix: Type.String({
      pattern: '^[A-Za-z0-9:._-]{1,64}$',
      description: '1 to 64 letters, digits, colons, dots, underscores or hyphens',
      default: 'pinbridge:',
    }),
    whenGone: Type.Enum(['refuse', 'memory'], { type: 'string', default: 'refuse' }),
  },
  strict,
)

/** A collector that traces of requests are sent to, by OTLP over HTTP. */
const tracing = Type.Object(
  {
    endpoint: Type.String({
      pattern: '^https?://(?:\\[[0-9a-f:.]+\\]|[A-Za-z0-9.-]+)(?::[0-9]{1,5})?/[A-Za-z0-9._~/-]*$',
      description: 'https://host:port/path, as https://collector:4318/v1/traces',
    }),
    // Whoever signed the collector's certificate; by default the authorities that come with node.
    caFile: Type.Optional(path),
    // What the collector knows this service by, if it asks.
    certificateFile: Type.Optional(path),
    privateKeyFile: Type.Optional(path),
    // Of the requests that no caller has decided on.
    sampleRatio: Type.Number({ minimum: 0, maximum: 1, default: 1 }),
    tracesPerSecond: Type.Integer({ minimum: 1, maximum: 10_000, default: 100 }),
  },
  strict,
)

/**
 * Names of variables that a PKCS#11 module may be given, such as SOFTHSM2_CONF or ChrystokiConfigurationPath: none that
 * steers node, the loader or pinbridge itself.
 */
export const MODULE_VARIABLE = '^(?!NODE_|LD_|UV_|PINBRIDGE_|OPENSSL_|SSL_|GCONV_|GLIBC_|MALLOC_)[A-Za-z][A-Za-z0-9_]*$'

/** A token that holds the keys; several hold the same ones, so that the service outlives one of them. */
export const Token = Type.Object(
  {
    name: id,
    module: path,
    tokenLabel: Type.String({ minLength: 1, maxLength: 32 }),
    pinFile: path,
    // Only vaults get them.
    environment: Type.Record(Type.String({ pattern: MODULE_VARIABLE }), Type.String(), {
      additionalProperties: false,
      default: {},
    }),
    // What C_Initialize is given as LibraryParameters; NSS reads from it where its data base is.
    libraryParameters: Type.Optional(Type.String({ minLength: 1, maxLength: 1024 })),
    // The number of the vendor's mechanism for ISO/IEC 9797-1 MAC algorithm 3; without it, that MAC is composed.
    retailMacMechanism: Type.Optional(Type.Integer({ minimum: 0x8000_0000, maximum: 0xffff_ffff })),
    sessions: Type.Integer({ minimum: 1, maximum: 256, default: 4 }),
    // The one kind of socket that the module opens on the way to its HSM.
    socket: Type.Enum(['none', 'unix', 'inet'], { type: 'string', default: 'none' }),
  },
  strict,
)

const userId = Type.Integer({ minimum: 1, maximum: 4_294_967_294 })
// By number: a name would have to be looked up, and a container often has none.
const user = Type.Object(
  { uid: userId, gid: userId, groups: Type.Array(userId, { maxItems: 31, uniqueItems: true, default: [] }) },
  strict,
)

/** Whether the running service uses keys of this purpose. */
export function servesRequests({ purpose }: { readonly purpose: (typeof PURPOSES)[number] }): boolean {
  return (SERVING_PURPOSES as readonly string[]).includes(purpose)
}

/** The configuration file as a JSON schema: `default` stands for a member that may be left out. */
export const ConfigFile = Type.Object(
  {
    environment: choice('development', 'production'),
    acceptDefaultProfiles: Type.Boolean({ default: false }),
    hsm: Type.Object(
      {
        tokens: Type.Array(Token, { minItems: 1, maxItems: 16 }),
        // For each token; by default one per core, shared among the tokens.
        vaults: Type.Optional(Type.Integer({ minimum: 1, maximum: 64 })),
        recycle: Type.Object(
          {
            ageMs: ms(86_400_000, 1000),
            sessionObjects: count(200_000),
            rssMiB: Type.Integer({ minimum: 256, default: 512 }),
          },
          { ...strict, default: {} },
        ),
      },
      strict,
    ),
    // Whom the processes run as when root starts the service; without it, all run as whoever starts it.
    processes: Type.Object(
      { users: Type.Optional(Type.Object({ gateway: user, vault: user }, strict)) },
      { ...strict, default: {} },
    ),
    keys: Type.Array(key, { minItems: 1 }),
    profiles: Type.Array(Profile, { default: [] }),
    d1: Type.Object(
      { profiles: Type.Array(d1Profile, { default: [] }), recipients: Type.Array(recipient, { default: [] }) },
      { ...strict, default: {} },
    ),
    weakPins,
    authentication,
    clients: Type.Array(client, { default: [] }),
    listeners: Type.Object(
      {
        api: Type.Object(
          { host: Type.String({ minLength: 1 }), port, certificate: path, privateKey: path, clientCa: path },
          strict,
        ),
        management: Type.Object({ host: Type.String({ minLength: 1, default: '127.0.0.1' }), port }, strict),
      },
      strict,
    ),
    limits: Type.Object(
      {
        // One budget for everything that tells right from wrong.
        guesses: Type.Object(
          {
            windowMs: ms(3_600_000, 1000),
            perClient: count(1000),
            perCard: count(10),
            perPinBlock: count(10),
            // Of PINs that were set, which is no guess.
            perCardMade: count(100),
          },
          { ...strict, default: {} },
        ),
        store: Type.Optional(limitStore),
        // Of a batch, so that one under a wrong key is not a thousand guesses.
        batchRejects: Type.Integer({ minimum: 1, maximum: 10_000, default: 100 }),
        // For so long a change counter stays used where a D1 profile has counterOnce.
        counterTtlMs: Type.Integer({ minimum: 60_000, maximum: 10 * YEAR_MS, default: YEAR_MS }),
        requestMs: ms(10_000, 100),
        hsmMs: ms(5_000, 50),
        queue: count(1000),
        inFlightPerVault: Type.Integer({ minimum: 1, maximum: 1024, default: 8 }),
        shutdownMs: ms(10_000),
      },
      { ...strict, default: {} },
    ),
    // The record of operations; required outside development.
    audit: Type.Optional(
      Type.Object(
        {
          directory: path,
          // An audit-mac key.
          key: id,
          sealEveryMs: ms(60_000, 1000),
          sealEveryRecords: count(1000),
          rotateBytes: Type.Integer({ minimum: 4096, maximum: 1_099_511_627_776, default: 268_435_456 }),
          whenUnwritable: Type.Enum(['refuse', 'log'], { type: 'string', default: 'refuse' }),
        },
        strict,
      ),
    ),
    // Without it no trace is made.
    tracing: Type.Optional(tracing),
    logLevel: Type.Enum(['debug', 'info', 'warn', 'error'], { type: 'string', default: 'info' }),
  },
  strict,
)

/** The configuration with every default filled in and every path absolute. */
export type Config = Static<typeof ConfigFile> & {
  /** What stands in the file of `authentication.bearer.jwks`; empty without it. */
  readonly tokenKeys: readonly TokenKey[]
  /** SHA-256 of the file, hex: by it whoever wrote the file knows whether it is in use. */
  readonly sha256: string
}
/** A public key that callers' tokens are verified with: the members of RFC 7517 and RFC 7518 that are no secret. */
export interface TokenKey {
  readonly kty: string
  readonly kid?: string
  readonly use?: string
  readonly alg?: string
  readonly crv?: string
  readonly x?: string
  readonly y?: string
  readonly n?: string
  readonly e?: string
}
/** How callers' tokens are checked. */
export type BearerConfig = Omit<NonNullable<Config['authentication']['bearer']>, 'jwks'> & {
  readonly keys: readonly TokenKey[]
}
/** A token that holds the keys. */
export type TokenConfig = Config['hsm']['tokens'][number]
/** A user that a process becomes, with its groups. */
export type ProcessUser = Static<typeof user>
/** A key of the catalogue: its metadata, never its value. */
export type KeyEntry = Config['keys'][number]
/** What D1's public pages leave open, as this issuer agreed it with D1. */
export type D1Profile = Config['d1']['profiles'][number]
/** Whoever PINs, or data, may be sealed for. */
export type Recipient = Config['d1']['recipients'][number]
/** A caller, known by its certificate, and what it may do. */
export type ClientEntry = Config['clients'][number]
/** The server that nodes share their limits in. */
export type LimitStoreConfig = Static<typeof limitStore>
/** Where traces of requests go, and which. */
export type TracingConfig = Static<typeof tracing>
/** The name of an operation in a grant. */
export type GrantableOperation = (typeof GRANTABLE_OPERATIONS)[number]

/** What the gateway is given: no HSM member, no PIN file, and of the keys only what stands in GET /v1/keys. */
export type GatewayConfig = Pick<
  Config,
  'environment' | 'clients' | 'listeners' | 'limits' | 'audit' | 'tracing' | 'logLevel'
> & {
  readonly keys: readonly Pick<
    KeyEntry,
    | 'id'
    | 'version'
    | 'purpose'
    | 'direction'
    | 'use'
    | 'algorithm'
    | 'kcv'
    | 'profile'
    | 'state'
    | 'created'
    | 'expires'
  >[]
  /** The wire names of `type` in pin/set that any D1 profile accepts. */
  readonly setPinTypes: readonly string[]
  readonly authentication: { readonly bearer?: BearerConfig }
  /** The ids of the JWE keys whose D1 profile accepts a change counter once. */
  readonly counterOnceKeys: readonly string[]
}

/** What a vault is given: its one token, and of the rest everything but the listeners, the clients and the gateway's limits. */
export type VaultConfig = Pick<Config, 'environment' | 'keys' | 'profiles' | 'd1' | 'weakPins' | 'logLevel'> & {
  readonly hsm: {
    readonly token: TokenConfig
    readonly recycle: Config['hsm']['recycle']
    /** Beside other tokens, one that lacks a key is refused: whether a request fails must not be chance. */
    readonly allKeysNeeded: boolean
  }
  /** Whether any client may translate to or from SECCOS: if none may, a gateway may not either. */
  readonly seccosTranslation: boolean
  /** It answers a migration, which asks for one operation. */
  readonly migratesOnly: boolean
}

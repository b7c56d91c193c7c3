// Generated from the OpenAPI document by: node scripts/generate-client.ts src/client/openapi.ts

/** Every operation, with its method and path. */
export const ROUTES = {
  /** Takes the PIN that D1 encrypted; gives it under a zone key, with the PRW and MAC that were asked for */
  setPin: 'POST /v1/pin/set',
  /** Translates a PIN block to ISO format 0 and seals it to a recipient */
  getPin: 'POST /v1/pin/get',
  /** Translates a PIN block to another zone key, or to another format that the rules permit */
  translatePinBlock: 'POST /v1/pin-blocks/translate',
  /** Translates up to 10 000 PIN blocks; a wrong one does not fail its neighbours */
  translatePinBlockBatch: 'POST /v1/pin-blocks/translate-batch',
  /** Makes the PRW of a PIN block's PIN by the key's profile */
  generatePrw: 'POST /v1/prw/generate',
  /** Checks a PRW against a PIN block's PIN */
  verifyPrw: 'POST /v1/prw/verify',
  /** Makes the MAC of an enciphered PIN block by the key's profile */
  generateMac: 'POST /v1/mac/generate',
  /** Checks the MAC of an enciphered PIN block */
  verifyMac: 'POST /v1/mac/verify',
  /** Signs the assertion that D1 gives an access token for; issuer and audience are of the key */
  makeD1Assertion: 'POST /v1/d1/assertion',
  /** Seals the credentials of a card, or the personal information of a consumer, to a data recipient */
  sealJwe: 'POST /v1/jwe/seal',
  /** Opens what D1 encrypted to a jwe-open key; a payload with a PIN block in it is refused */
  openJwe: 'POST /v1/jwe/open',
  /** The public keys that D1 encrypts to: current ones first, then those being retired */
  getJwks: 'GET /v1/jwks',
  /** The key catalogue; never a value */
  getKeys: 'GET /v1/keys',
} as const

/** The closed set of error codes. */
export const ERROR_CODES = [
  'ERR_REQUEST_INVALID',
  'ERR_JWE_INVALID',
  'ERR_ALG_NOT_ALLOWED',
  'ERR_CLIENT_UNAUTHENTICATED',
  'ERR_KEY_USE_FORBIDDEN',
  'ERR_TRANSLATION_FORBIDDEN',
  'ERR_NOT_FOUND',
  'ERR_METHOD_NOT_ALLOWED',
  'ERR_REQUEST_TIMEOUT',
  'ERR_COUNTER_REPLAYED',
  'ERR_REQUEST_TOO_LARGE',
  'ERR_UNSUPPORTED_MEDIA_TYPE',
  'ERR_JWE_DECRYPTION_FAILED',
  'ERR_JWE_PAYLOAD_INVALID',
  'ERR_PIN_BLOCK_INVALID',
  'ERR_PIN_CHANGE_NOT_VERIFIED',
  'ERR_PIN_REFUSED',
  'ERR_RATE_LIMITED',
  'ERR_HEADERS_TOO_LARGE',
  'ERR_INTERNAL',
  'ERR_HSM_BUSY',
  'ERR_HSM_UNAVAILABLE',
] as const

export type paths = Record<string, never>
export type webhooks = Record<string, never>
export interface components {
  schemas: {
    readonly SetPinRequest: {
      /** @description What D1 calls the JWE's payload, as its PIN request says: ISO0 or 3DES_SECCOS, unless the D1 profile names them otherwise */
      readonly type: string
      /** @description JWE, compact form */
      readonly encryptedPinBlock: string
      readonly card: components['schemas']['Card']
      readonly change?: components['schemas']['Change']
      readonly to?: components['schemas']['Zone']
      readonly issue?: components['schemas']['Issue']
    }
    readonly SetPinAnswer: {
      readonly pinBlock?: components['schemas']['PinBlock']
      /** @description Format of the PIN block that goes out */
      readonly format?: string
      readonly key?: components['schemas']['KeyRef']
      readonly prw?: components['schemas']['IssuedPrw']
      readonly mac?: components['schemas']['IssuedMac']
      /** @description Of 3DES_SECCOS: both are true, for what does not match is an error */
      readonly verified?: {
        /** @description D1's PRW matches */
        readonly prw: boolean
        /** @description D1's MAC matches */
        readonly mac: boolean
      }
    }
    readonly GetPinRequest: {
      readonly pinBlock: components['schemas']['PinBlock']
      readonly from: components['schemas']['Zone']
      readonly card: components['schemas']['Card']
      /** @description kid of a configured recipient */
      readonly recipient: string
    }
    readonly GetPinAnswer: {
      /** @description JWE, compact form */
      readonly encryptedPinBlock: string
    }
    readonly TranslatePinBlockRequest: {
      readonly pinBlock: components['schemas']['PinBlock']
      readonly from: components['schemas']['Zone']
      readonly to: components['schemas']['Zone']
      readonly card: components['schemas']['Card']
    }
    readonly TranslatePinBlockAnswer: {
      readonly pinBlock: components['schemas']['PinBlock']
      /** @description Format of the PIN block that goes out */
      readonly format: string
      readonly key: components['schemas']['KeyRef']
    }
    readonly TranslatePinBlockBatchRequest: {
      readonly from: components['schemas']['Zone']
      readonly to: components['schemas']['Zone']
      /** @description The items as JSON; either these or rows */
      readonly items?: readonly {
        /** @description Names the item in the answer; unique in its batch */
        readonly id: string
        readonly pinBlock: components['schemas']['PinBlock']
        readonly card: components['schemas']['Card']
      }[]
      /** @description The items as CSV: id, pan, pinBlock; a first line may name the columns */
      readonly rows?: string
    }
    readonly TranslatePinBlockBatchAnswer: {
      /** @description Format of the PIN blocks that go out */
      readonly format: string
      readonly key: components['schemas']['KeyRef']
      /** @description One for each item of the request, in its order */
      readonly items?: readonly {
        /** @description Names the item in the answer; unique in its batch */
        readonly id: string
        readonly pinBlock?: components['schemas']['PinBlock']
        /**
         * @description Why there is no PIN block: it is invalid, or the limit on wrong ones has been reached
         * @enum {string}
         */
        readonly code?: 'ERR_PIN_BLOCK_INVALID' | 'ERR_RATE_LIMITED'
      }[]
      /** @description For a request with rows: CSV with the columns id, pinBlock, code */
      readonly rows?: string
    }
    readonly GeneratePrwRequest: {
      readonly pinBlock: components['schemas']['PinBlock']
      readonly from: components['schemas']['Zone']
      readonly card: components['schemas']['Card']
      readonly change?: components['schemas']['Change']
      readonly key: components['schemas']['KeyId']
    }
    readonly GeneratePrwAnswer: {
      /** @description PIN reference value, hex */
      readonly prw: string
      /** @description Id of the PRW or MAC profile */
      readonly profile: string
      readonly key: components['schemas']['KeyRef']
      /** @description The random number that was returned with the PRW, hex */
      readonly randomNumber?: string
      /** @description The change counter that went into the PRW */
      readonly counter?: string
    }
    readonly VerifyPrwRequest: {
      readonly pinBlock: components['schemas']['PinBlock']
      readonly from: components['schemas']['Zone']
      readonly card: components['schemas']['Card']
      readonly change?: components['schemas']['Change']
      readonly key: components['schemas']['KeyId']
      /** @description PIN reference value, hex */
      readonly prw: string
      /** @description The random number that was returned with the PRW, hex */
      readonly randomNumber?: string
    }
    readonly VerifyPrwAnswer: {
      /** @description Whether it matches; false is an answer, not an error */
      readonly verified: boolean
    }
    readonly GenerateMacRequest: {
      readonly key: components['schemas']['KeyId']
      readonly pinBlock: components['schemas']['PinBlock']
      /** @description PIN reference value, hex */
      readonly prw?: string
      readonly card?: components['schemas']['Card']
      readonly change?: components['schemas']['Change']
    }
    readonly GenerateMacAnswer: {
      /** @description MAC, hex */
      readonly mac: string
      /** @description Id of the PRW or MAC profile */
      readonly profile: string
      readonly key: components['schemas']['KeyRef']
    }
    readonly VerifyMacRequest: {
      readonly key: components['schemas']['KeyId']
      readonly pinBlock: components['schemas']['PinBlock']
      /** @description PIN reference value, hex */
      readonly prw?: string
      readonly card?: components['schemas']['Card']
      readonly change?: components['schemas']['Change']
      /** @description MAC, hex */
      readonly mac: string
    }
    readonly VerifyMacAnswer: {
      /** @description Whether it matches; false is an answer, not an error */
      readonly verified: boolean
    }
    readonly MakeD1AssertionRequest: {
      readonly key: components['schemas']['KeyId']
      /** @description Seconds that the assertion is valid; 300 unless told */
      readonly lifetimeS?: number
    }
    readonly MakeD1AssertionAnswer: {
      /** @description JWT (RFC 7523), compact form: a credential, to be sent to D1 and kept nowhere */
      readonly assertion: string
      /** @description When it expires, in seconds since 1970, UTC */
      readonly expiresAt: number
      readonly key: components['schemas']['KeyRef']
    }
    readonly SealJweRequest: {
      /** @description kid of a configured recipient */
      readonly recipient: string
      /** @description What is sealed: the credentials of a card, or the personal information of a consumer */
      readonly payload:
        | {
            /** @description Primary account number, 12 to 19 digits */
            readonly pan: string
            /** @description Expiry date, MMYY */
            readonly exp: string
          }
        | {
            /** @description What D1 may know of a consumer */
            readonly personalInformation: {
              /** @description Language (ISO 639-1), hyphen, country (ISO 3166-1 alpha-2), such as de-DE */
              readonly language?: string
              /** @description Title */
              readonly title?: string
              /** @description First name */
              readonly firstName?: string
              /** @description Middle name */
              readonly middleName?: string
              /** @description Last name */
              readonly lastName?: string
              /** @description Date of birth, YYYY-MM-DD */
              readonly dateOfBirth?: string
              /** @description E-mail address */
              readonly email?: string
              /** @description Mobile phone number */
              readonly mobilePhoneNumber?: {
                /** @description Country calling code (ITU-T E.164), with + */
                readonly countryCode: string
                /** @description The number without the country calling code */
                readonly phoneNumber: string
              }
              /** @description Address of residence */
              readonly residencyAddress?: {
                /** @description Street and number */
                readonly line1?: string
                /** @description What else the address needs */
                readonly line2?: string
                /** @description City */
                readonly city?: string
                /** @description State or province */
                readonly state?: string
                /** @description Postal code */
                readonly zipCode?: string
                /** @description Country (ISO 3166-1 alpha-2) */
                readonly countryCode?: string
              }
            }
          }
    }
    readonly SealJweAnswer: {
      /** @description JWE, compact form */
      readonly jwe: string
    }
    readonly OpenJweRequest: {
      /** @description JWE, compact form */
      readonly jwe: string
    }
    readonly OpenJweAnswer: {
      /** @description What was sealed, as its sender wrote it */
      readonly payload: {
        readonly [key: string]: unknown
      }
      readonly key: components['schemas']['KeyRef']
    }
    /** @description JWK Set (RFC 7517 section 5) */
    readonly GetJwksAnswer: {
      /** @description Current keys first, then those being retired */
      readonly keys: readonly {
        /**
         * @description Key type
         * @enum {string}
         */
        readonly kty: 'EC' | 'RSA'
        /** @description Key id, for the header of a JWE */
        readonly kid: string
        /**
         * @description For encryption
         * @enum {string}
         */
        readonly use: 'enc'
        /** @description The one alg that a JWE to this key may have */
        readonly alg: string
        /** @description Curve (RFC 7518 section 6.2.1.1) */
        readonly crv?: string
        /** @description x coordinate, base64url */
        readonly x?: string
        /** @description y coordinate, base64url */
        readonly y?: string
        /** @description RSA modulus, base64url */
        readonly n?: string
        /** @description RSA exponent, base64url */
        readonly e?: string
      }[]
    }
    readonly GetKeysAnswer: {
      /** @description Every version of every key */
      readonly keys: readonly {
        /** @description Id of the key, as requests name it */
        readonly id: string
        /** @description Version */
        readonly version: number
        /** @description The one thing that it does, such as zone-pin or prw */
        readonly purpose: string
        /** @description Of a zone key: in, out or both */
        readonly direction?: string
        /** @description Of a PRW or MAC key: generate, verify */
        readonly use?: readonly string[]
        /** @description Such as TDEA-128, AES-256 or EC-P256 */
        readonly algorithm: string
        /** @description Key check value, hex */
        readonly kcv: string
        /** @description Id of the PRW or MAC profile */
        readonly profile?: string
        /** @description pending, active, retiring or retired */
        readonly state: string
        /** @description A day, such as 2026-11-23 */
        readonly created?: string
        /** @description A day, such as 2026-11-23 */
        readonly expires?: string
      }[]
    }
    /** @description Problem details (RFC 9457); every text is constant */
    readonly Problem: {
      /** @description URI of the kind of problem: the code */
      readonly type: string
      /** @description The sentence of the code: always the same, and never of the request */
      readonly title: string
      /** @description The HTTP status */
      readonly status: number
      /**
       * @description What went wrong, for programs; the set is closed within a version of the contract
       * @enum {string}
       */
      readonly code:
        | 'ERR_REQUEST_INVALID'
        | 'ERR_JWE_INVALID'
        | 'ERR_ALG_NOT_ALLOWED'
        | 'ERR_CLIENT_UNAUTHENTICATED'
        | 'ERR_KEY_USE_FORBIDDEN'
        | 'ERR_TRANSLATION_FORBIDDEN'
        | 'ERR_NOT_FOUND'
        | 'ERR_METHOD_NOT_ALLOWED'
        | 'ERR_REQUEST_TIMEOUT'
        | 'ERR_COUNTER_REPLAYED'
        | 'ERR_REQUEST_TOO_LARGE'
        | 'ERR_UNSUPPORTED_MEDIA_TYPE'
        | 'ERR_JWE_DECRYPTION_FAILED'
        | 'ERR_JWE_PAYLOAD_INVALID'
        | 'ERR_PIN_BLOCK_INVALID'
        | 'ERR_PIN_CHANGE_NOT_VERIFIED'
        | 'ERR_PIN_REFUSED'
        | 'ERR_RATE_LIMITED'
        | 'ERR_HEADERS_TOO_LARGE'
        | 'ERR_INTERNAL'
        | 'ERR_HSM_BUSY'
        | 'ERR_HSM_UNAVAILABLE'
      /**
       * Format: uuid
       * @description Names the request in the log of the service
       */
      readonly requestId: string
    }
    /** @description The issuer's own PRW, if it was asked for */
    readonly IssuedPrw: {
      /** @description PIN reference value, hex */
      readonly value: string
      /** @description Id of the PRW or MAC profile */
      readonly profile: string
      readonly key: components['schemas']['KeyRef']
      /** @description The random number that was returned with the PRW, hex */
      readonly randomNumber?: string
      /** @description The change counter that went into the PRW */
      readonly counter?: string
    }
    /** @description The issuer's own MAC over the outgoing PIN block, if it was asked for */
    readonly IssuedMac: {
      /** @description MAC, hex */
      readonly value: string
      /** @description Id of the PRW or MAC profile */
      readonly profile: string
      readonly key: components['schemas']['KeyRef']
    }
    /** @description Which key did it */
    readonly KeyRef: {
      /** @description Id of the key */
      readonly id: string
      /** @description Its version; to be kept with what was made, and named when that comes back */
      readonly version: number
      /** @description Key check value, hex */
      readonly kcv: string
    }
    /** @description A PAN and what else stands on the card; which of it a PRW or MAC needs says the profile of its key */
    readonly Card: {
      /** @description Primary account number, 12 to 19 digits */
      readonly pan: string
      /** @description PAN sequence number */
      readonly panSequenceNumber?: string
      /** @description Expiry date, YYMM */
      readonly expiry?: string
    }
    /** @description The PIN change that a PRW or MAC is bound to */
    readonly Change: {
      /** @description PIN change counter */
      readonly counter: string
      /** @description The id that ties the counter to the PIN change */
      readonly transactionId?: string
    }
    /** @description What protects a PIN block, and how it is laid out */
    readonly Zone: {
      readonly key: components['schemas']['KeyId']
      /**
       * @description PIN block format: of ISO 9564-1, or the SECCOS block; 16 bytes in ISO-4, 8 in every other
       * @enum {string}
       */
      readonly format: 'ISO-0' | 'ISO-1' | 'ISO-3' | 'ISO-4' | 'SECCOS'
      /** @description Version of the key, as an answer named it. Without it, the active one. Blocks come in under any that is not retired, and go out under the active one */
      readonly version?: number
    }
    /** @description The keys that make the issuer's own PRW, and its MAC over the outgoing PIN block */
    readonly Issue: {
      readonly prw?: components['schemas']['KeyId']
      readonly mac?: components['schemas']['KeyId']
    }
    /** @description Id of a key of the catalogue */
    readonly KeyId: string
    /** @description PIN block under the named key, hex */
    readonly PinBlock: string
  }
  responses: never
  parameters: never
  requestBodies: never
  headers: never
  pathItems: never
}
export type SetPinRequest = components['schemas']['SetPinRequest']
export type SetPinAnswer = components['schemas']['SetPinAnswer']
export type GetPinRequest = components['schemas']['GetPinRequest']
export type GetPinAnswer = components['schemas']['GetPinAnswer']
export type TranslatePinBlockRequest = components['schemas']['TranslatePinBlockRequest']
export type TranslatePinBlockAnswer = components['schemas']['TranslatePinBlockAnswer']
export type TranslatePinBlockBatchRequest = components['schemas']['TranslatePinBlockBatchRequest']
export type TranslatePinBlockBatchAnswer = components['schemas']['TranslatePinBlockBatchAnswer']
export type GeneratePrwRequest = components['schemas']['GeneratePrwRequest']
export type GeneratePrwAnswer = components['schemas']['GeneratePrwAnswer']
export type VerifyPrwRequest = components['schemas']['VerifyPrwRequest']
export type VerifyPrwAnswer = components['schemas']['VerifyPrwAnswer']
export type GenerateMacRequest = components['schemas']['GenerateMacRequest']
export type GenerateMacAnswer = components['schemas']['GenerateMacAnswer']
export type VerifyMacRequest = components['schemas']['VerifyMacRequest']
export type VerifyMacAnswer = components['schemas']['VerifyMacAnswer']
export type MakeD1AssertionRequest = components['schemas']['MakeD1AssertionRequest']
export type MakeD1AssertionAnswer = components['schemas']['MakeD1AssertionAnswer']
export type SealJweRequest = components['schemas']['SealJweRequest']
export type SealJweAnswer = components['schemas']['SealJweAnswer']
export type OpenJweRequest = components['schemas']['OpenJweRequest']
export type OpenJweAnswer = components['schemas']['OpenJweAnswer']
export type GetJwksAnswer = components['schemas']['GetJwksAnswer']
export type GetKeysAnswer = components['schemas']['GetKeysAnswer']
export type Problem = components['schemas']['Problem']
export type IssuedPrw = components['schemas']['IssuedPrw']
export type IssuedMac = components['schemas']['IssuedMac']
export type KeyRef = components['schemas']['KeyRef']
export type Card = components['schemas']['Card']
export type Change = components['schemas']['Change']
export type Zone = components['schemas']['Zone']
export type Issue = components['schemas']['Issue']
export type KeyId = components['schemas']['KeyId']
export type PinBlock = components['schemas']['PinBlock']
export type $defs = Record<string, never>
export type operations = Record<string, never>

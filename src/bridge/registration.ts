/**
 * What is sealed to D1 when consumers and cards are registered: the credentials of a card, or the personal information of a
 * consumer, by the names of D1's published schemas.
 *
 * Closed on purpose, so that no PIN block is ever sealed as data: every member is listed, a PAN is digits, and no free text may hold
 * 16 hex digits in a row, which is what a PIN block of 8 or 16 bytes is written as.
 */
import { Type, type Static } from 'typebox'

const strict = { additionalProperties: false } as const

/** What no text may hold, before the form that it has to have. */
const NO_BLOCK = '(?!.*[0-9A-Fa-f]{16})'

const text = (pattern: string, description: string) => Type.String({ pattern: `^${NO_BLOCK}${pattern}$`, description })
// Letters of any script with their marks, and what stands between them; no digit and no control character.
const name = (description: string) => text("[\\p{L}\\p{M}'’.,\\- ]{1,64}", description)
const line = (description: string) => text("[\\p{L}\\p{M}\\p{Nd}'’.,/#&()°ºª\\- ]{1,100}", description)
const country = Type.String({ pattern: '^[A-Z]{2}$', description: 'Country (ISO 3166-1 alpha-2)' })

/** The credentials of a card, as D1 takes them; the expiry is month before year, unlike that of a `card` elsewhere. */
export const CardCredentials = Type.Object(
  {
    pan: Type.String({ pattern: '^[1-9][0-9]{11,18}$', description: 'Primary account number, 12 to 19 digits' }),
    exp: Type.String({ pattern: '^(?:0[1-9]|1[0-2])[0-9]{2}$', description: 'Expiry date, MMYY' }),
  },
  { ...strict, description: 'The credentials of a card' },
)

const MobilePhoneNumber = Type.Object(
  {
    countryCode: Type.String({
      pattern: '^\\+[1-9][0-9]{0,2}$',
      description: 'Country calling code (ITU-T E.164), with +',
    }),
    phoneNumber: Type.String({ pattern: '^[0-9]{4,14}$', description: 'The number without the country calling code' }),
  },
  { ...strict, description: 'Mobile phone number' },
)

const ResidencyAddress = Type.Object(
  {
    line1: Type.Optional(line('Street and number')),
    line2: Type.Optional(line('What else the address needs')),
    city: Type.Optional(line('City')),
    state: Type.Optional(line('State or province')),
    zipCode: Type.Optional(Type.String({ pattern: '^[A-Za-z0-9 -]{1,10}$', description: 'Postal code' })),
    countryCode: Type.Optional(country),
  },
  { ...strict, minProperties: 1, description: 'Address of residence' },
)

/** What D1 may know of a consumer; all of it may be left out, but not everything at once. */
export const PersonalInformation = Type.Object(
  {
    language: Type.Optional(
      Type.String({
        pattern: '^[a-z]{2}-[a-zA-Z]{2}$',
        description: 'Language (ISO 639-1), hyphen, country (ISO 3166-1 alpha-2), such as de-DE',
      }),
    ),
    title: Type.Optional(text("[\\p{L}\\p{M}'’.\\- ]{1,20}", 'Title')),
    firstName: Type.Optional(name('First name')),
    middleName: Type.Optional(name('Middle name')),
    lastName: Type.Optional(name('Last name')),
    dateOfBirth: Type.Optional(
      Type.String({
        pattern: '^(?:19|20)[0-9]{2}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])$',
        description: 'Date of birth, YYYY-MM-DD',
      }),
    ),
    email: Type.Optional(
      text("[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(?:\\.[A-Za-z0-9-]{1,63}){1,8}", 'E-mail address'),
    ),
    mobilePhoneNumber: Type.Optional(MobilePhoneNumber),
    residencyAddress: Type.Optional(ResidencyAddress),
  },
  { ...strict, minProperties: 1, description: 'What D1 may know of a consumer' },
)

/** What is sealed: one of the two, and nothing else. */
export const DataPayload = Type.Union(
  [
    CardCredentials,
    Type.Object(
      { personalInformation: PersonalInformation },
      { ...strict, description: 'A consumer, registered with D1' },
    ),
  ],
  { description: 'What is sealed: the credentials of a card, or the personal information of a consumer' },
)
export type DataPayload = Static<typeof DataPayload>

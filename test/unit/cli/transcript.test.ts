import { createPublicKey, generateKeyPairSync, sign } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { isTranscriptOf, nameProblem, parseTranscript, Transcript } from '../../../src/cli/ceremony/transcript.ts'

const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const KEY = { id: 'transcript', version: 12, kcv: '0123abcdef' }

async function signed(outcome: 'completed' | 'aborted' = 'completed'): Promise<string> {
  const times = ['2026-11-23T16:00:00.900Z', '2026-11-23T16:01:02Z', '2026-11-23T16:03:04Z']
  const transcript = new Transcript('import of a key in 2 components', [['Key', 'zpk version 1']], () => {
    return new Date(times.shift()!)
  })
  transcript.note('Custodian 1 is Söngül Özil.')
  transcript.note('A sentence\nwith lines\u2028and more.\n')
  return transcript.signed(outcome, {
    key: KEY,
    sign: (text) => Promise.resolve(sign('sha256', text, { key: privateKey, dsaEncoding: 'ieee-p1363' })),
  })
}

describe('a transcript', () => {
  it('is a text to be read, with one line for each thing', async () => {
    const lines = (await signed()).split('\n')
    expect(lines.slice(0, -2)).toEqual([
      'pinbridge key ceremony: transcript',
      '==================================',
      'What:           import of a key in 2 components',
      'Begun:          2026-11-23 16:00:00 UTC',
      'Key:            zpk version 1',
      '',
      '2026-11-23 16:01:02 UTC  Custodian 1 is Söngül Özil.',
      '2026-11-23 16:03:04 UTC  A sentence with lines and more.',
      '',
      'Outcome:        completed',
      'Signed by:      key transcript version 12, KCV 0123ABCDEF, ES256 over all bytes before the next line',
    ])
    expect(lines.at(-2)).toMatch(/^Signature: {6}[A-Za-z0-9_-]{86}$/)
    expect(lines.at(-1)).toBe('')
  })

  it('says who signed it, and verifies', async () => {
    for (const outcome of ['completed', 'aborted'] as const) {
      const parsed = parseTranscript(Buffer.from(await signed(outcome)))!
      expect(parsed).toMatchObject({ outcome, signer: { id: 'transcript', version: 12, kcv: '0123ABCDEF' } })
      expect(isTranscriptOf(parsed, publicKey)).toBe(true)
      expect(
        isTranscriptOf(parsed, createPublicKey(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey)),
      ).toBe(false)
    }
  })

  it('does not verify with any byte changed', async () => {
    const bytes = Buffer.from(await signed())
    const untouched: number[] = []
    for (let i = 0; i < bytes.length; i++) {
      const changed = Buffer.from(bytes)
      changed[i]! ^= 1
      const parsed = parseTranscript(changed)
      if (parsed !== undefined && isTranscriptOf(parsed, publicKey)) untouched.push(i)
    }
    expect(untouched).toEqual([])
  })

  it.each([
    ['a line more at the end', (text: string) => `${text}More.\n`],
    ['an end that is cut off', (text: string) => text.slice(0, -20)],
    ['no end of the last line', (text: string) => text.slice(0, -1)],
    ['another beginning', (text: string) => ` ${text}`],
    ['no signature', (text: string) => text.replace(/Signature.*\n/, '')],
    ['a shorter signature', (text: string) => text.replace(/(Signature: +)..../, '$1')],
    ['nothing', () => ''],
  ])('is not taken apart with %s', async (_, spoil) => {
    expect(parseTranscript(Buffer.from(spoil(await signed())))).toBeUndefined()
  })

  it('can be left unsigned, and says why', () => {
    const text = new Transcript('x', [], () => new Date(0)).unsigned('aborted', 'the token is\ngone')
    expect(text).toMatch(/\nOutcome: {8}aborted\nSignature: {6}none, because the token is gone\n$/)
    expect(parseTranscript(Buffer.from(text))).toBeUndefined()
  })
})

it.each([
  '',
  ' Anna',
  'Anna ',
  'A\nOutcome: completed',
  'A\u0085B',
  'A\u2028B',
  'A\u202eB',
  'A\u0000',
  '\u3164',
  'A\ufe0fB',
  'x'.repeat(65),
])('the name %j is refused', (name) => {
  expect(nameProblem(name)).toBeTypeOf('string')
})

it.each(['0E23CB6E1CF291E9463B92AE758F80B5', '0e23 cb6e 1cf2 91e9', '7da7-d2f5-0699-57f9-dc43'])(
  'what looks like a component, %j, does not get into the transcript as a name',
  (digits) => {
    expect(nameProblem(digits)).toContain('hex digits')
  },
)

it.each(['Ada', 'Deed Added Facade', 'Anna Meier', 'Söngül Özil', 'Security officer 3', '王', 'x'.repeat(64)])(
  'the name %j is taken',
  (name) => {
    expect(nameProblem(name)).toBeUndefined()
  },
)

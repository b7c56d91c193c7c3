/** A development key stays one: nobody who holds a session can take the label from it that production refuses. */
import pkcs11, { type Handle } from 'pkcs11js'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { Token } from '../../src/hsm/pkcs11/module.ts'
import { makeHsm, type TestHsm } from '../support/hsm.ts'

/** As pkcs11js, which does not know the name, writes 0x1b. */
const CKR_ACTION_PROHIBITED = /:27$/
const RELABELLED = [{ type: pkcs11.CKA_LABEL, value: 'pinbridge:zone-pin:zpk-out:v1' }]

let hsm: TestHsm
beforeAll(async () => {
  hsm = await makeHsm()
})
afterAll(() => hsm.dispose())

function atDevelopmentKey<T>(work: (token: Token, handle: Handle) => T): T {
  return hsm.spoil((token) =>
    work(token, token.anchor.find({ id: Buffer.from('zpk-out.v1') } as never).items(0).handle),
  )
}

it('a development key cannot be labelled anew, in place or in a copy, and production refuses it', async () => {
  const change = () =>
    atDevelopmentKey(({ lib, anchor }, handle) => lib.C_SetAttributeValue(anchor.handle, handle, RELABELLED))
  expect(change).toThrow(CKR_ACTION_PROHIBITED)
  const copy = () => atDevelopmentKey(({ lib, anchor }, handle) => lib.C_CopyObject(anchor.handle, handle, RELABELLED))
  expect(copy).toThrow('CKR_ATTRIBUTE_READ_ONLY')
  const { problems } = await hsm.refusal((opened) => {
    opened.environment = 'production'
    opened.keys = opened.keys.filter(({ id }) => id === 'zpk-out')
  })
  expect(problems).toEqual(['key zpk-out: is a development key, which production refuses'])
})

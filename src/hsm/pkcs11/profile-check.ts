/** Checks PRW and MAC profiles by their known answers: the message always, the output too where the token takes session keys. */
import { decodeHex, equalConstantTime } from '../../bytes.ts'
import { checkProfileMessages } from '../../pin-change/known-answers.ts'
import type { Profile } from '../../pin-change/profile.ts'
import { BlockCipher } from './block-cipher.ts'
import type { Calls } from './calls.ts'
import type { Capabilities, MacWay } from './capabilities.ts'
import { macShape } from './key-shapes.ts'
import { Macs } from './macs.ts'
import type { Token } from './module.ts'
import { withSessionKey } from './session-keys.ts'

/** The profiles whose known answers do not come out, in a sentence each. */
export async function knownAnswerProblems(
  token: Token,
  calls: Calls,
  can: Capabilities,
  profiles: Iterable<Profile>,
): Promise<string[]> {
  const problems: string[] = []
  for (const profile of profiles) {
    const way = profile.algorithm === 'ISO-9797-1-ALG-3' ? can.retailMac : can.cmac[cipherOf(profile)]
    const good =
      checkProfileMessages(profile) &&
      (way.chosen === undefined || (await outputsMatch(token, calls, can, profile, way.chosen)))
    if (!good) problems.push(`profile ${profile.kind} ${profile.id}: a known answer does not come out`)
  }
  return problems
}

async function outputsMatch(
  token: Token,
  calls: Calls,
  can: Capabilities,
  profile: Profile,
  way: MacWay,
): Promise<boolean> {
  const shape = macShape(['generate'], profile, way)
  for (const [keyHex, answers] of Map.groupBy(profile.knownAnswers, (answer) => answer.keyHex)) {
    const value = decodeHex(keyHex)
    if (value === undefined) return false
    try {
      const matches = await withSessionKey(token, shape, cipherOf(profile), value, async (key) => {
        const blocks = new BlockCipher(calls, can.chaining)
        for (const object of key.values()) await blocks.learn(object)
        const macs = new Macs(calls, blocks, can.vendorRetailMac)
        for (const { messageHex, outputHex } of answers) {
          const [message, expected] = [decodeHex(messageHex), decodeHex(outputHex)]
          if (message === undefined || expected === undefined) return false
          const output = await macs.generate(key, profile.algorithm, message)
          if (!equalConstantTime(output.subarray(0, profile.outputBytes), expected)) return false
        }
        return true
      })
      // This token takes no session keys of this kind: the stored keys' own known answers have to do.
      if (matches === false) return false
    } catch {
      // It takes the key and cannot compute with it.
      return false
    }
  }
  return true
}

function cipherOf({ algorithm }: Profile): 'TDEA' | 'AES' {
  return algorithm === 'AES-CMAC' ? 'AES' : 'TDEA'
}

/**
 * The optional blocks that carry a KCV: KC of the key in the block, KP of its protection key.
 *
 * Their data is `method 2 | KCV`: method 00 is the encipherment of zeros, 01 the CMAC of a block of zeros; the KCV is the leftmost
 * bytes in hex.
 *
 * @see ANSI X9.143:2021, 6.3.6 (KC, KP)
 */
import { decodeHex, equalConstantTime } from '../bytes.ts'
import type { SecretScope } from '../secret.ts'
import { cmac } from './cmac.ts'
import { openEcb, type BlockAlgorithm } from './ecb.ts'
import { optionalBlock, type KeyBlockHeader, type OptionalBlock } from './header.ts'

const FEWEST_BYTES = 2

/** Makes a KC or KP block of a KCV of the catalogue: TDEA's are made by method 00, AES's by 01. */
export function kcvBlock(id: 'KC' | 'KP', algorithm: BlockAlgorithm, kcv: string): OptionalBlock {
  return optionalBlock(id, `${methodOf(algorithm)}${kcv.toUpperCase()}`)
}

/** Whether a header carries no KC that contradicts this key; a method that is not known says nothing. */
export function agreesWithKc(
  { optionalBlocks }: KeyBlockHeader,
  algorithm: BlockAlgorithm,
  key: Buffer,
  secrets: SecretScope,
): boolean {
  const zeros = secrets.take(algorithm === 'TDEA' ? 8 : 16)
  const whole: Readonly<Record<string, () => Buffer>> = {
    '00': () => openEcb(algorithm, key, secrets).encipher(secrets.take(zeros.length)),
    '01': () => cmac(algorithm, key, zeros, secrets),
  }
  return optionalBlocks
    .filter(({ id }) => id === 'KC')
    .every(({ data }) => {
      const make = whole[data.slice(0, 2)]
      const kcv = decodeHex(data.slice(2))
      if (make === undefined) return true
      return kcv !== undefined && kcv.length >= FEWEST_BYTES && equalConstantTime(make().subarray(0, kcv.length), kcv)
    })
}

/** Whether a header carries no KP that contradicts the catalogue's KCV of the protection key; another method says nothing. */
export function agreesWithKp({ optionalBlocks }: KeyBlockHeader, algorithm: BlockAlgorithm, kcv: string): boolean {
  return optionalBlocks
    .filter(({ id, data }) => id === 'KP' && data.startsWith(methodOf(algorithm)))
    .every(({ data }) => {
      const digits = Math.min(kcv.length, data.length - 2)
      return beginsWith(kcv.toUpperCase().slice(0, digits), data.slice(2, 2 + digits))
    })
}

function methodOf(algorithm: BlockAlgorithm): '00' | '01' {
  return algorithm === 'TDEA' ? '00' : '01'
}

/** Of a KCV, which is no secret, too few digits would prove nothing. */
function beginsWith(whole: string, kcv: string): boolean {
  const bytes = decodeHex(kcv)
  return bytes !== undefined && bytes.length >= FEWEST_BYTES && whole.startsWith(kcv.toUpperCase())
}

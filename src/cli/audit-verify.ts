/** What `audit verify` does: asks the HSM of each seal, and says what is proven. */
import { sealDigest, type SealMembers } from '../audit/record.ts'
import { sealMessage } from '../audit/seal-message.ts'
import { verifyFiles, type Anchors, type Verdict } from '../audit/verify.ts'
import { decodeHex } from '../bytes.ts'
import { loadConfig } from '../config/config.ts'
import type { Config } from '../config/schema.ts'
import { keyRef } from '../hsm/key-catalogue.ts'
import { expectFiles } from './audit-files.ts'
import { openOwnKeys } from './audit-hsm.ts'

const EX_BROKEN = 1
const EX_SEALS_MISSING = 2

/** Verifies, prints the verdict, and sets the exit code. */
export async function verifyCommand(
  files: readonly string[],
  options: { readonly config: string; readonly anchor?: Anchors; readonly json?: boolean },
): Promise<void> {
  expectFiles(files)
  const config = loadConfig(options.config)
  const { open } = await openOwnKeys(config, 'audit-mac')
  try {
    const verdict = await verifyFiles(files, isRightBy(open), options.anchor)
    const sealsMissing = areSealsMissing(verdict, config)
    process.stdout.write(
      options.json ? `${JSON.stringify({ ...verdict, sealsMissing })}\n` : textOf(verdict, sealsMissing),
    )
    if (verdict.broken) process.exitCode = EX_BROKEN
    else if (sealsMissing) process.exitCode = EX_SEALS_MISSING
  } finally {
    open.close()
  }
}

/** Whoever holds no key can take seals away and chain the rest anew: then more is unsealed than the settings ever leave. */
function areSealsMissing({ unsealedMs }: Verdict, { audit }: Config): boolean {
  return audit !== undefined && unsealedMs > 2 * audit.sealEveryMs
}

function isRightBy({ hsm, keys }: Pick<Awaited<ReturnType<typeof openOwnKeys>>['open'], 'hsm' | 'keys'>) {
  return async (seal: SealMembers): Promise<boolean | undefined> => {
    const name = JSON.stringify(seal.key)
    const key = keys.find((each) => JSON.stringify(keyRef(each)) === name)
    const mac = decodeHex(seal.mac)
    if (key === undefined) return undefined
    // All of it: a shortened MAC would be easier to guess.
    if (mac?.length !== 16 || !Number.isSafeInteger(seal.sealedAtMs) || seal.sealedAtMs < 0) return false
    return await hsm.verifyMac(key, 'AES-CMAC', sealMessage(sealDigest(seal), seal.sealedAtMs), mac)
  }
}

function textOf(verdict: Verdict, sealsMissing: boolean): string {
  const { broken, files, records, first, last, seals, sealedTo, torn } = verdict
  if (broken) {
    const { file, line, seq, why } = broken
    return `BROKEN at ${file}:${line}${seq === undefined ? '' : ` (seq ${seq})`}: ${why}\n`
  }
  if (first === undefined || last === undefined) return 'no records\n'
  const { unsealedFrom, unsealedMs, longestSealDelayMs, withoutOutcome, lost } = verdict
  const lines = [
    `${records} records in ${files} files, seq ${first} to ${last.seq}: each is chained to the one before`,
    ...(sealedTo === undefined
      ? ['no seal covers any of them']
      : [
          `${seals} seals, each made by the HSM; the last covers everything up to seq ${sealedTo}`,
          `longest time from a record to its seal: ${secondsText(longestSealDelayMs)}`,
        ]),
    ...(unsealedFrom === undefined
      ? []
      : [`from seq ${unsealedFrom} on (${secondsText(unsealedMs)}) no seal covers them yet: chained, not proven`]),
    ...(sealsMissing
      ? ['SEALS MISSING: that is longer than twice sealEveryMs; the HSM was away, or seals were taken out']
      : []),
    ...(first > 1 ? [`what was before seq ${first} is not in these files`] : []),
    ...(withoutOutcome > 0 ? [`${withoutOutcome} operations have no outcome: the process ended, or is at work`] : []),
    ...(lost > 0 ? [`${lost} records were lost, as the configuration allows`] : []),
    ...(torn ? [`${torn.file} ends in ${torn.bytes} bytes of a write that was cut off`] : []),
  ]
  return `${lines.join('\n')}\n`
}

function secondsText(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`
}

/** What `doctor` says of the audit record: how old its last seal is. `pinbridge audit verify` proves it. */
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { auditFileNames } from '../../audit/files.ts'
import { parseRecord } from '../../audit/record.ts'
import type { ExaminedConfig } from '../../config/config.ts'
import { finding, type Finding } from './finding.ts'

const TAIL_BYTES = 4 * 1024 * 1024
const TODO = 'see in the service’s log why no seal is made, then `pinbridge audit verify` on all files of the folder'

/** Reads the end of the last file, as far as it can be read. */
export async function auditFindings({ config, isSound }: ExaminedConfig): Promise<Finding[]> {
  if (!config.audit || !isSound(['audit'])) return []
  const { directory, sealEveryMs } = config.audit
  try {
    const name = (await auditFileNames(directory)).at(-1)
    if (name === undefined) return [finding('service', 'audit record', 'ok', 'nothing has been recorded yet')]
    const records = (await tailOf(join(directory, name)))
      .map((line) => parseRecord(line))
      .filter((each) => each !== undefined)
    const last = records.at(-1)
    const seal = records.findLast(({ kind }) => kind === 'seal')
    if (last === undefined) return []
    const sealed = seal === undefined ? 'no seal near its end' : `last sealed at ${seal.time}`
    const text = `last written at ${last.time}, ${sealed}`
    const unsealedMs = Date.parse(last.time) - Date.parse((seal ?? records[0]!).time)
    if (unsealedMs <= 2 * sealEveryMs) return [finding('service', 'audit record', 'ok', text)]
    return [finding('service', 'audit record', 'wrong', `${text}: longer than twice sealEveryMs`, TODO)]
  } catch {
    return [finding('service', 'audit record', 'note', 'cannot be read by this user')]
  }
}

async function tailOf(path: string): Promise<string[]> {
  const file = await open(path, 'r')
  try {
    const { size } = await file.stat()
    const from = Math.max(0, size - TAIL_BYTES)
    const { buffer, bytesRead } = await file.read(Buffer.alloc(size - from), 0, size - from, from)
    return buffer.toString('utf8', 0, bytesRead).split('\n')
  } finally {
    await file.close()
  }
}

/** The body of a batch: two zones, and the items as JSON objects or as CSV rows. */
import { Ajv } from 'ajv'
import { Zone } from '../../bridge/contract.ts'
import { ServiceError } from '../../errors.ts'
import { readMembers, type JsonMember } from '../../json-bytes.ts'
import { BODY_LIMITS } from '../body-parser.ts'
import type { RowBatch } from '../../rows/row-batch.ts'
import { readCsvRows } from './csv-rows.ts'
import { readJsonItems } from './json-items.ts'

/** A batch as it was asked for; the answer takes the same form. */
export interface BatchBody {
  readonly from: Zone
  readonly to: Zone
  readonly form: 'items' | 'rows'
  readonly batch: RowBatch
}

const isZone = new Ajv({ strict: true }).compile<Zone>(Zone)

/**
 * Reads a body: `from`, `to`, and either `items` or `rows`.
 *
 * @throws ERR_REQUEST_INVALID for every cause.
 */
export function readBatchBody(body: Buffer): BatchBody {
  const members = readMembers(body, BODY_LIMITS)
  const from = zoneOf(members?.get('from'))
  const to = zoneOf(members?.get('to'))
  const items = members?.get('items')
  const rows = members?.get('rows')
  if (members?.size !== 3 || !from || !to) throw new ServiceError('ERR_REQUEST_INVALID')
  let batch: RowBatch | undefined
  if (items?.kind === 'array') batch = readJsonItems(items.bytes, from.format)
  else if (rows?.kind === 'string') batch = readCsvRows(textOf(rows), from.format)
  if (!batch) throw new ServiceError('ERR_REQUEST_INVALID')
  return { from, to, form: items ? 'items' : 'rows', batch }
}

function zoneOf(member: JsonMember | undefined): Zone | undefined {
  if (member?.kind !== 'object') return undefined
  const value: unknown = JSON.parse(member.bytes.toString())
  return isZone(value) ? value : undefined
}

function textOf({ bytes }: JsonMember): string {
  return JSON.parse(`"${bytes.toString()}"`) as string
}

/** The form of what vaults say of themselves, checked by the gateway. */
import { Ajv } from 'ajv'
import { StatusReport } from './contract.ts'

/** Whether a message's `status` is a report. */
export const isStatusReport = new Ajv({ strict: true }).compile<StatusReport>(StatusReport)

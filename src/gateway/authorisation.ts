/**
 * What a client may do: default deny (M-13).
 *
 * A grant is operations × keys × formats × recipients, and one single grant must cover a request; two grants that each
 * cover half of it do not add up. The vault applies the key's own rules besides.
 */
import { ServiceError } from '../errors.ts'
import type { ClientEntry, GrantableOperation } from '../config/schema.ts'
import { idOf, type NamedKey } from './live-keys.ts'
import type { HasRawRequest } from './request-context.ts'
import { contextOf } from './request-context.ts'

/** One grant of a client. */
export type Grant = ClientEntry['grants'][number]

/** What a request needs; members that it does not name are undefined and need nothing. */
export interface Needs {
  readonly operation: GrantableOperation
  readonly keys?: readonly (NamedKey | undefined)[]
  readonly formats?: readonly (string | undefined)[]
  readonly recipient?: string
}

/** The grants of a client that each cover the whole request. */
export function coveringGrants(client: ClientEntry, needs: Needs): readonly Grant[] {
  // Grants are of keys in all their versions.
  const ids = needs.keys?.map((named) => named && idOf(named)) ?? []
  return client.grants.filter(
    (grant) =>
      grant.operations.includes(needs.operation) &&
      covers(grant.keys, ids) &&
      covers(grant.formats, needs.formats ?? []) &&
      covers(grant.recipients, [needs.recipient]),
  )
}

function covers(granted: readonly string[], needed: readonly (string | undefined)[]): boolean {
  return needed.every((name) => name === undefined || granted.includes(name))
}

/**
 * Notes what a request asks for and refuses it unless a grant covers it.
 *
 * @throws ERR_KEY_USE_FORBIDDEN, also for a key that does not exist: a caller cannot find out which keys there are.
 */
export function authorise(request: HasRawRequest, needs: Needs): readonly Grant[] {
  const context = contextOf(request)
  context.operation = needs.operation
  context.keys = (needs.keys ?? []).filter((key) => key !== undefined)
  const grants = context.client === undefined ? [] : coveringGrants(context.client, needs)
  if (grants.length === 0) throw new ServiceError('ERR_KEY_USE_FORBIDDEN')
  return grants
}

/** A route's onRequest hook: refuses a client that has none of these operations at all, before the body is read. */
export function allow(operation: GrantableOperation, ...others: readonly GrantableOperation[]) {
  const operations = [operation, ...others]
  return async (request: HasRawRequest): Promise<void> => {
    const context = contextOf(request)
    context.operation = operation
    const granted = context.client?.grants.some((grant) => operations.some((name) => grant.operations.includes(name)))
    if (granted !== true) throw new ServiceError('ERR_KEY_USE_FORBIDDEN')
  }
}

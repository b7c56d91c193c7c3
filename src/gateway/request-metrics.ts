/** Requests as operators count them: by route and outcome, by client, and what was guessed and refused. */
import { Counter, Histogram, type Registry } from 'prom-client'
import type { ErrorCode } from '../errors.ts'
import { STATUS } from './problem.ts'

/** How a request ended; without a status, the client left before it was answered. */
export interface RequestEnd {
  readonly route: string
  readonly status: number | undefined
  readonly code: string
  /** Whose it was, if anybody's that is known. */
  readonly client: string | undefined
  readonly seconds: number
}

/** What is counted of requests. */
export interface RequestMetrics {
  /** There is such a route: what alerts look at is shown from the beginning, as 0. */
  readonly route: (route: string) => void
  readonly request: (end: RequestEnd) => void
  /** An answer told a client that a PIN block, PRW or MAC was wrong. */
  readonly guess: (client: string) => void
  /** A request, or so many items of a batch, were refused because a budget of guesses is used up. */
  readonly guessRefusals: (client: string, count: number) => void
  readonly panVariationAlarm: () => void
}

/** How a client's request ended, in few words: each is a series for every client. */
const OUTCOMES = ['ok', 'refused', 'limited', 'failed', 'aborted'] as const
type Outcome = (typeof OUTCOMES)[number]

/** A counter that begins with its first event is not seen to grow by it: these are what alerts and the dashboard look at. */
const SHOWN_CODES: readonly ErrorCode[] = [
  'ERR_CLIENT_UNAUTHENTICATED',
  'ERR_KEY_USE_FORBIDDEN',
  'ERR_TRANSLATION_FORBIDDEN',
  'ERR_RATE_LIMITED',
  'ERR_INTERNAL',
  'ERR_HSM_BUSY',
  'ERR_HSM_UNAVAILABLE',
]

/** Requests that met no route, and connections that ended before there was a request. */
const NO_ROUTES = ['unmatched', 'none']

/**
 * Registers them. Labels come from the routes, the closed set of codes and the configuration, and never from what a request
 * says (M-42).
 */
export function registerRequestMetrics(registry: Registry, clients: () => readonly string[]): RequestMetrics {
  const registers = [registry]
  const requests = new Counter({
    name: 'pinbridge_requests_total',
    help: 'Requests by route pattern, HTTP status and outcome code',
    labelNames: ['route', 'status', 'code'] as const,
    registers,
  })
  const durations = new Histogram({
    name: 'pinbridge_request_duration_seconds',
    help: 'Time from the arrival of the headers to the end of the answer',
    labelNames: ['route'] as const,
    buckets: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10],
    registers,
  })
  const clientRequests = new Counter({
    name: 'pinbridge_client_requests_total',
    help: 'Requests of known clients: ok, refused (4xx), limited (429), failed (5xx), or aborted by the client',
    labelNames: ['client', 'outcome'] as const,
    registers,
    collect() {
      for (const client of clients()) for (const outcome of OUTCOMES) this.inc({ client, outcome }, 0)
    },
  })
  const ofClients = (name: string, help: string) =>
    new Counter({
      name,
      help,
      labelNames: ['client'] as const,
      registers,
      collect() {
        for (const client of clients()) this.inc({ client }, 0)
      },
    })
  const guesses = ofClients(
    'pinbridge_guesses_total',
    'Answers that told a client that a PIN block, PRW or MAC was wrong',
  )
  const guessRefusals = ofClients(
    'pinbridge_guess_refusals_total',
    'Requests, and items of batches, that were refused because a budget of guesses was used up',
  )
  const alarms = new Counter({
    name: 'pinbridge_pan_variation_alarms_total',
    help: 'Requests, and items of batches, that were refused because one PIN block came with more than two PANs',
    registers,
  })
  for (const route of NO_ROUTES) requests.inc({ route, status: '401', code: 'ERR_CLIENT_UNAUTHENTICATED' }, 0)

  return {
    route: (route) => {
      durations.zero({ route })
      requests.inc({ route, status: '200', code: 'OK' }, 0)
      for (const code of SHOWN_CODES) requests.inc({ route, status: String(STATUS[code]), code }, 0)
    },
    request: ({ route, status, code, client, seconds }) => {
      requests.inc({ route, status: String(status ?? 'aborted'), code })
      durations.observe({ route }, seconds)
      if (client !== undefined) clientRequests.inc({ client, outcome: outcomeOf(status) })
    },
    guess: (client) => guesses.inc({ client }),
    guessRefusals: (client, count) => guessRefusals.inc({ client }, count),
    panVariationAlarm: () => alarms.inc(),
  }
}

function outcomeOf(status: number | undefined): Outcome {
  if (status === undefined) return 'aborted'
  if (status === STATUS.ERR_RATE_LIMITED) return 'limited'
  if (status >= 500) return 'failed'
  return status >= 400 ? 'refused' : 'ok'
}

/**
 * The process entry of a vault: opens the HSM, connects to the gateway's private socket, answers, and exits when that
 * channel closes. It listens on nothing and writes nothing.
 */
import { connect, Socket } from 'node:net'
import { Channel } from '../bridge/channel.ts'
import type { PublicJwk } from '../bridge/contract.ts'
import { forbidCodeGeneration } from '../code-generation.ts'
import type { KeyEntry, VaultConfig } from '../config/schema.ts'
import { HsmStartError, type PublicKey } from '../hsm/hsm.ts'
import { KeyCatalogue, kidOf } from '../hsm/key-catalogue.ts'
import { openHsm, type OpenHsm } from '../hsm/pkcs11/open-hsm.ts'
import { checkKey } from '../hsm/self-test.ts'
import { createLog } from '../log.ts'
import { readPin } from '../pin-file.ts'
import { SHIPPED_PROFILES } from '../pin-change/shipped-profiles.ts'
import type { VaultCommand, VaultReport } from '../supervisor/messages.ts'
import { createContext } from './context.ts'
import { MeasuredHsm } from './measured-hsm.ts'
import { reportStatus } from './report-status.ts'
import { createAnswerer, type Answerer } from './serve.ts'

// No stack is written anywhere, and each costs time: node:crypto throws and catches two errors for every key that is given as bytes.
Error.stackTraceLimit = 0

const HEALTH_INTERVAL_MS = 10_000

/** Ends the process at once. */
function exit(code: number): never {
  process.exit(code)
}

function report(message: VaultReport): void {
  process.send?.(message)
}

process.on('disconnect', () => exit(0))
// Ctrl-C and service managers signal the whole group; what a vault holds is answered first.
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => {})
process.once('message', (command: VaultCommand) => {
  if (command.type === 'start') void start(command)
  else void tryOut(command.config)
})

/** Opens the token, holds it against the configuration and ends: it is connected to nobody. */
async function tryOut(config: VaultConfig): Promise<void> {
  const opened = await open(config)
  if (!('reason' in opened)) opened.hsm.close()
  const report: VaultReport = 'reason' in opened ? { type: 'failed', ...opened } : { type: 'opened' }
  process.send?.(report, () => exit(0))
}

/** A token that is open, and what answers by it. */
interface Opened {
  readonly hsm: OpenHsm
  readonly catalogue: KeyCatalogue
  readonly measured: MeasuredHsm
  readonly answer: Answerer
}

/** Opens the token and makes ready to answer; returns why not, if not. */
async function open(config: VaultConfig): Promise<Opened | Omit<Extract<VaultReport, { type: 'failed' }>, 'type'>> {
  const profiles = [...SHIPPED_PROFILES, ...config.profiles]
  const catalogue = new KeyCatalogue(config.keys, profiles)
  let pinIdentity = ''
  try {
    const { token } = config.hsm
    const { pin, identity } = readPin(token.pinFile)
    pinIdentity = identity
    const { environment, keys } = config
    const { allKeysNeeded } = config.hsm
    const settings = { address: token, sessions: token.sessions, environment, keys, catalogue, allKeysNeeded }
    const hsm = await openHsm(settings, pin)
    catalogue.learnPublicKeys(hsm.publicKeys)
    catalogue.learnUnavailable(hsm.unavailable)
    const measured = new MeasuredHsm(hsm.hsm, token.sessions)
    const context = createContext(config, measured, catalogue)
    const answer = createAnswerer(context, config.migratesOnly ? ['translatePinBlocks'] : undefined, measured)
    return { hsm, catalogue, measured, answer }
  } catch (error) {
    const { reason, problems } =
      error instanceof HsmStartError ? error : new HsmStartError('module-unusable', ['hsm: the vault could not start'])
    return { reason, problems, pinIdentity }
  }
}

async function start({ vault, config, bridge, secret }: Extract<VaultCommand, { type: 'start' }>): Promise<void> {
  const log = createLog(`vault-${vault}`, config.logLevel)
  const opened = await open(config)
  if ('reason' in opened) {
    const { reason, problems } = opened
    log.error({ token: config.hsm.token.name, reason, problems }, 'the HSM cannot be used')
    process.send?.({ type: 'failed', ...opened } satisfies VaultReport, () => exit(1))
    return
  }
  const { hsm, catalogue, measured, answer } = opened
  forbidCodeGeneration()
  let selfTestPassedMs = performance.now()
  report({ type: 'opened' })
  log.info({ ...hsm.choices }, 'HSM open')
  for (const [{ id }, { reason }] of hsm.unavailable) log.warn({ key: id, reason }, 'the token cannot serve this key')

  let keyAnsweredMs = performance.now()
  const isHealthy = async (): Promise<boolean> => {
    for (const key of hsm.keys) {
      keyAnsweredMs = performance.now()
      if (!(await checkKey(hsm.hsm, key, catalogue.macFormOf(key), hsm.publicKeys.get(key)))) return false
    }
    return true
  }
  let checking: Promise<void> | undefined
  /** A sick vault is worth less than none: what it holds is answered 503, and the supervisor starts another. */
  const exitUnlessHealthy = (): Promise<void> => {
    checking ??= isHealthy().then((healthy) => {
      checking = undefined
      if (healthy) {
        selfTestPassedMs = performance.now()
        return
      }
      log.error('a key did not give its known answer; leaving')
      leave()
    })
    return checking
  }
  const leave = (): void => {
    // The calls that failed are what is looked for first.
    reportNow()
    process.send?.({ type: 'unhealthy' } satisfies VaultReport, () => exit(1))
  }

  const socket =
    'fd' in bridge
      ? new Socket({ ...bridge, readable: true, writable: true, allowHalfOpen: true })
      : connect({ ...bridge, allowHalfOpen: true })
  let underWay = 0
  const handle = (message: unknown, packed: Buffer): void => {
    underWay++
    void answer(message, packed).then((reply) => {
      underWay--
      if (reply === undefined) {
        channel.destroy()
        return
      }
      channel.send(reply.message, reply.packed)
      // The channel has its copy.
      reply.packed?.fill(0)
      // Return values do not tell a sick token from a bad ciphertext; the known answers do.
      const { code, detail } = 'code' in reply.message ? reply.message : {}
      const failed = code === 'ERR_HSM_UNAVAILABLE' || code === 'ERR_INTERNAL'
      if (failed && detail?.reason !== 'key-unavailable') void exitUnlessHealthy()
    })
  }
  // A turn of the loop for each: where the HSM answers on this thread, one is done, and measured, before the next begins.
  const channel = new Channel(socket, (message, packed) => void setImmediate(handle, message, packed))
  channel.send({ vault, secret, publicKeys: jwks(hsm.publicKeys) })
  const reportNow = reportStatus(channel, measured, () => selfTestPassedMs)
  socket.on('end', () => {
    reportNow()
    channel.end()
  })
  socket.on('close', () => {
    // Nothing is closed under a call on another thread: that would crash it.
    if (underWay === 0 && checking === undefined) hsm.close()
    exit(0)
  })

  setInterval(() => {
    if (checking === undefined) void exitUnlessHealthy()
    // A key that is asked for so long hangs, and so does the HSM; many keys of a slow one take longer together.
    else if (performance.now() - keyAnsweredMs > HEALTH_INTERVAL_MS) leave()
  }, HEALTH_INTERVAL_MS)
  watchAge(config, hsm)
}

/** The public keys that PINs are encrypted to, and no others, as GET /v1/jwks gives them: the active ones first, then those being retired; nobody is to use a pending one yet. */
function jwks(publicKeys: ReadonlyMap<KeyEntry, PublicKey>): PublicJwk[] {
  const entries = [...publicKeys]
    .filter(([{ purpose, state }]) => purpose === 'jwe-decrypt' && state !== 'pending')
    .sort(([a], [b]) => Number(a.state === 'retiring') - Number(b.state === 'retiring'))
  return entries.map(([key, publicKey]) => ({
    ...(publicKey as Exclude<PublicKey, { kty: 'OKP' }>),
    kid: kidOf(key, publicKey),
    use: 'enc',
    alg: key.alg ?? '',
  }))
}

/** Asks to be replaced once this process is old, has grown, or has made many session objects (some tokens leak with each). */
function watchAge(config: VaultConfig, { hsm }: OpenHsm): void {
  const { ageMs, sessionObjects, rssMiB } = config.hsm.recycle
  const started = performance.now()
  const timer = setInterval(() => {
    const old = performance.now() - started > ageMs
    const grown = process.memoryUsage.rss() > rssMiB * 1024 * 1024
    if (!old && !grown && hsm.sessionObjects < sessionObjects) return
    clearInterval(timer)
    report({ type: 'tired' })
  }, 1_000)
}

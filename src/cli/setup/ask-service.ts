/** Asks for what the service is to its surroundings: its name, where it listens, whom it trusts, who runs it. */
import { readFileSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import { join, resolve } from 'node:path'
import { fileProblem } from '../../config/files.ts'
import { certificatesIn } from '../../pem.ts'
import type { NewFolder } from './new-folder.ts'
import type { Questions } from './questions.ts'

/** A user by number, whom files are given to. */
export interface FileOwner {
  readonly uid: number
  readonly gid: number
}

/** What was answered of the service. */
export interface ServiceAnswers {
  readonly organisation: string
  readonly dnsName: string
  readonly api: { readonly host: string; readonly port: number }
  readonly management: { readonly host: string; readonly port: number }
  /** The client CA's certificates, PEM. */
  readonly clientCa: string
  readonly auditDirectory: string
  /** Where root starts the service: whom gateway and vaults become. */
  readonly users?: { readonly gateway: FileOwner; readonly vault: FileOwner }
  /** Where root makes the set-up for another user: who is given the files. */
  readonly owner?: FileOwner
  readonly store?: { readonly url: string; readonly passwordFile?: string; readonly caFile?: string }
}

const DNS_NAME = /^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/

/**
 * Asks for all of it.
 *
 * @param isFirst - of the nodes that work together: the limit store of a further one is that of the first.
 */
export async function askService(questions: Questions, folder: NewFolder, isFirst: boolean): Promise<ServiceAnswers> {
  questions.explain('\n— The service on the network —')
  const organisation = await questions.ask({
    name: 'organisation',
    text: 'Name of the bank (issuer)',
    help: "The name that stands in the certificate request for the service's TLS certificate.",
    problemOf: (answer) =>
      /^[\p{L}\p{N} .,&()'-]{1,64}$/u.test(answer) ? undefined : 'letters, digits and blanks, at most 64',
  })
  const dnsName = await questions.ask({
    name: 'dnsName',
    text: 'DNS name that callers reach this node by',
    help: 'Callers connect to this name, and the TLS certificate is made for it, such as pinbridge.bank.example.',
    problemOf: dnsNameProblem,
  })
  const api = await askListener(questions, 'api')
  const management = await askListener(questions, 'management')
  const clientCa = await askClientCa(questions)
  const auditDirectory = resolve(
    await questions.ask({
      name: 'auditDirectory',
      text: 'Directory of the audit record',
      help: `Every operation on a PIN is recorded in files of its own, chained and sealed by a key in the HSM. The directory is made if it is
not there; each node needs one of its own, on a disk that does not fill up.`,
      fallback: join(folder.path, 'audit'),
    }),
  )
  const runBy = await askUsers(questions)
  const store = isFirst ? await askLimitStore(questions) : undefined
  return {
    ...{ organisation, dnsName, api, management, clientCa, auditDirectory },
    ...runBy,
    ...(store && { store }),
  }
}

/** What is wrong with a DNS name of a certificate. */
export function dnsNameProblem(answer: string): string | undefined {
  return DNS_NAME.test(answer) ? undefined : 'a DNS name in lower case is needed, such as cms.bank.example'
}

async function askListener(questions: Questions, which: 'api' | 'management') {
  const isApi = which === 'api'
  const host = await questions.ask({
    name: isApi ? 'apiHost' : 'managementHost',
    text: isApi ? 'Address to listen on' : 'Address of the management listener',
    help: isApi
      ? 'An address of this machine; 0.0.0.0 stands for all of them. Only the CMS needs to reach it: say so to the firewall too.'
      : 'Health and metrics, without TLS and without a login: 127.0.0.1 unless monitoring comes from another machine.',
    fallback: isApi ? (ownAddress() ?? '0.0.0.0') : '127.0.0.1',
    problemOf: (answer) =>
      /^[0-9A-Za-z.:-]{1,253}$/.test(answer) ? undefined : 'an address is needed, such as 10.1.2.3',
  })
  const port = await questions.ask({
    name: isApi ? 'apiPort' : 'managementPort',
    text: isApi ? 'Port' : 'Port of the management listener',
    fallback: isApi ? '8443' : '9443',
    problemOf: (answer) =>
      /^\d{1,5}$/.test(answer) && Number(answer) >= 1024 && Number(answer) <= 65_535
        ? undefined
        : 'a number from 1024 to 65535: the service has no right to open a lower one',
  })
  return { host, port: Number(port) }
}

/** The address of this machine that others reach it by, if it has one only. */
function ownAddress(): string | undefined {
  const addresses = Object.values(networkInterfaces()).flatMap((each) => each ?? [])
  const outer = addresses.filter(({ internal, family }) => !internal && family === 'IPv4').map(({ address }) => address)
  return outer.length === 1 ? outer[0] : undefined
}

async function askClientCa(questions: Questions): Promise<string> {
  const answer = await questions.ask({
    name: 'clientCa',
    text: 'File with the certificate of that authority (PEM)',
    help: `Callers show a certificate of their own. Which authority of the bank issues those? Whoever has a certificate of it gets as
far as being refused; what each may do is asked next. Take an authority for machines, not the one of all employees. The file is copied.`,
    problemOf: (answer) => clientCaProblem(resolve(answer)),
  })
  return readFileSync(resolve(answer), 'utf8')
}

function clientCaProblem(path: string): string | undefined {
  const problem = fileProblem(path)
  if (problem !== undefined) return `this file ${problem}`
  try {
    const certificates = certificatesIn(readFileSync(path, 'latin1'))
    if (certificates.length === 0) return 'this file holds no certificate in PEM (-----BEGIN CERTIFICATE-----)'
    if (!certificates.every(({ ca }) => ca)) return 'this file holds a certificate that is not of an authority (CA)'
    const expired = certificates.some(({ validToDate }) => validToDate <= new Date())
    return expired ? 'this file holds a certificate that has expired' : undefined
  } catch {
    return 'this file holds a certificate that cannot be read'
  }
}

type RunBy = Pick<ServiceAnswers, 'users' | 'owner'>

/** Asked of root alone: any other user starts the service himself. */
async function askUsers(questions: Questions): Promise<RunBy> {
  if (process.getuid?.() !== 0) return {}
  const startedBy = await questions.ask({
    name: 'startedBy',
    text: 'Who starts the service: root, or the number of a user (UID:GID)',
    help: `You are root. Either root starts the service too, and its parts become two other users who cannot see each other's files:
that is the stronger way. Or one user of its own starts and runs all of it, as in a container (there 65532:65532).`,
    fallback: 'root',
    problemOf: (answer) => (answer === 'root' ? undefined : ownerProblem(answer)),
  })
  if (startedBy !== 'root') return { owner: ownerOf(startedBy) }
  const gateway = await questions.ask({
    name: 'gatewayUser',
    text: 'User of the part that the network reaches (UID:GID)',
    help: 'Two users that nothing else runs as, by number, such as 1101:1101 and 1102:1102. They need no login and no home.',
    problemOf: ownerProblem,
  })
  const vault = await questions.ask({
    name: 'vaultUser',
    text: 'User of the part that holds the HSM (UID:GID)',
    problemOf: (answer) =>
      ownerProblem(answer) ?? (ownerOf(answer).uid === ownerOf(gateway).uid ? 'must be another user' : undefined),
  })
  return { users: { gateway: ownerOf(gateway), vault: ownerOf(vault) } }
}

function ownerProblem(answer: string): string | undefined {
  const [uid, gid] = answer.split(':').map(Number)
  const areFit =
    /^\d{1,10}:\d{1,10}$/.test(answer) && uid! > 0 && gid! > 0 && uid! < 4_294_967_295 && gid! < 4_294_967_295
  return areFit ? undefined : 'two numbers that are not 0, such as 1101:1101'
}

function ownerOf(answer: string): FileOwner {
  const [uid, gid] = answer.split(':').map(Number)
  return { uid: uid!, gid: gid! }
}

/** Nodes that count each for itself give an attacker a budget each. */
async function askLimitStore(questions: Questions): Promise<ServiceAnswers['store']> {
  const url = await questions.ask({
    name: 'limitStore',
    text: 'Redis or Valkey server, as rediss://host:port (one node alone: press Enter)',
    help: `Wrong PINs and guesses are counted. Several nodes have to count together, in a Redis or Valkey server of their own; see
"Several nodes" in README. One node counts in its memory.`,
    fallback: '',
    problemOf: (answer) =>
      answer === '' || /^rediss?:\/\/(?:[A-Za-z0-9._-]+@)?[A-Za-z0-9.[\]:-]+(?:\/[0-9]{1,2})?$/.test(answer)
        ? undefined
        : 'write rediss://host:port, without a password',
  })
  if (url === '') return undefined
  const fileOrNone = (answer: string): string | undefined => {
    const problem = answer === '' ? undefined : fileProblem(resolve(answer))
    return problem === undefined ? undefined : `this file ${problem}`
  }
  const passwordFile = await questions.ask({
    name: 'limitStorePasswordFile',
    text: 'File with its password, mode 0600 (none: press Enter)',
    fallback: '',
    problemOf: fileOrNone,
  })
  const caFile = await questions.ask({
    name: 'limitStoreCa',
    text: 'File with the authority of its certificate, PEM (a public one: press Enter)',
    fallback: '',
    problemOf: fileOrNone,
  })
  return {
    url,
    ...(passwordFile !== '' && { passwordFile: resolve(passwordFile) }),
    ...(caFile !== '' && { caFile: resolve(caFile) }),
  }
}

/** Writes the answers as the configuration file, with what each part is for and what is still to be done in it. */
import { relative } from 'node:path'
import { commentedYaml, type YamlPart } from '../../config/commented-yaml.ts'
import type { KeyEntry, TokenConfig } from '../../config/schema.ts'
import type { ChosenClient } from './ask-clients.ts'
import type { ServiceAnswers } from './ask-service.ts'
import type { SharedMembers } from './other-node.ts'
import { D1_PROFILE } from './own-keys.ts'
import { CERTIFICATE_FILE, CLIENT_CA_FILE, PRIVATE_KEY_FILE } from './tls-files.ts'

/** All that the configuration says. */
export interface ConfigParts {
  readonly token: TokenConfig
  readonly service: ServiceAnswers
  /** Keys, callers and limits, by their members. */
  readonly rules: SharedMembers
}

/** The configuration as a YAML text; paths in `folder` are written relative to it. */
export function configText({ token, service, rules }: ConfigParts, folder: string): string {
  const parts: YamlPart[] = [
    {
      comment: `pinbridge, set up on ${new Date().toISOString().slice(0, 10)}. What every member means stands in README, "Configuration".
After a change: pinbridge doctor --config THIS-FILE. A file that is not fit changes nothing in a running service.`,
      members: { environment: 'production' },
    },
    hsmPart(token, folder),
    ...(service.users ? [{ comment: USERS, members: { processes: { users: service.users } } }] : []),
    ...Object.entries(rules).map(([name, value]) => ({ comment: COMMENTS[name] ?? name, members: { [name]: value } })),
    {
      comment: `Where the service listens. The certificate is a stand-in until the bank's authority has answered the request; see STEPS.md.`,
      members: {
        listeners: {
          api: {
            ...service.api,
            certificate: CERTIFICATE_FILE,
            privateKey: PRIVATE_KEY_FILE,
            clientCa: CLIENT_CA_FILE,
          },
          management: service.management,
        },
      },
    },
    {
      comment: 'The record of every operation, sealed by a key in the HSM. "pinbridge audit verify" proves it.',
      members: { audit: { directory: shortened(service.auditDirectory, folder), key: auditKeyIn(rules) } },
    },
    ...('limits' in rules ? [] : [{ comment: COMMENTS['limits']! }]),
  ]
  return commentedYaml(parts)
}

/** Keys, callers and limits of a first node. */
export function rulesOf(
  keys: readonly KeyEntry[],
  clients: readonly ChosenClient[],
  { store }: ServiceAnswers,
): SharedMembers {
  const jweKeys = keys.filter(({ purpose }) => purpose === 'jwe-decrypt').map(({ id }) => id)
  const grantOf = ({ operations }: ChosenClient) => ({
    operations,
    ...(operations.includes('pin/set') && { keys: jweKeys }),
  })
  return {
    keys: keys.map(({ id, version, state, purpose, ...more }) => ({ id, version, state, purpose, ...more })),
    d1: { profiles: [{ id: D1_PROFILE, types: { ISO0: 'ISO0' } }] },
    clients: clients.map((client) => ({
      id: client.id,
      dnsName: client.dnsName,
      grants: client.operations.length > 0 ? [grantOf(client)] : [],
    })),
    ...(store && { limits: { store } }),
  }
}

const USERS = `Whom the processes run as when root starts the service: the gateway, which the network reaches, cannot read the PIN file.`

const COMMENTS: Readonly<Record<string, string>> = {
  acceptDefaultProfiles:
    'The shipped PRW and MAC profiles are not the licensed layouts; "true" says that this is known.',
  keys: `The keys: what each is for, its check value (kcv) and its known answer (check), never a value. "pinbridge keys", "ceremony"
and "rotate" write here; zone, PRW and MAC keys come in by them.`,
  profiles: "The issuer's own PRW and MAC layouts.",
  d1: `What was agreed with D1: the names that it uses on the wire, and who may be sealed a PIN for ("recipients": none at first).
Where a payload differs from our assumptions, "members", "innerKey" and "hexCase" say so.`,
  weakPins: 'New PINs that are refused.',
  authentication: 'What callers show beside their certificates.',
  clients: `Who may call, by the DNS name in the certificate, and what each may do. What is not granted is refused. A key, a format or a
recipient must be named here before a caller can use it: "keys: [jwe, zpk]" and "formats: [ISO-0]", once the zone key is in.
pin/get is the most dangerous grant: whoever has it, and a recipient key of his own here, reads every PIN.`,
  limits: `How often may be guessed: 1000 wrong answers an hour for a caller, 10 for a card, 10 for a PIN block, unless "guesses" under
"limits" says otherwise. These defaults are meant for production. One node counts in its memory; several need "store".`,
}

function hsmPart(token: TokenConfig, folder: string): YamlPart {
  const { module, tokenLabel, pinFile, environment, libraryParameters, socket } = token
  return {
    comment: `The HSM. The PIN stands in pinFile and nowhere else; that file is closed to everybody but the user who opens the HSM.
"socket" is the one kind of socket that the module may open.`,
    members: {
      hsm: {
        module,
        tokenLabel,
        pinFile: shortened(pinFile, folder),
        ...(Object.keys(environment).length > 0 && { environment }),
        ...(libraryParameters !== undefined && { libraryParameters }),
        socket,
      },
    },
  }
}

function auditKeyIn({ keys }: SharedMembers): string | undefined {
  const entries = Array.isArray(keys) ? (keys as readonly Partial<KeyEntry>[]) : []
  return entries.find(({ purpose, state }) => purpose === 'audit-mac' && state === 'active')?.id
}

/** A path inside the folder is written without it, so that the folder can be moved. */
function shortened(path: string, folder: string): string {
  const inside = relative(folder, path)
  return inside.startsWith('..') || inside === '' ? path : inside
}

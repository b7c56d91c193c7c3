/** The steps that are left after the guided set-up, numbered, with their commands: for the file beside the configuration. */
import { join } from 'node:path'
import type { Config } from '../../config/schema.ts'
import type { Answered } from './guided.ts'
import { CERTIFICATE_FILE, REQUEST_FILE } from './tls-files.ts'

interface Step {
  readonly title: string
  readonly text: string
  readonly commands?: readonly string[]
}

/** Writes the steps as Markdown; paths stand in the commands as they are on this node. */
export function stepsText(
  folder: string,
  { token, shared, service }: Answered,
  config: Config,
  configPath: string,
): string {
  const inFolder = (name: string): string => quoted(join(folder, name))
  const withConfig = `--config ${quoted(configPath)}`
  const jwe = config.keys.find(({ purpose, state }) => purpose === 'jwe-decrypt' && state === 'active')?.id ?? 'jwe'
  const steps: Step[] = [
    {
      title: 'Get the TLS certificate',
      text: `Send ${REQUEST_FILE} to the bank's certificate authority; it names ${service.dnsName}. Put the answer, with its chain, in the place
of ${CERTIFICATE_FILE}, which stands in for 90 days and which no caller trusts. A running service takes it over by itself.`,
      commands: [
        `openssl req -in ${inFolder(REQUEST_FILE)} -noout -text -verify`,
        `pinbridge certs show ${withConfig}`,
      ],
    },
    ...(shared ? [] : firstNodeSteps(withConfig, jwe, folder)),
    {
      title: 'Look whether all is well',
      text: 'Each line says what is right, or what is wrong and what to do. The stand-in certificate is named until step 1 is done.',
      commands: [`pinbridge doctor ${withConfig}`],
    },
    {
      title: 'Start the service',
      text: startText({ service }),
      commands: [`pinbridge serve ${withConfig}`],
    },
    {
      title: 'Make a backup, and try to restore it',
      text: `Copy ${folder} (${
        token.pinFile.startsWith(`${folder}/`)
          ? 'without the PIN file, which is kept apart'
          : 'the PIN file is kept apart'
      }) and the audit record, and back up token ${token.tokenLabel} with its vendor's tools: no other copy of its keys exists.
"Restoring from backup" in README shows how a backup is proven.`,
    },
  ]
  const numbered = steps.map(({ title, text, commands }, i) => {
    const block = commands ? `\n\n\`\`\`sh\n${commands.join('\n')}\n\`\`\`` : ''
    return `## ${i + 1}. ${title}\n\n${text}${block}\n`
  })
  return `# What is left to do\n\nFor ${service.dnsName}, configured in ${configPath}. Tick each step off; keep this file, it holds no secret.\n\n${numbered.join('\n')}`
}

/** What the first node does for all. */
function firstNodeSteps(withConfig: string, jwe: string, folder: string): Step[] {
  return [
    {
      title: 'Give D1 the public key',
      text: `Send the key set to Thales. Read the KCV that "keys show" prints to them by telephone: it shows that nobody exchanged the key on its way.`,
      commands: [
        `pinbridge keys public ${jwe} ${withConfig} --format jwks >jwks.json`,
        `pinbridge keys show ${jwe} ${withConfig}`,
      ],
    },
    {
      title: 'Bring in the zone key of the issuer',
      text: `The key under which PIN blocks come and go is shared with another party (the CMS, the card network). Two or three custodians type
its components, each alone at the terminal; README, "Runbook", shows it. Where the other party sends key blocks instead, a
key-transport key is brought in this way and the rest by "pinbridge keys import".`,
      commands: [
        `pinbridge ceremony import ${withConfig} --transcript ${quoted(join(folder, 'ceremony-zpk.txt'))} --components 2 \\`,
        `  --id zpk --purpose zone-pin --algorithm TDEA-128 --direction both --formats ISO-0`,
      ],
    },
    {
      title: 'Let callers use it',
      text: `In the configuration, name the key and its format in the grant of each caller that needs them: "keys: [${jwe}, zpk]" and
"formats: [ISO-0]". Whoever is granted pin/get needs a recipient too: D1's public key, under "d1", "recipients". That is the
grant by which PINs can be read: have a second person look at the change. PRW and MAC keys come in like the zone key, if D1
sends 3DES_SECCOS or the issuer stores PRWs.`,
    },
    {
      title: 'Register consumers and cards with D1, if the issuer calls D1 for that',
      text: `With the issuerId that D1 gave, make the key that signs for the issuer, and one that D1 encrypts data to; both are kept apart from the
PINs' keys. Send D1 their public halves and compare the thumbprints by telephone. D1's own key for data goes under "d1", "recipients", with "use: data"; the adapter is granted
d1/assertion, jwe/seal and jwe/open with these keys and that recipient. README, "Registering consumers and cards", shows the calls.`,
      commands: [
        `pinbridge keys generate ${withConfig} --id d1-assertion --purpose assertion-sign --algorithm EC-P256 --issuer-id ISSUER_10C`,
        `pinbridge keys generate ${withConfig} --id d1-data --purpose jwe-open --algorithm EC-P256`,
        `pinbridge keys public d1-assertion ${withConfig}`,
        `pinbridge keys public d1-data ${withConfig}`,
      ],
    },
  ]
}

function startText({ service }: Pick<Answered, 'service'>): string {
  if (service.users)
    return 'As root: the processes become the two users that were named, who must be able to reach the folder.'
  if (service.owner) {
    const { uid, gid } = service.owner
    return `As user ${uid}:${gid}, to whom the files were given. The HSM PIN file and the token's own files must be readable by that user too.`
  }
  return 'As the user who made this set-up. It prints one line once it is ready.'
}

/** A path as a shell takes it. */
function quoted(path: string): string {
  return /^[A-Za-z0-9_./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`
}

/** `pinbridge init`: the guided set-up for production, and with `--dev` a development set-up, which is not part of a production image. */
import { Command, InvalidArgumentError, Option } from 'commander'
import { MODULE_VARIABLE, type TokenConfig } from '../config/schema.ts'
import { HsmStartError } from '../hsm/hsm.ts'
import { EX_CANTCREAT, EX_CONFIG, EX_NOPERM, EX_UNAVAILABLE, EX_USAGE } from '../exit-codes.ts'
import { CommandError } from './command-error.ts'

type Socket = TokenConfig['socket']

interface InitOptions {
  readonly dev?: boolean
  readonly dir: string
  readonly module?: string
  readonly tokenLabel?: string
  readonly pinFile?: string
  readonly libraryParameters?: string
  readonly socket?: Socket
  readonly environment: Record<string, string>
  readonly answers?: string
  readonly json?: boolean
}

const NOTES = `
Without --dev it asks its questions at the terminal and explains each: the HSM's PKCS#11 module and token, its PIN file,
the callers and what each may do, addresses, certificates, users. It then logs in to the token, generates the keys that
the service needs for itself and for D1 inside the HSM, and writes to DIR:

  pinbridge.yaml    the configuration, with comments
  STEPS.md          the steps that are left, with their commands
  server.csr        the certificate request for the bank's authority; server-key.pem and server.pem, which stands in
  answers.yaml      what was answered, for the next node: no secret in it

It makes no key before the last question. Ctrl-C ends it at any question and leaves nothing behind, neither in DIR nor in
the token. A PIN is typed without being shown, tried once, and never has a default. Zone keys, PRW and MAC keys are not
made here: they come in by "pinbridge ceremony" or "pinbridge keys import".

Examples:
  pinbridge init --dir /etc/pinbridge                           ask everything
  pinbridge init --dir /etc/pinbridge --answers node1.yaml      ask what the file does not answer
  pinbridge init --dev --dir ./dev                              a set-up to try things out, with SoftHSM

Exit codes: 0 made; 64 an answer is missing or was not given as it must be; 65 the answers file is wrong; 66 it is not there;
69 the HSM cannot be used, or refused the PIN; 73 DIR is not empty, or the token holds such keys already; 77 with --dev, the
surroundings are not for development; 78 what was answered makes no configuration that can be used; 130 Ctrl-C.`

/** Declares the command. */
export function initCommand(): Command {
  return new Command('init')
    .description('set up a new installation: ask, generate keys in the HSM, write configuration and next steps')
    .requiredOption('--dir <dir>', 'where to make it; absent or empty')
    .option('--answers <file>', 'YAML or JSON with answers, for who sets up several nodes; no secret in it')
    .option('--dev', 'for development only: a SoftHSM token, keys with values that are printed, and no question')
    .option('--module <file>', 'with --dev: the PKCS#11 module; left out, SoftHSM where distributions put it')
    .option(
      '--token-label <label>',
      'with --dev: make the keys in this token of the module, which is there, instead of a new SoftHSM one',
    )
    .option('--pin-file <file>', "with --dev: file with that token's user PIN; it stays where it is")
    .option('--library-parameters <text>', 'with --dev: what the module is given at C_Initialize')
    .addOption(
      new Option('--socket <kind>', 'with --dev: what the module reaches its HSM by').choices(['none', 'unix', 'inet']),
    )
    .option(
      '--environment <name=value>',
      'with --dev: a variable that the module reads; may be given again',
      collect,
      {},
    )
    .option('--json', 'print what was made as one JSON object; with --dev, key values included')
    .addHelpText('after', NOTES)
    .action((options: InitOptions) => (options.dev ? initDevelopment(options) : initProduction(options)))
}

async function initProduction(options: InitOptions): Promise<void> {
  const { dir, answers, json, module, tokenLabel, pinFile, libraryParameters, socket, environment } = options
  const said = [module, tokenLabel, pinFile, libraryParameters, socket, ...Object.keys(environment)]
  if (said.some((each) => each !== undefined)) {
    throw new CommandError(
      EX_USAGE,
      'without --dev, the token is asked for: say only --dir, and --answers if you have them',
    )
  }
  // Loaded here, because it loads native code, and the supervisor is forbidden to.
  const { makeGuidedSetUp } = await import('./setup/guided.ts')
  const setUp = await makeGuidedSetUp(dir, answers)
  process.stdout.write(
    json
      ? `${JSON.stringify(setUp)}\n`
      : `Made ${setUp.config}.\nWhat is left to do stands in ${setUp.steps}, with the commands.\n`,
  )
}

async function initDevelopment(options: InitOptions): Promise<void> {
  if (options.answers !== undefined)
    throw new CommandError(EX_USAGE, '--answers does not go with --dev, which asks nothing')
  for (const name of ['NODE_ENV', 'PINBRIDGE_ENVIRONMENT']) {
    const environment = process.env[name]
    if (environment !== undefined && !['', 'development', 'test'].includes(environment)) {
      throw new CommandError(EX_NOPERM, `${name} does not say development: development keys are made nowhere else`)
    }
  }
  const existing = existingToken(options)
  const development = await loadDevelopment()
  if (development === undefined)
    throw new CommandError(EX_UNAVAILABLE, 'this installation is for production and makes no keys')
  const softHsmModule = options.module ?? development.findSoftHsm()
  if (softHsmModule === undefined) {
    throw new CommandError(EX_UNAVAILABLE, 'SoftHSM is not installed (Debian and Ubuntu: apt-get install softhsm2)')
  }
  try {
    const setUp = await development.makeDevelopmentSetUp(
      options.dir,
      existing ?? { softHsmModule },
      ({ id, reason }) => {
        process.stderr.write(`key ${id} is left out: the token cannot hold it (${reason})\n`)
      },
    )
    process.stdout.write(options.json ? `${JSON.stringify(setUp)}\n` : summary(setUp))
  } catch (error) {
    if (error instanceof development.FolderInUseError)
      throw new CommandError(EX_CANTCREAT, '--dir: this is no folder, or not an empty one')
    if (error instanceof development.PinFileError) throw new CommandError(EX_CONFIG, error.message)
    if (error instanceof HsmStartError) throw new CommandError(EX_UNAVAILABLE, error.message)
    throw error
  }
}

/** The token that the options name; undefined if they name none. */
function existingToken({ module, tokenLabel, pinFile, environment, libraryParameters, socket }: InitOptions) {
  if (module !== undefined && tokenLabel !== undefined && pinFile !== undefined) {
    return {
      ...{ module, tokenLabel, pinFile, environment },
      ...(libraryParameters !== undefined && { libraryParameters }),
      ...(socket !== undefined && { socket }),
    }
  }
  const said = [tokenLabel, pinFile, libraryParameters, socket, ...Object.keys(environment)]
  if (said.every((each) => each === undefined)) return undefined
  throw new CommandError(EX_USAGE, 'a token that is there needs all of --module, --token-label and --pin-file')
}

function collect(pair: string, earlier: Record<string, string>): Record<string, string> {
  const at = pair.indexOf('=')
  const name = pair.slice(0, at)
  if (at < 1 || !new RegExp(MODULE_VARIABLE).test(name)) {
    throw new InvalidArgumentError('It must be NAME=VALUE, and a variable that may be set for a PKCS#11 module.')
  }
  return { ...earlier, [name]: pair.slice(at + 1) }
}

async function loadDevelopment() {
  try {
    return {
      ...(await import('./development/set-up.ts')),
      ...(await import('./development/make-token.ts')),
      ...(await import('./development/existing-token.ts')),
    }
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ERR_MODULE_NOT_FOUND') return undefined
    throw error
  }
}

function summary(setUp: {
  readonly config: string
  readonly keys: readonly { id: string; algorithm: string; kcv: string }[]
}): string {
  const keys = setUp.keys.map(({ id, algorithm, kcv }) => `  ${id.padEnd(12)} ${algorithm.padEnd(9)} KCV ${kcv}\n`)
  return `Made a development set-up, for tests only:\n${keys.join('')}Start it with: pinbridge serve --config ${setUp.config}\n`
}

/** `pinbridge init --dev`: makes a development set-up. What makes it is not part of a production image. */
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
  readonly json?: boolean
}

/** Declares the command. */
export function initCommand(): Command {
  return new Command('init')
    .description('make a development set-up: token, keys, certificates and configuration')
    .requiredOption('--dev', 'say that this is for development: the keys have values that are printed')
    .requiredOption('--dir <dir>', 'where to make it; absent or empty')
    .option('--module <file>', 'the PKCS#11 module; left out, SoftHSM where distributions put it')
    .option(
      '--token-label <label>',
      'make the keys in this token of the module, which is there, instead of a new SoftHSM one',
    )
    .option('--pin-file <file>', "file with that token's user PIN; it stays where it is")
    .option('--library-parameters <text>', 'what the module is given at C_Initialize')
    .addOption(new Option('--socket <kind>', 'what the module reaches its HSM by').choices(['none', 'unix', 'inet']))
    .option('--environment <name=value>', 'a variable that the module reads; may be given again', collect, {})
    .option('--json', 'print what was made as one JSON object, key values included')
    .action(init)
}

async function init(options: InitOptions): Promise<void> {
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

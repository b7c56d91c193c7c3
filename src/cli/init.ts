/** `pinbridge init --dev`: makes a development set-up. What makes it is not part of a production image. */
import { Command } from 'commander'
import { HsmStartError } from '../hsm/hsm.ts'
import { CommandError } from './command-error.ts'

const EX_CANTCREAT = 73
const EX_UNAVAILABLE = 69
const EX_NOPERM = 77

interface InitOptions {
  readonly dev?: boolean
  readonly dir: string
  readonly module?: string
  readonly json?: boolean
}

/** Declares the command. */
export function initCommand(): Command {
  return new Command('init')
    .description('make a development set-up: SoftHSM token, keys, certificates and configuration')
    .requiredOption('--dev', 'say that this is for development: the keys have values that are printed')
    .requiredOption('--dir <dir>', 'where to make it; absent or empty')
    .option('--module <file>', 'the SoftHSM module, if it is not where distributions put it')
    .option('--json', 'print what was made as one JSON object, key values included')
    .action(init)
}

async function init({ dir, module, json }: InitOptions): Promise<void> {
  for (const name of ['NODE_ENV', 'PINBRIDGE_ENVIRONMENT']) {
    const environment = process.env[name]
    if (environment !== undefined && !['', 'development', 'test'].includes(environment)) {
      throw new CommandError(EX_NOPERM, `${name} does not say development: development keys are made nowhere else`)
    }
  }
  const development = await loadDevelopment()
  if (development === undefined)
    throw new CommandError(EX_UNAVAILABLE, 'this installation is for production and makes no keys')
  const softHsm = module ?? development.findSoftHsm()
  if (softHsm === undefined) {
    throw new CommandError(EX_UNAVAILABLE, 'SoftHSM is not installed (Debian and Ubuntu: apt-get install softhsm2)')
  }
  try {
    const setUp = await development.makeDevelopmentSetUp(dir, softHsm)
    process.stdout.write(json ? `${JSON.stringify(setUp)}\n` : summary(setUp))
  } catch (error) {
    if (error instanceof development.FolderInUseError)
      throw new CommandError(EX_CANTCREAT, '--dir: this is no folder, or not an empty one')
    if (error instanceof HsmStartError) throw new CommandError(EX_UNAVAILABLE, error.message)
    throw error
  }
}

async function loadDevelopment() {
  try {
    return { ...(await import('./development/set-up.ts')), ...(await import('./development/make-token.ts')) }
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

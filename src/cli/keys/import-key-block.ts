/** Does what `pinbridge keys import` says. */
import { loadConfig } from '../../config/config.ts'
import { profilesOf } from '../../config/profile-rules.ts'
import type { Config, KeyEntry } from '../../config/schema.ts'
import { ServiceError } from '../../errors.ts'
import { EX_DATAERR, EX_UNAVAILABLE, EX_USAGE } from '../../exit-codes.ts'
import { KeyCatalogue } from '../../hsm/key-catalogue.ts'
import { cipherOf } from '../../hsm/pkcs11/mechanisms.ts'
import { openUnder } from '../../hsm/pkcs11/transport-key.ts'
import { BLOCK_REFUSED, KeyBlockError } from '../../key-block/key-block-error.ts'
import type { KeyBlock } from '../../key-block/key-block.ts'
import { agreesWithKc, agreesWithKp } from '../../key-block/kcv-block.ts'
import { setOddParity } from '../../key-block/tdea-key.ts'
import { SecretScope } from '../../secret.ts'
import { CommandError } from '../command-error.ts'
import { withEveryToken, type OpenedToken } from '../open-token.ts'
import { withProgress } from '../terminal/progress.ts'
import { blockUseOf, fitsUse, useInWords } from './block-use.ts'
import type { ImportOptions } from './import.ts'
import { asCommandError, headerJson, headerTable, readKeyBlock, versionWarning } from './key-block-text.ts'
import { plannedKeyOf, type PlannedKey } from './planned-key.ts'
import { storeSymmetricKey } from './store-key.ts'
import { expectNotWeaker, expectReads, transportKey } from './transport-of-config.ts'

/** Imports the key of a block, or shows its header. */
export async function importKeyBlock(options: ImportOptions): Promise<void> {
  const block = readKeyBlock(options.blockFile)
  const { header } = block
  if (options.inspect) {
    process.stdout.write(options.json ? `${JSON.stringify({ header: headerJson(header) })}\n` : headerTable(header))
    const warning = versionWarning(header)
    if (warning !== undefined) process.stderr.write(`${warning}\n`)
    return
  }
  if (options.config === undefined) throw new CommandError(EX_USAGE, '--config is needed, or --inspect')
  const config = loadConfig(options.config, {}, 'keys')
  const planned = plannedKeyOf(options, config, 'imported')
  const transport = transportKey(config, options.transport, 'import')
  expectReads(transport, header.versionId)
  expectNotWeaker(transport, planned)
  expectFits(block, planned, config)
  const entry = await withProgress('importing the key', () =>
    withEveryToken(config, (opened) => importUnder(opened, options.config!, config, { block, transport, planned })),
  )
  const { id, version, state, algorithm, kcv } = entry
  process.stdout.write(
    options.json
      ? `${JSON.stringify({ key: { id, version, state, algorithm, kcv }, header: headerJson(header) })}\n`
      : `Key ${id} version ${version} is in the HSM, ${state}: ${algorithm}, KCV ${kcv}\n`,
  )
}

/** Shows the header in words beside what it has to say, and refuses another use before any key is touched. */
function expectFits({ header }: KeyBlock, planned: PlannedKey, config: Config): void {
  const use = blockUseOf(planned, config)
  if (use === undefined) {
    throw new CommandError(EX_USAGE, `--purpose: a ${planned.purpose} key is made in the HSM and comes in no key block`)
  }
  const lines = [
    `The header of the key block:\n${headerTable(header)}${useInWords(planned, use)}`,
    versionWarning(header),
  ]
  process.stderr.write(lines.map((line) => (line === undefined ? '' : `${line}\n`)).join(''))
  if (!fitsUse(header, use)) throw new CommandError(EX_DATAERR, BLOCK_REFUSED)
}

interface Planned {
  readonly block: KeyBlock
  readonly transport: KeyEntry
  readonly planned: PlannedKey
}

async function importUnder(
  opened: readonly OpenedToken[],
  configPath: string,
  config: Config,
  { block, transport, planned }: Planned,
): Promise<KeyEntry> {
  using secrets = new SecretScope()
  let value: Buffer
  try {
    const hsm = await opened[0]!.maker.find([transport], new KeyCatalogue([transport], profilesOf(config)))
    value = await openUnder(hsm, transport, block, secrets)
    expectKeyOf(planned, transport, block, value, secrets)
  } catch (error) {
    if (error instanceof ServiceError) {
      throw new CommandError(
        EX_UNAVAILABLE,
        `key ${transport.id}: the token failed (${error.detail?.ckr ?? error.code})`,
      )
    }
    throw asCommandError(error)
  }
  return await storeSymmetricKey(opened, configPath, planned, value)
}

/** Holds what the block carries against what was asked for, and against the KCVs that stand in its header. */
function expectKeyOf(
  { algorithm }: PlannedKey,
  transport: KeyEntry,
  { header }: KeyBlock,
  value: Buffer,
  secrets: SecretScope,
): void {
  const bytes = Number(/\d+$/.exec(algorithm)![0]) / 8
  const isRight =
    value.length === bytes &&
    agreesWithKc(header, cipherOf(algorithm), value, secrets) &&
    agreesWithKp(header, cipherOf(transport.algorithm), transport.kcv)
  if (!isRight) throw KeyBlockError.refused()
  if (algorithm.startsWith('TDEA')) setOddParity(value)
}

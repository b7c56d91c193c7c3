/** Does what `pinbridge keys export` says. */
import { randomFillSync } from 'node:crypto'
import { equalConstantTime, xorInto } from '../../bytes.ts'
import { loadConfig } from '../../config/config.ts'
import { expectEditable } from '../../config/edit.ts'
import { profilesOf } from '../../config/profile-rules.ts'
import type { Config, KeyEntry } from '../../config/schema.ts'
import { ServiceError } from '../../errors.ts'
import { EX_NOPERM, EX_SOFTWARE, EX_UNAVAILABLE, EX_USAGE } from '../../exit-codes.ts'
import { KeyCatalogue } from '../../hsm/key-catalogue.ts'
import { cipherOf } from '../../hsm/pkcs11/mechanisms.ts'
import { deriveBlockKeys } from '../../hsm/pkcs11/transport-key.ts'
import { unwrapExportableKey } from '../../hsm/pkcs11/unwrap-key.ts'
import { paddingBytes } from '../../key-block/body.ts'
import { cipherBlockBytes, type KeyBlockHeader } from '../../key-block/header.ts'
import { kcvBlock } from '../../key-block/kcv-block.ts'
import { openKeyBlock, parseKeyBlock, sealKeyBlock } from '../../key-block/key-block.ts'
import { SecretScope } from '../../secret.ts'
import { CommandError } from '../command-error.ts'
import { withEveryToken, withToken, type OpenedToken } from '../open-token.ts'
import { withProgress } from '../terminal/progress.ts'
import { openTerminal } from '../terminal/terminal.ts'
import { blockUseOf } from './block-use.ts'
import type { ExportOptions } from './export.ts'
import { headerJson, headerTable } from './key-block-text.ts'
import { makeUnexportable } from './make-unexportable.ts'
import { keyNamed } from './named-key.ts'
import { expectNotWeaker, transportKey } from './transport-of-config.ts'

/** Exports a key, and makes it unexportable afterwards if that was asked for. */
export async function exportKeyBlock(name: string, options: ExportOptions): Promise<void> {
  const config = loadConfig(options.config, {}, 'keys')
  const key = exportableKey(config, name)
  const transport = transportKey(config, options.transport, 'export')
  expectNotWeaker(transport, key)
  const header = headerOf(key, transport, config, options)
  if (options.final) {
    expectEditable(options.config)
    await confirmFinal(key)
  }
  const work = async (opened: readonly OpenedToken[]): Promise<void> => {
    using secrets = new SecretScope()
    const value = unwrapExportableKey(opened[0]!, key, secrets)
    print(await blockOf(opened[0]!, config, { value, key, transport, header }), key, transport, options)
    // The block is out: what fails from here on can be done again, and the block is good.
    if (!options.final) return
    makeUnexportable(opened, options.config, config, key, value)
    process.stderr.write(`Key ${key.id} version ${key.version} cannot be exported any more.\n`)
  }
  await withProgress('exporting the key', () =>
    options.final
      ? withEveryToken(config, work)
      : withToken(config, options.token ?? config.hsm.tokens[0]!.name, (opened) => work([opened])),
  )
}

function exportableKey(config: Config, name: string): KeyEntry {
  const key = keyNamed(config, name)
  if (key.exportable) return key
  throw new CommandError(
    EX_NOPERM,
    `key ${key.id} version ${key.version} is not exportable: only a key that was made with --exportable leaves the HSM`,
  )
}

function headerOf(key: KeyEntry, transport: KeyEntry, config: Config, options: ExportOptions): KeyBlockHeader {
  const use = blockUseOf(key, config)
  if (use === undefined)
    throw new CommandError(EX_NOPERM, `key ${key.id}: a ${key.purpose} key travels in no key block`)
  const modeOfUse = options.modeOfUse ?? modeOf(key.id, use.modes[0]!)
  return {
    versionId: transport.algorithm.startsWith('AES') ? 'D' : 'B',
    usage: use.usages[0]!,
    algorithm: use.algorithm,
    modeOfUse: expectMode(modeOfUse, use.modes),
    keyVersion: '00',
    exportability: options.exportability,
    keyContext: '0',
    optionalBlocks: options.kcvBlocks
      ? [kcvBlock('KC', cipherOf(key.algorithm), key.kcv), kcvBlock('KP', cipherOf(transport.algorithm), transport.kcv)]
      : [],
  }
}

const OPPOSITES: Readonly<Record<string, string>> = { D: 'E', E: 'D', G: 'V', V: 'G' }

/** A key that goes both ways; of one that goes one way, nobody but the person knows what the block is for. */
function modeOf(id: string, narrowest: string): string {
  const opposite = OPPOSITES[narrowest]
  if (opposite === undefined) return narrowest
  throw new CommandError(
    EX_USAGE,
    `--mode-of-use is needed, because key ${id} goes one way here: ${opposite} for the other party, who does the opposite, or ` +
      `${narrowest} for a second node of yours`,
  )
}

/** Of the modes that belong to such a key: it may get narrower on its way, or the other way round. */
function expectMode(mode: string, fitting: readonly string[]): string {
  const family = fitting.includes('C') ? ['C', 'G', 'V', 'N'] : ['B', 'D', 'E', 'N']
  if (family.includes(mode)) return mode
  throw new CommandError(EX_USAGE, `--mode-of-use: for such a key it is one of ${family.join(', ')}`)
}

async function confirmFinal(key: KeyEntry): Promise<void> {
  const terminal = openTerminal()
  try {
    await terminal.confirmByTyping(
      `After this export nobody can get key ${key.id} version ${key.version} out of the HSM again.`,
      key.id,
    )
  } finally {
    terminal.close()
  }
}

interface Exported {
  readonly value: Buffer
  readonly key: KeyEntry
  readonly transport: KeyEntry
  readonly header: KeyBlockHeader
}

async function blockOf(
  opened: OpenedToken,
  config: Config,
  { value, key, transport, header }: Exported,
): Promise<string> {
  using secrets = new SecretScope()
  try {
    const hsm = await opened.maker.find([transport], new KeyCatalogue([transport], profilesOf(config)))
    const keys = await deriveBlockKeys(hsm, transport, secrets)
    opened.throwIfInterrupted()
    const longest = key.algorithm.startsWith('TDEA') ? 24 : 32
    const padding = randomFillSync(
      secrets.take(paddingBytes(value.length, longest, cipherBlockBytes(header.versionId))),
    )
    const fromToken = secrets.take(padding.length)
    await hsm.fillRandom(fromToken)
    xorInto(padding, padding, fromToken)
    const block = sealKeyBlock(header, value, keys, padding)
    // What goes out is what another party will have to open.
    if (!equalConstantTime(openKeyBlock(parseKeyBlock(block), keys, secrets), value)) {
      throw new CommandError(EX_SOFTWARE, 'the key block does not open again, and was not given out')
    }
    return block
  } catch (error) {
    if (!(error instanceof ServiceError)) throw error
    throw new CommandError(EX_UNAVAILABLE, `key ${transport.id}: the token failed (${error.detail?.ckr ?? error.code})`)
  }
}

function print(block: string, key: KeyEntry, transport: KeyEntry, options: ExportOptions): void {
  const { header } = parseKeyBlock(block)
  const named = ({ id, version, algorithm, kcv }: KeyEntry) => ({ id, version, algorithm, kcv: kcv.toUpperCase() })
  if (options.json) {
    const result = { block, key: named(key), transport: named(transport), header: headerJson(header) }
    process.stdout.write(`${JSON.stringify(result)}\n`)
    return
  }
  const { id, version, kcv } = named(key)
  process.stderr.write(
    `Key ${id} version ${version}, KCV ${kcv}, under ${transport.id} (KCV ${transport.kcv.toUpperCase()}):\n${headerTable(header)}`,
  )
  process.stdout.write(`${block}\n`)
}

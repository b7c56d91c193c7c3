/** A migration from its start to its end: checks, reads, translates, writes, and says what came of it. */
import type { Config } from '../config/schema.ts'
import { createLog } from '../log.ts'
import { InputError } from '../rows/row-reader.ts'
import { EX_IOERR } from '../exit-codes.ts'
import { assertNothingFollows, continueFrom, findRecord, replay } from './beginning.ts'
import { ChunkReader } from './chunk-reader.ts'
import { brokenOff, completed, type Ending, type SIGNAL_CODES } from './ending.ts'
import { FileIds } from './file-ids.ts'
import { freshBeginning, Ledger } from './ledger.ts'
import { lockOutput } from './lock.ts'
import { endRecord, startRecord } from './log-records.ts'
import { MigrationError } from './migration-error.ts'
import { assertDistinct, assertOutputIsOther, filesOf, type MigrateOptions } from './options.ts'
import { openFiles, openStreams, type Outputs } from './output-files.ts'
import { checkParameters, type Parameters } from './parameters.ts'
import { Pipeline } from './pipeline.ts'
import { Progress } from './progress.ts'
import { recordedParameters, type MigrationRecord, type Standing } from './record.ts'
import { rejectHeader } from './rejects.ts'
import { openFile, StreamSource, type Source } from './source.ts'
import { VaultTeam } from './vault-team.ts'

/** Runs a migration; whatever comes of it is said in the ending. */
export async function migrate(config: Config, options: MigrateOptions): Promise<Ending> {
  let source: Source | undefined
  try {
    const parameters = checkParameters(config, options)
    assertDistinct(options)
    source = options.input === undefined ? new StreamSource(process.stdin) : await openFile(options.input)
    assertOutputIsOther(options, source)
    return await new Migration(config, options, parameters, source).run()
  } catch (error) {
    if (!(error instanceof MigrationError)) throw error
    return { exitCode: error.exitCode, summary: undefined, sentences: [error.message] }
  } finally {
    await source?.close()
  }
}

class Migration {
  readonly #config: Config
  readonly #options: MigrateOptions
  readonly #parameters: Parameters
  readonly #source: Source
  readonly #chunks: ChunkReader
  // Start and end stand in the log whatever its level is.
  readonly #log = createLog('migrate', 'info')
  #signal: keyof typeof SIGNAL_CODES | undefined
  #team: VaultTeam | undefined
  #ledger: Ledger | undefined
  #pipeline: Pipeline | undefined
  #progress: Progress | undefined

  constructor(config: Config, options: MigrateOptions, parameters: Parameters, source: Source) {
    this.#config = config
    this.#options = options
    this.#parameters = parameters
    this.#source = source
    const { from, prw, checkIds } = parameters
    const needs = { cardFields: prw?.cardFields, newNames: prw?.newNames ?? [] }
    this.#chunks = new ChunkReader(source, from.format, needs, checkIds ? new FileIds() : undefined)
  }

  async run(): Promise<Ending> {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => this.#stop(signal))
    const record = await this.#findRecord()
    this.#log.info(startRecord(this.#parameters, this.#options, this.#source.size, record), 'migration-started')
    const ending = await this.#end(record)
    this.#log.info(endRecord(ending), 'migration-ended')
    return ending
  }

  /** The record of an earlier run; from here on nobody else writes the output. */
  async #findRecord(): Promise<MigrationRecord | undefined> {
    const files = filesOf(this.#options)
    if (files === undefined) return undefined
    await lockOutput(files.output)
    return await findRecord(files, this.#options.isResumed, recordedParameters(this.#parameters, files))
  }

  async #end(record: MigrationRecord | undefined): Promise<Ending> {
    try {
      const standing = await this.#work(record)
      const hasChanged = record?.inputChanged === true || !(await this.#source.isUnchanged())
      if (standing) return completed(standing, this.#options, hasChanged)
      return await brokenOff(this.#signal ?? 'SIGTERM', this.#ledger, this.#options, record !== undefined)
    } catch (error) {
      const reason = this.#signal ?? this.#problemOf(error)
      return await brokenOff(reason, this.#ledger, this.#options, record !== undefined)
    } finally {
      this.#progress?.end()
      await this.#team?.close()
      await this.#ledger?.close()
    }
  }

  /** All of the work; returns what it came to, or undefined if a signal ended it. */
  async #work(record: MigrationRecord | undefined): Promise<Standing | undefined> {
    const files = filesOf(this.#options)
    const beginning = record && files ? await continueFrom(record, files) : freshBeginning()
    if (record) await replay(this.#chunks, record, () => this.#isStopped())
    if (this.#isStopped()) return undefined
    if (record?.state === 'complete') {
      await assertNothingFollows(this.#source)
      return record
    }

    const { from, to, prw } = this.#parameters
    const keys = new Set([from.key, to.key, ...(prw ? [prw.key] : [])])
    const team = new VaultTeam(this.#config, [...keys], this.#log)
    this.#team = team
    await team.open()
    const ledger = new Ledger(() => this.#openOutputs(record, beginning.standing), beginning)
    this.#ledger = ledger
    this.#progress = new Progress(process.stderr, this.#source.size, () => ledger.standing)
    const { isDryRun } = this.#options
    const pipeline = new Pipeline({ parameters: this.#parameters, chunks: this.#chunks, team, ledger, isDryRun })
    this.#pipeline = pipeline
    if (!this.#isStopped()) await pipeline.run()
    if (this.#isStopped()) return undefined
    await ledger.finish('complete')
    return ledger.standing
  }

  async #openOutputs(record: MigrationRecord | undefined, standing: Standing): Promise<Outputs> {
    const files = filesOf(this.#options)
    const settings = {
      rejectHeader: () => rejectHeader(this.#chunks.kind),
      say: (text: string) => this.#progress?.say(text),
      inputSize: this.#source.size,
      isInputUnchanged: () => this.#source.isUnchanged(),
    }
    if (files === undefined) return openStreams(this.#options, settings)
    return await openFiles(files, standing, recordedParameters(this.#parameters, files), record, settings)
  }

  /** Commits nothing more, and ends what is being waited for. */
  #stop(signal: keyof typeof SIGNAL_CODES): void {
    if (this.#signal) return
    this.#signal = signal
    this.#pipeline?.stop()
    this.#source.cancel()
    void this.#team?.close()
  }

  #isStopped(): boolean {
    return this.#signal !== undefined
  }

  #problemOf(error: unknown): MigrationError {
    if (error instanceof MigrationError) return error
    if (!(error instanceof InputError)) throw error
    return new MigrationError(EX_IOERR, `${this.#options.input ?? 'standard input'}: ${error.message}`)
  }
}

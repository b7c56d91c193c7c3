/** What a command throws when it cannot do what was asked: a sentence for its user and an exit code of sysexits.h. */
export class CommandError extends Error {
  readonly exitCode: number

  constructor(exitCode: number, sentence: string) {
    super(sentence)
    this.name = 'CommandError'
    this.exitCode = exitCode
  }
}

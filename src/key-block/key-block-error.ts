/** What is wrong with a key block: its form, which anybody can see, or what only the holder of its protection key can. */

/** The one sentence for every block that does not open, whatever the cause, and for one that is for another use (M-33). */
export const BLOCK_REFUSED = 'the key block is not valid under this transport key, or is for another use'

/** A key block that is not taken. */
export class KeyBlockError extends Error {
  /** `form`: the sentence says what is wrong with the text; `refused`: every other cause is this one. */
  readonly problem: 'form' | 'refused'

  private constructor(problem: KeyBlockError['problem'], sentence: string) {
    super(sentence)
    this.name = 'KeyBlockError'
    this.problem = problem
  }

  /** Says what is wrong with the text of a block; the sentence names a place and never what stands there. */
  static form(sentence: string): KeyBlockError {
    return new KeyBlockError('form', `this is not a key block: ${sentence}`)
  }

  /** Refuses a block without saying why. */
  static refused(): KeyBlockError {
    return new KeyBlockError('refused', BLOCK_REFUSED)
  }
}

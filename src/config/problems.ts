/** Collects what is wrong with a configuration, so that all of it is told at once, each with its place and never a value. */

/** The way to a member: names and indexes from the top of the document. */
export type Place = readonly (string | number)[]

/** Where a rule reports what it found: a place and a constant sentence about it. */
export type Report = (place: Place, sentence: string) => void

/** Finds the line of a place, or of its nearest part that stands in the file. */
export type LineOf = (place: Place) => number | undefined

/** The configuration cannot be used; its problems hold no value of the file, only names and places. */
export class ConfigError extends Error {
  readonly problems: string[]

  constructor(problems: readonly string[]) {
    super(problems.join('\n'))
    this.name = 'ConfigError'
    this.problems = [...problems]
  }
}

/** The configuration file was left as it was: a sentence that says why, and what to write into it by hand. */
export class ConfigEditError extends Error {
  constructor(sentence: string) {
    super(sentence)
    this.name = 'ConfigEditError'
  }
}

/** The problems of one file, in the order of its lines. */
export class Problems {
  readonly #file: string
  readonly #lineOf: LineOf
  readonly #shown: (place: Place) => Place
  readonly #found: { readonly line: number | undefined; readonly text: string }[] = []
  readonly #malformed = new Set<string>()
  readonly #places: Place[] = []

  /** @param shown - turns a place of the data into the place that whoever wrote the file knows. */
  constructor(file: string, lineOf: LineOf, shown: (place: Place) => Place = (place) => place) {
    this.#file = file
    this.#lineOf = lineOf
    this.#shown = shown
  }

  /** Reports that a rule is broken; nothing follows from a member that is malformed itself, or in a part of it. */
  readonly add: Report = (place, sentence) => {
    if (this.isWellFormed(place)) this.#addShown(place, sentence)
  }

  /** Reports a member that does not have the form of the schema. */
  readonly addMalformed: Report = (place, sentence) => {
    this.#addShown(place, sentence)
    this.#malformed.add(JSON.stringify(place))
  }

  /** Reports a problem of a line that may have no place. */
  addAt(line: number | undefined, place: Place, sentence: string): void {
    const where = [line === undefined ? this.#file : `${this.#file}:${line}`, placeText(place)].filter(Boolean)
    this.#found.push({ line, text: `${where.join(': ')}: ${sentence}` })
  }

  #addShown(place: Place, sentence: string): void {
    this.#places.push(place)
    const shown = this.#shown(place)
    this.addAt(this.#lineOf(shown), shown, sentence)
  }

  /** Whether everything below a place, and the place itself, has the form of the schema. */
  isWellFormed(place: Place): boolean {
    const self = JSON.stringify(place)
    const below = `${self.slice(0, -1)},`
    return ![...this.#malformed].some((malformed) => malformed === self || malformed.startsWith(below))
  }

  /** Whether no problem was reported of a place, below it or above it. */
  isSound(place: Place): boolean {
    return !this.#places.some((other) => other.every((part, i) => i >= place.length || part === place[i]))
  }

  /** All problems in the order of the lines. */
  texts(): string[] {
    return this.#found.toSorted((a, b) => (a.line ?? 0) - (b.line ?? 0)).map(({ text }) => text)
  }

  /** @throws ConfigError with all problems, if there is any. */
  throwIfAny(): void {
    if (this.#found.length > 0) throw new ConfigError(this.texts())
  }
}

/** Writes a place as `keys[3].kcv`; a name that is no plain word is quoted, so that it cannot forge a line of a log. */
export function placeText(place: Place): string {
  return place
    .map((part, i) => {
      if (typeof part === 'number') return `[${part}]`
      if (/^[A-Za-z0-9_-]{1,64}$/.test(part)) return i === 0 ? part : `.${part}`
      return `[${JSON.stringify(part.slice(0, 64).replace(/[^ -~]/g, '?'))}]`
    })
    .join('')
}

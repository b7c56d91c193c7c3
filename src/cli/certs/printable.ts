/** Texts of somebody else's as a terminal may show them. */

/** Without control characters. */
export function printable(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, '?')
}

/** A certificate's name, which node gives a part a line, on one. */
export function oneLine(name: string): string {
  return printable(name.replaceAll('\n', ', '))
}

import { expect, it } from 'vitest'
import { LineEditor, type Echo } from '../../../src/cli/terminal/line-editor.ts'

const [BACKSPACE, CTRL_C, CTRL_D, CTRL_U, ESC] = ['\x7f', '\x03', '\x04', '\x15', '\x1b']

function typed(keys: string, echo: Echo = 'characters', mostBytes = 16) {
  const target = Buffer.alloc(mostBytes, 0xee)
  const editor = new LineEditor(target, echo)
  const shown: Buffer[] = []
  const outcomes = [...Buffer.from(keys)].map((byte) => editor.type(byte, (text) => shown.push(Buffer.from(text))))
  return {
    line: target.toString('utf8', 0, editor.length),
    rest: target.subarray(editor.length),
    shown: Buffer.concat(shown).toString(),
    last: outcomes.at(-1),
    isTooLong: editor.isTooLong,
  }
}

it.each([
  ['abc\r', 'abc', 'complete'],
  ['abc\n', 'abc', 'complete'],
  [`abx${BACKSPACE}c\r`, 'abc', 'complete'],
  [`ab\bc\r`, 'ac', 'complete'],
  [`xyz${CTRL_U}abc\r`, 'abc', 'complete'],
  [`${BACKSPACE}${BACKSPACE}a\r`, 'a', 'complete'],
  [`Öz${BACKSPACE}${BACKSPACE}Ü\r`, 'Ü', 'complete'],
  [`a${ESC}[Ab${ESC}[1;5Cc${ESC}OPd\r`, 'abcd', 'complete'],
  [`${ESC}[200~pasted${ESC}[201~\r`, 'pasted', 'complete'],
  [`a\x00\x01\tb\r`, 'ab', 'complete'],
  [`abc${CTRL_C}`, 'abc', 'stopped'],
  [CTRL_D, '', 'stopped'],
  [`ab${CTRL_D}`, 'ab', 'more'],
])('%j is the line %j, %s', (keys, line, last) => {
  expect(typed(keys)).toMatchObject({ line, last, isTooLong: false })
})

it('shows the characters, or an asterisk for each, and takes back what is erased', () => {
  expect(typed(`Aß${BACKSPACE}c`).shown).toBe('Aß\b \bc')
  expect(typed(`Aß${BACKSPACE}c`, 'asterisks').shown).toBe('**\b \b*')
  expect(typed(`1234${CTRL_U}`, 'asterisks').shown).toBe('****\b \b\b \b\b \b\b \b')
})

it('leaves nothing of what was erased', () => {
  const { rest } = typed(`secret${CTRL_U}ab${BACKSPACE}`, 'asterisks', 8)
  expect(rest).toEqual(Buffer.from([0, 0, 0, 0, 0, 0xee, 0xee].slice(0, rest.length)))
  expect(rest.toString('latin1')).not.toMatch(/[a-z]/)
})

it('counts what does not fit, and fits again once it is erased', () => {
  expect(typed('12345678\r', 'asterisks', 4)).toMatchObject({ isTooLong: true, line: '1234', shown: '********' })
  const erased = typed(`12345678${BACKSPACE.repeat(4)}\r`, 'asterisks', 4)
  expect(erased).toMatchObject({ isTooLong: false, line: '1234' })
})

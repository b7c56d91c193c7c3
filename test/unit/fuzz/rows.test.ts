import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { InputError } from '../../../src/rows/row-reader.ts'
import { naiveCsv, naiveNdjson } from '../rows/naive-rows.ts'
import { readRows, type ReadLine } from '../rows/read-rows.ts'
import { corpusOf, damaged, fuzz } from './fuzz.ts'

const PAN = '4000001234567899'
const BLOCK = '0123456789abcdEF'
const CUTS = fc.array(fc.nat(400), { maxLength: 6 })

/** Whether at least one row is an item; the lines are those of the model, wherever the reader was interrupted. */
function expectLines(bytes: Buffer, cuts: readonly number[], model: (file: Buffer) => ReadLine[]): 'taken' | 'refused' {
  const { lines } = readRows(bytes, { cuts })
  expect(lines).toEqual(model(bytes))
  return lines.some(({ fate }) => fate === 'item') ? 'taken' : 'refused'
}

describe('rows', () => {
  it('of CSV are read as the model reads them', () => {
    const rows = [
      `1,${PAN},${BLOCK}\n`,
      `"2",${PAN},"${BLOCK}"\r\n`,
      `"a ""b""",${PAN},${BLOCK}\n`,
      `é,${PAN},${BLOCK}\n`,
    ]
    const files = fc
      .array(fc.constantFrom(...rows), { minLength: 1, maxLength: 4 })
      .map((all) => Buffer.from(all.join('')))
    const pieces = ['"', '""', ',', '\n', '\r', '\r\n', '\0', '\xff', ' ', '0', 'x', '\xef\xbb\xbf']
    // A first line that names columns is the matter of test/unit/rows/csv-reader.test.ts, and `{` makes it another kind of file.
    const file = damaged(files, pieces).filter((bytes) => !/^(?:\xef\xbb\xbf)?\{/.test(bytes.toString('latin1')))
    return fuzz(
      'csv-rows',
      fc.tuple(file, CUTS),
      ([bytes, cuts]) => expectLines(bytes, cuts, naiveCsv),
      (bytes): [Buffer, number[]] => [bytes, []],
    )
  })

  it('of NDJSON are read as the model reads them', () => {
    const rows = [
      `{"id":"1","pan":"${PAN}","pinBlock":"${BLOCK}"}\n`,
      `{"id":2,"pan":"${PAN}","pinBlock":"${BLOCK}","name":"\\u00fc"}\r\n`,
      `{ "pinBlock" : "${BLOCK}", "x":[1,{}], "pan":"${PAN}","id":"é"}\n`,
    ]
    const files = fc
      .array(fc.constantFrom(...rows), { minLength: 1, maxLength: 4 })
      .map((all) => Buffer.from(all.join('')))
    const pieces = [...'"{}[]:,\\0 ', '\n', '\r', '\xff', '"x":1,', '\\u0061', '"__proto__":1,', '1.0']
    const file = damaged(files, pieces).filter((bytes) => bytes[0] === 0x7b)
    return fuzz(
      'ndjson-rows',
      fc.tuple(file, CUTS),
      ([bytes, cuts]) => expectLines(bytes, cuts, naiveNdjson),
      (bytes): [Buffer, number[]] => [bytes, []],
    )
  })

  it('whose first line cannot be one are refused as such, and with no other error', () => {
    for (const bytes of corpusOf('csv-rows')) {
      for (const head of ['id,pan\n', 'id,id,pan,pinBlock\n']) {
        expect(() => readRows(Buffer.concat([Buffer.from(head), bytes]))).toThrow(InputError)
      }
    }
  })
})

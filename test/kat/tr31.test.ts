import { describe, expect, it } from 'vitest'
import { parseKeyBlock } from '../../src/key-block/key-block.ts'
import { oracleOpen } from '../support/key-block-oracle.ts'
import { KeyBlockVectors, readVectors } from '../support/vector-file.ts'

// What needs a transport key is in test/hsm/key-blocks.test.ts: every block is opened and written under one in a real token.
describe('ANSI X9.143 and TR-31 key blocks', () => {
  for (const { source, tests } of readVectors(KeyBlockVectors, 'tr31.json').testGroups) {
    const named = `${source!.split(',')[0]!}: $comment ($tcId)`
    const wellFormed = tests.filter(({ problem }) => problem !== 'form')
    const malformed = tests.filter(({ problem }) => problem === 'form')

    it.each(wellFormed)(`the oracle judges, and the parser reads: ${named}`, ({ block, key, wrapped, result }) => {
      expect(oracleOpen(block, key)?.key).toBe(result === 'valid' ? wrapped : undefined)
      const { header, headerText, encipheredBody, mac } = parseKeyBlock(block)
      expect(headerText + Buffer.concat([encipheredBody, mac]).toString('hex').toUpperCase()).toBe(block)
      expect(header.optionalBlocks).toHaveLength(Number(block.slice(12, 14)))
    })

    if (malformed.length > 0) {
      it.each(malformed)(`the parser refuses: ${named}`, ({ block }) => {
        expect(() => parseKeyBlock(block)).toThrow(expect.objectContaining({ problem: 'form' }))
      })
    }
  }
})

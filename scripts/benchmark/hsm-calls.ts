/** The HSM's own limit: hsm-calls.c, which makes the PKCS#11 calls of a translation and nothing else. */
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { parse } from 'yaml'

/** A key as hsm-calls finds it: cipher and CKA_ID. */
export type HsmKey = `${'tdea' | 'aes'}:${string}`

/** The bare calls of a translation between two keys. */
export interface Chain {
  readonly from: HsmKey
  readonly to: HsmKey
  /** How many PIN blocks one call takes. */
  readonly blocks: number
}

/** Runs chains, and tells the CPU time that they take for each block, in microseconds. */
export type MeasureChain = (chain: Chain, chains: number) => Promise<number>

/** Makes the measure for the token of a configuration file. */
export function createMeasureChain(configFile: string): MeasureChain {
  const program = process.env['HSM_CALLS']
  if (program === undefined) throw new Error('HSM_CALLS does not name the program; start scripts/bench')
  const { hsm } = parse(readFileSync(configFile, 'utf8'))
  return async ({ from, to, blocks }, chains) => {
    const args = [hsm.module, hsm.tokenLabel, hsm.pinFile, from, to, String(blocks), String(chains)]
    const { stdout } = await promisify(execFile)(program, args, { env: hsm.environment })
    return JSON.parse(stdout).cpuUs / (chains * blocks)
  }
}

/** Files of PIN blocks made and read by oracles, and the real command that migrates them. */
import { createCipheriv, createDecipheriv } from 'node:crypto'
import { spawn, type ChildProcess } from 'node:child_process'
import { readFileSync, readdirSync } from 'node:fs'
import forge from 'node-forge'
import type { DevelopmentSetUp } from '../../../src/cli/development/set-up.ts'
import { NODE, recordsOf } from '../processes/processes.ts'
import {
  oracleDecipher,
  oracleDecode,
  oracleEncode,
  oraclePanField4,
  type OracleFormat,
} from '../../unit/pin/pin-block-oracle.ts'

const CLI = new URL('../../../dist/cli/main.js', import.meta.url).pathname

/** A stored PIN as the test knows it. */
export interface Row {
  readonly id: string
  readonly pan: string
  readonly pin: string
}

/** Rows with every PIN length and every PAN length; the same for one seed. */
export function makeRows(count: number, seed = 1): Row[] {
  // A linear congruential generator (Numerical Recipes): what is wanted is variety, and the same rows next time.
  let state = seed
  const digits = (length: number) => {
    let text = ''
    while (text.length < length) {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
      text += String(state >>> 4).slice(-6)
    }
    return text.slice(0, length)
  }
  return Array.from({ length: count }, (_, i) => ({
    id: `card-${i}`,
    pan: `${1 + (i % 9)}${digits(11 + (i % 8))}`,
    pin: digits(4 + (i % 9)),
  }))
}

/** The development value of a key, hex. */
export function keyOf(setUp: DevelopmentSetUp, id: string): string {
  return setUp.keys.find((key) => key.id === id)!.value!
}

/** The PIN blocks of rows under a key, by OpenSSL through node:crypto, all in one call. */
export function makeBlocks(format: OracleFormat, key: string, rows: readonly Row[]): string[] {
  const filler = {
    'ISO-0': 'F'.repeat(10),
    'ISO-3': 'ABCDEFABCD',
    'ISO-1': '0123456789',
    SECCOS: 'F'.repeat(10),
    'ISO-4': '',
  }
  const clear = rows.map(({ pin, pan }) =>
    oracleEncode(
      format,
      pin,
      pan,
      format === 'ISO-4' ? 'A'.repeat(14 - pin.length) + '0123456789ABCDEF' : filler[format],
    ),
  )
  const once = ecb(key, clear.join(''), true)
  if (format !== 'ISO-4') return once.match(/.{16}/g) ?? []
  const between = (once.match(/.{32}/g) ?? []).map((block, i) => xor(block, oraclePanField4(rows[i]!.pan)))
  return ecb(key, between.join(''), true).match(/.{32}/g) ?? []
}

/** The PINs in enciphered blocks, by node:crypto; undefined where a block is none of its format and PAN. */
export function readBlocks(
  format: OracleFormat,
  key: string,
  blocks: readonly string[],
  pans: readonly string[],
): (string | undefined)[] {
  const size = format === 'ISO-4' ? /.{32}/g : /.{16}/g
  let clear = ecb(key, blocks.join(''), false).match(size) ?? []
  if (format === 'ISO-4') {
    clear = ecb(key, clear.map((block, i) => xor(block, oraclePanField4(pans[i]!))).join(''), false).match(size) ?? []
  }
  return clear.map((block, i) => oracleDecode(format, block, pans[i]!))
}

/** The PIN in one block, by node-forge, which shares nothing with node:crypto. */
export function readBlockByForge(format: OracleFormat, key: string, block: string, pan: string): string | undefined {
  const decipher = (blockHex: string) => {
    const value = format === 'ISO-4' || key.length === 48 ? key : key + key.slice(0, 16)
    const cipher = forge.cipher.createDecipher(
      format === 'ISO-4' ? 'AES-ECB' : '3DES-ECB',
      forge.util.hexToBytes(value),
    )
    cipher.start({})
    cipher.update(forge.util.createBuffer(forge.util.hexToBytes(blockHex)))
    // Without finish there is no padding: update has already put out every whole block.
    return cipher.output.toHex()
  }
  return oracleDecode(format, oracleDecipher(format, decipher, block, pan), pan)
}

function ecb(key: string, blocks: string, isEnciphered: boolean): string {
  // The development keys: TDEA-128 and AES-256.
  const isTdea = key.length === 32
  const value = Buffer.from(isTdea ? key + key.slice(0, 16) : key, 'hex')
  const name = isTdea ? 'des-ede3' : `aes-${value.length * 8}-ecb`
  const cipher = (
    isEnciphered ? createCipheriv(name, value, null) : createDecipheriv(name, value, null)
  ).setAutoPadding(false)
  return (cipher.update(blocks, 'hex', 'hex') + cipher.final('hex')).toUpperCase()
}

function xor(a: string, b: string): string {
  return (BigInt(`0x${a}`) ^ BigInt(`0x${b}`)).toString(16).toUpperCase().padStart(a.length, '0')
}

/** How a run of the command ended. */
export interface Run {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
  /** The records of its log. */
  readonly log: any[]
}

/** A command that runs. */
export interface Running {
  readonly process: ChildProcess
  readonly pid: number
  readonly ended: Promise<Run>
  readonly stderr: () => string
}

/** Starts `pinbridge migrate`, the leader of a process group of its own. */
export function startMigrate(
  config: string,
  args: readonly string[],
  { input, shell }: { input?: Buffer; shell?: string } = {},
): Running {
  const line = [NODE, CLI, 'migrate', '--config', config, ...args]
  const [command, ...rest] = shell ? ['bash', '-c', `${shell}; exec "$@"`, 'bash', ...line] : line
  const child = spawn(command!, rest, {
    stdio: [input ? 'pipe' : 'ignore', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'] ?? '' },
    detached: true,
  })
  if (input) child.stdin!.on('error', () => {}).end(input)
  const stdout: Buffer[] = []
  let stderr = ''
  child.stdout!.on('data', (chunk: Buffer) => stdout.push(chunk))
  child.stderr!.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
  const ended = new Promise<Run>((resolve) => {
    child.once('close', (code, signal) => {
      resolve({ code, signal, stdout: Buffer.concat(stdout).toString(), stderr, log: recordsOf(stderr) })
    })
  })
  return { process: child, pid: child.pid!, ended, stderr: () => stderr }
}

/** Runs `pinbridge migrate` to its end. */
export async function runMigrate(
  config: string,
  args: readonly string[],
  options: { input?: Buffer; shell?: string } = {},
): Promise<Run> {
  return await startMigrate(config, args, options).ended
}

/** The vaults of a running command. */
export function vaultsOf(pid: number): number[] {
  const found: number[] = []
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    try {
      const parent = /^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${name}/status`, 'utf8'))?.[1]
      if (Number(parent) === pid && readFileSync(`/proc/${name}/cmdline`, 'utf8').includes('/vault/main'))
        found.push(Number(name))
    } catch {
      // It went away meanwhile.
    }
  }
  return found
}

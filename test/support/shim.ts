/**
 * A PKCS#11 module of our own between the service and a real token (shim/pkcs11-shim.c), and the switches that make it fail
 * while the service runs. The control file's layout is that of shim/control.h.
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  closeSync,
  copyFileSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  truncateSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const SOURCES = new URL('shim/', import.meta.url).pathname
const KINDS = [
  'off',
  'delay',
  'hang',
  'return',
  'crash',
  'close-sessions',
  'log-out',
  'destroy-key',
  'leak',
  'flip',
  'constant',
  'shorten',
  'stale',
] as const

/** What a fault does; see `enum kind` of control.h. */
type Kind = Exclude<(typeof KINDS)[number], 'off'>

/** A PKCS#11 function, or every one. */
export type Pkcs11Function = `C_${string}` | '*'

/** A fault: which calls it befalls, and what happens to them. */
export interface Fault {
  readonly function: Pkcs11Function
  readonly kind: Kind
  /** `delay`: microseconds; `return`: the CKR; `leak`: bytes; `flip`: the byte, below 0 from the end; `constant`: the byte; `shorten`: bytes. */
  readonly value?: number
  /** Befalls this process alone. */
  readonly process?: number
  /** Befalls each n-th call of those. */
  readonly every?: number
  /** Befalls so many calls and then none. */
  readonly times?: number
}

/** A fault that is switched on. */
export interface ActiveFault {
  /** How many calls it has befallen. */
  readonly hits: () => number
  readonly end: () => void
}

const NAME_BYTES = 32
const RULES = 16
const RULE_BYTES = NAME_BYTES + 16 + 24
const COUNTERS = 80
const COUNTER_BYTES = NAME_BYTES + 8
const HIDDEN_MECHANISMS = 8
const CAPABILITIES = { sp800Kdf: 1n, retailMac: 2n } as const
const AT = { capabilities: 0, tokenFlags: 8, hidden: 16, rules: 16 + 8 * HIDDEN_MECHANISMS } as const
const COUNTERS_AT = AT.rules + RULES * RULE_BYTES

/** The vendor-defined mechanism of the shim's retail MAC: ISO 9797-1 algorithm 3, whole blocks in, 8 bytes out. */
export const SHIM_RETAIL_MAC = 0x80000150

/** The built module: gcc compiles it once, into a temporary file named by the sources' content. */
function builtModule(): string {
  const files = readdirSync(SOURCES).sort()
  const code = files.filter((name) => name.endsWith('.c'))
  const content = createHash('sha256')
  for (const name of files) content.update(name).update(readFileSync(join(SOURCES, name)))
  const built = join(tmpdir(), `pinbridge-shim-${content.digest('hex').slice(0, 16)}.so`)
  if (existsSync(built)) return built
  const unfinished = `${built}.${process.pid}`
  const flags = ['-std=gnu11', '-O2', '-Wall', '-Wextra', '-Werror', '-shared', '-fPIC', '-fvisibility=hidden']
  execFileSync('gcc', [...flags, '-o', unfinished, ...code, '-lpthread'], { cwd: SOURCES })
  renameSync(unfinished, built)
  return built
}

/** The control of one shim: any number of processes load it, and all of them obey. */
export class Shim {
  readonly #file: string
  readonly #fd: number
  readonly #rules = new Set<number>()
  /** This shim's own copy: a library that is loaded twice in a process is one, and stands before the module of the first. */
  readonly module: string

  /** @param folder - gets the control file and the module; the one that makes it closes it. */
  constructor(folder: string) {
    this.module = join(folder, 'pinbridge-shim.so')
    copyFileSync(builtModule(), this.module)
    this.#file = join(folder, 'shim-control')
    this.#fd = openSync(this.#file, 'w+', 0o600)
    truncateSync(this.#file, COUNTERS_AT + COUNTERS * COUNTER_BYTES)
  }

  /** Puts the shim before the module of a token's configuration: `module` and `environment` are changed in place. */
  insert(token: { module: string; environment?: Record<string, string> }): void {
    token.environment = { ...token.environment, ...this.environment(token.module) }
    token.module = this.module
  }

  /** What a process needs in its environment to load the shim before `module`. */
  environment(module: string): Record<string, string> {
    return { SHIM_MODULE: module, SHIM_CONTROL: this.#file }
  }

  /** Switches a fault on, for calls from now on. */
  inject(fault: Fault): ActiveFault {
    const rule = Array.from({ length: RULES }, (_, n) => n).find((n) => !this.#rules.has(n))
    if (rule === undefined) throw new Error('the shim has no room for another fault')
    this.#rules.add(rule)
    const at = AT.rules + rule * RULE_BYTES
    const bytes = Buffer.alloc(RULE_BYTES)
    bytes.write(fault.function, 'ascii')
    bytes.writeUInt32LE(fault.process ?? 0, NAME_BYTES + 4)
    bytes.writeUInt32LE(fault.every ?? 0, NAME_BYTES + 8)
    bytes.writeUInt32LE(fault.times ?? 0, NAME_BYTES + 12)
    bytes.writeBigInt64LE(BigInt(fault.value ?? 0), NAME_BYTES + 16)
    writeSync(this.#fd, bytes, 0, RULE_BYTES, at)
    // Last, so that no call sees half a rule.
    this.#writeKind(rule, fault.kind)
    return {
      hits: () => this.#readNumber(at + RULE_BYTES - 8),
      end: () => {
        if (this.#rules.delete(rule)) this.#writeKind(rule, 'off')
      },
    }
  }

  /** Ends every fault, and shows the token as it is. */
  clear(): void {
    for (const rule of this.#rules) this.#writeKind(rule, 'off')
    this.#rules.clear()
    this.setTokenFlags(0)
    this.hideMechanisms()
    this.addCapabilities()
  }

  /** Flags that C_GetTokenInfo gives beside the token's own; 0 for none. */
  setTokenFlags(flags: number): void {
    this.#writeNumber(AT.tokenFlags, BigInt(flags))
  }

  /** Takes mechanisms away: they are not listed, and refused. */
  hideMechanisms(...mechanisms: number[]): void {
    if (mechanisms.length > HIDDEN_MECHANISMS) throw new Error('the shim hides no more mechanisms')
    for (let i = 0; i < HIDDEN_MECHANISMS; i++) this.#writeNumber(AT.hidden + 8 * i, BigInt(mechanisms[i] ?? 0))
  }

  /** Adds what no free token has; a key that makes retail MACs must be imported while it is on. */
  addCapabilities(...names: (keyof typeof CAPABILITIES)[]): void {
    this.#writeNumber(
      AT.capabilities,
      names.reduce((all, name) => all | CAPABILITIES[name], 0n),
    )
  }

  /** How often a function has been called, by all processes together. */
  calls(name: Exclude<Pkcs11Function, '*'>): number {
    return this.allCalls()[name] ?? 0
  }

  /** The same of each function that has been called. */
  allCalls(): Record<string, number> {
    const all: Record<string, number> = {}
    for (let at = COUNTERS_AT; at < COUNTERS_AT + COUNTERS * COUNTER_BYTES; at += COUNTER_BYTES) {
      const bytes = Buffer.alloc(NAME_BYTES)
      readSync(this.#fd, bytes, 0, NAME_BYTES, at)
      const count = this.#readNumber(at + NAME_BYTES)
      if (count > 0) all[bytes.toString('ascii', 0, bytes.indexOf(0))] = count
    }
    return all
  }

  close(): void {
    closeSync(this.#fd)
  }

  #writeKind(rule: number, kind: (typeof KINDS)[number]): void {
    const number = Buffer.alloc(4)
    number.writeUInt32LE(KINDS.indexOf(kind))
    writeSync(this.#fd, number, 0, 4, AT.rules + rule * RULE_BYTES + NAME_BYTES)
  }

  #readNumber(at: number): number {
    const bytes = Buffer.alloc(8)
    readSync(this.#fd, bytes, 0, 8, at)
    return Number(bytes.readBigUInt64LE())
  }

  #writeNumber(at: number, value: bigint): void {
    const bytes = Buffer.alloc(8)
    bytes.writeBigUInt64LE(value)
    writeSync(this.#fd, bytes, 0, 8, at)
  }
}

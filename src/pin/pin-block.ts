/** The PIN block formats in one table, with one signature, so that a caller can translate any into any. */
import { decodeIso0, encodeIso0 } from './iso-0.ts'
import { decodeIso1, encodeIso1 } from './iso-1.ts'
import { decodeIso3, encodeIso3 } from './iso-3.ts'
import { ISO4_BLOCK_BYTES, ISO4_FILL_BYTES, decodeIso4, encodeIso4 } from './iso-4.ts'
import { type Pan } from '../pan.ts'
import { xorPanField4 } from './pan-field.ts'
import { MAX_FILLER_NIBBLES, PIN_BLOCK_BYTES } from './pin-field.ts'
import type { ClearPin, PinFormat } from './pin.ts'
import { decodeSeccos, encodeSeccos } from './seccos.ts'

/** What goes into a PIN block; a format takes of it what it needs, and wipes nothing. */
export interface PinBlockInput extends ClearPin {
  readonly pan: Pan
  /** As many random bytes as the format's `fillBytes`; secret, since they stand in the clear block. */
  readonly fill: Uint8Array
}

/** A clear PIN block, or format 4's clear PIN field, and the PAN it may be bound to. */
export interface PinBlockToDecode {
  readonly pinBlock: Uint8Array
  readonly pan: Pan
}

/** One PIN block format: sizes in bytes, and its layout both ways. */
export interface PinBlockFormat {
  readonly blockBytes: number
  /** Whether the block can be read only with the PAN it was made with. */
  readonly bindsPan: boolean
  /** How many random bytes `encode` takes as `fill`. */
  readonly fillBytes: number
  /**
   * Writes the clear PIN block into `target` (`blockBytes`), which its owner wipes; throws ERR_INTERNAL on a caller's
   * mistake.
   */
  readonly encode: (input: PinBlockInput, target: Uint8Array) => void
  /**
   * Writes the PIN into `digits` (12 bytes), which its owner wipes; returns its length, or 0 and zeros if the block is
   * invalid.
   */
  readonly decode: (input: PinBlockToDecode, digits: Uint8Array) => number
  /**
   * The format is enciphered, and deciphered, in two passes, and this adds the PAN field to the block in between; a
   * format without it has one pass, and its PAN, if it binds one, is part of the clear block.
   */
  readonly xorBetweenPasses?: (pan: Pan, block: Uint8Array) => void
}

const FORMATS: Readonly<Record<PinFormat, PinBlockFormat>> = {
  'ISO-0': {
    blockBytes: PIN_BLOCK_BYTES,
    bindsPan: true,
    fillBytes: 0,
    encode: encodeIso0,
    decode: decodeIso0,
  },
  'ISO-1': {
    blockBytes: PIN_BLOCK_BYTES,
    bindsPan: false,
    fillBytes: MAX_FILLER_NIBBLES,
    encode: encodeIso1,
    decode: decodeIso1,
  },
  'ISO-3': {
    blockBytes: PIN_BLOCK_BYTES,
    bindsPan: true,
    fillBytes: MAX_FILLER_NIBBLES,
    encode: encodeIso3,
    decode: decodeIso3,
  },
  'ISO-4': {
    blockBytes: ISO4_BLOCK_BYTES,
    bindsPan: true,
    fillBytes: ISO4_FILL_BYTES,
    encode: encodeIso4,
    decode: decodeIso4,
    xorBetweenPasses: xorPanField4,
  },
  SECCOS: {
    blockBytes: PIN_BLOCK_BYTES,
    bindsPan: false,
    fillBytes: 0,
    encode: encodeSeccos,
    decode: decodeSeccos,
  },
}

/** Every format by its name; a Map, so that no name reaches a prototype. */
export const PIN_BLOCK_FORMATS: ReadonlyMap<string, PinBlockFormat> = new Map(Object.entries(FORMATS))

/**
 * Key components: values that each look random, and that make the key by exclusive or, so that whoever lacks one of them knows
 * nothing of it (split knowledge).
 *
 * @see ANSI X9.24-1:2017 7.2 and PCI PIN v3.1 requirements 6 and 12
 */
import { xorInto } from '../bytes.ts'
import { ServiceError } from '../errors.ts'
import type { SecretScope } from '../secret.ts'
import type { BlockAlgorithm } from './ecb.ts'
import { setOddParity } from './tdea-key.ts'

/**
 * Combines components into the key: their exclusive or, with odd parity if it is for TDEA.
 *
 * Three components of odd parity make a key of odd parity, two make one of even parity; parity bits are no part of the key.
 *
 * @param components - two or more of one length; not wiped here.
 * @param secrets - takes the key.
 * @throws ERR_INTERNAL if they are fewer, or of different lengths.
 */
export function combineComponents(
  algorithm: BlockAlgorithm,
  components: readonly Uint8Array[],
  secrets: SecretScope,
): Buffer {
  const bytes = components[0]?.length ?? 0
  if (components.length < 2 || components.some(({ length }) => length !== bytes)) throw new ServiceError('ERR_INTERNAL')
  const key = secrets.take(bytes)
  for (const component of components) xorInto(key, key, component)
  if (algorithm === 'TDEA') setOddParity(key)
  return key
}

/**
 * Splits a key: all components but the last are those given, the last makes the key together with them.
 *
 * @param random - as many random values as components are wanted, less one; each as long as the key, and given odd parity in place
 *   if the key is for TDEA, as the last one is.
 * @param secrets - takes the last component.
 * @throws ERR_INTERNAL as `combineComponents` does.
 */
export function splitKey(
  algorithm: BlockAlgorithm,
  key: Uint8Array,
  random: readonly Buffer[],
  secrets: SecretScope,
): Buffer[] {
  if (algorithm === 'TDEA') for (const component of random) setOddParity(component)
  return [...random, combineComponents(algorithm, [key, ...random], secrets)]
}

/**
 * Finds the bytes of a component that have an even number of ones: on a sheet of TDEA components there is none.
 *
 * @returns their places, counted from 1; they say nothing of the key, because a byte's lowest bit is no part of it.
 */
export function evenParityPlaces(component: Uint8Array): number[] {
  const places: number[] = []
  for (const [i, byte] of component.entries()) {
    let ones = byte
    ones ^= ones >> 4
    ones ^= ones >> 2
    ones ^= ones >> 1
    if ((ones & 1) === 0) places.push(i + 1)
  }
  return places
}

/** Whether no bit of a component is set: it adds nothing to the key, which the other custodians then know. */
export function isZeroComponent(algorithm: BlockAlgorithm, component: Uint8Array): boolean {
  let ones = 0
  for (const byte of component) ones |= byte & keyBits(algorithm)
  return ones === 0
}

/** Whether two components are the same: together they add nothing to the key. */
export function areSameComponents(algorithm: BlockAlgorithm, a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false
  let difference = 0
  for (let i = 0; i < a.length; i++) difference |= (a[i]! ^ b[i]!) & keyBits(algorithm)
  return difference === 0
}

/** The bits of a byte that belong to the key. */
function keyBits(algorithm: BlockAlgorithm): number {
  return algorithm === 'TDEA' ? 0xfe : 0xff
}

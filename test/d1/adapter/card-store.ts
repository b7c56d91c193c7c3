/**
 * The cards and their PINs in SQLite. No PIN is in it: only PIN blocks under the issuer's zone key, and PRWs.
 *
 * A PIN change is told (D1 has its counter: `changeId`), then sent (pinbridge is being asked: D1's JWE is kept until the outcome is
 * known), then accepted, in one transaction with the counter: raised exactly once, and an outcome that was lost can be asked for again.
 */
import { DatabaseSync } from 'node:sqlite'
import type { SetPinAnswer, Zone } from '../../../src/client/client.ts'
import { refusal } from './d1-contract.ts'

const SCHEMA = `
  PRAGMA busy_timeout = 2000; PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON;
  PRAGMA synchronous = FULL; -- an answer of 204 outlives a power cut
  CREATE TABLE IF NOT EXISTS card (
    id INTEGER PRIMARY KEY, issuerId TEXT NOT NULL, cardId TEXT NOT NULL, pan TEXT NOT NULL, panSequenceNumber TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('ACTIVE', 'INACTIVE', 'BLOCKED')),
    changeCounter INTEGER NOT NULL CHECK (changeCounter BETWEEN 0 AND 9999),
    pinBlock TEXT, format TEXT, keyId TEXT, keyVersion INTEGER,
    prw TEXT, prwKeyId TEXT, prwKeyVersion INTEGER, prwCounter TEXT, prwRandomNumber TEXT,
    changeId TEXT, type TEXT, encryptedPinBlock TEXT, requestHash TEXT,
    UNIQUE (issuerId, cardId)) STRICT;
  CREATE TABLE IF NOT EXISTS acceptedChange (
    card INTEGER NOT NULL REFERENCES card, changeId TEXT NOT NULL, requestHash TEXT NOT NULL,
    PRIMARY KEY (card, changeId), UNIQUE (card, requestHash)) STRICT, WITHOUT ROWID;`

/** A PIN, under the key and the version that gave it: keys are rotated. */
type StoredPin = Readonly<{ pinBlock: string | null; format: Zone['format']; keyId: string; keyVersion: number }>
/** A PIN change that was told or sent; the hash tells the same request from another one under the same id. */
type PinChange = Readonly<{ changeId: string; type: string; encryptedPinBlock: string | null; requestHash: string }>
type OwnMembers = Readonly<{ id: number; pan: string; panSequenceNumber: string; state: string; changeCounter: number }>
/** A card of the CMS; what it lacks is null. */
export type Card = OwnMembers & StoredPin & PinChange
export type CardStore = ReturnType<typeof openCardStore>

/** Opens the data base, and makes its tables in a new one. */
export function openCardStore(file: string) {
  const db = new DatabaseSync(file, { allowUnknownNamedParameters: true })
  db.exec(SCHEMA)
  const one = (sql: string, values: object): any => db.prepare(sql).get({ ...values })
  /** An UPDATE of one card. Where its condition does not hold, another PIN change has come first, or none was begun. */
  const update = (sql: string, values: object): Card => {
    const card = one(`UPDATE card SET ${sql} RETURNING *`, values)
    if (card === undefined) throw refusal('PIN_CHANGE_CONFLICT')
    return card
  }
  /** The work is undefined if this very request was accepted before. The write lock comes first: no other process writes meanwhile. */
  const unlessAccepted = <T>({ id, changeId, requestHash = '' }: Partial<Card>, work: () => T): T | undefined => {
    db.exec('BEGIN IMMEDIATE')
    try {
      const which = 'card = :id AND (changeId = :changeId OR requestHash = :requestHash)'
      const accepted = one(`SELECT * FROM acceptedChange WHERE ${which}`, { id, changeId, requestHash })
      const isSame = accepted?.changeId === changeId && accepted?.requestHash === requestHash
      if (accepted && !isSame) throw refusal('PIN_CHANGE_CONFLICT')
      const result = accepted ? undefined : work()
      db.exec('COMMIT')
      return result
    } finally {
      if (db.isTransaction) db.exec('ROLLBACK')
    }
  }

  return {
    close: () => db.close(),
    findCard: (issuerId: string, cardId: string): Card | undefined =>
      one('SELECT * FROM card WHERE issuerId = :issuerId AND cardId = :cardId', { issuerId, cardId }),

    /** Notes that D1 is given the counter for a change; one that was begun before and never sent is forgotten. */
    tell: (id: number, changeId: string) =>
      unlessAccepted({ id, changeId }, () =>
        update('changeId = :changeId WHERE id = :id AND encryptedPinBlock IS NULL', { id, changeId }),
      )!,

    /** Notes that pinbridge is asked, for a change that was told; ISO0 needs no counter. Undefined if it was accepted before. */
    send: (id: number, change: PinChange) =>
      unlessAccepted({ id, ...change }, () =>
        update(
          `changeId = :changeId, type = :type, encryptedPinBlock = :encryptedPinBlock, requestHash = :requestHash WHERE id = :id
           AND (changeId = :changeId OR :type = 'ISO0') AND (encryptedPinBlock IS NULL OR requestHash = :requestHash)`,
          { id, ...change },
        ),
      ),

    /** Takes the new PIN and raises the counter that it was asked for with, unless that was done meanwhile. */
    accept: (card: Card, { pinBlock, format, key, prw }: SetPinAnswer) =>
      unlessAccepted(card, () => {
        update(
          `changeCounter = (changeCounter + 1) % 10000, changeId = NULL, encryptedPinBlock = NULL, requestHash = NULL,
           pinBlock = :pinBlock, format = :format, keyId = :keyId, keyVersion = :keyVersion, prw = :prw, prwKeyId = :prwKeyId,
           prwKeyVersion = :prwKeyVersion, prwCounter = :prwCounter, prwRandomNumber = :prwRandomNumber
           WHERE id = :id AND changeCounter = :changeCounter`,
          {
            ...{ ...card, pinBlock, format, keyId: key!.id, keyVersion: key!.version, prw: prw!.value },
            ...{ prwKeyId: prw!.key.id, prwKeyVersion: prw!.key.version },
            ...{ prwCounter: prw!.counter ?? null, prwRandomNumber: prw!.randomNumber ?? null },
          },
        )
        one('INSERT INTO acceptedChange VALUES (:id, :changeId, :requestHash)', card)
      }),

    /** Notes that nothing has come of it: D1 may send the change again, mended. */
    giveUp: (card: Card) =>
      one('UPDATE card SET encryptedPinBlock = NULL WHERE id = :id AND requestHash = :requestHash', card),
  }
}

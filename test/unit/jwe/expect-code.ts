import { expect } from 'vitest'
import { ERROR_TITLES, ServiceError, type ErrorCode } from '../../../src/errors.ts'

/** Expects `act` to throw a ServiceError with `code`, its constant text and nothing else. */
export function expectCode(act: () => unknown, code: ErrorCode): void {
  let thrown: unknown
  try {
    act()
  } catch (error) {
    thrown = error
  }
  expect(thrown).toBeInstanceOf(ServiceError)
  expect(thrown).toMatchObject({ code, message: ERROR_TITLES[code] })
  expect((thrown as Error).cause).toBeUndefined()
}

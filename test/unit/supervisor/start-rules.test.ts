import { describe, expect, it } from 'vitest'
import { startProblems } from '../../../src/supervisor/start-rules.ts'

const USERS = { gateway: { uid: 1001, gid: 1001, groups: [] }, vault: { uid: 1002, gid: 1002, groups: [] } }

describe('what a service may not be started without, and not as whom', () => {
  it.each([
    ['development', 0, true, undefined, []],
    ['development', 0, false, undefined, []],
    ['development', 1000, false, undefined, []],
    ['development', 0, false, USERS, ['launcher']],
    ['development', 1000, true, USERS, ['only root']],
    ['production', 1000, true, undefined, []],
    ['production', 0, true, USERS, []],
    ['production', 0, true, undefined, ['root does not run this']],
    ['production', 1000, false, undefined, ['launcher']],
    ['production', 0, false, undefined, ['launcher', 'root does not run this']],
    ['production', 1000, false, USERS, ['launcher', 'only root']],
  ] as const)('%s as %i, launcher %s, users %j', (environment, uid, hasLauncher, users, expected) => {
    const problems = startProblems({ environment, processes: users ? { users } : {} }, { uid, hasLauncher })
    expect(problems).toHaveLength(expected.length)
    expected.forEach((text, i) => expect(problems[i]).toContain(text))
  })
})

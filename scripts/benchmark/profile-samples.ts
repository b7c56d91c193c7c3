/** A profile's samples as stages: whose function was running, or had called what was, in each of them. */
import type { Profiler } from 'node:inspector'
import type { Role } from './profile-service.ts'
import { IDLE, OTHER_CALL, PKCS11_CALLS, RULES, UNATTRIBUTED, WITHIN, type Rule } from './profile-stages.ts'

const BINDING = '/pkcs11js/'
/** The frame of the binding's second layer. */
const LAYER = 'obj.<computed>'

/** How many samples each stage has; idle ones are left out. */
export type StageSamples = Map<string, number>

/** A function in a stack. */
interface Frame {
  readonly fn: string
  readonly file: string
}

/**
 * Counts the samples of profiles that were taken between two moments.
 *
 * @param fromUs, toUs - on the machine's monotonic clock.
 */
export function stagesOf(
  profiles: readonly Profiler.Profile[],
  role: Role,
  fromUs: number,
  toUs: number,
): StageSamples {
  const counts: StageSamples = new Map()
  for (const { nodes, samples = [], timeDeltas = [], startTime } of profiles) {
    const stages = stagesByNode(nodes, role)
    let atUs = startTime
    samples.forEach((node, index) => {
      atUs += timeDeltas[index]!
      if (atUs < fromUs || atUs > toUs) return
      const stage = stages.get(node)!
      if (stage !== IDLE) counts.set(stage, (counts.get(stage) ?? 0) + 1)
    })
  }
  return counts
}

function stagesByNode(nodes: readonly Profiler.ProfileNode[], role: Role): Map<number, string> {
  const byId = new Map(nodes.map((node) => [node.id, node]))
  const parents = new Map(nodes.flatMap(({ id, children = [] }) => children.map((child) => [child, id] as const)))
  return new Map(
    nodes.map(({ id }) => {
      const stack: Frame[] = []
      for (let at: number | undefined = id; at !== undefined; at = parents.get(at)) {
        const { functionName, url } = byId.get(at)!.callFrame
        stack.push({ fn: functionName, file: url })
      }
      return [id, stageOf(stack, role)]
    }),
  )
}

/** The stage of a stack, whose innermost function comes first. */
export function stageOf(stack: readonly Frame[], role: Role): string {
  const [leaf] = stack
  if (leaf === undefined || leaf.fn === IDLE) return IDLE
  const call = pkcs11CallOf(stack)
  if (call !== undefined) return call
  for (const frame of stack) {
    const rule = RULES[role].find((one) => fits(one, frame))
    if (rule === undefined || rule.stage === 'caller') continue
    const within = WITHIN[rule.stage]
    return leaf.file === '' && within?.fns.includes(leaf.fn) ? within.stage : rule.stage
  }
  return UNATTRIBUTED
}

function fits({ file, fn }: Rule, frame: Frame): boolean {
  if (file === undefined ? frame.file !== '' : !frame.file.includes(file)) return false
  if (fn === undefined) return true
  return fn.endsWith('*') ? frame.fn.startsWith(fn.slice(0, -1)) : frame.fn === fn
}

/** The PKCS#11 function that a stack ends in, with the binding around it. */
function pkcs11CallOf(stack: readonly Frame[]): string | undefined {
  const inner = stack.findIndex(({ file }) => file !== '')
  if (inner < 0 || !stack[inner]!.file.includes(BINDING)) return undefined
  const caller = stack.findIndex((frame, index) => index > inner && !frame.file.includes(BINDING))
  const isLayered = stack.slice(0, caller).some(({ fn }) => fn === LAYER)
  const call = PKCS11_CALLS[stack[caller]?.fn ?? '']?.[isLayered ? 1 : 0]
  return `HSM: ${call ?? OTHER_CALL}`
}

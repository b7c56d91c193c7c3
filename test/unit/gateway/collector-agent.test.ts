/** The connection to a collector, while the files that it is made with are being replaced. */
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import type { Agent, IncomingMessage } from 'node:http'
import { request } from 'node:https'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { makeDevelopmentCertificates } from '../../../src/cli/development/certificates.ts'
import { collectorAgent } from '../../../src/gateway/tracing/collector-agent.ts'
import { startCollector } from '../../support/otlp-collector.ts'
import { temporaryFolder } from '../../support/service.ts'

/** The status of an answer, or the code of the error. */
async function ask(url: string, agent: Agent): Promise<number | string | undefined> {
  const sent = request(url, { method: 'POST', agent }).end()
  // One that had no connection stays in the agent's queue, and fails once more when its turn comes.
  sent.on('error', () => {})
  try {
    const [answer] = (await once(sent, 'response')) as [IncomingMessage]
    answer.resume()
    await once(answer, 'end')
    return answer.statusCode
  } catch (error) {
    return (error as NodeJS.ErrnoException).code
  }
}

describe('the connection to a collector', () => {
  it('fails, and nothing else does, while certificate and key are of two pairs', async () => {
    const clients = ['old', 'new'].map((id) => ({ id, dnsNames: [id] }))
    const { ca, server, clients: made } = await makeDevelopmentCertificates({ hosts: ['127.0.0.1'], clients })
    const tls = { key: server.privateKey, cert: server.certificate, ca, requestCert: true, rejectUnauthorized: true }
    const collector = await startCollector(tls)
    const folder = temporaryFolder()
    const write = (name: string, text: string): string => {
      const path = join(folder.path, name)
      writeFileSync(path, text)
      return path
    }
    const agent = collectorAgent({
      endpoint: collector.url,
      caFile: write('ca.pem', ca),
      certificateFile: write('own.pem', made[0]!.certificate),
      privateKeyFile: write('own-key.pem', made[0]!.privateKey),
    })

    collector.manner = 'hang'
    const first = ask(collector.url, agent)
    // It waits for the one connection that there is, and so gets its own from the end of that.
    const second = ask(collector.url, agent)
    while (collector.requests.length === 0) await new Promise(setImmediate)
    write('own.pem', made[1]!.certificate)
    collector.cut()
    expect(await Promise.all([first, second])).toEqual(['ECONNRESET', 'ERR_OSSL_X509_KEY_VALUES_MISMATCH'])

    write('own-key.pem', made[1]!.privateKey)
    collector.manner = 'take'
    expect(await ask(collector.url, agent)).toBe(200)
    agent.destroy()
    await collector.close()
    folder.dispose()
  })
})

/**
 * One POST over mTLS, as a program, so that it can be run in a network that the test is not in. Usage: call.ts URL FOLDER CLIENT BODY;
 * certificates of a development set-up's folder; prints status and body as JSON.
 */
import { readFileSync } from 'node:fs'
import { request } from 'node:https'
import { join } from 'node:path'
import { text as readText } from 'node:stream/consumers'

const [url, folder, client, body] = process.argv.slice(2) as [string, string, string, string]
const read = (name: string) => readFileSync(join(folder, name))
const sent = request(
  url,
  {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    ca: read('ca.pem'),
    cert: read(`${client}.pem`),
    key: read(`${client}-key.pem`),
    agent: false,
  },
  (response) => {
    void readText(response).then((text) => {
      process.stdout.write(JSON.stringify({ status: response.statusCode, json: JSON.parse(text) }))
    })
  },
)
sent.end(body)

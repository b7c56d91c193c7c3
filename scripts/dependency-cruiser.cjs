/** Import directions of design and README: imports point inward, and a package is used in one place only. */
const only = (name, packages, where, comment) => ({
  name,
  comment,
  severity: 'error',
  from: { path: '^src/', pathNot: where },
  to: { path: packages.map((each) => `node_modules/${each}/`) },
})
const never = (from, to, comment, reachable = false) => ({
  name: `${from}-never-imports-${to.join('-')}`,
  comment,
  severity: 'error',
  from: { path: `^src/${from}/` },
  to: { path: to.map((each) => `^src/${each}(?:/|\\.ts$)`), ...(reachable && { reachable: true }) },
})

module.exports = {
  forbidden: [
    {
      name: 'no-circular',
      comment: 'Two files that need each other are one file, or three.',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    {
      name: 'no-orphans',
      comment: 'A file that nothing imports is dead, or an entry, or holds types only.',
      severity: 'error',
      from: { orphan: true, path: '^src/', pathNot: '(?:main|messages|status|api-instance)\\.ts$|tsconfig\\.json$' },
      to: {},
    },
    {
      name: 'no-unlisted-package',
      comment: 'What runs in production is listed as such.',
      severity: 'error',
      from: { path: '^src/' },
      to: { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown', 'unknown', 'undetermined'] },
    },
    {
      name: 'nothing-unresolved',
      comment: 'An import that does not resolve hides what it points at.',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
    never(
      'gateway',
      ['vault', 'hsm', 'jwe', 'pin', 'pin-change', 'key-block', 'config', 'cli', 'supervisor', 'migration'],
      'The gateway is what the network reaches: it holds no code that could touch a clear PIN.',
      true,
    ),
    never('vault', ['gateway', 'cli', 'supervisor', 'migration', 'config'], 'A vault gets what it needs by message.'),
    never('hsm', ['gateway', 'vault', 'cli', 'supervisor', 'bridge', 'config'], 'The port knows nobody above it.'),
    never(
      'supervisor',
      ['gateway', 'vault', 'hsm', 'cli', 'migration'],
      'The supervisor starts the others and is none of them.',
    ),
    never(
      'migration',
      ['gateway', 'vault', 'hsm', 'cli', 'jwe', 'pin-change', 'key-block'],
      'A migration starts vaults and asks them: it holds no code that could touch a clear PIN.',
    ),
    never(
      'rows',
      ['gateway', 'vault', 'hsm', 'cli', 'supervisor', 'migration', 'config', 'jwe', 'pin', 'pin-change', 'key-block'],
      'Bytes in, places out: readers of rows know no process.',
    ),
    {
      name: 'rows-touch-no-file',
      comment: 'Bytes in, places out: where the bytes come from is for others.',
      severity: 'error',
      from: { path: '^src/rows/' },
      to: { dependencyTypes: ['core'], path: '^(?:node:)?(?:fs|net|child_process)(?:/|$)' },
    },
    never(
      'audit',
      ['gateway', 'vault', 'hsm', 'cli', 'supervisor', 'migration', 'config', 'jwe', 'pin', 'pin-change', 'key-block'],
      'A record, its chain and its proof: who asks, and who holds the key, is for others.',
    ),
    never(
      'bridge',
      ['gateway', 'vault', 'hsm', 'cli', 'supervisor', 'jwe', 'pin', 'pin-change', 'key-block', 'config'],
      'The bridge is a contract and a channel.',
    ),
    never(
      'pin',
      ['gateway', 'vault', 'hsm', 'bridge', 'cli', 'supervisor', 'config', 'jwe', 'pin-change', 'key-block'],
      'Layouts and rules, no keys.',
    ),
    never(
      'pin-change',
      ['gateway', 'vault', 'hsm', 'bridge', 'cli', 'supervisor', 'config', 'jwe', 'pin', 'key-block'],
      'Layouts and rules, no keys.',
    ),
    never(
      'jwe',
      ['gateway', 'vault', 'hsm', 'bridge', 'cli', 'supervisor', 'config', 'pin', 'pin-change', 'key-block'],
      'Forms and content, no keys held.',
    ),
    never(
      'key-block',
      ['gateway', 'vault', 'hsm', 'bridge', 'cli', 'supervisor', 'config', 'jwe', 'pin', 'pin-change'],
      'Layouts and rules, no keys held.',
    ),
    {
      name: 'client-needs-nothing',
      comment: 'Whoever calls the service takes the client without the service and its packages.',
      severity: 'error',
      from: { path: '^src/client/' },
      to: { pathNot: '^src/client/', dependencyTypesNot: ['core'] },
    },
    {
      name: 'nobody-imports-the-client',
      comment: 'The service does not call itself.',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/client/' },
      to: { path: '^src/client/' },
    },
    only('pkcs11-in-one-adapter', ['graphene-pk11', 'pkcs11js'], '^src/hsm/pkcs11/', 'One adapter drives PKCS#11.'),
    only('fastify-in-the-gateway', ['fastify', '@fastify', 'prom-client'], '^src/gateway/', 'HTTP is the gateway.'),
    only('redis-in-the-gateway', ['@redis', 'rate-limiter-flexible'], '^src/gateway/', 'Limits are the gateway.'),
    only('opentelemetry-in-tracing', ['@opentelemetry'], '^src/gateway/tracing/', 'Who has a collector loads it.'),
    only('jose-in-the-gateway', ['jose'], '^src/gateway/', 'Tokens of callers are checked where callers come in.'),
    only('forge-in-the-cli', ['node-forge', 'commander'], '^src/cli/', 'Certificates are made by a command.'),
    only('x509-in-one-file', ['@peculiar'], '^src/cli/certs/x509\\.ts$', 'Certificates are made by a command.'),
    only('pino-in-the-log', ['pino'], '^src/log\\.ts$', 'One file decides what a record is.'),
    only('yaml-in-the-configuration', ['yaml'], '^src/(?:config|cli/development/)', 'One reader of the configuration.'),
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    // Types are erased: only what is loaded at run time counts.
    tsPreCompilationDeps: false,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node', 'default'] },
  },
}

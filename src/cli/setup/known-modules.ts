/** Where vendors and distributions put their PKCS#11 modules, and what each wants to be told. */
import { globSync } from 'node:fs'
import { basename } from 'node:path'

/** What is known of a vendor's module. */
export interface KnownModule {
  readonly product: string
  /** Paths, perhaps with wildcards. */
  readonly paths: readonly string[]
  /** The kind of socket that it reaches its HSM by. */
  readonly socket: 'none' | 'unix' | 'inet'
  /** The variable that names its configuration file, if it reads one. */
  readonly variable?: string
}

const KNOWN: readonly KnownModule[] = [
  {
    product: 'Thales Luna',
    paths: [
      '/usr/safenet/lunaclient/lib/libCryptoki2_64.so',
      '/usr/lunasa/lib/libCryptoki2_64.so',
      '/usr/local/luna/libs/64/libCryptoki2.so',
    ],
    socket: 'inet',
    variable: 'ChrystokiConfigurationPath',
  },
  {
    product: 'Utimaco',
    paths: [
      '/usr/lib/libcs_pkcs11_R3.so',
      '/usr/lib/*/libcs_pkcs11_R3.so',
      '/opt/utimaco/lib/libcs_pkcs11_R3.so',
      '/opt/utimaco/*/lib/libcs_pkcs11_R3.so',
    ],
    socket: 'inet',
    variable: 'CS_PKCS11_R3_CFG',
  },
  {
    product: 'Entrust nShield (nCipher)',
    paths: ['/opt/nfast/toolkits/pkcs11/libcknfast.so'],
    socket: 'unix',
  },
  { product: 'AWS CloudHSM', paths: ['/opt/cloudhsm/lib/libcloudhsm_pkcs11.so'], socket: 'inet' },
  {
    product: 'openCryptoki (IBM Crypto Express)',
    paths: ['/usr/lib/libopencryptoki.so.0', '/usr/lib/*/libopencryptoki.so.0', '/usr/lib64/libopencryptoki.so.0'],
    socket: 'unix',
  },
  {
    product: 'p11-kit client',
    paths: ['/usr/lib/*/pkcs11/p11-kit-client.so', '/usr/lib64/pkcs11/p11-kit-client.so'],
    socket: 'unix',
    variable: 'P11_KIT_SERVER_ADDRESS',
  },
  {
    product: 'SoftHSM (keys in files: not for production)',
    paths: [
      '/usr/lib/softhsm/libsofthsm2.so',
      '/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so',
      '/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so',
      '/usr/lib64/libsofthsm2.so',
      '/usr/local/lib/softhsm/libsofthsm2.so',
    ],
    socket: 'none',
    variable: 'SOFTHSM2_CONF',
  },
]

/** The modules of this machine, each product once. */
export function findModules(): { readonly path: string; readonly product: string }[] {
  return KNOWN.flatMap(({ product, paths }) => {
    const path = paths.flatMap((pattern) => globSync(pattern).toSorted())[0]
    return path === undefined ? [] : [{ path, product }]
  })
}

/** What is known of the module of this file name. */
export function knownModule(path: string): KnownModule | undefined {
  return KNOWN.find(({ paths }) => paths.some((known) => basename(known) === basename(path)))
}

/** `pinbridge keys export`: gives an exportable key out in a key block. */
import { Command, Option } from 'commander'

/** What the command is told. */
export interface ExportOptions {
  readonly config: string
  readonly transport?: string
  readonly token?: string
  readonly modeOfUse?: string
  readonly exportability: 'E' | 'N' | 'S'
  readonly kcvBlocks?: boolean
  readonly final?: boolean
  readonly json?: boolean
}

const NOTES = `
The key must have been made with --exportable; the transport key must have "export" among its uses, be active, and be no weaker
than the key. Under a transport key of TDEA the block is of version B, under one of AES of version D (ANSI X9.143). Its length is
that of the longest key of the kind, so that it does not show how long the key is.

What the header says: the key usage that fits the key's purpose ("pinbridge keys import --help" has the table), exportability N
unless told otherwise, and the mode of use. A key that goes both ways here goes both ways there. For a key that goes one way,
say with --mode-of-use what the block is for: the other party of a PIN block's way does the opposite (a key that deciphers here
is exported with E), a second node of yours does the same (D).

What it changes: nothing; with --final, the key becomes unexportable in every token, for good, and its origin in the configuration
becomes "imported", because a token no longer vouches that its value never left. That asks for the key's id to be typed. The
service finds the key's new object when its vaults are next renewed: a reload of the configuration does that.

The parts that a generic token cannot do inside: a PKCS#11 token makes no key blocks. It wraps the key under a random key that
is made for this and destroyed; the key's value and the keys derived from the transport key are in this process's memory for the
length of the command, and are wiped. The transport key never leaves.

Example:
  pinbridge keys export zpk-partner --config pinbridge.yaml --transport zmk > zpk-partner.txt

The block is printed on standard output, all else on standard error. Exit codes: 0 done; 64 an option is missing or wrong; 69 the
HSM cannot be used, or refused; 77 one of the keys may not do this; 78 the configuration cannot be used; 130 Ctrl-C.`

/** Declares the command. */
export function exportCommand(): Command {
  return new Command('export')
    .description('give an exportable key out in a key block (TR-31, ANSI X9.143) under a key-transport key')
    .argument('<key>', 'the key, as ID or ID@VERSION')
    .requiredOption('--config <file>', 'the configuration', process.env['PINBRIDGE_CONFIG'])
    .option('--transport <key>', 'the key-transport key, as ID or ID@VERSION')
    .option('--token <name>', 'the token to take it from, where the configuration has several')
    .addOption(
      new Option('--mode-of-use <letter>', 'what whoever gets it may do with it').choices([
        'B',
        'C',
        'D',
        'E',
        'G',
        'N',
        'V',
      ]),
    )
    .addOption(
      new Option('--exportability <letter>', 'whether he may export it again').choices(['E', 'N', 'S']).default('N'),
    )
    .option('--kcv-blocks', 'put the KCVs of the key and of the transport key into the header')
    .option('--final', 'make the key unexportable afterwards')
    .option('--json', 'print block, header and KCV as JSON')
    .addHelpText('after', NOTES)
    .action(async (key: string, options: ExportOptions) => {
      const { exportKeyBlock } = await import('./export-key-block.ts')
      await exportKeyBlock(key, options)
    })
}

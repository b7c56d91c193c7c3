/** `pinbridge keys import`: puts the key of a key block into the HSM, or shows what the block says of it. */
import { Command } from 'commander'
import { KEY_OPTION_NOTES, withKeyOptions, type KeyOptions } from './key-options.ts'

/** What the command is told. */
export interface ImportOptions extends KeyOptions {
  readonly blockFile: string
  readonly config?: string
  readonly transport?: string
  readonly inspect?: boolean
  readonly json?: boolean
}

const NOTES = `
A key block (ANSI X9.143, formerly TR-31) is a line of text: a header that says what the key is for, the key itself, enciphered
under a transport key (KBPK) that both sides hold, and a MAC over both. It is no secret and may be in a file.

What happens: the header is shown in words and held against the options; the block is opened under the transport key; the
key goes into every token of the configuration, is proven there by its KCV and a known answer, and its entry is added to the
configuration. If anything is wrong, the tokens and the configuration are as they were.

${KEY_OPTION_NOTES.trim()}

What the header must say:
  zone-pin, seccos-pin  key usage P0; mode of use D for direction in, E for out, B for both
  prw                   key usage V0, or that of its profile's MAC (M6 for CMAC, M3 for ISO 9797-1 algorithm 3);
                        mode of use G for generate, V for verify, C for both
  pin-mac               key usage M6 or M3, by its profile; mode of use as for prw
  audit-mac             key usage M6, mode of use C          limit-hash  key usage M6, mode of use G
  key-transport         key usage K1 or K0; mode of use D for import, E for export, B for both
  credential-wrap       key usage K0; mode of use E
A wider mode of use (B, C, N) fits a key that is to do less. --exportable needs exportability E or S. A key under a transport key
that is weaker than it is not taken: have it sent under a stronger one.

A block that is damaged, that is under another transport key, or that is for another use is refused with one sentence, whichever
it is. Versions B and D are taken; A and C are obsolete, and taken with a warning under a transport key that was imported with
--legacy-blocks. The parity bits of a TDEA key are set; its KCV does not depend on them.

The parts that a generic token cannot do inside: a PKCS#11 token does not open key blocks. The transport key never leaves it;
the two keys that are derived from it for this block, and the key in the block, are in this process's memory for the length of the
command, and are wiped.

Examples:
  pinbridge keys import --inspect --block-file zpk.txt
  pinbridge keys import --config pinbridge.yaml --block-file zpk.txt --transport zmk \\
    --id zpk-partner --purpose zone-pin --algorithm TDEA-128 --direction in --formats ISO-0

Exit codes: 0 the key is there; 64 an option is missing or wrong; 65 the key block is not taken; 66 the file cannot be read;
69 the HSM cannot be used, or refused; 73 such a key is there already; 77 the transport key may not do this; 78 the configuration
cannot be used; 130 Ctrl-C.`

/** Declares the command. */
export function importCommand(): Command {
  const command = new Command('import')
    .description('put the key of a key block (TR-31, ANSI X9.143) into the HSM; or show its header')
    .requiredOption('--block-file <file>', 'the key block; - for standard input')
    .option('--config <file>', 'the configuration', process.env['PINBRIDGE_CONFIG'])
    .option('--transport <key>', 'the key-transport key that the block is under, as ID or ID@VERSION')
    .option('--inspect', 'only show the header in words; needs no HSM and no configuration')
  return withKeyOptions(command)
    .option('--json', 'print the result as JSON')
    .addHelpText('after', NOTES)
    .action(async (options: ImportOptions) => {
      const { importKeyBlock } = await import('./import-key-block.ts')
      await importKeyBlock(options)
    })
}

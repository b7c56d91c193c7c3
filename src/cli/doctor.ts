/** `pinbridge doctor`: looks at everything that the service needs, and says of each what is right, what is wrong and what to do. */
import { Command, InvalidArgumentError } from 'commander'
import { EX_CONFIG, EX_UNAVAILABLE } from '../exit-codes.ts'

const DEFAULT_SECONDS = 60
const MOST_SECONDS = 3600

const NOTES = `
It looks at the configuration, the PKCS#11 module and the token, the login, every key, the mechanisms that were chosen, PRW
and MAC profiles, certificates, files, how processes are confined, the clock, and whether a service runs. Run it after every
change, and first of all when something does not work: it goes on with the rest when one thing is broken, and never waits for
ever. It works while the service runs.

It changes nothing. It logs in to each token once, as a vault does, with the PIN of the configuration's file; not at all when
the token says that a wrong PIN would lock it, or has refused this PIN before. A PIN that is refused now is not tried again.

Each line begins with what it means:
  ok     it is as it must be
  note   worth knowing; the service works all the same
  wrong  it must be put right; the line below, behind the arrow, says what to do

Exit codes: 0 nothing is wrong; 69 something is wrong; 78 the configuration is wrong, and the rest was looked at as far as it
could be.

Examples:
  pinbridge doctor --config /etc/pinbridge/pinbridge.yaml
  pinbridge doctor --config /etc/pinbridge/pinbridge.yaml --json    {"findings":[{"topic","subject","verdict","text","todo"}],"counts"}`

/** Declares the command. */
export function doctorCommand(): Command {
  return new Command('doctor')
    .description('look at configuration, HSM, keys and machine, and say what is right, what is wrong and what to do')
    .requiredOption('--config <file>', 'the configuration', process.env['PINBRIDGE_CONFIG'])
    .option(
      '--timeout <seconds>',
      'how long each token may take before it is taken for hung',
      parseSeconds,
      DEFAULT_SECONDS,
    )
    .option('--json', 'print the findings as JSON')
    .addHelpText('after', NOTES)
    .action(async ({ config, timeout, json }: { config: string; timeout: number; json?: boolean }) => {
      const [{ examine }, { tableOf }, { countsOf }] = await Promise.all([
        import('./doctor/examine.ts'),
        import('./doctor/table.ts'),
        import('./doctor/finding.ts'),
      ])
      const { findings, isConfigUsable } = await examine(config, timeout * 1000)
      const counts = countsOf(findings)
      process.stdout.write(json ? `${JSON.stringify({ findings, counts })}\n` : tableOf(findings))
      if (!isConfigUsable) process.exitCode = EX_CONFIG
      else if (counts.wrong > 0) process.exitCode = EX_UNAVAILABLE
    })
}

function parseSeconds(text: string): number {
  const seconds = Number(text)
  if (/^\d{1,4}$/.test(text) && seconds >= 1 && seconds <= MOST_SECONDS) return seconds
  throw new InvalidArgumentError(`a time is a number of seconds from 1 to ${MOST_SECONDS}`)
}

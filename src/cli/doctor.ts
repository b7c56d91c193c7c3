/** `pinbridge doctor`: checks module, token, login, keys, mechanisms and profiles, and says of each what is right or what to do. */
import { Command } from 'commander'
import { EX_UNAVAILABLE } from '../exit-codes.ts'
import type { Finding } from './doctor-findings.ts'

/** Declares the command. */
export function doctorCommand(): Command {
  return new Command('doctor')
    .description('check the configuration, the token and its keys; the exit code is 0 if all is well')
    .requiredOption('--config <file>', 'the configuration', process.env['PINBRIDGE_CONFIG'])
    .option('--json', 'print the findings as JSON')
    .action(async ({ config, json }: { config: string; json?: boolean }) => {
      // Loaded here, because it loads native code, and the supervisor is forbidden to.
      const [{ loadConfig }, { examine }] = await Promise.all([
        import('../config/config.ts'),
        import('./doctor-findings.ts'),
      ])
      const findings = await examine(loadConfig(config))
      process.stdout.write(json ? `${JSON.stringify({ findings })}\n` : table(findings))
      if (findings.some(({ verdict }) => verdict === 'wrong')) process.exitCode = EX_UNAVAILABLE
    })
}

function table(findings: readonly Finding[]): string {
  const width = Math.max(...findings.map(({ subject }) => subject.length))
  return findings
    .map(({ subject, verdict, text }) => `${verdict.padEnd(6)}${subject.padEnd(width + 2)}${text}\n`)
    .join('')
}

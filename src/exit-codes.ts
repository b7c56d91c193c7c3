/** Exit codes of sysexits.h, as every command uses them; README's table says when. */

/** Wrong usage: an option, or an answer, that cannot be. */
export const EX_USAGE = 64
/** The input is not what it should be. */
export const EX_DATAERR = 65
/** A file to read is not there. */
export const EX_NOINPUT = 66
/** The HSM cannot be used, or refused. */
export const EX_UNAVAILABLE = 69
/** A fault of ours, or a service that could not start. */
export const EX_SOFTWARE = 70
/** Something is there that would be overwritten. */
export const EX_CANTCREAT = 73
/** Reading or writing failed. */
export const EX_IOERR = 74
/** It is not permitted, by the keys or by the surroundings. */
export const EX_NOPERM = 77
/** The configuration cannot be used. */
export const EX_CONFIG = 78
/** Ended by Ctrl-C: 128 and the number of SIGINT. */
export const EX_INTERRUPTED = 130

/** The version of this program, as package.json has it: the built code stands without that file. */
export const VERSION = '0.1.0'

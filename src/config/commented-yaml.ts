/** Writes a configuration for people: each of its parts with lines above it that explain it. */
import { Document, isScalar, visit } from 'yaml'

/** A part of a document: its members, and what is said above them; none but what is said, if it has no members. */
export interface YamlPart {
  readonly comment: string
  readonly members?: Readonly<Record<string, unknown>>
}

/** Writes the parts as one YAML document; members of which the value is undefined are left out. */
export function commentedYaml(parts: readonly YamlPart[]): string {
  return parts
    .map(({ comment, members }) => {
      const lines = comment.split('\n').map((line) => `# ${line}`.trimEnd())
      return `${lines.join('\n')}\n${members ? yamlText(members) : ''}`
    })
    .join('\n')
}

function yamlText(members: Readonly<Record<string, unknown>>): string {
  const document = new Document(members, { aliasDuplicateObjects: false })
  visit(document, {
    // What some reader of YAML may take for a number or a day.
    Scalar: (_, node) => {
      if (typeof node.value === 'string' && /^[0-9A-F-]{6,}$/.test(node.value)) node.type = 'QUOTE_SINGLE'
    },
    // A list of names is read best on one line.
    Seq: (_, node) => {
      node.flow = node.items.every((item) => isScalar(item))
    },
  })
  return document.toString({ lineWidth: 120, flowCollectionPadding: false, singleQuote: true })
}

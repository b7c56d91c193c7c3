/**
 * What runs in the reader's browser: shows /openapi.json in Swagger UI, for reading only.
 *
 * Nothing can be sent from the page: a browser has neither the client's certificate nor any business with a PIN block. The
 * search looks through the whole of each operation, its texts, members, codes and examples, and not through its path alone.
 */

/** What is used of Swagger UI, which its own script makes. */
declare const SwaggerUIBundle: (options: object) => void

interface System {
  readonly React: { readonly createElement: (type: string, props: object, ...children: readonly unknown[]) => object }
}
/** Immutable.js's, which Swagger UI keeps the document in. */
interface Tag {
  readonly get: (name: 'operations') => Operations
  readonly set: (name: 'operations', operations: Operations) => Tag
}
interface Operations {
  readonly size: number
  readonly filter: (keeps: (operation: object) => boolean) => Operations
}
interface Tags {
  readonly map: (change: (tag: Tag) => Tag) => Tags
  readonly filter: (keeps: (tag: Tag) => boolean) => Tags
}
interface SearchProps {
  readonly layoutSelectors: { readonly currentFilter: () => unknown }
  readonly layoutActions: { readonly updateFilter: (phrase: string) => void }
}

/** The operations in which every word of the phrase stands somewhere. */
function search(tags: Tags, phrase: string): Tags {
  const words = phrase.toLowerCase().split(/\s+/)
  const found = (operation: object): boolean => {
    const text = JSON.stringify(operation).toLowerCase()
    return words.every((word) => text.includes(word))
  }
  return tags
    .map((tag) => tag.set('operations', tag.get('operations').filter(found)))
    .filter((tag) => tag.get('operations').size > 0)
}

/** The field of the search; Swagger UI's own has no name for a screen reader, and says that it looks at paths. */
function searchField(_original: unknown, { React }: System) {
  return ({ layoutSelectors, layoutActions }: SearchProps): object => {
    const phrase = layoutSelectors.currentFilter()
    const field = {
      className: 'operation-filter-input',
      type: 'search',
      placeholder: 'Search: operation, member, error code …',
      'aria-label': 'Search the operations',
      value: typeof phrase === 'string' && phrase !== 'true' ? phrase : '',
      onChange: ({ target }: { target: { value: string } }) => layoutActions.updateFilter(target.value),
    }
    return React.createElement('div', { className: 'filter wrapper' }, React.createElement('input', field))
  }
}

const nothing = () => () => null

SwaggerUIBundle({
  url: 'openapi.json',
  dom_id: '#document',
  filter: true,
  deepLinking: true,
  displayOperationId: true,
  defaultModelExpandDepth: 3,
  defaultModelsExpandDepth: 0,
  supportedSubmitMethods: [],
  // Its own default sends the document's address to a server of its makers.
  validatorUrl: null,
  plugins: [
    {
      fn: { opsFilter: search },
      wrapComponents: {
        FilterContainer: searchField,
        authorizeBtn: nothing,
        authorizeOperationBtn: nothing,
      },
    },
  ],
})

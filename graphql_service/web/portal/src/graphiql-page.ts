// GraphiQL as this service serves it: nothing leaves the origin, nothing is stored, and the search language's own
// documentation stands beside the editor.

import { ApiError, type Connection, ask } from "./api.ts";
import { askForToken } from "./token-dialog.ts";

// The parts of React and GraphiQL that are used here; their scripts have run before this module does.
type Element = unknown;
type Component<Props> = ((props: Props) => Element) | string;
declare const React: {
  createElement<Props>(component: Component<Props>, props: Props | null, ...children: unknown[]): Element;
  useEffect(effect: () => void, inputs: readonly unknown[]): void;
  useState<Value>(first: Value): [Value, (next: Value) => void];
};
declare const ReactDOM: { createRoot(container: globalThis.Element): { render(element: Element): void } };
declare const GraphiQL: Component<Record<string, unknown>> & { Logo: Component<null> };

const { createElement: e } = React;

const EXAMPLE = `# Ctrl-Enter (⌘-Enter) runs this,
# Ctrl-Space completes. What a search may
# say stands under "Search language".

query Search($search: String!, $first: Int) {
  searchAnalysis(query: $search) {
    canonical
    problems { message suggestions }
  }
  imageSets(query: $search, first: $first) {
    totalCount { value precision }
    nodes {
      imageSetId
      updatedAt
      patient { patientId name sex }
      study { date description }
      series { modality bodyPart }
    }
    pageInfo { hasNextPage endCursor }
  }
}
`;
const EXAMPLE_VARIABLES = `${JSON.stringify({ search: "modality = CT sort updated desc", first: 10 }, null, 2)}\n`;

const connection: Connection = { endpoint: location.pathname, token: null };

interface Asked {
  readonly query: string;
  readonly variables?: Record<string, unknown>;
  readonly operationName?: string | null;
}

/** Sends what GraphiQL asks; where the service wants a token, asks for one and sends it again. */
async function fetcher(asked: Asked, options?: { readonly headers?: Record<string, string> }): Promise<unknown> {
  for (;;) {
    const headers: Record<string, string> = { "content-type": "application/json", ...options?.headers };
    if (connection.token) headers.authorization ??= `Bearer ${connection.token}`;
    const response = await fetch(connection.endpoint, { method: "POST", headers, body: JSON.stringify(asked) });
    const answer = await response.json();
    if (response.status !== 401) return answer;
    const token = await askForToken(answer.errors?.[0]?.message ?? "This service wants a key or an access token.");
    if (!token) return answer;
    connection.token = token;
  }
}

/** What GraphiQL would keep in local storage (queries, variables with patients' values) stays in memory. */
const memory = new Map<string, string>();
const storage = {
  getItem: (key: string) => memory.get(key) ?? null,
  setItem: (key: string, value: string) => void memory.set(key, value),
  removeItem: (key: string) => void memory.delete(key),
  clear: () => memory.clear(),
  get length() {
    return memory.size;
  },
};

interface Introspected {
  readonly __type: {
    readonly fields: readonly {
      readonly name: string;
      readonly args: readonly { name: string; description: string }[];
    }[];
  };
}

interface SearchField {
  readonly name: string;
  readonly aliases: readonly string[];
  readonly operators: readonly string[];
  readonly description: string;
}

const DESCRIPTION = `{ __type(name: "Query") { fields { name args { name description } } } }`;
const FIELDS = "{ searchFields { name aliases operators description } }";

interface Language {
  /** The description of the `query` argument; empty where the service keeps its schema to itself. */
  readonly text: string;
  readonly fields: readonly SearchField[];
}

/** As `ask`, and where the service wants a token, with the one that is entered then. */
async function askSignedIn<Data>(query: string): Promise<Data> {
  for (;;) {
    try {
      return await ask<Data>(connection, query, {});
    } catch (error) {
      if (!(error instanceof ApiError) || error.code !== "UNAUTHENTICATED") throw error;
      const token = await askForToken(error.message);
      if (!token) throw error;
      connection.token = token;
    }
  }
}

async function loadLanguage(): Promise<Language | Error> {
  try {
    const { searchFields: fields } = await askSignedIn<{ searchFields: readonly SearchField[] }>(FIELDS);
    const described = await ask<Introspected>(connection, DESCRIPTION, {}).catch(() => null);
    const search = described?.__type.fields.find((field) => field.name === "imageSets");
    return { fields, text: search?.args.find((argument) => argument.name === "query")?.description ?? "" };
  } catch (error) {
    return error as Error;
  }
}

function SearchLanguage(): Element {
  const [language, setLanguage] = React.useState<Language | Error | null>(null);
  React.useEffect(() => {
    void loadLanguage().then(setLanguage);
  }, []);
  if (language === null) return e("p", null, "Loading…");
  if (language instanceof Error) return e("p", null, `${language.message} Open this again once that has changed.`);
  return e(
    "div",
    { className: "search-language" },
    e("div", { className: "graphiql-doc-explorer-title" }, "Search language"),
    ...(language.text ? language.text.split(/\n\n+/).map(block) : []),
    e("h3", null, "Fields"),
    e(
      "table",
      null,
      e(
        "tbody",
        null,
        ...language.fields.map((field) =>
          e(
            "tr",
            { key: field.name },
            e("td", null, e("code", null, field.aliases[0] ?? field.name)),
            e("td", null, field.description, e("br", null), e("code", null, field.operators.join("  "))),
          ),
        ),
      ),
    ),
  );
}

/** One block of the description's Markdown: code that is indented, a list, or a paragraph. */
function block(text: string, index: number): Element {
  if (text.startsWith("    "))
    return e("pre", { key: index, tabIndex: 0 }, e("code", null, text.replaceAll(/^ {4}/gm, "").trim()));
  if (!text.startsWith("- ")) return e("p", { key: index }, ...inline(text));
  const items = text.split(/\n(?=- )/).map((item) => item.slice(2));
  return e("ul", { key: index }, ...items.map((item, at) => e("li", { key: at }, ...inline(item))));
}

function inline(text: string): Element[] {
  return text.split("`").map((part, index) => (index % 2 ? e("code", { key: index }, part) : part));
}

const languagePlugin = {
  title: "Search language",
  icon: () =>
    e(
      "svg",
      { viewBox: "0 0 24 24", fill: "none", stroke: "currentColor", strokeWidth: 1.6, strokeLinecap: "round" },
      e("circle", { cx: 10.5, cy: 10.5, r: 6 }),
      e("path", { d: "m15 15 5 5M8 9h5M8 12h3" }),
    ),
  content: SearchLanguage,
};

// The one style that is made as it goes (a dialog stops the page from scrolling) carries the page's nonce.
Object.assign(globalThis, { __webpack_nonce__: document.querySelector<HTMLScriptElement>("script[nonce]")?.nonce });

const container = document.querySelector("#graphiql");
if (container) {
  ReactDOM.createRoot(container).render(
    e(
      GraphiQL,
      {
        fetcher,
        storage,
        plugins: [languagePlugin],
        // On a narrow screen the editor comes first.
        visiblePlugin: matchMedia("(max-width: 760px)").matches ? undefined : languagePlugin,
        defaultQuery: EXAMPLE,
        variables: EXAMPLE_VARIABLES,
        defaultEditorToolsVisibility: "variables",
        showPersistHeadersSettings: false,
        shouldPersistHeaders: false,
      },
      e(GraphiQL.Logo, null, e("a", { className: "home-link", href: "./" }, "imagesets")),
    ),
  );
}

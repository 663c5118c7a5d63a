// Edits of a query's text, the one thing that says what is searched. It must be a query that the service understands:
// then its words tell where a condition ends, and each edit leaves everything else as it was typed.

export interface Span {
  readonly start: number;
  readonly end: number;
}

export interface Token extends Span {
  readonly kind: "word" | "text" | "sign" | "open" | "close" | "comma" | "range";
  /** As it stands there, quotes too. */
  readonly raw: string;
}

const TOKEN =
  /(?<text>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|(?<range>\.\.)|(?<sign>[=!<>]+)|(?<open>\()|(?<close>\))|(?<comma>,)|(?<word>(?:\.(?!\.)|[^\s()[\]{},"=<>!\\;|&.])+)/gsu;

export function tokenize(text: string): readonly Token[] {
  return [...text.matchAll(TOKEN)].map((found) => {
    const kind = Object.keys(found.groups ?? {}).find((name) => found.groups?.[name] !== undefined) as Token["kind"];
    return { kind, raw: found[0], start: found.index, end: found.index + found[0].length };
  });
}

export function isWord(token: Token | undefined, word: string): boolean {
  return token?.kind === "word" && token.raw.toLowerCase() === word;
}

/** A query's parts: conditions that "and" joins at the top (one, where "or" does), and what it is sorted by. */
export interface QueryParts {
  readonly text: string;
  readonly conditions: readonly Span[];
  /** Whether "or" joins at the top: then what is added must not bind tighter. */
  readonly or: boolean;
  /** From the word "sort" to the end. */
  readonly sort: Span | null;
}

export function splitQuery(text: string): QueryParts {
  const tokens = tokenize(text);
  const conditions: Span[] = [];
  let [depth, or, range] = [0, false, false];
  let first: Token | null = null;
  let last: Token | null = null;
  let sort: Span | null = null;
  const close = () => {
    if (first && last) conditions.push({ start: first.start, end: last.end });
    first = null;
  };
  for (const token of tokens) {
    if (depth === 0 && isWord(token, "sort")) {
      sort = { start: token.start, end: tokens.at(-1)?.end ?? token.end };
      break;
    }
    if (depth === 0 && isWord(token, "and") && !range) {
      close();
      continue;
    }
    // The "and" of a range is its own, as long as no ".." has been seen.
    if (depth === 0 && isWord(token, "between")) range = true;
    else if (token.kind === "range" || isWord(token, "and")) range = false;
    if (depth === 0 && isWord(token, "or")) or = true;
    if (token.kind === "open") depth += 1;
    if (token.kind === "close") depth -= 1;
    first ??= token;
    last = token;
  }
  close();
  const [only] = conditions;
  const everything = conditions.length === 1 && only && text.slice(only.start, only.end) === "*";
  if (everything) return { text, conditions: [], or: false, sort };
  const [start, end] = [conditions[0]?.start, conditions.at(-1)?.end];
  if (or && start !== undefined && end !== undefined) return { text, conditions: [{ start, end }], or, sort };
  return { text, conditions, or, sort };
}

export function addCondition(text: string, condition: string): string {
  const { conditions, or, sort } = splitQuery(text);
  const [start, end] = [conditions[0]?.start, conditions.at(-1)?.end];
  const order = sort ? ` ${text.slice(sort.start, sort.end)}` : "";
  if (start === undefined || end === undefined) return condition + order;
  const before = text.slice(start, end);
  return `${or ? `(${before})` : before} and ${condition}${order}`;
}

export function replaceCondition(text: string, index: number, condition: string): string {
  const span = splitQuery(text).conditions[index];
  return span ? text.slice(0, span.start) + condition + text.slice(span.end) : text;
}

export function removeCondition(text: string, index: number): string {
  const { conditions, sort } = splitQuery(text);
  const span = conditions[index];
  if (!span) return text;
  const next = conditions[index + 1];
  const previous = conditions[index - 1];
  if (next) return text.slice(0, span.start) + text.slice(next.start);
  if (previous) return text.slice(0, previous.end) + text.slice(span.end);
  return sort ? text.slice(sort.start, sort.end) : "";
}

/** With another order, or (null) with none. */
export function setSort(text: string, sort: string | null): string {
  const found = splitQuery(text).sort;
  const where = (found ? text.slice(0, found.start) : text).trimEnd();
  return sort === null ? where : `${where} sort ${sort}`.trimStart();
}

const BARE = /^[\p{L}\p{N}_^/:+.-]+$/u;
const KEYWORDS = new Set(["and", "or", "not", "in", "like", "between", "is", "null", "sort"]);

/** A text as a value: bare where it surely means itself, else in quotes. */
export function writeValue(text: string): string {
  const bare = BARE.test(text) && !text.includes("..") && !KEYWORDS.has(text.toLowerCase());
  return bare ? text : quoteValue(text);
}

export function quoteValue(text: string): string {
  return `"${text.replaceAll(/["\\]/g, "\\$&")}"`;
}

/** A pattern as a value: its own backslashes stay. */
export function writePattern(pattern: string): string {
  return `"${pattern.replaceAll('"', '\\"')}"`;
}

/** What a value's token stands for. */
export function readValueToken(token: Token): string {
  return token.kind === "text" ? token.raw.slice(1, -1).replaceAll(/\\(.)/gsu, "$1") : token.raw;
}

/** The pattern that a token after "like" stands for. */
export function readPatternToken(token: Token): string {
  return token.kind === "text" ? token.raw.slice(1, -1).replaceAll(/\\(["'])/g, "$1") : token.raw;
}

// A condition that the filter builder can show: one field, one operator, its values. Read from the canonical text of a
// query, written as a person would.

import { type Field, foldName } from "./fields.ts";
import {
  type QueryParts,
  type Token,
  isWord,
  quoteValue,
  readPatternToken,
  readValueToken,
  splitQuery,
  tokenize,
  writePattern,
  writeValue as writeBareValue,
} from "./query-text.ts";

export type Operator =
  | "="
  | "!="
  | "<"
  | "<="
  | ">"
  | ">="
  | "in"
  | "not in"
  | "like"
  | "not like"
  | "between"
  | "not between"
  | "is null"
  | "is not null";

export interface Filter {
  readonly field: Field;
  readonly operator: Operator;
  /** One; two of a range; any number of a list; none of "is null". */
  readonly values: readonly string[];
}

/** A condition of the text: a filter, or null where it says more than the builder can. */
export interface Condition {
  readonly text: string;
  readonly filter: Filter | null;
}

/** The conditions of a query, and the text that they are parts of. */
export interface Conditions {
  /** The text as it was typed; its canonical form where parts of the one are no parts of the other. */
  readonly text: string;
  readonly conditions: readonly Condition[];
  readonly or: boolean;
}

export function readConditions(text: string, canonical: string, fields: readonly Field[]): Conditions {
  const [typed, exact] = [splitQuery(text), splitQuery(canonical)];
  const parts = exact.conditions.map((span) => canonical.slice(span.start, span.end));
  const filters = parts.map((part) => readFilter(part, fields));
  const base = pairs(typed, exact, filters) ? typed : exact;
  return {
    text: base.text,
    or: base.or,
    conditions: base.conditions.map((span, index) => ({
      text: base.text.slice(span.start, span.end),
      filter: filters[index] ?? null,
    })),
  };
}

/** Whether each part of the typed text is the part of the canonical text in the same place. */
function pairs(typed: QueryParts, exact: QueryParts, filters: readonly (Filter | null)[]): boolean {
  if (typed.conditions.length !== exact.conditions.length || typed.or !== exact.or) return false;
  return typed.conditions.every((span, index) => {
    const filter = filters[index];
    if (!filter) return true;
    const [first] = tokenize(typed.text.slice(span.start, span.end));
    return first?.kind === "word" && filter.field.spellings.includes(foldName(first.raw));
  });
}

function readFilter(part: string, fields: readonly Field[]): Filter | null {
  const [name, ...rest] = tokenize(part);
  const field = name?.kind === "word" ? fields.find((each) => each.name === name.raw) : undefined;
  if (!field) return null;
  const [first, second] = rest;
  if (isWord(first, "is")) return readNull(field, rest);
  if (first?.kind === "sign" && second && rest.length === 2) {
    return { field, operator: first.raw as Operator, values: [readValueToken(second)] };
  }
  const negated = isWord(first, "not");
  const [word, ...operands] = negated ? rest.slice(1) : rest;
  if (operands.length === 1) return readOne(field, word, operands, negated);
  const not = negated ? "not " : "";
  const [low, dots, high] = operands;
  if (isWord(word, "between") && low && dots?.kind === "range" && high && operands.length === 3) {
    return { field, operator: `${not}between` as Operator, values: [readValueToken(low), readValueToken(high)] };
  }
  if (isWord(word, "in") && low?.kind === "open") {
    const values = operands.filter((token) => token.kind === "word" || token.kind === "text");
    return { field, operator: `${not}in` as Operator, values: values.map(readValueToken) };
  }
  return null;
}

function readNull(field: Field, rest: readonly Token[]): Filter | null {
  if (isWord(rest[1], "null") && rest.length === 2) return { field, operator: "is null", values: [] };
  return rest.length === 3 ? { field, operator: "is not null", values: [] } : null;
}

function readOne(field: Field, word: Token | undefined, operands: readonly Token[], negated: boolean): Filter | null {
  const [operand] = operands;
  if (!operand || !isWord(word, "like")) return null;
  return { field, operator: negated ? "not like" : "like", values: [readPatternToken(operand)] };
}

/** The filter as a condition of the language; the service says whether its values are good. */
export function writeFilter({ field, operator, values }: Filter): string {
  const start = `${field.short} ${operator}`;
  // Odd values of this field are taken in quotes alone.
  const odd = (value: string) => field.kind === "SEX" && !/^[FMO]$/i.test(value);
  const writeValue = (value: string) => (odd(value) ? quoteValue(value) : writeBareValue(value));
  const [first = "", second = ""] = values;
  switch (operator) {
    case "is null":
    case "is not null":
      return start;
    case "in":
    case "not in":
      return `${start} (${values.map(writeValue).join(", ")})`;
    case "like":
    case "not like":
      return `${start} ${writePattern(first)}`;
    case "between":
    case "not between":
      return `${start} ${first && writeValue(first)}..${second && writeValue(second)}`;
    default:
      return `${start} ${writeValue(first)}`;
  }
}

const WORDS: Readonly<Record<Operator, string>> = {
  "=": "is",
  "!=": "is not",
  "<": "less than",
  "<=": "at most",
  ">": "more than",
  ">=": "at least",
  in: "is one of",
  "not in": "is none of",
  like: "matches",
  "not like": "does not match",
  between: "between",
  "not between": "not between",
  "is null": "is missing",
  "is not null": "is present",
};
const DATE_WORDS: Partial<Record<Operator, string>> = { "<": "before", "<=": "until", ">": "after", ">=": "from" };

/** An operator in words that fit the field. */
export function operatorWords(operator: Operator, field: Field): string {
  const temporal = field.kind === "INSTANT" || field.kind === "WALL_CLOCK" || field.kind === "DATE";
  return (temporal && DATE_WORDS[operator]) || WORDS[operator];
}

/** The operators of a field's type, those with "not" and "is null" too. */
export function operatorsOf(field: Field): readonly Operator[] {
  return field.operators.flatMap((word): Operator[] => {
    if (word === "is") return ["is null", "is not null"];
    if (word === "in" || word === "like" || word === "between") return [word, `not ${word}`];
    return [word as Operator];
  });
}

export interface Relative {
  readonly count: number;
  readonly unit: "min" | "h" | "d" | "w" | "mo" | "y";
}

/** The last so many minutes, hours, days, …: up to now, or up to the end of today. */
export function writeRelative(field: Field, { count, unit }: Relative): Filter {
  if (unit === "min" || unit === "h") return { field, operator: ">=", values: [`now-${count}${unit}`] };
  return { field, operator: "between", values: [`today-${count}${unit}`, "today"] };
}

/** A filter that `writeRelative` has written, or one as good, of as many units as the form takes. */
export function readRelative({ operator, values }: Filter): Relative | null {
  const [from = "", to = ""] = values;
  const found =
    operator === ">="
      ? /^now-([1-9]\d{0,3})(min|h)$/.exec(from)
      : operator === "between" && to === "today"
        ? /^today-([1-9]\d{0,3})(d|w|mo|y)$/.exec(from)
        : null;
  return found ? { count: Number(found[1]), unit: found[2] as Relative["unit"] } : null;
}

const UNITS: Readonly<Record<Relative["unit"], string>> = {
  min: "minute",
  h: "hour",
  d: "day",
  w: "week",
  mo: "month",
  y: "year",
};

export function relativeWords({ count, unit }: Relative): string {
  return count === 1 ? `last ${UNITS[unit]}` : `last ${count} ${UNITS[unit]}s`;
}

/** What a chip says behind the field's name. */
export function filterWords(filter: Filter): string {
  const relative = readRelative(filter);
  if (relative) return relativeWords(relative);
  const words = operatorWords(filter.operator, filter.field);
  const [first = "", second = ""] = filter.values;
  if (filter.operator.endsWith("between")) return `${words} ${first} and ${second}`;
  if (filter.operator.endsWith("null")) return words;
  return `${words} ${filter.values.join(", ")}`;
}

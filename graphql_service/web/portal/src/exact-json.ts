// JSON whose numbers survive: a stored tag may hold one that JavaScript's numbers do not (beyond 2^53, or `1.0`).

interface Source {
  readonly source?: string;
}

const rawJson = (JSON as unknown as { rawJSON?: (text: string) => unknown }).rawJSON;

/** Like JSON.parse, but a number that would print otherwise stays as it was written. */
export function parseExactly(text: string): unknown {
  if (!rawJson) throw new Error("This browser is too old to export exactly: update it, or use the command line.");
  const revive = (_: string, value: unknown, context?: Source): unknown => {
    if (typeof value !== "number" || context?.source === undefined) return value;
    return String(value) === context.source ? value : rawJson(context.source);
  };
  return JSON.parse(text, revive as (key: string, value: unknown) => unknown);
}

const WRITTEN = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** As `parseExactly`, for what is only shown: a browser that is too old for it has such numbers as texts. */
export function parseToShow(text: string): unknown {
  if (rawJson) return parseExactly(text);
  const keep = (found: string) => (found.startsWith('"') || String(Number(found)) === found ? found : `"${found}"`);
  return JSON.parse(text.replaceAll(WRITTEN, keep));
}

/** The digits of a number that `parseExactly` has kept as it was written; null for anything else. */
export function rawNumber(value: unknown): string | null {
  if (typeof value === "number") return String(value);
  const isRaw = (JSON as unknown as { isRawJSON?: (value: unknown) => boolean }).isRawJSON?.(value);
  return isRaw ? (value as { rawJSON: string }).rawJSON : null;
}

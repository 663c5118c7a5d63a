// How the portal looks, kept by the browser: columns and colours. Nothing of a search or a patient is ever stored.

import { DEFAULT_COLUMNS, type Field, inColumnOrder } from "./fields.ts";

export type Theme = "system" | "light" | "dark";

const COLUMNS = "imagesets.columns";
const THEME = "imagesets.theme";

/** The columns that are chosen, in their order; one at least. */
export function readColumns(fields: readonly Field[]): readonly Field[] {
  const stored = read(COLUMNS)?.split(" ").filter(Boolean);
  const chosen = stored?.length ? stored : DEFAULT_COLUMNS;
  const all = inColumnOrder(fields);
  const columns = all.filter((field) => chosen.includes(field.name));
  return columns.length ? columns : all.slice(0, 1);
}

export function writeColumns(columns: readonly string[]): void {
  write(COLUMNS, columns.join(" "));
}

export function readTheme(): Theme {
  const stored = read(THEME);
  return stored === "light" || stored === "dark" ? stored : "system";
}

export function writeTheme(theme: Theme): void {
  write(THEME, theme);
}

// A browser may refuse storage: then the choice holds as long as the page.
function read(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function write(key: string, value: string): void {
  try {
    localStorage.setItem(key, value);
  } catch {
    // As above.
  }
}

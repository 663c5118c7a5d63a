// What a query means and what is wrong with it: `searchAnalysis`, as the search box and the portal both read it.

import { type Connection, PROBLEM, type Problem, ask } from "./api.ts";

/** A condition of `meaning`: one of `all`, `and`, `or`, `not`, or a comparison of a field. */
export interface Meaning {
  readonly where: Record<string, unknown>;
  readonly sort: readonly { readonly field: string; readonly dir: "asc" | "desc" }[];
}

export interface Analysis {
  readonly canonical: string | null;
  readonly meaning: Meaning | null;
  readonly timeZone: string;
  readonly notices: readonly Problem[];
  readonly problems: readonly Problem[];
}

/** What a query is asked of and in which zone its dates are read. */
export interface Scope {
  readonly datastoreId: string | null;
  readonly timeZone: string | null;
}

const ANALYSIS = `query ($query: String!, $timeZone: String, $datastoreId: ID) {
  searchAnalysis(query: $query, timeZone: $timeZone, datastoreId: $datastoreId) {
    canonical meaning timeZone notices { ${PROBLEM} } problems { ${PROBLEM} }
  }
}`;

/** Raises ApiError, and what fetch raises when it is aborted. */
export async function analyse(to: Connection, query: string, scope: Scope, signal?: AbortSignal): Promise<Analysis> {
  const data = await ask<{ searchAnalysis: Analysis }>(to, ANALYSIS, { query, ...scope }, signal);
  return data.searchAnalysis;
}

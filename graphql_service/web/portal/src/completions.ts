// What may come next, as the service says it, in CodeMirror's words.

import {
  type Completion,
  type CompletionContext,
  type CompletionResult,
  type CompletionSource,
  pickedCompletion,
  startCompletion,
} from "@codemirror/autocomplete";
import type { EditorView } from "@codemirror/view";
import { type Connection, ask } from "./api.ts";

interface Offer {
  readonly label: string;
  readonly insert: string;
  readonly utf16Start: number;
  readonly utf16End: number;
  readonly kind: "FIELD" | "OPERATOR" | "VALUE" | "DATE" | "KEYWORD" | "DIRECTION";
  readonly description: string;
}

const COMPLETIONS = `query ($query: String!, $position: Int!, $datastoreId: ID) {
  searchCompletions(query: $query, position: $position, datastoreId: $datastoreId) {
    label insert utf16Start utf16End kind description
  }
}`;

/** Asked anew at every key; what is asked for a text that has changed since is aborted. */
export function completionSource(to: Connection, datastoreId: () => string | null): CompletionSource {
  return async (context: CompletionContext): Promise<CompletionResult | null> => {
    const query = context.state.doc.toString();
    if (!context.explicit && !query.trim()) return null;
    const position = Array.from(query.slice(0, context.pos)).length;
    const stale = new AbortController();
    context.addEventListener("abort", () => stale.abort(), { onDocChange: true });
    const variables = { query, position, datastoreId: datastoreId() };
    try {
      const { searchCompletions: offers } = await ask<{ searchCompletions: readonly Offer[] }>(
        to,
        COMPLETIONS,
        variables,
        stale.signal,
      );
      const [first] = offers;
      if (!first || isWritten(offers, query)) return null;
      // What is said of every value alike says nothing of any.
      const alike = offers.length > 1 && offers.every(({ description }) => description === first.description);
      const options = offers.map((offer) => describe(offer, alike ? "" : offer.description));
      return { from: first.utf16Start, to: first.utf16End, options, filter: false };
    } catch {
      // Without completions one types on; what is wrong with the service is told when it is searched.
      return null;
    }
  };
}

/** Whether all that could be offered stands there already. */
function isWritten(offers: readonly Offer[], query: string): boolean {
  return offers.every((offer) => query.slice(offer.utf16Start, offer.utf16End) === offer.insert);
}

function describe(offer: Offer, detail: string): Completion {
  return { label: offer.label, detail, type: offer.kind.toLowerCase(), apply: insertInto(offer) };
}

function insertInto(offer: Offer) {
  return (view: EditorView, completion: Completion, from: number, to: number): void => {
    // After a field or an operator something must follow: its space is written, and what may follow is offered.
    const goesOn = offer.kind === "FIELD" || offer.kind === "OPERATOR" || offer.kind === "KEYWORD";
    const spaced = /^\s/.test(view.state.sliceDoc(to, to + 1));
    const insert = goesOn && !spaced && !/[.)(]$/.test(offer.insert) ? `${offer.insert} ` : offer.insert;
    view.dispatch({
      changes: { from, to, insert },
      selection: { anchor: from + insert.length + (goesOn && spaced ? 1 : 0) },
      annotations: pickedCompletion.of(completion),
      userEvent: "input.complete",
      scrollIntoView: true,
    });
    if (goesOn) startCompletion(view);
  };
}

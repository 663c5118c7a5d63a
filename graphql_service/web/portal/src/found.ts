// What is known of the search that is shown, and how it is said: how many rows there are, how to get more, that there
// are none.

import { type Child, h } from "./elements.ts";
import type { SortKey } from "./results-table.ts";
import type { Count, Page, Report, Search, View } from "./search.ts";

export interface Found {
  readonly search: Search;
  readonly view: View;
  /** Ends with the search: what comes later belongs to another one. */
  readonly signal: AbortSignal;
  rows: number;
  count: Count | null;
  report: Report | null;
  sort: readonly SortKey[];
  next: string | null;
  /** Of a search by study: how many of the image sets that are found belong to no study. */
  loose: Count | null;
}

export function beginFound(search: Search, view: View, signal: AbortSignal): Found {
  return { search, view, signal, rows: 0, count: null, report: null, sort: [], next: null, loose: null };
}

/** Adds a page to what is known. */
export function addPage(found: Found, page: Page<unknown>): void {
  const { report } = found;
  found.rows += page.nodes.length;
  found.next = page.pageInfo.hasNextPage ? page.pageInfo.endCursor : null;
  found.report = {
    complete: page.search.complete,
    scanned: (report?.scanned ?? 0) + page.search.scanned,
    requests: (report?.requests ?? 0) + page.search.requests,
  };
}

const many = (number: number) => number.toLocaleString("en");
const tell = ({ value, precision }: Count) => `${many(value)}${precision === "EXACT" ? "" : "+"}`;

/** `1–50 of 1,204 image sets`. When all are shown they are counted, whatever the service has said. */
export function describeCount({ view, rows, count, next, loose }: Found): readonly Child[] {
  const [one, several] = view === "studies" ? ["study", "studies"] : ["image set", "image sets"];
  const total = next === null ? many(rows) : count && tell(count);
  const others = loose?.value ? `; ${tell(loose)} more ${belong(loose)} to no study` : null;
  if (!rows) return [h("b", {}, next === null ? `No ${several}` : `No ${several} yet`), others];
  if (total === null) return [h("b", {}, `The first ${many(rows)}`), ` ${several}`, others];
  if (total === "1") return [h("b", {}, total), ` ${one}`, others];
  return [h("b", {}, `1–${many(rows)} of ${total}`), ` ${several}`, others];
}

const belong = ({ value }: Count) => (value === 1 ? "image set belongs" : "image sets belong");

/** Below the rows: the way on, where there is more. */
export function describeMore({ next, report }: Found, load: () => void): readonly Child[] {
  if (next === null || !report) return [];
  const { complete, scanned } = report;
  return [
    !complete && h("p", { class: "hint" }, `${many(scanned)} image sets read so far; the store has more.`),
    h("button", { type: "button", class: "primary-quiet", onclick: load }, complete ? "Load more" : "Go on"),
  ];
}

export interface EmptyRemedies {
  showImageSets(): void;
  showEverything(): void;
}

/** In place of rows: that there are none, and what to do. */
export function describeEmpty({ view, search }: Found, remedies: EmptyRemedies): HTMLElement {
  const remedy = (label: string, onclick: () => void) =>
    h("button", { type: "button", class: "quiet", onclick }, label);
  const state = (title: string, ...content: Child[]) =>
    h("div", { class: "state", "data-code": "EMPTY" }, h("h2", {}, title), content);
  if (view === "studies") {
    const advice =
      "No study has an image set that meets every condition. Image sets that belong to no study, for they have" +
      " no Study Instance UID, are not shown here.";
    return state(
      "No study matches",
      h("p", {}, advice),
      remedy("Show image sets", () => remedies.showImageSets()),
    );
  }
  if (/^\s*\*?\s*$/.test(search.query)) {
    const command = h("code", {}, "imagesets load FILE --datastore NAME");
    return state("This data store is empty", h("p", {}, "Load image sets with:"), command);
  }
  return state(
    "Nothing matches",
    h("p", {}, "No image set meets every condition of the search. Remove a filter above, or widen one."),
    remedy("Show everything", () => remedies.showEverything()),
  );
}

// What a search means and how it is answered: what the store is asked, what is filtered here, what was scanned.

import { type Child, h } from "./elements.ts";
import type { Explanation, Report } from "./search.ts";

export interface Answered {
  /** Whether the store that is searched filters by every field itself. */
  readonly whole: boolean;
  readonly report: Report | null;
  readonly shown: number;
}

export function describeExplanation(explanation: Explanation, { whole, report, shown }: Answered): readonly Child[] {
  const { canonical, meaning, timeZone, plan, searchCriteria } = explanation;
  if (canonical === null) return [h("p", {}, "The search has problems: they are underlined in the search box.")];
  return [
    h(
      "section",
      {},
      h("h3", {}, "It means"),
      code(canonical),
      h("p", { class: "hint" }, `Its dates are read in ${timeZone}.`),
    ),
    h("section", {}, h("h3", {}, "How it was answered"), answered(whole, report, shown)),
    h(
      "section",
      {},
      h("h3", {}, whole ? "AWS HealthImaging would be asked" : "What AWS HealthImaging is asked"),
      planned(plan),
    ),
    searchCriteria.length > 0 && details("The requests of SearchImageSets, as JSON", searchCriteria),
    details("The meaning, as JSON", meaning),
  ];
}

function code(text: string): HTMLElement {
  return h("pre", { class: "wrapped" }, text);
}

function details(title: string, value: unknown): HTMLElement {
  return h("details", {}, h("summary", {}, title), h("pre", { tabindex: 0 }, JSON.stringify(value, null, 2)));
}

function answered(whole: boolean, report: Report | null, shown: number): Child {
  const where = whole
    ? "The store of this service answers the whole search itself: nothing is filtered outside it."
    : "AWS HealthImaging is asked for what surely holds every match; the rest is filtered here, row by row.";
  if (!report) return h("p", {}, where);
  const many = (count: number, one: string) => `${count.toLocaleString("en")} ${one}${count === 1 ? "" : "s"}`;
  return [
    h("p", {}, where),
    h(
      "dl",
      {},
      h("dt", {}, "Read for what is shown"),
      h("dd", {}, `${many(report.scanned, "image set")} in ${many(report.requests, "request")}`),
      h("dt", {}, "Shown"),
      h("dd", {}, many(shown, "row")),
      h("dt", {}, "Complete"),
      h("dd", {}, report.complete ? "yes" : "no: the budget of a page ended, “Go on” continues"),
    ),
  ];
}

function planned(plan: Explanation["plan"]): Child {
  if (!plan) return h("p", {}, "Nothing.");
  if (plan.refused !== undefined) return h("p", {}, `Nothing. ${plan.refused}`);
  const branches = plan.branches ?? [];
  if (!branches.length) return h("p", {}, "Nothing: no image set can meet this search.");
  const lead = branches.length === 1 ? "For:" : `${branches.length} searches, merged without duplicates:`;
  return [
    h("p", {}, lead),
    branches.map((branch) => code(branch === "*" ? "every image set of the data store" : branch)),
    h("p", {}, plan.residual ? "Filtered afterwards, row by row:" : "Nothing is left to filter."),
    plan.residual ? code(plan.residual) : null,
  ];
}

// Results grouped by study: one line a study, which opens to those of its image sets that the search finds.

import { isAbort } from "./api.ts";
import { showName } from "./cells.ts";
import { h, replace } from "./elements.ts";
import type { Field, ImageSet } from "./fields.ts";
import { toApiError } from "./failure.ts";
import { ResultsTable, type SortKey, type TableHost } from "./results-table.ts";
import type { Page, Study } from "./search.ts";

export interface StudiesHost extends TableHost {
  load(study: Study, after: string | null): Promise<Page<ImageSet> | null>;
}

const COLUMNS = [
  "DICOMSeriesNumber",
  "DICOMSeriesModality",
  "DICOMSeriesBodyPart",
  "isPrimary",
  "updatedAt",
  "imageSetId",
];

export class StudiesList {
  readonly element = h("ul", { class: "studies", "aria-label": "Studies" });
  readonly #host: StudiesHost;
  readonly #tables = new Set<ResultsTable>();
  #columns: readonly Field[] = [];
  #sort: readonly SortKey[] = [];

  constructor(host: StudiesHost) {
    this.#host = host;
  }

  begin(fields: readonly Field[]): void {
    this.#columns = COLUMNS.flatMap((name) => fields.filter((field) => field.name === name));
    this.#sort = [];
    this.#tables.clear();
    this.element.replaceChildren();
  }

  /** The image sets in each study are in the order of the search. */
  showSort(sort: readonly SortKey[]): void {
    this.#sort = sort;
    for (const table of this.#tables) table.showSort(sort);
  }

  append(studies: readonly Study[]): void {
    this.element.append(...studies.map((study) => this.#item(study)));
  }

  mark(imageSet: ImageSet | null): void {
    for (const table of this.#tables) table.mark(imageSet);
  }

  focus(imageSet: ImageSet): void {
    for (const table of this.#tables) table.focus(imageSet);
  }

  #item(study: Study): HTMLLIElement {
    const body = h("div", { class: "study-body", hidden: true });
    const { patient, imageSetCount } = study;
    const head = h(
      "button",
      {
        type: "button",
        class: "study-head",
        "aria-expanded": "false",
        onclick: () => void this.#toggle(study, head, body),
      },
      h("span", { class: "study-date" }, study.date ?? "no date"),
      h(
        "span",
        { class: "study-who" },
        h("b", {}, patient.name ? showName(String(patient.name)) : "No name"),
        h("span", { class: "hint" }, String(patient.patientId ?? "no patient ID")),
      ),
      h("span", { class: "study-what" }, study.description ?? "No description"),
      h(
        "span",
        { class: "study-codes" },
        study.modalities.map((modality) => h("span", { class: "code" }, modality)),
      ),
      h("span", { class: "study-count" }, imageSetCount === 1 ? "1 image set" : `${imageSetCount} image sets`),
    );
    return h("li", {}, head, body);
  }

  async #toggle(study: Study, head: HTMLElement, body: HTMLElement): Promise<void> {
    const opening = body.hidden !== false;
    head.setAttribute("aria-expanded", String(opening));
    body.hidden = !opening;
    if (opening && !body.firstChild) await this.#load(study, body);
  }

  async #load(study: Study, body: HTMLElement): Promise<void> {
    const table = new ResultsTable(this.#host);
    table.begin(this.#columns, this.#sort);
    const note = h("p", { class: "hint", role: "status" }, "Loading…");
    replace(body, h("p", { class: "hint uid" }, `Study ${study.instanceUid}`), table.element, note);
    this.#tables.add(table);
    let shown = 0;
    const more = async (after: string | null): Promise<void> => {
      replace(note, "Loading…");
      try {
        const page = await this.#host.load(study, after);
        if (!page) return replace(note, "This study is gone: search again.");
        table.append(page.nodes);
        shown += page.nodes.length;
        const { hasNextPage, endCursor } = page.pageInfo;
        const rest = study.imageSetCount - shown;
        const next = h(
          "button",
          { type: "button", class: "quiet", onclick: () => void more(endCursor) },
          "More of this study",
        );
        if (hasNextPage) return replace(note, next);
        return replace(
          note,
          rest > 0 && `${rest} more of this study ${rest === 1 ? "does" : "do"} not meet the search.`,
        );
      } catch (error) {
        // Another search takes the place of this one.
        if (isAbort(error)) return;
        const again = h("button", { type: "button", class: "quiet", onclick: () => void more(after) }, "Try again");
        return replace(note, toApiError(error).message, " ", again);
      }
    };
    await more(null);
  }
}

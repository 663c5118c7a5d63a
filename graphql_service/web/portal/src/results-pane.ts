// What a search has found, drawn: as a table or grouped by study, with what may stand above and below the rows.

import { type Child, h, replace } from "./elements.ts";
import type { Field, ImageSet } from "./fields.ts";
import { readColumns } from "./preferences.ts";
import { ResultsTable, type SortKey } from "./results-table.ts";
import type { Page, Study, View } from "./search.ts";
import { StudiesList, type StudiesHost } from "./studies-list.ts";

export class ResultsPane {
  readonly element = h("div", { class: "results-pane", tabindex: -1 });
  readonly #table: ResultsTable;
  readonly #studies: StudiesList;
  /** Stands where there are no rows: why, and what to do. */
  readonly #state = h("div", { class: "state-pane" });
  readonly #below = h("div", { class: "more" });
  #view: View = "imageSets";

  constructor(host: StudiesHost) {
    this.#table = new ResultsTable(host);
    this.#studies = new StudiesList(host);
    this.element.append(this.#state, this.#table.element, this.#studies.element, this.#below);
    this.clear();
  }

  /** Begins a result, whose rows `append` adds. */
  begin(view: View, fields: readonly Field[]): void {
    this.clear();
    this.#view = view;
    this.#table.begin(readColumns(fields), []);
    this.#studies.begin(fields);
    this.element.scrollTop = 0;
  }

  /** Takes away all rows; in their place stands `state`. */
  clear(...state: Child[]): void {
    this.#table.begin([], []);
    this.#studies.begin([]);
    this.#table.element.hidden = true;
    this.#studies.element.hidden = true;
    replace(this.#state, ...state);
    replace(this.#below);
  }

  append(page: Page<ImageSet> | Page<Study>): void {
    const studies = this.#view === "studies";
    if (studies) this.#studies.append(page.nodes as readonly Study[]);
    else this.#table.append(page.nodes as readonly ImageSet[]);
    if (page.nodes.length) (studies ? this.#studies : this.#table).element.hidden = false;
  }

  /** Says something below the rows, as how to get more of them. */
  tellBelow(...content: Child[]): void {
    replace(this.#below, ...content);
  }

  showSort(sort: readonly SortKey[]): void {
    this.#table.showSort(sort);
    this.#studies.showSort(sort);
  }

  /** Shows the same rows in the columns that are chosen now. */
  showColumns(fields: readonly Field[]): void {
    this.#table.showColumns(readColumns(fields));
  }

  mark(imageSet: ImageSet | null): void {
    (this.#view === "studies" ? this.#studies : this.#table).mark(imageSet);
  }

  focus(imageSet: ImageSet): void {
    (this.#view === "studies" ? this.#studies : this.#table).focus(imageSet);
  }

  /** While a search runs: the rows of the one before stand back, without any there is a sketch of some. */
  set busy(busy: boolean) {
    this.element.setAttribute("aria-busy", String(busy));
    if (!busy) return;
    replace(this.#below);
    if (!this.#table.element.hidden || !this.#studies.element.hidden) return;
    const lines = Array.from({ length: 8 }, () => h("i"));
    replace(this.#state, h("div", { class: "skeleton", "aria-hidden": "true" }, lines));
  }
}

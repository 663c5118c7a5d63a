// Image sets as a table: the chosen columns, sorted by a click on a header, each row opened by a click or a key.

import { showCell } from "./cells.ts";
import { h, replace } from "./elements.ts";
import { type Field, type ImageSet, isTemporal } from "./fields.ts";
import { ZONE } from "./moments.ts";

export interface SortKey {
  readonly field: string;
  readonly dir: "asc" | "desc";
}

export interface TableHost {
  open(imageSet: ImageSet): void;
  sort(field: Field, direction: "asc" | "desc"): void;
}

/** What is sorted by where a search does not say. */
export const DEFAULT_SORT: SortKey = { field: "updatedAt", dir: "desc" };

export class ResultsTable {
  readonly element: HTMLTableElement;
  readonly #host: TableHost;
  readonly #head = h("tr");
  readonly #body = h("tbody");
  readonly #rows = new Map<HTMLTableRowElement, ImageSet>();
  #columns: readonly Field[] = [];
  #sort: readonly SortKey[] = [];

  constructor(host: TableHost) {
    this.#host = host;
    const caption = h("caption", { class: "unseen" }, "Image sets");
    this.element = h("table", { class: "results" }, caption, h("thead", {}, this.#head), this.#body);
    this.#body.addEventListener("click", (event) => {
      const row = (event.target as Element).closest("tr");
      // Who selects text to copy it does not open the row.
      if (row && getSelection()?.isCollapsed !== false) this.#open(row);
    });
    this.#body.addEventListener("keydown", (event) => this.#move(event));
  }

  /** Begins a result: columns, and the order that they show. */
  begin(columns: readonly Field[], sort: readonly SortKey[]): void {
    this.#columns = columns;
    this.#rows.clear();
    this.#body.replaceChildren();
    this.showSort(sort);
  }

  /** Shows the same rows in other columns. */
  showColumns(columns: readonly Field[]): void {
    this.#columns = columns;
    this.showSort(this.#sort);
    for (const [row, imageSet] of this.#rows) replace(row, this.#cells(imageSet));
  }

  showSort(sort: readonly SortKey[]): void {
    this.#sort = sort;
    replace(
      this.#head,
      this.#columns.map((field) => this.#header(field, sort.length ? sort : [DEFAULT_SORT])),
    );
  }

  append(imageSets: readonly ImageSet[]): void {
    const rows = imageSets.map((imageSet) => {
      const row = h("tr", {}, this.#cells(imageSet));
      this.#rows.set(row, imageSet);
      return row;
    });
    this.#body.append(...rows);
  }

  /** Marks the row that is open in the detail panel. */
  mark(imageSet: ImageSet | null): void {
    for (const [row, shown] of this.#rows) row.classList.toggle("open", shown.id === imageSet?.id);
  }

  focus(imageSet: ImageSet): void {
    for (const [row, shown] of this.#rows) if (shown.id === imageSet.id) row.querySelector("button")?.focus();
  }

  #cells(imageSet: ImageSet): readonly HTMLTableCellElement[] {
    return this.#columns.map((field, index) => this.#cell(field, index, imageSet));
  }

  #cell(field: Field, index: number, imageSet: ImageSet): HTMLTableCellElement {
    const shown = showCell(field, imageSet);
    const content = index ? shown : h("button", { type: "button", class: "row-button" }, shown);
    const title = typeof shown === "string" ? shown : null;
    return h("td", { "data-label": field.label, class: `kind-${field.kind.toLowerCase()}`, title }, content);
  }

  #header(field: Field, sort: readonly SortKey[]): HTMLTableCellElement {
    const place = sort.findIndex((key) => key.field === field.name);
    const direction = sort[place]?.dir ?? null;
    const ascending = direction === "asc";
    const next = direction === null ? (isTemporal(field) ? "desc" : "asc") : ascending ? "desc" : "asc";
    const arrow = direction && h("span", { class: "arrow", "aria-hidden": "true" }, ascending ? "↑" : "↓");
    const number = direction && sort.length > 1 && h("sup", {}, place + 1);
    const title = field.kind === "INSTANT" ? `${field.description}; times in ${ZONE}` : field.description;
    const button = h(
      "button",
      { type: "button", title, onclick: () => this.#host.sort(field, next) },
      field.label,
      arrow,
      number,
    );
    const sorted = direction && (ascending ? "ascending" : "descending");
    return h("th", { scope: "col", "aria-sort": sorted, class: `kind-${field.kind.toLowerCase()}` }, button);
  }

  #open(row: HTMLTableRowElement): void {
    const imageSet = this.#rows.get(row);
    if (imageSet) this.#host.open(imageSet);
  }

  #move(event: KeyboardEvent): void {
    const row = (event.target as Element).closest("tr");
    const next =
      event.key === "ArrowDown"
        ? row?.nextElementSibling
        : event.key === "ArrowUp"
          ? row?.previousElementSibling
          : null;
    const button = next?.querySelector("button");
    if (!button) return;
    event.preventDefault();
    button.focus();
  }
}

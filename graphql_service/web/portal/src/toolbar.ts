// The line above the rows: how they are grouped, how many there are, and what can be done with them, each in a menu.

import { type Child, h, replace } from "./elements.ts";
import type { Format } from "./export.ts";
import { type Field, inColumnOrder } from "./fields.ts";
import { type Popover, openPopover } from "./popover.ts";
import { readColumns, writeColumns } from "./preferences.ts";
import { DEFAULT_SORT, type SortKey } from "./results-table.ts";
import type { View } from "./search.ts";

export interface ToolbarHost {
  group(view: View): void;
  sort(field: Field, direction: "asc" | "desc"): void;
  /** Other columns have been chosen. */
  showColumns(): void;
  export(format: Format): void;
  copyAs(): void;
  explain(): void;
}

const VIEWS: readonly (readonly [View, string])[] = [
  ["imageSets", "Image sets"],
  ["studies", "Studies"],
];

export class Toolbar {
  readonly element: HTMLElement;
  readonly #host: ToolbarHost;
  readonly #counted = h("p", { class: "counted", role: "status" });
  readonly #views: readonly HTMLButtonElement[];
  #fields: readonly Field[] = [];
  #sort: readonly SortKey[] = [];

  constructor(host: ToolbarHost) {
    this.#host = host;
    this.#views = VIEWS.map(([view, name]) =>
      h("button", { type: "button", "data-view": view, onclick: () => host.group(view) }, name),
    );
    const menu = (label: string, kind: string, open: (anchor: HTMLElement) => void) =>
      h(
        "button",
        {
          type: "button",
          class: `quiet ${kind}`,
          "aria-haspopup": "dialog",
          onclick: (event: Event) => open(event.currentTarget as HTMLElement),
        },
        label,
      );
    this.element = h(
      "div",
      { class: "toolbar" },
      h("div", { class: "segments", role: "group", "aria-label": "Group by" }, this.#views),
      this.#counted,
      h(
        "div",
        { class: "tools" },
        menu("Sort", "choose-sort", (anchor) => this.#chooseSort(anchor)),
        menu("Columns", "choose-columns", (anchor) => this.#chooseColumns(anchor)),
        menu("Export", "", (anchor) => this.#chooseExport(anchor)),
        menu("Copy as code", "", () => host.copyAs()),
        h("button", { type: "button", class: "quiet", onclick: () => host.explain() }, "Explain"),
      ),
    );
  }

  set fields(fields: readonly Field[]) {
    this.#fields = inColumnOrder(fields);
  }

  /** What the results are sorted by now. */
  set sort(sort: readonly SortKey[]) {
    this.#sort = sort;
  }

  set view(view: View) {
    this.element.dataset.view = view;
    for (const each of this.#views) each.setAttribute("aria-pressed", String(each.dataset.view === view));
  }

  tellCount(...content: Child[]): void {
    replace(this.#counted, ...content);
  }

  /** For where no headers of a table can be clicked: grouped by study, and on narrow screens. */
  #chooseSort(anchor: HTMLElement): void {
    const [key = DEFAULT_SORT] = this.#sort;
    const option = (value: string, name: string, selected: boolean) => h("option", { value, selected }, name);
    const field = h(
      "select",
      { "aria-label": "Sort by" },
      this.#fields.map((each) => option(each.name, each.label, each.name === key.field)),
    );
    const direction = h(
      "select",
      { "aria-label": "Direction" },
      option("asc", "ascending", key.dir === "asc"),
      option("desc", "descending", key.dir === "desc"),
    );
    const apply = () => {
      popover.close();
      const chosen = this.#fields.find((each) => each.name === field.value);
      if (chosen) this.#host.sort(chosen, direction.value === "asc" ? "asc" : "desc");
    };
    const button = h("button", { type: "button", class: "primary", onclick: apply }, "Sort");
    const popover = openPopover(anchor, "Sort", h("div", { class: "choices" }, field, direction, button));
  }

  #chooseColumns(anchor: HTMLElement): void {
    const chosen = readColumns(this.#fields);
    const boxes = this.#fields.map((field) => {
      const checked = chosen.includes(field);
      return h("label", { class: "choice" }, h("input", { type: "checkbox", value: field.name, checked }), field.label);
    });
    const list = h("fieldset", { class: "choices columns", "aria-label": "Columns" }, boxes);
    list.addEventListener("change", () => {
      writeColumns([...list.querySelectorAll<HTMLInputElement>("input:checked")].map((box) => box.value));
      this.#host.showColumns();
    });
    openPopover(anchor, "Columns", list);
  }

  #chooseExport(anchor: HTMLElement): void {
    const item = (name: string, text: string, format: Format) => {
      const take = () => {
        popover.close();
        this.#host.export(format);
      };
      const content = [h("b", {}, name), h("span", { class: "hint" }, text)];
      return h("button", { type: "button", class: "item", onclick: take }, content);
    };
    const popover: Popover = openPopover(
      anchor,
      "Export the whole result",
      h("p", { class: "hint" }, "Every image set that the search finds:"),
      item("CSV", "a column for each field, for spreadsheets", "csv"),
      item("NDJSON", "a summary on each line, as “imagesets load” reads it", "ndjson"),
    );
  }
}

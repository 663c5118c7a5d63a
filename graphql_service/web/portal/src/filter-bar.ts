// The filters of the query as chips. They are read from the text and write the text: what they cannot show stays as it
// is written there, and they say so.

import type { Analysis } from "./analysis.ts";
import { h, replace } from "./elements.ts";
import type { Field } from "./fields.ts";
import { createFilterEditor } from "./filter-editor.ts";
import { type Conditions, filterWords, readConditions } from "./filter.ts";
import { type Popover, openPopover } from "./popover.ts";
import { addCondition, removeCondition, replaceCondition } from "./query-text.ts";

export interface FilterBarHost {
  /** What stands in the search box now. */
  text(): string;
  /** Puts a text into the search box and searches it. */
  search(text: string): void;
  check(condition: string): Promise<string | null>;
  suggest(field: Field): Promise<readonly string[]>;
}

export class FilterBar {
  readonly element = h("div", { class: "filter-bar", role: "group", "aria-label": "Filters" });
  readonly #host: FilterBarHost;
  readonly #add = h("button", { type: "button", class: "chip add", "aria-haspopup": "dialog" }, "+ Filter");
  readonly #addDate = h("button", { type: "button", class: "chip add", "aria-haspopup": "dialog" }, "+ Date range");
  #fields: readonly Field[] = [];
  /** The text that was read, and what was read from it. */
  #text = "";
  #standing: Conditions | null = null;
  #popover: Popover | null = null;

  constructor(host: FilterBarHost) {
    this.#host = host;
    this.#add.addEventListener("click", () => this.#edit(this.#add, null, null));
    this.#addDate.addEventListener("click", () => this.#edit(this.#addDate, null, "updatedAt"));
    this.show("", null);
  }

  set fields(fields: readonly Field[]) {
    this.#fields = fields;
  }

  /** Shows the filters of a text that has been analysed; of one with problems, nothing can be shown. */
  show(text: string, analysis: Analysis | null): void {
    const canonical = analysis?.canonical ?? null;
    const focused = [...this.element.querySelectorAll("button")].indexOf(document.activeElement as HTMLButtonElement);
    // A form is for the text that it was opened on alone.
    if (text !== this.#text) this.#popover?.close();
    this.#text = text;
    this.#standing = canonical === null ? null : readConditions(text, canonical, this.#fields);
    const disabled = canonical === null || this.#fields.length === 0;
    this.#add.disabled = disabled;
    this.#addDate.disabled = disabled;
    replace(this.element, this.#chips(), this.#add, this.#addDate, this.#note(analysis));
    // Who was here with the keyboard stays here.
    if (focused >= 0) [...this.element.querySelectorAll("button")].at(focused)?.focus();
  }

  /** What the filters stand in and the conditions of it, for other ways to write the text. */
  get standing(): Conditions | null {
    return this.#standing;
  }

  #chips(): Node[] {
    return (this.#standing?.conditions ?? []).map(({ text, filter }, index) => {
      const remove = h(
        "button",
        { type: "button", class: "cross", "aria-label": `Remove: ${text}`, onclick: () => this.#remove(index) },
        "×",
      );
      if (!filter) {
        const title = "This part says more than a filter can: edit it in the search box.";
        return h("span", { class: "chip written", title }, h("code", {}, text), remove);
      }
      const open = h(
        "button",
        { type: "button", class: "open", "aria-haspopup": "dialog", onclick: () => this.#edit(open, index, null) },
        h("b", {}, filter.field.label),
        ` ${filterWords(filter)}`,
      );
      return h("span", { class: "chip" }, open, remove);
    });
  }

  #note(analysis: Analysis | null): Node | null {
    if (analysis?.problems.length) return h("span", { class: "note" }, "Mend the search above to see its filters.");
    const written = this.#standing?.conditions.some(({ filter }) => filter === null);
    if (!written) return null;
    const text = this.#standing?.or
      ? "Joined with “or”: edit it in the search box."
      : "What is shown as text is edited in the search box.";
    return h("span", { class: "note" }, text);
  }

  #edit(anchor: HTMLElement, index: number | null, fieldName: string | null): void {
    const filter = index === null ? null : (this.#standing?.conditions[index]?.filter ?? null);
    const form = createFilterEditor({
      fields: this.#fields,
      filter,
      field: this.#fields.find((field) => field.name === fieldName) ?? null,
      check: (condition) => this.#host.check(condition),
      suggest: (field) => this.#host.suggest(field),
      apply: (condition) => {
        this.#popover?.close();
        this.#write(index, condition);
      },
      remove:
        index === null
          ? null
          : () => {
              this.#popover?.close();
              this.#remove(index);
            },
    });
    this.#popover = openPopover(anchor, index === null ? "Add a filter" : "Edit the filter", form);
  }

  /** Whether the chips are of an older text than the one in the box: then what they would write is none of it. */
  #isStale(): boolean {
    return this.#host.text() !== this.#text;
  }

  #write(index: number | null, condition: string): void {
    if (this.#isStale()) return;
    const text = this.#standing?.text ?? "";
    this.#host.search(index === null ? addCondition(text, condition) : replaceCondition(text, index, condition));
  }

  #remove(index: number): void {
    if (this.#isStale()) return;
    this.#host.search(removeCondition(this.#standing?.text ?? "", index));
    this.#add.focus();
  }
}

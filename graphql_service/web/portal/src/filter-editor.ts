// The form of one filter: its field, its operator, its values; for dates also ranges, relative or from one day to
// another. The service checks what is entered before the query's text is touched.

import { h, replace } from "./elements.ts";
import { type Field, isTemporal } from "./fields.ts";
import {
  type Filter,
  type Operator,
  type Relative,
  operatorWords,
  operatorsOf,
  readRelative,
  relativeWords,
  writeFilter,
  writeRelative,
} from "./filter.ts";
import { quoteValue } from "./query-text.ts";

export interface FilterEditing {
  readonly fields: readonly Field[];
  /** What stands there; null for a new filter. */
  readonly filter: Filter | null;
  readonly field: Field | null;
  /** The first problem of a condition, or null where it is good. */
  check(condition: string): Promise<string | null>;
  /** Values that the data store has of the field, where they are few. */
  suggest(field: Field): Promise<readonly string[]>;
  apply(condition: string): void;
  remove: (() => void) | null;
}

type Mode = "relative" | "days" | "exact";

const PRESETS: readonly Relative[] = [
  { count: 1, unit: "h" },
  { count: 24, unit: "h" },
  { count: 7, unit: "d" },
  { count: 30, unit: "d" },
  { count: 6, unit: "mo" },
  { count: 1, unit: "y" },
  { count: 5, unit: "y" },
];
const DAY = /^\d{4}-\d{2}-\d{2}$/;
const UNITS: readonly (readonly [Relative["unit"], string])[] = [
  ["min", "minutes"],
  ["h", "hours"],
  ["d", "days"],
  ["w", "weeks"],
  ["mo", "months"],
  ["y", "years"],
];
const CHOICES: Partial<Record<Field["kind"], readonly string[]>> = {
  BOOLEAN: ["true", "false"],
  SEX: ["F", "M", "O"],
  TIER: ["frequent", "archive"],
};

/** The form, which calls `apply` once its condition is good. */
export function createFilterEditor(editing: FilterEditing): HTMLFormElement {
  let field = editing.filter?.field ?? editing.field ?? editing.fields[0];
  let read: () => Filter | null = () => null;
  const fault = h("p", { class: "fault", role: "alert" });
  const body = h("div", { class: "filter-body" });
  const choice = h(
    "select",
    { "aria-label": "Property", onchange: () => choose(choice.value) },
    editing.fields.map((each) => h("option", { value: each.name, selected: each.name === field?.name }, each.label)),
  );
  const form = h(
    "form",
    { class: "filter-editor", onsubmit: (event: Event) => submit(event) },
    h("label", { class: "row" }, h("span", {}, "Property"), choice),
    body,
    fault,
    h(
      "div",
      { class: "actions" },
      editing.remove && h("button", { type: "button", class: "quiet danger", onclick: editing.remove }, "Remove"),
      h("button", { type: "submit", class: "primary" }, editing.filter ? "Apply" : "Add filter"),
    ),
  );

  function choose(name: string): void {
    field = editing.fields.find((each) => each.name === name);
    show(null);
    body.querySelector<HTMLElement>("input, select")?.focus();
  }

  function show(filter: Filter | null): void {
    fault.textContent = "";
    if (!field) return;
    read = isTemporal(field) ? showDates(body, field, filter) : showValues(body, field, filter, editing.suggest);
  }

  async function submit(event: Event): Promise<void> {
    event.preventDefault();
    const filter = read();
    if (!filter) {
      fault.textContent = "Choose or write a value first.";
      return;
    }
    const condition = writeFilter(filter);
    fault.textContent = (await editing.check(condition)) ?? "";
    if (!fault.textContent) editing.apply(condition);
  }

  show(editing.filter);
  return form;
}

/** Operator and values as text; answers what reads them. */
function showValues(
  body: HTMLElement,
  field: Field,
  filter: Filter | null,
  suggest?: FilterEditing["suggest"],
): () => Filter | null {
  const operators = operatorsOf(field);
  const standing = filter?.operator ?? operators[0] ?? "=";
  const values = h("div", { class: "row" });
  const operator = h(
    "select",
    { "aria-label": "Operator", onchange: () => showInputs(kept()) },
    operators.map((each) => h("option", { value: each, selected: each === standing }, operatorWords(each, field))),
  );
  const list = h("datalist", { id: "filter-values" });
  const chosen = () => operator.value as Operator;
  // What the inputs held at first: as long as they do, the values are those that stood there, to the letter.
  let first: readonly string[] = [];
  let listed = standing.endsWith("in");
  const inputs = () => [...values.querySelectorAll<HTMLInputElement | HTMLSelectElement>("input, select")];

  /** What is written, for another operator. */
  function kept(): readonly string[] {
    const written = inputs().map((each) => each.value);
    return listed ? splitList(written[0] ?? "") : written.filter(Boolean);
  }

  function showInputs(given: readonly string[]): void {
    listed = chosen().endsWith("in");
    const choices = CHOICES[field.kind];
    if (chosen().endsWith("null")) replace(values);
    else if (choices && !chosen().endsWith("in")) replace(values, h("span", {}, "Value"), select(choices, given[0]));
    else if (chosen().endsWith("between")) {
      replace(values, h("span", {}, "Between"), input(given[0], "From"), h("span", {}, "and"), input(given[1], "To"));
    } else replace(values, h("span", {}, label(chosen())), input(write(given), "Value", hint(chosen(), field)));
  }

  const write = (given: readonly string[]) => (listed ? writeList(given) : given[0]);

  replace(body, h("label", { class: "row" }, h("span", {}, "Operator"), operator), values, list);
  showInputs(filter?.values ?? []);
  first = inputs().map((each) => each.value);
  void suggest?.(field).then((found) =>
    replace(
      list,
      found.map((value) => h("option", { value })),
    ),
  );
  return () => {
    if (chosen().endsWith("null")) return { field, operator: chosen(), values: [] };
    const written = inputs().map((each) => each.value);
    if (filter && chosen() === standing && written.join("\n") === first.join("\n")) return filter;
    // Spaces at the ends come with what is pasted, but where some stood before they are meant.
    const spaced = filter?.values.some((value) => value !== value.trim());
    const given = spaced ? written : written.map((value) => value.trim());
    if (given.every((value) => !value)) return null;
    if (!listed) return { field, operator: chosen(), values: given };
    return { field, operator: chosen(), values: splitList(given[0] ?? "") };
  };
}

function label(operator: Operator): string {
  return operator.endsWith("in") ? "Values" : operator.endsWith("like") ? "Pattern" : "Value";
}

function hint(operator: Operator, field: Field): string {
  if (operator.endsWith("like")) return "* any text, ? one character";
  if (operator.endsWith("in")) return "one, two, three";
  if (field.kind === "INTEGER") return "a whole number";
  return isTemporal(field) ? "2024, 2024-03-11, today-7d" : "";
}

/** Values that commas or white space part, as they come from spreadsheets; what stands in double quotes is one. */
export function splitList(text: string): readonly string[] {
  const parts = text.matchAll(/"((?:\\.|[^"\\])*)"(?=[\s,;]|$)|[^\s,;]+/gsu);
  return [...parts].map((found) => found[1]?.replaceAll(/\\(.)/gsu, "$1") ?? found[0]);
}

/** The text that `splitList` reads these values from. */
export function writeList(values: readonly string[]): string {
  return values.map((value) => (/^[^\s,;"\\]+$/u.test(value) ? value : quoteValue(value))).join(", ");
}

function input(value = "", name = "Value", placeholder = ""): HTMLInputElement {
  return h("input", {
    type: "text",
    value,
    placeholder,
    list: "filter-values",
    "aria-label": name,
    autocomplete: "off",
    spellcheck: "false",
    "data-focus": true,
  });
}

function select(choices: readonly string[], value: string | undefined): HTMLSelectElement {
  // What stands there is kept, odd as it may be.
  const all = value === undefined || choices.includes(value) ? choices : [...choices, value];
  const options = all.map((choice) => h("option", { value: choice, selected: choice === value }, choice));
  return h("select", { "aria-label": "Value" }, options);
}

/** Ranges of dates, three ways; answers what reads the one that is chosen. */
function showDates(body: HTMLElement, field: Field, filter: Filter | null): () => Filter | null {
  const panel = h("div", { class: "date-panel" });
  let read: () => Filter | null = () => null;
  let mode: Mode = startMode(filter);
  const shows: Record<Mode, () => void> = {
    relative: () => {
      read = showRelative(panel, field, filter);
    },
    days: () => {
      read = showDays(panel, field, filter);
    },
    exact: () => {
      read = showValues(panel, field, filter);
    },
  };
  const names: Record<Mode, string> = { relative: "Relative", days: "From – to", exact: "Written" };
  const tabs = (Object.keys(names) as Mode[]).map((each) =>
    h("button", { type: "button", "aria-pressed": each === mode, onclick: () => choose(each) }, names[each]),
  );
  function choose(chosen: Mode): void {
    mode = chosen;
    for (const [index, tab] of tabs.entries())
      tab.setAttribute("aria-pressed", String(Object.keys(names)[index] === mode));
    shows[mode]();
  }
  replace(body, h("div", { class: "segments", role: "group", "aria-label": "Kind of range" }, tabs), panel);
  choose(mode);
  return () => read();
}

function startMode(filter: Filter | null): Mode {
  if (!filter || readRelative(filter)) return "relative";
  const days = filter.operator === "between" || filter.operator === ">=" || filter.operator === "<=";
  return days && filter.values.every((value) => DAY.test(value)) ? "days" : "exact";
}

function showRelative(panel: HTMLElement, field: Field, filter: Filter | null): () => Filter | null {
  const standing = (filter && readRelative(filter)) ?? { count: 7, unit: "d" as const };
  const presets = PRESETS.filter(({ unit }) => field.kind !== "DATE" || unit !== "h");
  const same = (one: Relative) => one.count === standing.count && one.unit === standing.unit;
  const custom = !presets.some(same);
  const count = h("input", { type: "number", min: 1, max: 9999, value: standing.count, "aria-label": "How many" });
  const units = UNITS.filter(([value]) => field.kind !== "DATE" || (value !== "min" && value !== "h"));
  const unit = h(
    "select",
    { "aria-label": "Unit" },
    units.map(([value, name]) => h("option", { value, selected: value === standing.unit }, name)),
  );
  const radio = (value: string, checked: boolean, ...text: (Node | string)[]) =>
    h("label", { class: "choice" }, h("input", { type: "radio", name: "relative", value, checked }), text);
  const own = radio("custom", custom, "Last ", count, " ", unit);
  const ownRadio = own.querySelector("input");
  own.addEventListener("input", () => ownRadio && (ownRadio.checked = true));
  replace(
    panel,
    h(
      "fieldset",
      { class: "choices", "aria-label": "Relative range" },
      presets.map((one, index) => radio(String(index), same(one), capitalize(relativeWords(one)))),
      own,
    ),
  );
  return () => {
    const chosen = panel.querySelector<HTMLInputElement>("input[type=radio]:checked")?.value;
    const preset = presets[Number(chosen)];
    if (preset) return writeRelative(field, preset);
    return count.value
      ? writeRelative(field, { count: Number(count.value), unit: unit.value as Relative["unit"] })
      : null;
  };
}

function capitalize(text: string): string {
  return text.slice(0, 1).toUpperCase() + text.slice(1);
}

function showDays(panel: HTMLElement, field: Field, filter: Filter | null): () => Filter | null {
  const standing = filter && startMode(filter) === "days" ? filter : null;
  const [first = "", second = ""] = standing?.values ?? [];
  const day = (value: string, name: string) => h("input", { type: "date", value, "aria-label": name });
  const from = day(standing?.operator === "<=" ? "" : first, "From");
  const to = day(standing?.operator === "<=" ? first : second, "To");
  replace(
    panel,
    h("label", { class: "row" }, h("span", {}, "From"), from),
    h("label", { class: "row" }, h("span", {}, "To"), to),
    h("p", { class: "hint" }, "Both days are included; one may be left out."),
  );
  return () => {
    if (from.value && to.value) return { field, operator: "between", values: [from.value, to.value] };
    if (from.value) return { field, operator: ">=", values: [from.value] };
    return to.value ? { field, operator: "<=", values: [to.value] } : null;
  };
}
